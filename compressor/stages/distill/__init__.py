"""Knowledge distillation: logits, hidden states, attention scores, MiniLM and MiniLMv2, in any weighted mix."""
