//! Tensors as a file holds them, whatever its format.

use std::collections::HashMap;

/// The elements of a tensor, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    /// Weights.
    F32(Vec<f32>),
    /// Counters; no network here needs them, but a conversion keeps them.
    I64(Vec<i64>),
}

/// A tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// Tensors by name.
pub(super) type Entries = HashMap<String, Entry>;
