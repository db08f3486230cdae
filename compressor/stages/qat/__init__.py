"""Quantization-aware training: the model learns to answer with int8 products."""
