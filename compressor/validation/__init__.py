"""What the final file does: metric, parity with PyTorch, agreement with the teacher, and the gates."""
