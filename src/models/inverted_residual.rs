//! Networks of inverted residuals (expand 1 x 1, depthwise, project 1 x 1) with `ReLU6`: `MobileNetV2` and
//! EfficientNet-Lite.
//!
//! Widths are read from the file's shapes. Batch norms are folded into the convolutions before them at load.

use candle_core::{Device, Tensor};
use ndarray::{Array2, ArrayView4};

use super::network::{Cost, Network, in_groups};
use super::nhwc::{
    Bias, BiasRelu6, BiasShortcut, Depthwise, Extent, LANES, MeanOverPixels, Padding, Unfold, Window,
    pointwise,
};
use super::weights::{Weights, normalized};
use crate::error::{Error, Result};

/// Images that go through the network together: enough rows for the matrix products of the late stages (49 pixels an
/// image), and few enough for the maps of the early ones (4.8 MB an image) to stay in the last-level cache.
const GROUP: usize = 2;
/// Bytes of maps for each pixel of an image at the widest place, the expanded ones (96 channels at half the size) and
/// those before and after them.
const PIXEL_BYTES: usize = 160;

/// A run of blocks with the same width; only its first block strides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub(super) blocks: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

/// What a file's shapes do not tell.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    pub(super) padding: Padding,
    /// Of batch norms.
    pub(super) epsilon: f32,
    /// What the file calls its weights, and the classifier, where that is known before it is opened.
    pub(super) names: Option<(Names, &'static str)>,
}

/// A convolution of the network, for those that name its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Stem,
    Head,
    Expand(Place),
    Depthwise(Place),
    Project(Place),
}

/// A block: by its stage and its number there, and by its number among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stage: usize,
    pub(super) index: usize,
    pub(super) number: usize,
}

/// What a library calls a unit's convolution and its batch norm.
pub(super) type Names = fn(Unit) -> (String, String);

/// A network with its weights.
pub(super) struct InvertedResiduals {
    /// The name of the model, for errors.
    model: String,
    stem: Convolution,
    stem_window: Window,
    blocks: Vec<Block>,
    head: Convolution,
    classifier: Convolution,
    classes: usize,
}

/// Weights (inputs, outputs), or (taps, channels) of a depthwise one, and bias.
struct Convolution {
    weights: Tensor,
    bias: Tensor,
}

/// An inverted residual.
struct Block {
    expand: Option<Convolution>,
    depthwise: Convolution,
    window: Window,
    project: Convolution,
    shortcut: bool,
}

impl InvertedResiduals {
    /// The network of `plan` with the weights of a file, under a library's `names` and that of its `classifier`.
    pub(super) fn load(plan: &Plan, (names, classifier): (Names, &str), weights: &Weights) -> Result<Self> {
        weights.build(|weights| Self::new(plan, names, classifier, weights))
    }

    fn new(plan: &Plan, names: Names, classifier: &str, weights: &Weights) -> Result<Self> {
        let kernel = |unit: Unit| format!("{}.weight", names(unit).0);
        let unit = |unit: Unit, shape: [usize; 4]| {
            let (path, norm) = names(unit);
            let (kernel, bias) = normalized(weights, (&path, &norm), &shape, plan.epsilon)?;
            convolution(&kernel, &bias).map_err(|error| weights.fail(&error.to_string()))
        };
        let stem_window = Window { kernel: 3, stride: 2, padding: plan.padding };
        let [mut inputs, ..] = weights.shape::<4>(&kernel(Unit::Stem))?;
        let stem = unit(Unit::Stem, [inputs, 3, 3, 3])?;
        let mut blocks = Vec::new();
        for (stage, &Stage { blocks: count, kernel: side, stride }) in plan.stages.iter().enumerate() {
            for index in 0..count {
                let place = Place { stage, index, number: blocks.len() };
                let stride = if index == 0 { stride } else { 1 };
                let window = Window { kernel: side, stride, padding: plan.padding };
                let [wide, ..] = weights.shape::<4>(&kernel(Unit::Depthwise(place)))?;
                let [outputs, ..] = weights.shape::<4>(&kernel(Unit::Project(place)))?;
                if wide % LANES > 0 {
                    let name = kernel(Unit::Depthwise(place));
                    return Err(weights.fail(&format!(
                        "`{name}`: expected a multiple of {LANES} channels, got {wide}; load it as a torch model instead"
                    )));
                }
                // The first stage of these networks does not expand.
                let expand =
                    (stage > 0).then(|| unit(Unit::Expand(place), [wide, inputs, 1, 1])).transpose()?;
                if stage == 0 && wide != inputs {
                    let name = kernel(Unit::Depthwise(place));
                    return Err(weights.fail(&format!(
                        "`{name}`: expected the {inputs} channels of the stem, got {wide}; is this file another \
                         architecture's?"
                    )));
                }
                blocks.push(Block {
                    expand,
                    depthwise: unit(Unit::Depthwise(place), [wide, 1, side, side])?,
                    window,
                    project: unit(Unit::Project(place), [outputs, wide, 1, 1])?,
                    shortcut: stride == 1 && inputs == outputs,
                });
                inputs = outputs;
            }
        }
        let [last, ..] = weights.shape::<4>(&kernel(Unit::Head))?;
        let [classes, _] = weights.shape(&format!("{classifier}.weight"))?;
        let matrix = weights.tensor(&format!("{classifier}.weight"), &[classes, last])?;
        let bias = weights.tensor(&format!("{classifier}.bias"), &[classes])?;
        Ok(Self {
            model: weights.model().to_owned(),
            stem,
            stem_window,
            blocks,
            head: unit(Unit::Head, [last, inputs, 1, 1])?,
            classifier: convolution(&matrix, &bias).map_err(|error| weights.fail(&error.to_string()))?,
            classes,
        })
    }

