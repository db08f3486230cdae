"""Set single weights to zero: by size, or by where training moves them (unstructured pruning)."""
