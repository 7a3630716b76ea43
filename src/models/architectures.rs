//! The native architectures by name, as timm and torchvision name them.

use super::efficientnet_lite::{self, Source};
use super::inverted_residual::Plan;
use super::mobilenet_v2;
use super::network::Network;
use super::preprocess::{Filter, Preprocessing, Resize, Rounding};
use super::resnet::{ResNet, Shape};
use super::vit::{self, Options, VisionTransformer};
use super::weights::Weights;
use crate::error::{Error, Result};

/// Names that an error lists of those that are like an unknown one.
const NEAR: usize = 3;
const RESNETS: [(&str, usize); 5] =
    [("resnet18", 18), ("resnet34", 34), ("resnet50", 50), ("resnet101", 101), ("resnet152", 152)];
/// timm's, of which those for another width have the same blocks.
const MOBILENETS: [&str; 3] = ["mobilenetv2_050", "mobilenetv2_100", "mobilenetv2_140"];
/// torchvision's.
const MOBILENET: &str = "mobilenet_v2";
/// timm's, made in torch, and those that come from `TensorFlow`.
const LITES: [&str; 5] = [
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "efficientnet_lite3",
    "efficientnet_lite4",
];
const TENSORFLOW: &str = "tf_";

/// The names that [`crate::models::load_file`] knows, those of timm and torchvision.
///
/// ```
/// let names = interpix::models::architectures();
/// assert!(names.iter().any(|name| name == "vit_tiny_patch16_224"));
/// ```
pub fn architectures() -> Vec<String> {
    let names =
        vit::names().chain(RESNETS.map(|(name, _)| name)).chain(MOBILENETS).chain([MOBILENET]).chain(LITES);
    names.map(str::to_owned).chain(LITES.map(|name| format!("{TENSORFLOW}{name}"))).collect()
}

/// Refuses a name that is no architecture's.
///
/// ```
/// use interpix::models::check_architecture;
/// assert!(check_architecture("vit_tiny_patch16_224").is_ok());
/// let error = check_architecture("vit_tiny_patch14_224").unwrap_err().to_string();
/// assert!(error.contains("near names: vit_tiny_patch16_224"));
/// ```
///
/// # Errors
/// [`Error::Argument`] with the names that are like it.
pub fn check_architecture(name: &str) -> Result<()> {
    Architecture::named(name).map(|_| ())
}

/// How timm or torchvision prepares photos for the weights that it has under this name.
///
/// ```
/// let lite = interpix::models::preprocessing("tf_efficientnet_lite1").unwrap();
/// assert_eq!((lite.crop, lite.mean), ((240, 240), [127.5; 3]));
/// ```
///
/// # Errors
/// [`Error::Argument`] for another name.
pub fn preprocessing(name: &str) -> Result<Preprocessing> {
    Architecture::named(name).map(|(_, photos)| photos.preprocessing())
}

/// Means and deviations of colors, in units of 255.
pub(super) type Colors = ([f32; 3], [f32; 3]);
/// Of ImageNet's photos, as torchvision has them.
pub(super) const IMAGENET: Colors = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Of timm's and Google's Vision Transformers: bytes to -1 ... 1.
pub(super) const HALF: Colors = ([0.5; 3], [0.5; 3]);
/// Of `OpenAI`'s CLIP.
#[expect(clippy::excessive_precision, reason = "as it is published")]
pub(super) const CLIP: Colors =
    ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_58, 0.275_777_11]);

/// How timm and torchvision prepare photos for tests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Photos {
    /// Height and width of what a network sees.
    pub(super) crop: (usize, usize),
    /// The share of the short side that is cut out.
    pub(super) part: f64,
    pub(super) filter: Filter,
    /// Whether both sides are resized to what is cut from, whatever they were.
    pub(super) squash: bool,
    pub(super) colors: Colors,
}

impl Photos {
    /// timm's usual way.
    pub(super) fn of(crop: (usize, usize), part: f64, colors: Colors) -> Self {
        Self { crop, part, filter: Filter::Bicubic, squash: false, colors }
    }

