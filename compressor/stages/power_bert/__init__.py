"""Learn how many tokens each layer keeps, and keep that many (PoWER-BERT)."""
