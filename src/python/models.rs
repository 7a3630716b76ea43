//! The Python face of `crate::models`.
