"""What people bring: torch modules, native models, functions, names of models."""

__all__: list[str] = []
