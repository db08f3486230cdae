"""Encoder layers that share one set of weights."""
