"""Torch modules: run in one place, and scored on pictures."""
