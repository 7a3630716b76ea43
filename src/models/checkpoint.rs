//! A checkpoint: tensors by name, from a safetensors file or from torch's old pickle format.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::tensors::{Data, Entries, Entry};
use super::unpickle::read_pickle;
use crate::error::{Error, Result};

/// Tensors by name.
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
    /// [`Error::Io`] if it cannot be read, [`Error::Model`] if it is truncated or of another format.
    pub fn read(model: &str, path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        // A pickle starts with its protocol (0x80), a zip file with PK, safetensors with the length of its header.
        let parsed = if bytes.first() == Some(&0x80) || bytes.starts_with(b"PK") {
            Self::from_pickle(model, &bytes)
        } else {
            Self::from_safetensors(model, &bytes)
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

    fn from_safetensors(model: &str, bytes: &[u8]) -> Result<Self> {
        let fail = |message: String| Error::Model { model: model.to_owned(), message };
        let file = SafeTensors::deserialize(bytes).map_err(|error| {
            fail(format!(
                "not a readable safetensors file, perhaps cut short ({error}); delete it and fetch it again"
            ))
        })?;
        let entries = file.iter().map(|(name, view)| {
            let data = match view.dtype() {
                Dtype::F32 => {
                    Data::F32(view.data().as_chunks().0.iter().map(|&raw| f32::from_le_bytes(raw)).collect())
                }
                Dtype::I64 => {
                    Data::I64(view.data().as_chunks().0.iter().map(|&raw| i64::from_le_bytes(raw)).collect())
                }
                other => return Err(fail(format!("`{name}` is {other:?}; expected F32 or I64"))),
            };
            Ok((name.to_owned(), Entry { shape: view.shape().to_vec(), data }))
        });
        Ok(Self::new(model, entries.collect::<Result<_>>()?))
    }

    /// The weights `name`, which have to have the shape `shape`.
    pub(super) fn weights(&self, name: &str, shape: &[usize]) -> Result<&[f32]> {
        let fail = |message: String| Err(Error::Model { model: self.model.clone(), message });
        match self.entries.get(name) {
            Some(Entry { shape: found, data: Data::F32(values) }) if found == shape => Ok(values),
            Some(Entry { shape: found, .. }) => {
                fail(format!("weights `{name}`: expected F32 of shape {shape:?}, got shape {found:?}"))
            }
            None => fail(format!("weights `{name}` are missing; is this file another model's?")),
        }
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The checkpoint as the bytes of a safetensors file.
    fn to_safetensors(&self) -> Result<Vec<u8>> {
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

/// Converts the checkpoint `source` into the safetensors file `destination`.
///
/// It is written under a temporary name and renamed, so `destination` is whole or absent, also with several processes
/// at it.
///
/// # Errors
/// As [`Checkpoint::read`], and [`Error::Io`] if `destination` cannot be written.
pub fn convert(model: &str, source: &Path, destination: &Path) -> Result<()> {
    let bytes = Checkpoint::read(model, source)?.to_safetensors()?;
    let aside = destination.with_extension(format!("{}.partial", std::process::id()));
    let fail = |source| Error::Io { path: destination.to_owned(), source };
    if let Some(folder) = destination.parent() {
        fs::create_dir_all(folder).map_err(fail)?;
    }
    fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, destination)).map_err(|source| {
        // The first error is the one to report; a leftover is only untidy.
        let _ = fs::remove_file(&aside);
        fail(source)
    })
}
