"""Structured pruning inside layers: attention heads, feed-forward units, and the width of the residual stream."""
