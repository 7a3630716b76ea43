//! A file of weights of which a network takes what it needs, under its own names for it.
//!
//! A safetensors file is mapped into memory, so that only what is taken is read, each tensor once. It is checked as a
//! whole first: a network is built twice, the first time only to hear what it asks for. So an error names everything
//! that is missing, left over or of another shape, and nothing is allocated for a file that does not fit.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use memmap2::Mmap;
use safetensors::tensor::Dtype;

use super::checkpoint::{Checkpoint, is_pickle};
use super::header::{Found, index};
use crate::error::{Error, Result};

/// Names that an error lists of each kind.
const LISTED: usize = 4;
/// Counters that batch norms keep in training.
const COUNTERS: &str = "num_batches_tracked";

/// From the name of a network's tensor to those of the file's tensors that, one below the other, make it.
pub(super) type Naming = Box<dyn Fn(&str) -> Vec<String>>;

/// A tensor's name and shape.
type Asked = (String, Vec<usize>);

enum Source {
    Mapped { map: Mmap, found: HashMap<String, Found> },
    Read(Checkpoint),
}

/// An opened file of weights.
pub(super) struct Weights {
    model: String,
    file: String,
    source: Source,
    naming: Naming,
    /// What a network asked for, with its shape, while that is all that is wanted of it.
    asked: RefCell<Option<Vec<Asked>>>,
}

