"""Keep question and passage apart in the lower layers, so that passages can be computed in advance (DeFormer)."""
