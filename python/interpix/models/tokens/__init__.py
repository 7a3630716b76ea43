"""Vision Transformers on some of their tokens."""

__all__: list[str] = []
