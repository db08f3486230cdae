"""A smaller vocabulary: the pieces that the texts use, with the tokenizer, the ids and the embedding rows."""
