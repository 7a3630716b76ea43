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
    independent: bool,
    network: Box<dyn Network>,
}

/// Loads the classifier in `folder` as a hub gives it: `config.json` of timm or transformers, and `model.safetensors`.
///
/// ```no_run
/// let model = interpix::models::load(std::path::Path::new("vit_tiny"))?;
/// assert_eq!(model.input_size(), (224, 224));
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] and [`Error::Model`] for a file that is absent, damaged, or says what is not known here.
pub fn load(folder: &Path) -> Result<Box<dyn Classifier>> {
    let described = config::read(folder)?;
    let weights = WEIGHTS.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    let weights = Weights::open(&described.name, &weights.unwrap_or_else(|| folder.join(WEIGHTS[0])))?;
    assemble(described, weights)
}

/// Loads the classifier `name`, as timm or torchvision calls it, with the weights in the file `weights` (safetensors,
/// or torch's old pickle format).
///
/// Photos are prepared as timm does it for the weights that it has under this name; what a configuration says of others is
/// known to [`load`] alone.
///
/// ```no_run
/// let file = std::path::Path::new("model.safetensors");
/// let model = interpix::models::load_file("vit_tiny_patch16_224", file)?;
/// assert_eq!(model.classes(), 1000);
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for an unknown name; [`Error::Io`] and [`Error::Model`] for an unusable file.
pub fn load_file(name: &str, weights: &Path) -> Result<Box<dyn Classifier>> {
    let (architecture, photos) = Architecture::named(name)?;
    let weights = Weights::open(name, weights)?;
    let (architecture, preprocessing) =
        Architecture::of_package(name, &weights).unwrap_or_else(|| (architecture, photos.preprocessing()));
    let name = name.to_owned();
    let described =
        Described { name, architecture, preprocessing, classes: None, class_names: None, independent: false };
    assemble(described, weights)
}

fn assemble(described: Described, weights: Weights) -> Result<Box<dyn Classifier>> {
    let Described { name, architecture, preprocessing, classes: said, class_names, independent } = described;
    let network = architecture.load(weights)?;
    let classes = network.classes();
    if let Some(said) = said.filter(|&said| said != classes) {
        let message =
            format!("config.json says {said} classes, its weights have {classes}; correct config.json");
        return Err(Error::Model { model: name, message });
    }
    let class_names = match class_names {
        Some(names) if names.len() != classes => {
            let message = format!("{} class names for {classes} classes; correct config.json", names.len());
            return Err(Error::Model { model: name, message });
        }
        None if classes == IMAGENET => Some(imagenet_classes().iter().map(ToString::to_string).collect()),
        names => names,
    };
    Ok(Box::new(Loaded { name, preprocessing, class_names, independent, network }))
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

    fn independent(&self) -> bool {
        self.independent
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        self.network.logits(batch)
    }

    fn transformer(&self) -> Option<&VisionTransformer> {
        self.network.transformer()
    }
}
