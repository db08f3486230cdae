"""Word embeddings as a narrow table and one matrix that all words share."""
