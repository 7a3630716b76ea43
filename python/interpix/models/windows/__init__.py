"""Convolutional networks in the windows where pictures differ."""

__all__: list[str] = []
