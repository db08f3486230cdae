"""ONNX graphs: export through Optimum, metadata, the length dial, and the passes."""
