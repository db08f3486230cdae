"""Train a classifier to stop at the layer that suffices (DACT-BERT, DeeBERT, PABEE)."""
