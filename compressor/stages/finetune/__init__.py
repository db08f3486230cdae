"""Fine-tuning on the task's labels."""
