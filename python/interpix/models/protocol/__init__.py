"""What a model is to the rest of interpix."""