impl Weights {
    /// Opens the file `path`, safetensors or torch's old pickle format; `model` names it in errors.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Model`] if it is damaged or of another format.
    pub(super) fn open(model: &str, path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        let this = |source| Self {
            model: model.to_owned(),
            file: path.display().to_string(),
            source,
            naming: Box::new(|name| vec![name.to_owned()]),
            asked: RefCell::new(None),
        };
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(this(Source::Read(Checkpoint::empty(model))).fail("it is empty; fetch it again"));
        }
        // SAFETY: whoever shortens the file while it is read ends this process, and whoever changes it gets a network
        // of both; no code runs over anything but numbers. The mapping ends with the loading.
        #[expect(unsafe_code, reason = "a mapping is read by others' leave only")]
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        if is_pickle(&map) {
            return Ok(this(Source::Read(Checkpoint::read(model, path)?)));
        }
        match index(&map) {
            Ok(found) => Ok(this(Source::Mapped { map, found })),
            Err(message) => Err(this(Source::Read(Checkpoint::empty(model))).fail(&message)),
        }
    }

    /// The name of the model that they are of.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// The same file, of a network that has other names.
    pub(super) fn named(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// Whether the file has a tensor of this very name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.found(name).is_some()
    }

    /// Whether the file has what makes the network's tensor `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        (self.naming)(name).iter().all(|name| self.contains(name))
    }

    /// The shape of the network's tensor `name`; of what is made of several, that of the first.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not there or has another number of dimensions than `N`.
    pub(super) fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let file_name = (self.naming)(name).swap_remove(0);
        let shape = self.found(&file_name).ok_or_else(|| {
            self.fail(&format!("`{file_name}` is missing; is this file another architecture's?"))
        })?;
        let sides = <[usize; N]>::try_from(shape).ok().filter(|sides| sides.iter().all(|&side| side > 0));
        sides.ok_or_else(|| {
            self.fail(&format!("`{file_name}`: expected {N} dimensions, none of them 0, got shape {shape:?}; is this file another architecture's?"))
        })
    }

    /// The network that `build` makes of this file.
    ///
    /// # Errors
    /// [`Error::Model`] that names what is missing, left over or of another shape.
    pub(super) fn build<T>(&self, build: impl Fn(&Self) -> Result<T>) -> Result<T> {
        self.asked.replace(Some(Vec::new()));
        let dry = build(self);
        let asked = self.asked.take().unwrap_or_default();
        dry?;
        self.check(&asked)?;
        build(self)
    }

    /// The network's tensor `name`, of which `shape` is expected; nothing while it is only heard what is asked for.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if let Some(asked) = &mut *self.asked.borrow_mut() {
            asked.push((name.to_owned(), shape.to_vec()));
            return Ok(Vec::new());
        }
        let mut values = Vec::with_capacity(shape.iter().product());
        for name in (self.naming)(name) {
            self.append(&name, &mut values)?;
        }
        Ok(values)
    }

    /// A failure of this file.
    pub(super) fn fail(&self, message: &str) -> Error {
        Error::Model { model: self.model.clone(), message: format!("{}: {message}", self.file) }
    }

    fn names(&self) -> Vec<&str> {
        match &self.source {
            Source::Mapped { found, .. } => found.keys().map(String::as_str).collect(),
            Source::Read(checkpoint) => checkpoint.names().collect(),
        }
    }

    fn found(&self, name: &str) -> Option<&[usize]> {
        match &self.source {
            Source::Mapped { found, .. } => found.get(name).map(|found| &found.shape[..]),
            Source::Read(checkpoint) => checkpoint.shape(name),
        }
    }

    fn append(&self, name: &str, values: &mut Vec<f32>) -> Result<()> {
        match &self.source {
            Source::Read(checkpoint) => {
                let shape = checkpoint.shape(name).unwrap_or_default();
                values.extend_from_slice(checkpoint.weights(name, shape)?);
            }
            Source::Mapped { map, found } => {
                let Found { dtype, bytes, .. } = &found[name];
                let bytes = &map[bytes.clone()];
                match dtype {
                    Dtype::F32 => {
                        values.extend(bytes.as_chunks().0.iter().map(|&raw| f32::from_le_bytes(raw)));
                    }
                    Dtype::BF16 => values.extend(
                        bytes
                            .as_chunks()
                            .0
                            .iter()
                            .map(|&raw| f32::from_bits(u32::from(u16::from_le_bytes(raw)) << 16)),
                    ),
                    Dtype::F16 => values
                        .extend(bytes.as_chunks().0.iter().map(|&raw| widen_half(u16::from_le_bytes(raw)))),
                    other => {
                        return Err(self.fail(&format!(
                            "`{name}`: expected F32, F16 or BF16, got {other:?}; save it as one of these"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self, asked: &[(String, Vec<usize>)]) -> Result<()> {
        let (mut missing, mut shapes, mut taken) = (Vec::new(), Vec::new(), HashSet::new());
        for (name, shape) in asked {
            let parts = (self.naming)(name);
            let mut shape = shape.clone();
            if let Some(first) = shape.first_mut() {
                *first /= parts.len();
            }
            for part in parts {
                match self.found(&part) {
                    None => missing.push(format!("`{part}`")),
                    Some(found) if found != shape => {
                        shapes.push(format!("`{part}` (expected {shape:?}, got {found:?})"));
                    }
                    Some(_) => {}
                }
                taken.insert(part);
            }
        }
        let left =
            self.names().into_iter().filter(|name| !taken.contains(*name) && !name.ends_with(COUNTERS));
        let mut left: Vec<String> = left.map(|name| format!("`{name}`")).collect();
        left.sort();
        let kinds = [("missing", missing), ("left over", left), ("of another shape", shapes)];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| format!("{kind}: {}", list(&names)))
            .collect();
        if told.is_empty() {
            return Ok(());
        }
        Err(self.fail(&format!(
            "its weights are not those of this architecture; {}; name the architecture that they are of",
            told.join("; ")
        )))
    }
}

fn list(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// A number of half precision.
fn widen_half(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits >> 15) << 31, bits >> 10 & 0x1f, u32::from(bits & 0x3ff));
    match exponent {
        // Subnormal: a multiple of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (u32::from(exponent) + 112) << 23 | fraction << 13),
    }
}

/// The convolution `path` of `shape` (outputs, ...) with the batch norm `norm` folded into it: weights and bias.
///
/// With `s = weight / sqrt(var + epsilon)`, the weights become `w s` and the bias `bias - mean s`.
pub(super) fn normalized(
    weights: &Weights,
    (path, norm): (&str, &str),
    shape: &[usize],
    epsilon: f32,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let outputs = shape[0];
    let mut kernel = weights.tensor(&format!("{path}.weight"), shape)?;
    let statistic = |name: &str| weights.tensor(&format!("{norm}.{name}"), &[outputs]);
    let (gain, shift) = (statistic("weight")?, statistic("bias")?);
    let (mean, variance) = (statistic("running_mean")?, statistic("running_var")?);
    let scale: Vec<f32> =
        gain.iter().zip(variance).map(|(gain, variance)| gain / (variance + epsilon).sqrt()).collect();
    let bias =
        shift.iter().zip(&mean).zip(&scale).map(|((shift, mean), scale)| shift - mean * scale).collect();
    let taps = shape[1..].iter().product();
    for (row, scale) in kernel.chunks_exact_mut(taps).zip(&scale) {
        for weight in row {
            *weight *= scale;
        }
    }
    Ok((kernel, bias))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_widened_exactly() {
        // Of IEEE 754: bits and values.
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2.0_f32.powi(-14)),
            (0x0001, 2.0_f32.powi(-24)),
            (0x8000, -0.0),
            (0x7c00, f32::INFINITY),
            (0x3555, 0.333_251_95),
        ] {
            assert_eq!(widen_half(bits).to_bits(), value.to_bits(), "{bits:x}");
        }
        assert!(widen_half(0x7e00).is_nan());
    }
}
