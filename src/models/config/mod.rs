//! What `config.json` says of a model: timm's, or transformers' with `preprocessor_config.json` beside it.
//!
//! What is not followed is refused by name, and so is a value of another type than expected: what is overlooked here gives
//! wrong answers without a word.

mod processor;
mod timm;
mod transformers;
mod values;

use std::path::Path;

use self::values::{CORRECT, Config};
use super::architectures::Architecture;
use super::preprocess::Preprocessing;
use crate::error::Result;

/// Means of colors, and their deviations, that may be meant: in units of 255, or in bytes.
const COLORS: (f64, f64) = (-1e4, 1e4);
const DEVIATIONS: (f64, f64) = (1e-6, 1e4);
/// What norms add to a variance.
const EPSILONS: (f64, f64) = (1e-30, 1.0);

/// A model as its folder describes it.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) architecture: Architecture,
    pub(super) preprocessing: Preprocessing,
    /// The number of classes, where it is said.
    pub(super) classes: Option<usize>,
    pub(super) class_names: Option<Vec<String>>,
    /// Whether each class is a label of its own, there or not.
    pub(super) independent: bool,
}

/// Reads the configuration in `folder`.
///
/// # Errors
/// [`crate::Error::Io`] if it is not there, [`crate::Error::Model`] if it is damaged or says what is not known here.
pub(super) fn read(folder: &Path) -> Result<Described> {
    let config = Config::read(&folder.join("config.json"))?;
    if config.at("model_type")?.is_some() {
        return transformers::read(&config, &Config::read(&folder.join("preprocessor_config.json"))?);
    }
    timm::read(&config)
}

/// Refuses what no photo can be prepared by; `fields` say it.
fn checked(config: &Config, fields: &str, preprocessing: Preprocessing) -> Result<Preprocessing> {
    match preprocessing.fault() {
        None => Ok(preprocessing),
        Some((expected, got)) => {
            Err(config.fail(&format!("{fields}: expected {expected}, got {got}; {CORRECT}")))
        }
    }
}
