"""Cut one of the sizes out of a model that serves several."""
