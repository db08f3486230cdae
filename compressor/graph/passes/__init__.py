"""The passes: one folder each, graph in, graph out."""
