"""Train one model for every token budget (Length-Adaptive Transformer)."""
