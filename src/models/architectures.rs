//! The native architectures by name, as timm and torchvision name them.

use super::checkpoint::Checkpoint;
use super::efficientnet_lite::{self, EfficientNetLite0};
use super::network::Network;
use super::preprocess::{Filter, Preprocessing, Resize};
use super::resnet::{ResNet, Shape};
use super::vit::{Options, VisionTransformer};
use super::weights::Weights;
use crate::error::{Error, Result};

/// The names that [`crate::models::load_file`] knows, in patterns: of `{a,b}` one is meant, and of `SIZE` and `PATCH` a
/// number of pixels.
pub const ARCHITECTURES: [&str; 7] = [
    "vit_{tiny,small,base,large,huge}_patchPATCH_SIZE, also _gap_ and _regN_gap_ before SIZE, and _clip_",
    "deit_{tiny,small,base}_patch16_SIZE, deit_{tiny,small,base}_distilled_patch16_SIZE",
    "deit3_{small,medium,base,large,huge}_patchPATCH_SIZE",
    "vit_b_16, vit_b_32, vit_l_16, vit_l_32, vit_h_14",
    "resnet18, resnet34, resnet50, resnet101, resnet152",
    "mobilenetv2_100, mobilenet_v2",
    "efficientnet_lite0",
];

/// Refuses a name that is no architecture's.
///
/// ```
/// use interpix::models::check_architecture;
/// assert!(check_architecture("vit_tiny_patch16_224").is_ok());
/// assert!(check_architecture("swin_tiny_patch4_window7_224").is_err());
/// ```
///
/// # Errors
/// [`Error::Argument`] with the names that there are.
pub fn check_architecture(name: &str) -> Result<()> {
    Architecture::named(name).map(|_| ())
}

/// Means and deviations of the colors of ImageNet's photos, as torchvision has them.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// Of timm's and Google's Vision Transformers: bytes to -1 ... 1.
const HALF: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);

/// An architecture, with what its weights' file does not tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Architecture {
    Transformer(Options),
    ResNet(Shape),
    EfficientNetLite,
}

impl Architecture {
    /// The architecture that timm or torchvision calls `name`, and how its photos are prepared.
    ///
    /// # Errors
    /// [`Error::Argument`] for another name.
    pub(super) fn named(name: &str) -> Result<(Self, Preprocessing)> {
        let found = if name == "efficientnet_lite0" {
            Some((Self::EfficientNetLite, efficientnet_lite::PREPROCESSING))
        } else if let Some(depth) = name.strip_prefix("resnet") {
            // timm's first ones; its later ones were tested at a crop of 0.95.
            depth
                .parse()
                .ok()
                .and_then(Shape::of_depth)
                .map(|shape| (Self::ResNet(shape), cropped((224, 224), 0.875, Filter::Bilinear, IMAGENET)))
        } else {
            torchvision_transformer(name).or_else(|| timm_transformer(name))
        };
        found.ok_or_else(|| {
            let cure = "pick one of these, or pass a torch model instead";
            Error::argument("name", format!("one of {}", ARCHITECTURES.join("; ")), format!("`{name}`"), cure)
        })
    }

    /// The network with the weights of a file.
    pub(super) fn load(self, weights: Weights, name: &str) -> Result<Box<dyn Network>> {
        Ok(match self {
            Self::Transformer(options) => Box::new(VisionTransformer::load(options, weights)?),
            Self::ResNet(shape) => Box::new(ResNet::load(shape, weights)?),
            Self::EfficientNetLite => Box::new(EfficientNetLite0::new(&weights.into_checkpoint(name)?)?),
        })
    }
}

/// As timm and torchvision prepare photos for tests: the short side is `1 / part` of the crop's.
pub(super) fn cropped(
    size: (usize, usize),
    part: f64,
    filter: Filter,
    (mean, deviation): ([f32; 3], [f32; 3]),
) -> Preprocessing {
    let side = |length: usize| (length as f64 / part).floor() as usize;
    let resize =
        if size.0 == size.1 { Resize::Short(side(size.0)) } else { Resize::Cover(side(size.0), side(size.1)) };
    Preprocessing {
        resize,
        filter,
        crop: size,
        mean: mean.map(|mean| 255.0 * mean),
        scale: deviation.map(|one| 255.0 * one),
    }
}

fn torchvision_transformer(name: &str) -> Option<(Architecture, Preprocessing)> {
    let heads = match name {
        "vit_b_16" | "vit_b_32" => 12,
        "vit_l_16" | "vit_l_32" | "vit_h_14" => 16,
        _ => return None,
    };
    let options = Options { image: (224, 224), heads: Some(heads), mean: false, epsilon: 1e-6 };
    Some((Architecture::Transformer(options), cropped((224, 224), 0.875, Filter::Bilinear, IMAGENET)))
}

/// timm's `vit_`, `deit_` and `deit3_` names.
fn timm_transformer(name: &str) -> Option<(Architecture, Preprocessing)> {
    const SIZES: [&str; 9] =
        ["tiny", "little", "small", "medium", "betwixt", "base", "large", "huge", "giant"];
    let words: Vec<&str> = name.split('_').collect();
    let (&[family, size], rest) = words.split_first_chunk::<2>()?;
    if !["vit", "deit", "deit3"].contains(&family) || !SIZES.contains(&size) {
        return None;
    }
    let rest = rest.strip_prefix(&["distilled"]).filter(|_| family == "deit").unwrap_or(rest);
    let ([patch, between @ ..], Some(side)) = (&rest[..rest.len() - 1], rest.last()?.parse().ok()) else {
        return None;
    };
    patch.strip_prefix("patch")?.parse::<usize>().ok()?;
    let registers = |word: &str| word.strip_prefix("reg").is_some_and(|count| count.parse::<usize>().is_ok());
    let (mean, clip) = match between {
        [] => (false, false),
        ["clip"] => (false, true),
        ["gap"] => (true, false),
        [word, "gap"] if registers(word) => (true, false),
        _ => return None,
    };
    let heads = ["huge", "giant"].contains(&size).then_some(16);
    // timm's layer norm of CLIP's towers has torch's epsilon.
    let epsilon = if clip { 1e-5 } else { 1e-6 };
    let options = Options { image: (side, side), heads, mean, epsilon };
    let colors = if family == "vit" { HALF } else { IMAGENET };
    Some((Architecture::Transformer(options), cropped((side, side), 0.9, Filter::Bicubic, colors)))
}

impl Weights {
    /// All of the file's tensors, read.
    fn into_checkpoint(self, name: &str) -> Result<Checkpoint> {
        Checkpoint::read(name, std::path::Path::new(self.file()))
    }
}
