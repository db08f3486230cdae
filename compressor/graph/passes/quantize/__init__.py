"""Int8 weights and activations."""
