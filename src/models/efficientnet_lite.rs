//! EfficientNet-Lite0: an ImageNet-1k classifier of 4.65 million parameters at 224 x 224.
//!
//! Inverted residuals (expand 1 x 1, depthwise, project 1 x 1) with `ReLU6` and no squeeze-and-excite, so that it runs
//! well on phones: Liu, *Higher accuracy on vision models with EfficientNet-Lite*, `TensorFlow` blog 2020, after Tan and
//! Le, *`EfficientNet`*, ICML 2019. Paddings are `TensorFlow`'s `SAME`.
//!
//! Batch norms are folded into the convolutions before them at load: with `s = weight / sqrt(var + eps)`, the weights
//! become `w s` and the bias `bias - mean s`.

use candle_core::{Device, Tensor};
use ndarray::{Array2, ArrayView4};

use super::checkpoint::Checkpoint;
use super::nhwc::{
    Bias, BiasRelu6, BiasShortcut, Depthwise, Extent, MeanOverPixels, Unfold, Window, pointwise,
};
use super::network::{Network, in_groups};
use super::preprocess::{Filter, Preprocessing, Resize};
use crate::error::{Error, Result};

/// The checkpoint's name.
const NAME: &str = "efficientnet_lite0";
/// `epsilon` of `TensorFlow`'s batch norm in this family.
const BATCH_NORM_EPSILON: f32 = 1e-3;
const STEM_CHANNELS: usize = 32;
const STEM: Window = Window { kernel: 3, stride: 2 };
const HEAD_CHANNELS: usize = 1280;
const CLASSES: usize = 1000;
/// Images that go through the network together: enough rows for the matrix products of the late stages (49 pixels an
/// image), and few enough for the maps of the early ones (4.8 MB an image) to stay in the last-level cache.
const GROUP: usize = 2;
/// Bytes of maps for each pixel of an image at the widest place, the expanded ones (96 channels at half the size) and
/// those before and after them.
const PIXEL_BYTES: usize = 160;

/// RGB, `(byte - 127) / 128`: what the checkpoint was trained with, not ImageNet's mean and deviation.
pub(super) const PREPROCESSING: Preprocessing = Preprocessing {
    resize: Resize::Short(256),
    filter: Filter::Bicubic,
    crop: (224, 224),
    mean: [127.0; 3],
    scale: [128.0; 3],
};

/// A run of blocks with the same width; only its first block strides.
struct Stage {
    blocks: usize,
    window: Window,
    expand: usize,
    channels: usize,
}

const fn stage(blocks: usize, kernel: usize, stride: usize, expand: usize, channels: usize) -> Stage {
    Stage { blocks, window: Window { kernel, stride }, expand, channels }
}

/// Table 1 of the `EfficientNet` paper.
const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

/// EfficientNet-Lite0 with its weights.
pub struct EfficientNetLite0 {
    stem: Convolution,
    blocks: Vec<Block>,
    head: Convolution,
    classifier: Convolution,
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

impl EfficientNetLite0 {
    /// The network with the weights of `checkpoint` (names as in `efficientnet_lite0_pytorch`).
    ///
    /// # Errors
    /// [`Error::Model`] if weights are missing or have another shape.
    pub fn new(checkpoint: &Checkpoint) -> Result<Self> {
        let mut blocks = Vec::new();
        let mut inputs = STEM_CHANNELS;
        for stage in &STAGES {
            for repeat in 0..stage.blocks {
                let stride = if repeat == 0 { stage.window.stride } else { 1 };
                let window = Window { stride, ..stage.window };
                blocks.push(block(checkpoint, blocks.len(), inputs, window, stage)?);
                inputs = stage.channels;
            }
        }
        let classes = checkpoint.weights("_fc.weight", &[CLASSES, HEAD_CHANNELS])?;
        Ok(Self {
            stem: normalized(
                checkpoint,
                "_conv_stem",
                "_bn0",
                &[STEM_CHANNELS, 3, STEM.kernel, STEM.kernel],
            )?,
            blocks,
            head: normalized(checkpoint, "_conv_head", "_bn1", &[HEAD_CHANNELS, inputs, 1, 1])?,
            classifier: convolution(classes, checkpoint.weights("_fc.bias", &[CLASSES])?).map_err(failed)?,
        })
    }

    /// Logits of a few images (B, 3, H, W), contiguous.
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let (count, _, height, width) = images.dims4()?;
        let mut extent = Extent { images: count, height, width }.strided(STEM.stride);
        let mut rows = self.stem.relu6(&images.apply_op1_no_bwd(&Unfold { window: STEM })?)?;
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

impl Network for EfficientNetLite0 {
    fn classes(&self) -> usize {
        CLASSES
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        in_groups(batch, (GROUP, PIXEL_BYTES), CLASSES, |images| self.group(images).map_err(failed))
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

fn block(
    checkpoint: &Checkpoint,
    index: usize,
    inputs: usize,
    window: Window,
    stage: &Stage,
) -> Result<Block> {
    let wide = inputs * stage.expand;
    let part = |convolution: &str, norm: &str, shape: &[usize]| {
        let path = format!("_blocks.{index}");
        normalized(checkpoint, &format!("{path}.{convolution}"), &format!("{path}.{norm}"), shape)
    };
    let expand =
        (stage.expand > 1).then(|| part("_expand_conv", "_bn0", &[wide, inputs, 1, 1])).transpose()?;
    Ok(Block {
        expand,
        depthwise: part("_depthwise_conv", "_bn1", &[wide, 1, window.kernel, window.kernel])?,
        window,
        project: part("_project_conv", "_bn2", &[stage.channels, wide, 1, 1])?,
        shortcut: window.stride == 1 && inputs == stage.channels,
    })
}

/// The convolution `path` with weights of `shape` (outputs, ...) and the batch norm `norm` folded into it.
fn normalized(checkpoint: &Checkpoint, path: &str, norm: &str, shape: &[usize]) -> Result<Convolution> {
    let outputs = shape[0];
    let weights = checkpoint.weights(&format!("{path}.weight"), shape)?;
    let statistic = |name: &str| checkpoint.weights(&format!("{norm}.{name}"), &[outputs]);
    let (gain, shift) = (statistic("weight")?, statistic("bias")?);
    let (mean, variance) = (statistic("running_mean")?, statistic("running_var")?);
    let scale: Vec<f32> = gain
        .iter()
        .zip(variance)
        .map(|(gain, variance)| gain / (variance + BATCH_NORM_EPSILON).sqrt())
        .collect();
    let bias: Vec<f32> = (0..outputs).map(|output| shift[output] - mean[output] * scale[output]).collect();
    let taps = weights.len() / outputs;
    let weights: Vec<f32> = weights
        .chunks_exact(taps)
        .zip(&scale)
        .flat_map(|(row, scale)| row.iter().map(move |w| w * scale))
        .collect();
    convolution(&weights, &bias).map_err(failed)
}

/// Weights (outputs, inputs) turned to (inputs, outputs), and a bias (outputs).
fn convolution(weights: &[f32], bias: &[f32]) -> candle_core::Result<Convolution> {
    let (outputs, inputs) = (bias.len(), weights.len() / bias.len());
    Ok(Convolution {
        weights: Tensor::from_slice(weights, (outputs, inputs), &Device::Cpu)?.t()?.contiguous()?,
        bias: Tensor::from_slice(bias, outputs, &Device::Cpu)?,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is a mapping of errors")]
fn failed(error: candle_core::Error) -> Error {
    Error::Model { model: NAME.to_owned(), message: error.to_string() }
}
