//! The native architectures by name, as timm and torchvision name them.

use super::inverted_residual::Plan;
use super::network::Network;
use super::preprocess::{Filter, Preprocessing, Resize};
use super::resnet::{ResNet, Shape};
use super::vit::{Options, VisionTransformer};
use super::weights::Weights;
use super::{efficientnet_lite, mobilenet_v2};
use crate::error::{Error, Result};

/// The names that [`crate::models::load_file`] knows, in patterns: of `{a,b}` one is meant, and of `SIZE` and `PATCH` a
/// number of pixels.
pub const ARCHITECTURES: [&str; 7] = [
    "vit_{tiny,small,base,large,huge}_patchPATCH_SIZE, also _gap_ and _regN_gap_ before SIZE, and _clip_",
    "deit_{tiny,small,base}_patch16_SIZE, deit_{tiny,small,base}_distilled_patch16_SIZE",
    "deit3_{small,medium,base,large,huge}_patchPATCH_SIZE",
    "vit_b_16, vit_b_32, vit_l_16, vit_l_32, vit_h_14",
    "resnet18, resnet34, resnet50, resnet101, resnet152",
    "mobilenetv2_{050,100,140}, mobilenet_v2",
    "efficientnet_lite{0,1,2,3,4}, tf_efficientnet_lite{0,1,2,3,4}",
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
    pub(super) fn named(name: &str) -> Result<(Self, Preprocessing)> {
        let convolutional = |network, filter| (network, cropped((224, 224), 0.875, filter, IMAGENET));
        let timm = name.starts_with("tf_");
        let lite = name.strip_prefix(if timm { "tf_efficientnet_lite" } else { "efficientnet_lite" });
        let found = if let Some(number) = lite {
            let variant = number.parse().ok().and_then(|number| efficientnet_lite::variant(number, timm));
            variant.map(|(plan, preprocessing)| (Self::EfficientNetLite(plan), preprocessing))
        } else if let Some(depth) = name.strip_prefix("resnet") {
            let shape = depth.parse().ok().and_then(Shape::of_depth);
            shape.map(|shape| convolutional(Self::ResNet(shape), Filter::Bilinear))
        } else if name == "mobilenet_v2" {
            Some(convolutional(Self::MobileNetV2(mobilenet_v2::plan()), Filter::Bilinear))
        } else if ["mobilenetv2_050", "mobilenetv2_100", "mobilenetv2_140"].contains(&name) {
            Some(convolutional(Self::MobileNetV2(mobilenet_v2::plan()), Filter::Bicubic))
        } else {
            torchvision_transformer(name).or_else(|| timm_transformer(name))
        };
        found.ok_or_else(|| {
            let cure = "pick one of these, or pass a torch model instead";
            Error::argument("name", format!("one of {}", ARCHITECTURES.join("; ")), format!("`{name}`"), cure)
        })
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

/// As timm and torchvision prepare photos for tests: the short side is `1 / part` of the crop's.
pub(super) fn cropped(
    size: (usize, usize),
    part: f64,
    filter: Filter,
    (mean, deviation): ([f32; 3], [f32; 3]),
) -> Preprocessing {
    let side = |length: usize| (length as f64 / part).floor() as usize;
    let resize = if size.0 == size.1 {
        Resize::Short(side(size.0))
    } else {
        Resize::Cover(side(size.0), side(size.1))
    };
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
    // One of them, trained by I-JEPA, has more heads than others of its width.
    let many = ["huge", "giant"].contains(&size) || name == "vit_base_patch16_gap_224";
    let heads = many.then_some(16);
    // timm's layer norm of CLIP's towers has torch's epsilon.
    let epsilon = if clip { 1e-5 } else { 1e-6 };
    let options = Options { image: (side, side), heads, mean, epsilon };
    let colors = if family == "vit" { HALF } else { IMAGENET };
    Some((Architecture::Transformer(options), cropped((side, side), 0.9, Filter::Bicubic, colors)))
}
