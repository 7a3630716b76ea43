"""Torch modules: run in one place, and scored on pictures."""

__all__: list[str] = []
