"""Turn a fine-tuned BERT-like teacher into a small, fast, checked ONNX artifact for a named device."""

__version__ = "0.1.0"
