"""Weights of 4 or 8 bits in blocks; activations stay float."""
