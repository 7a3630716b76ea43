"""Vision Transformers on some of their tokens."""
