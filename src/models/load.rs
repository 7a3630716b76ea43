//! Native classifiers, from a file of weights and an architecture's name, or from a folder that says which it is.

use std::path::Path;

use ndarray::{Array2, ArrayView4};

use super::architectures::Architecture;
use super::classifier::{Classifier, imagenet_classes};
use super::config::{self, Described};
use super::network::Network;
use super::preprocess::Preprocessing;
use super::vit::VisionTransformer;
use super::weights::Weights;
use crate::error::{Error, Result};

/// Classes whose names are known without a file.
const IMAGENET: usize = 1000;
/// Names of a folder's weights, best first.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.safetensors"];

/// A network with what surrounds it.
struct Loaded {
    name: String,
    preprocessing: Preprocessing,
    class_names: Option<Vec<String>>,
    network: Box<dyn Network>,
}

/// Loads the classifier in `folder` as a hub gives it: `config.json` of timm or transformers, and `model.safetensors`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Model`] for a file that is absent, damaged, or says what is not known here.
pub fn load(folder: &Path) -> Result<Box<dyn Classifier>> {
    let Described { name, architecture, preprocessing, class_names } = config::read(folder)?;
    let weights = WEIGHTS.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    let weights = weights.unwrap_or_else(|| folder.join(WEIGHTS[0]));
    assemble(name, architecture, preprocessing, class_names, &weights)
}

/// Loads the classifier `name`, as timm or torchvision calls it, with the weights in the file `weights` (safetensors,
/// or torch's old pickle format).
///
/// # Errors
/// [`Error::Argument`] for an unknown name; [`Error::Io`] and [`Error::Model`] for an unusable file.
pub fn load_file(name: &str, weights: &Path) -> Result<Box<dyn Classifier>> {
    let (architecture, preprocessing) = Architecture::named(name)?;
    assemble(name.to_owned(), architecture, preprocessing, None, weights)
}

fn assemble(
    name: String,
    architecture: Architecture,
    preprocessing: Preprocessing,
    class_names: Option<Vec<String>>,
    weights: &Path,
) -> Result<Box<dyn Classifier>> {
    let network = architecture.load(Weights::open(&name, weights)?)?;
    let classes = network.classes();
    let class_names = match class_names {
        Some(names) if names.len() != classes => {
            let message = format!("{} class names for {classes} classes; correct config.json", names.len());
            return Err(Error::Model { model: name, message });
        }
        None if classes == IMAGENET => Some(imagenet_classes().iter().map(ToString::to_string).collect()),
        names => names,
    };
    Ok(Box::new(Loaded { name, preprocessing, class_names, network }))
}

impl Classifier for Loaded {
    fn name(&self) -> &str {
        &self.name
    }

    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn classes(&self) -> usize {
        self.network.classes()
    }

    fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        self.network.logits(batch)
    }

    fn transformer(&self) -> Option<&VisionTransformer> {
        self.network.transformer()
    }
}
