"""Coalition searches: MoXI, its games, and their values."""
