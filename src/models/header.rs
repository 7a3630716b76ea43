//! The header of a safetensors file: which tensors it has, and where.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::tensor::{Dtype, SafeTensors};

/// Bytes of a header, which has some 120 for each tensor: this limits names, shapes and entries.
const MAX_HEADER: u64 = 1 << 20;

/// A tensor of the file.
pub(super) struct Found {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Range<usize>,
}

/// Where each tensor lies in the file `bytes`.
pub(super) fn index(bytes: &[u8]) -> Result<HashMap<String, Found>, String> {
    let header = bytes.first_chunk().map_or(0, |&length| u64::from_le_bytes(length));
    if header > MAX_HEADER && bytes.len() as u64 > header {
        return Err(format!(
            "expected a header of at most {MAX_HEADER} bytes, got {header}; save the weights of one network alone"
        ));
    }
    let damaged = |error| {
        format!("not a readable safetensors file, perhaps cut short ({error}); delete it and fetch it again")
    };
    let (length, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let begin = length + size_of::<u64>();
    // The header's own check: offsets follow each other, end with the file, and are as long as the shapes say.
    SafeTensors::deserialize(bytes).map_err(damaged)?;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (from, to) = info.data_offsets;
        (name, Found { dtype: info.dtype, shape: info.shape.clone(), bytes: begin + from..begin + to })
    });
    Ok(tensors.collect())
}
