//! The Python face of `crate::graph`.
