//! The native classifiers that there are, by name.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::classifier::Classifier;
use super::efficientnet_lite::EfficientNetLite0;
use crate::error::{Error, Result};

/// The names that [`load`] knows; each is also the name of its checkpoint.
pub const NAMES: [&str; 1] = ["efficientnet_lite0"];

/// Loads the classifier `name` with the weights in the file `weights` (safetensors, or torch's old pickle format).
///
/// # Errors
/// [`Error::Argument`] for an unknown name; [`Error::Io`] and [`Error::Model`] for an unusable file.
pub fn load(name: &str, weights: &Path) -> Result<Box<dyn Classifier>> {
    match name {
        "efficientnet_lite0" => Ok(Box::new(EfficientNetLite0::new(&Checkpoint::read(name, weights)?)?)),
        _ => Err(Error::argument(
            "name",
            format!("one of {}", NAMES.join(", ")),
            format!("`{name}`"),
            "pick one of these, or pass a torch model instead",
        )),
    }
}
