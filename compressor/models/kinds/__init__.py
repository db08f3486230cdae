"""What stages can make of a model: one file a kind of structure, or a part of one; `registry` makes them by name."""
