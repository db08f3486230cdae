"""The length-adaptive graph: traced with one marker node a layer, then completed with standard operators."""
