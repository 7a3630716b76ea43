//! IProp: information flows between similar neighboring pixels.
