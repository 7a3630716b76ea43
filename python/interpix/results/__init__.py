"""What comes out: frozen raw numbers with their provenance."""

__all__: list[str] = []
