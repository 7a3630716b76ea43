//! A checkpoint: tensors by name, from a safetensors file or from torch's old pickle format.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::header::{Found, index};
use super::tensors::{Data, Entries, Entry};
use super::unpickle::read_pickle;
use crate::error::{Error, Result};

/// Bytes of a file that is read whole; the weights of the networks here take 19 million.
const MAX_FILE: u64 = 1 << 30;

/// Whether this may be one of torch's files. A pickle starts with its protocol (0x80), a zip file with PK; safetensors
/// with the length of its header, whose lowest byte may be the same, and then the header, a JSON object.
pub(super) fn is_pickle(bytes: &[u8]) -> bool {
    (bytes.first() == Some(&0x80) || bytes.starts_with(b"PK")) && bytes.get(8) != Some(&b'{')
}

/// Tensors by name.
///
/// ```
/// use interpix::models::Checkpoint;
/// let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
/// let file = [&(header.len() as u64).to_le_bytes()[..], header, &1.0_f32.to_le_bytes()].concat();
/// let checkpoint = Checkpoint::from_bytes("toy", &file)?;
/// assert_eq!(checkpoint.len(), 1);
/// assert_eq!(Checkpoint::from_bytes("toy", &checkpoint.to_safetensors()?)?, checkpoint);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    model: String,
    entries: Entries,
}

impl Checkpoint {
    fn new(model: &str, entries: Entries) -> Self {
        Self { model: model.to_owned(), entries }
    }

    /// Reads the file `path`; `model` names it in errors.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Model`] if it is truncated, of another format, or larger than any
    /// weights.
    pub fn read(model: &str, path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let size = fs::metadata(path).map_err(io)?.len();
        let parsed = if size > MAX_FILE {
            let message = format!(
                "expected at most {MAX_FILE} bytes, got {size}; save the weights of one network alone, as safetensors"
            );
            Err(Error::Model { model: model.to_owned(), message })
        } else {
            Self::from_bytes(model, &fs::read(path).map_err(io)?)
        };
        parsed.map_err(|error| match error {
            Error::Model { model, message } => {
                Error::Model { model, message: format!("{}: {message}", path.display()) }
            }
            other => other,
        })
    }

    /// Reads the state dict in `bytes`, a file in torch's old pickle format, without running anything that is in it;
    /// `model` names it in errors.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is of another format, truncated, or names anything outside of the allow-list.
    pub fn from_pickle(model: &str, bytes: &[u8]) -> Result<Self> {
        read_pickle(bytes).map(|entries| Self::new(model, entries)).map_err(|message| Error::Model {
            model: model.to_owned(),
            message: format!("cannot read the checkpoint: {message}"),
        })
    }

    /// Reads `bytes`, a file in either format; `model` names it in errors.
    ///
    /// # Errors
    /// [`Error::Model`] if they are truncated or of another format.
    pub fn from_bytes(model: &str, bytes: &[u8]) -> Result<Self> {
        if is_pickle(bytes) { Self::from_pickle(model, bytes) } else { Self::from_safetensors(model, bytes) }
    }

    fn from_safetensors(model: &str, bytes: &[u8]) -> Result<Self> {
        let fail = |message: String| Error::Model { model: model.to_owned(), message };
        let found = index(bytes).map_err(fail)?;
        let entries = found.into_iter().map(|(name, Found { dtype, shape, bytes: place })| {
            let bytes = &bytes[place];
            let data = match dtype {
                Dtype::F32 => {
                    Data::F32(bytes.as_chunks().0.iter().map(|&raw| f32::from_le_bytes(raw)).collect())
                }
                Dtype::I64 => {
                    Data::I64(bytes.as_chunks().0.iter().map(|&raw| i64::from_le_bytes(raw)).collect())
                }
                other => {
                    return Err(fail(format!(
                        "`{name}`: expected F32 or I64, got {other:?}; save it as one of these"
                    )));
                }
            };
            Ok((name, Entry { shape, data }))
        });
        Ok(Self::new(model, entries.collect::<Result<_>>()?))
    }

    /// The weights `name`, which have to have the shape `shape`.
    pub(super) fn weights(&self, name: &str, shape: &[usize]) -> Result<&[f32]> {
        let fail = |message: String| Err(Error::Model { model: self.model.clone(), message });
        match self.entries.get(name) {
            Some(Entry { shape: found, data: Data::F32(values) }) if found == shape => Ok(values),
            Some(Entry { shape: found, .. }) => fail(format!(
                "weights `{name}`: expected F32 of shape {shape:?}, got shape {found:?}; is this file another model's?"
            )),
            None => fail(format!("weights `{name}` are missing; is this file another model's?")),
        }
    }

    /// A checkpoint without tensors.
    pub(super) fn empty(model: &str) -> Self {
        Self::new(model, Entries::new())
    }

    /// The names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The shape of the tensor `name`, if there is one.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| &entry.shape[..])
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The checkpoint as the bytes of a safetensors file; equal checkpoints, equal bytes.
    ///
    /// # Errors
    /// [`Error::Model`] if a tensor cannot be written.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let raw: Vec<(&str, &Entry, Vec<u8>)> = self
            .entries
            .iter()
            .map(|(name, entry)| {
                let bytes = match &entry.data {
                    Data::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                    Data::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                };
                (name.as_str(), entry, bytes)
            })
            .collect();
        let views = raw.iter().map(|(name, entry, bytes)| {
            let dtype = if matches!(entry.data, Data::F32(_)) { Dtype::F32 } else { Dtype::I64 };
            Ok((*name, TensorView::new(dtype, entry.shape.clone(), bytes)?))
        });
        views
            .collect::<std::result::Result<Vec<_>, _>>()
            .and_then(|views| safetensors::serialize(views, None))
            .map_err(|error| Error::Model { model: self.model.clone(), message: error.to_string() })
    }
}
