"""The pass `fuse`: attention and activations as single operators, counted."""
