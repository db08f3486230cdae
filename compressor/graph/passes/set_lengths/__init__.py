"""A length configuration by hand, without a search."""