    pub(super) fn preprocessing(self) -> Preprocessing {
        let side = |length: usize| (length as f64 / self.part).floor() as usize;
        let (height, width) = (side(self.crop.0), side(self.crop.1));
        let resize = if self.squash {
            Resize::Exact(height, width)
        } else if height == width {
            Resize::Short(height)
        } else {
            Resize::Cover(height, width)
        };
        let (mean, deviation) = self.colors;
        Preprocessing {
            resize,
            filter: self.filter,
            crop: self.crop,
            rounding: Rounding::Even,
            mean: mean.map(|mean| 255.0 * mean),
            scale: deviation.map(|one| 255.0 * one),
        }
    }
}

/// An architecture, with what its weights' file does not tell.
#[derive(Debug, Clone)]
pub(super) enum Architecture {
    Transformer(Options),
    ResNet(Shape),
    MobileNetV2(Plan),
    EfficientNetLite(Plan),
}

impl Architecture {
    /// The architecture that timm or torchvision calls `name`, and how its photos are prepared.
    ///
    /// # Errors
    /// [`Error::Argument`] for another name.
    pub(super) fn named(name: &str) -> Result<(Self, Photos)> {
        let photos = Photos::of((224, 224), 0.875, IMAGENET);
        if let Some((options, photos)) = vit::named(name) {
            return Ok((Self::Transformer(options), photos));
        }
        if let Some(&(_, depth)) = RESNETS.iter().find(|(known, _)| *known == name) {
            let shape = Shape::of_depth(depth).expect("these depths are known");
            return Ok((Self::ResNet(shape), Photos { part: 0.95, ..photos }));
        }
        if MOBILENETS.contains(&name) {
            return Ok((Self::MobileNetV2(mobilenet_v2::plan()), photos));
        }
        if name == MOBILENET {
            return Ok((
                Self::MobileNetV2(mobilenet_v2::plan()),
                Photos { filter: Filter::Bilinear, ..photos },
            ));
        }
        let (source, lite) = match name.strip_prefix(TENSORFLOW) {
            Some(lite) => (Source::TensorFlow, lite),
            None => (Source::Torch, name),
        };
        if let Some(number) = LITES.iter().position(|known| *known == lite) {
            let (plan, photos) = efficientnet_lite::variant(number, source);
            return Ok((Self::EfficientNetLite(plan), photos));
        }
        let cure = format!(
            "near names: {}; `interpix models` and `architectures` list all; load any other as a torch model",
            near(name).join(", ")
        );
        Err(Error::argument("name", "a native architecture", format!("`{name}`"), cure))
    }

    /// What `name` is where the package `efficientnet_lite0_pytorch` and its kind named the weights, if it is one of these.
    pub(super) fn of_package(name: &str, weights: &Weights) -> Option<(Self, Preprocessing)> {
        let number = LITES.iter().position(|known| *known == name)?;
        let (plan, preprocessing) = efficientnet_lite::of_package(number, weights)?;
        Some((Self::EfficientNetLite(plan), preprocessing))
    }

    /// The network with the weights of a file.
    pub(super) fn load(self, weights: Weights) -> Result<Box<dyn Network>> {
        Ok(match self {
            Self::Transformer(options) => Box::new(VisionTransformer::load(options, weights)?),
            Self::ResNet(shape) => Box::new(ResNet::load(shape, weights)?),
            Self::MobileNetV2(plan) => Box::new(mobilenet_v2::load(&plan, &weights)?),
            Self::EfficientNetLite(plan) => Box::new(efficientnet_lite::load(&plan, &weights)?),
        })
    }
}

/// The architectures whose names take the fewest changes of a letter to become `name`.
fn near(name: &str) -> Vec<String> {
    let mut names = architectures();
    // A name is at most a line; what is longer is like none.
    let short: String = name.chars().take(80).collect();
    names.sort_by_cached_key(|known| changes(&short, known));
    names.truncate(NEAR);
    names
}

/// Levenshtein's distance.
fn changes(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, &beside) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(beside != letter);
            line.push(replaced.min(line[column] + 1).min(above[column + 1] + 1));
        }
        above = line;
    }
    above[other.len()]
}
