//! `MobileNetV2` of any width: Sandler et al., *`MobileNetV2`: Inverted Residuals and Linear Bottlenecks*, CVPR 2018.
//!
//! Weights have the names of timm, torchvision or transformers; transformers' checkpoints come from `TensorFlow`, with
//! its padding and its epsilon.

use super::efficientnet_lite::timm_names;
use super::inverted_residual::{InvertedResiduals, Names, Plan, Stage, Unit};
use super::nhwc::Padding;
use super::weights::Weights;
use crate::error::Result;

/// `epsilon` of torch's batch norm.
pub(super) const EPSILON: f32 = 1e-5;
/// Blocks and stride of each stage; table 2 of the paper.
const STAGES: [(usize, usize); 7] = [(1, 1), (2, 2), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)];

/// The network as torchvision and timm have it.
pub(super) fn plan() -> Plan {
    let stages = STAGES.into_iter().map(|(blocks, stride)| Stage { blocks, kernel: 3, stride }).collect();
    Plan { stages, padding: Padding::Even, epsilon: EPSILON, names: None }
}

/// The network with the weights of a file.
pub(super) fn load(plan: &Plan, weights: &Weights) -> Result<InvertedResiduals> {
    let names: (Names, &str) = if weights.contains("features.0.0.weight") {
        (torchvision_names, "classifier.1")
    } else if weights.contains("mobilenet_v2.conv_stem.first_conv.convolution.weight") {
        (transformers_names, "classifier")
    } else {
        (timm_names, "classifier")
    };
    InvertedResiduals::load(plan, names, weights)
}

fn torchvision_names(unit: Unit) -> (String, String) {
    let (number, conv, norm) = match unit {
        Unit::Stem => return ("features.0.0".to_owned(), "features.0.1".to_owned()),
        Unit::Head => return ("features.18.0".to_owned(), "features.18.1".to_owned()),
        Unit::Expand(at) => (at.number, "0.0", "0.1"),
        // Without an expansion all are one number lower.
        Unit::Depthwise(at) if at.stage == 0 => (at.number, "0.0", "0.1"),
        Unit::Project(at) if at.stage == 0 => (at.number, "1", "2"),
        Unit::Depthwise(at) => (at.number, "1.0", "1.1"),
        Unit::Project(at) => (at.number, "2", "3"),
    };
    let path = format!("features.{}.conv", number + 1);
    (format!("{path}.{conv}"), format!("{path}.{norm}"))
}

fn transformers_names(unit: Unit) -> (String, String) {
    let (at, part) = match unit {
        Unit::Stem => (None, "conv_stem.first_conv"),
        Unit::Head => (None, "conv_1x1"),
        Unit::Depthwise(at) if at.number == 0 => (None, "conv_stem.conv_3x3"),
        Unit::Project(at) if at.number == 0 => (None, "conv_stem.reduce_1x1"),
        Unit::Expand(at) => (Some(at), "expand_1x1"),
        Unit::Depthwise(at) => (Some(at), "conv_3x3"),
        Unit::Project(at) => (Some(at), "reduce_1x1"),
    };
    // Theirs count from the second block.
    let path = at.map_or_else(
        || format!("mobilenet_v2.{part}"),
        |at| format!("mobilenet_v2.layer.{}.{part}", at.number.saturating_sub(1)),
    );
    (format!("{path}.convolution"), format!("{path}.normalization"))
}
