"""What comes out: frozen raw numbers with their provenance."""