    /// Logits of a few images (B, 3, H, W), contiguous.
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let (count, _, height, width) = images.dims4()?;
        let mut extent = Extent { images: count, height, width }.strided(self.stem_window.stride);
        let mut rows = self.stem.relu6(&images.apply_op1_no_bwd(&Unfold { window: self.stem_window })?)?;
        for block in &self.blocks {
            rows = block.forward(&rows, extent)?;
            extent = extent.strided(block.window.stride);
        }
        let pooled = self.head.relu6(&rows)?.apply_op1_no_bwd(&MeanOverPixels { images: count })?;
        self.classifier.linear(&pooled)
    }

    /// The logits of `images` (B, 3, H, W), in row-major order.
    fn group(&self, images: ArrayView4<'_, f32>) -> candle_core::Result<Vec<f32>> {
        let shape = images.dim();
        let images = images.as_standard_layout();
        let values = images.as_slice().expect("standard layout");
        self.forward(&Tensor::from_slice(values, shape, &Device::Cpu)?)?.flatten_all()?.to_vec1()
    }
}

impl Network for InvertedResiduals {
    fn classes(&self) -> usize {
        self.classes
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        let failed = |error: candle_core::Error| Error::Model {
            model: self.model.clone(),
            message: format!("its network failed ({error}); are all its weights and pictures finite?"),
        };
        let cost = Cost::of_maps(batch, GROUP, PIXEL_BYTES);
        in_groups(batch, cost, self.classes, |images| self.group(images).map_err(failed))
    }
}

impl Convolution {
    fn linear(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let out = pointwise(rows, &self.weights)?;
        out.inplace_op2(&self.bias, &Bias)?;
        Ok(out)
    }

    fn relu6(&self, rows: &Tensor) -> candle_core::Result<Tensor> {
        let out = pointwise(rows, &self.weights)?;
        out.inplace_op2(&self.bias, &BiasRelu6)?;
        Ok(out)
    }
}

impl Block {
    fn forward(&self, rows: &Tensor, extent: Extent) -> candle_core::Result<Tensor> {
        let expanded = self.expand.as_ref().map_or_else(|| Ok(rows.clone()), |expand| expand.relu6(rows))?;
        let Convolution { weights, bias } = &self.depthwise;
        let depthwise = Depthwise { extent, window: self.window };
        let filtered = expanded.apply_op3_no_bwd(weights, bias, &depthwise)?;
        if !self.shortcut {
            return self.project.linear(&filtered);
        }
        let out = pointwise(&filtered, &self.project.weights)?;
        out.inplace_op3(&self.project.bias, rows, &BiasShortcut)?;
        Ok(out)
    }
}

/// Weights (outputs, inputs) turned to (inputs, outputs), and a bias (outputs); of nothing, as in a dry run, nothing.
fn convolution(weights: &[f32], bias: &[f32]) -> candle_core::Result<Convolution> {
    let (outputs, inputs) = (bias.len(), weights.len() / bias.len().max(1));
    Ok(Convolution {
        weights: Tensor::from_slice(weights, (outputs, inputs), &Device::Cpu)?.t()?.contiguous()?,
        bias: Tensor::from_slice(bias, outputs, &Device::Cpu)?,
    })
}
