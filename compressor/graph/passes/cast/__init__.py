"""Float16 weights and arithmetic."""
