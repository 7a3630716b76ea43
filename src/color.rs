//! sRGB to CIELAB.
