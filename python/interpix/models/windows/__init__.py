"""Convolutional networks in the windows where pictures differ."""
