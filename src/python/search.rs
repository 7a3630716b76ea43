//! The Python face of `crate::search`.
