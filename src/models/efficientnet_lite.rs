//! EfficientNet-Lite0 to 4: Liu, *Higher accuracy on vision models with EfficientNet-Lite*, `TensorFlow` blog 2020, after
//! Tan and Le, *`EfficientNet`*, ICML 2019.
//!
//! Inverted residuals with `ReLU6` and no squeeze-and-excite, so that they run well on phones. Paddings are
//! `TensorFlow`'s `SAME`. Weights have the names of timm, or those of the package `efficientnet_lite0_pytorch`.

use super::inverted_residual::{InvertedResiduals, Names, Plan, Stage, Unit};
use super::nhwc::Padding;
use super::preprocess::{Filter, Preprocessing, Resize};
use super::weights::Weights;
use crate::error::Result;

/// `epsilon` of `TensorFlow`'s batch norm in this family.
const EPSILON: f32 = 1e-3;
/// Blocks, kernel and stride of each stage; table 1 of the `EfficientNet` paper.
const STAGES: [(usize, usize, usize); 7] =
    [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1)];
/// Of each variant: by how much stages are longer than in the first, the side of its pictures, that of the photo that
/// they are cut from, and how it is resized.
const VARIANTS: [(f64, usize, usize, Filter); 5] = [
    (1.0, 224, 256, Filter::Bicubic),
    (1.1, 240, 272, Filter::Bicubic),
    (1.2, 260, 292, Filter::Bicubic),
    (1.4, 300, 331, Filter::Bilinear),
    (1.8, 380, 413, Filter::Bilinear),
];

/// The network of this number, 0 to 4, and how its photos are prepared: RGB, `(byte - 127) / 128`, which is what it was
/// trained with, not ImageNet's mean and deviation; timm's is 127.5 for both.
pub(super) fn variant(number: usize, timm: bool) -> Option<(Plan, Preprocessing)> {
    let &(longer, crop, resize, filter) = VARIANTS.get(number)?;
    let last = STAGES.len() - 1;
    let stage = |(index, (blocks, kernel, stride)): (usize, (usize, usize, usize))| {
        // The first and the last stage stay as they are.
        let longer = if index == 0 || index == last { 1.0 } else { longer };
        Stage { blocks: (blocks as f64 * longer).ceil() as usize, kernel, stride }
    };
    let stages = STAGES.into_iter().enumerate().map(stage).collect();
    let (mean, scale) = if timm { (127.5, 127.5) } else { (127.0, 128.0) };
    let preprocessing = Preprocessing {
        resize: Resize::Short(resize),
        filter,
        crop: (crop, crop),
        mean: [mean; 3],
        scale: [scale; 3],
    };
    Some((Plan { stages, padding: Padding::Same, epsilon: EPSILON }, preprocessing))
}

/// The network with the weights of a file.
pub(super) fn load(plan: &Plan, weights: &Weights) -> Result<InvertedResiduals> {
    let names: (Names, &str) = if weights.contains("_conv_stem.weight") {
        (package_names, "_fc")
    } else {
        (timm_names, "classifier")
    };
    InvertedResiduals::load(plan, names, weights)
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
