"""Keep chosen encoder layers of a checkpoint."""
