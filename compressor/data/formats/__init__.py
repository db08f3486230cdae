"""File formats: one file each; text in, records or examples out."""
