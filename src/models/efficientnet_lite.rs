//! EfficientNet-Lite0 to 4: Liu, *Higher accuracy on vision models with EfficientNet-Lite*, `TensorFlow` blog 2020, after
//! Tan and Le, *`EfficientNet`*, ICML 2019.
//!
//! Inverted residuals with `ReLU6` and no squeeze-and-excite, so that they run well on phones. There are three kinds of
//! weights, which are not told from each other by their shapes: those that come from `TensorFlow` under timm's names (`tf_`),
//! timm's own, with torch's padding and batch norms, and those of the package `efficientnet_lite0_pytorch`, which come from
//! `TensorFlow`, too, but have names of their own.

use super::architectures::{HALF, IMAGENET, Photos};
use super::inverted_residual::{InvertedResiduals, Plan, Stage, Unit};
use super::mobilenet_v2;
use super::nhwc::Padding;
use super::preprocess::{Filter, Preprocessing, Resize, Rounding};
use super::weights::Weights;
use crate::error::Result;

/// `epsilon` of `TensorFlow`'s batch norm in this family.
const EPSILON: f32 = 1e-3;
/// Blocks, kernel and stride of each stage; table 1 of the `EfficientNet` paper.
const STAGES: [(usize, usize, usize); 7] =
    [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1)];
/// A variant: by how much stages are longer than in the first, the side of its pictures, the side of the photo that they are
/// cut from, and how that is resized in `TensorFlow`.
type Variant = (f64, usize, usize, Filter);
const VARIANTS: [Variant; 5] = [
    (1.0, 224, 256, Filter::Bicubic),
    (1.1, 240, 272, Filter::Bicubic),
    (1.2, 260, 292, Filter::Bicubic),
    (1.4, 300, 331, Filter::Bilinear),
    (1.8, 380, 413, Filter::Bilinear),
];
/// Of timm's own last variant, the side of what is cut from is another: its share is 0.922, not 0.92.
const LAST_OF_TORCH: usize = 412;
/// The stem under the package's names.
const PACKAGE_STEM: &str = "_conv_stem.weight";

/// Where weights under timm's names come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// timm's `tf_` ones: `TensorFlow`'s padding and epsilon.
    TensorFlow,
    Torch,
}

/// The network of this number, 0 to 4, under timm's names, and how timm prepares its photos.
pub(super) fn variant(number: usize, source: Source) -> (Plan, Photos) {
    let (longer, crop, resize, filter) = VARIANTS[number];
    let last = number + 1 == VARIANTS.len();
    let resize = if last && source == Source::Torch { LAST_OF_TORCH } else { resize };
    // The share that is cut out, such that the side of what it is cut from is this one, rounded down.
    let part = crop as f64 / (resize as f64 + 0.5);
    match source {
        Source::TensorFlow => {
            let photos = Photos { filter, ..Photos::of((crop, crop), part, HALF) };
            (plan(longer, Padding::Same, EPSILON), photos)
        }
        Source::Torch => {
            let photos = Photos::of((crop, crop), part, IMAGENET);
            (plan(longer, Padding::Even, mobilenet_v2::EPSILON), photos)
        }
    }
}

/// The network of this number if the package named its weights, and how it prepares photos: `(byte - 127) / 128`, which is
/// what it was trained with.
pub(super) fn of_package(number: usize, weights: &Weights) -> Option<(Plan, Preprocessing)> {
    let &(longer, crop, resize, filter) = VARIANTS.get(number).filter(|_| weights.contains(PACKAGE_STEM))?;
    let preprocessing = Preprocessing {
        resize: Resize::Short(resize),
        filter,
        crop: (crop, crop),
        rounding: Rounding::Even,
        mean: [127.0; 3],
        scale: [128.0; 3],
    };
    Some((
        Plan { names: Some((package_names, "_fc")), ..plan(longer, Padding::Same, EPSILON) },
        preprocessing,
    ))
}

fn plan(longer: f64, padding: Padding, epsilon: f32) -> Plan {
    let last = STAGES.len() - 1;
    let stage = |(index, (blocks, kernel, stride)): (usize, (usize, usize, usize))| {
        // The first and the last stage stay as they are.
        let longer = if index == 0 || index == last { 1.0 } else { longer };
        Stage { blocks: (blocks as f64 * longer).ceil() as usize, kernel, stride }
    };
    Plan { stages: STAGES.into_iter().enumerate().map(stage).collect(), padding, epsilon, names: None }
}

/// The network with the weights of a file.
pub(super) fn load(plan: &Plan, weights: &Weights) -> Result<InvertedResiduals> {
    InvertedResiduals::load(plan, plan.names.unwrap_or((timm_names, "classifier")), weights)
}

/// timm's names, of `MobileNetV2`, too.
pub(super) fn timm_names(unit: Unit) -> (String, String) {
    let (stage, index, conv, norm) = match unit {
        Unit::Stem => return ("conv_stem".to_owned(), "bn1".to_owned()),
        Unit::Head => return ("conv_head".to_owned(), "bn2".to_owned()),
        Unit::Expand(at) => (at.stage, at.index, "conv_pw", "bn1"),
        // Without an expansion all are one number lower.
        Unit::Depthwise(at) if at.stage == 0 => (at.stage, at.index, "conv_dw", "bn1"),
        Unit::Project(at) if at.stage == 0 => (at.stage, at.index, "conv_pw", "bn2"),
        Unit::Depthwise(at) => (at.stage, at.index, "conv_dw", "bn2"),
        Unit::Project(at) => (at.stage, at.index, "conv_pwl", "bn3"),
    };
    (format!("blocks.{stage}.{index}.{conv}"), format!("blocks.{stage}.{index}.{norm}"))
}

fn package_names(unit: Unit) -> (String, String) {
    let (number, conv, norm) = match unit {
        Unit::Stem => return ("_conv_stem".to_owned(), "_bn0".to_owned()),
        Unit::Head => return ("_conv_head".to_owned(), "_bn1".to_owned()),
        Unit::Expand(at) => (at.number, "_expand_conv", "_bn0"),
        Unit::Depthwise(at) => (at.number, "_depthwise_conv", "_bn1"),
        Unit::Project(at) => (at.number, "_project_conv", "_bn2"),
    };
    (format!("_blocks.{number}.{conv}"), format!("_blocks.{number}.{norm}"))
}
