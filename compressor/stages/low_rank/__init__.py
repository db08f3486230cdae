"""Linear layers as products of two smaller ones, by (weighted) singular values."""
