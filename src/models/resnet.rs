//! `ResNet`-18, -34, -50, -101 and -152: He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016.
//!
//! As torchvision and timm have them: a bottleneck strides in its 3 x 3 convolution ("v1.5"). Batch norms are folded
//! into the convolutions before them at load. Weights have the names that torchvision and timm give them, or
//! transformers'.

use ndarray::{Array2, ArrayView4};

use super::kernels::{After, Convolution, Maps, Matrix, max_pool, mean_over_pixels};
use super::network::{Cost, Network, in_groups};
use super::weights::{Naming, Weights, normalized};
use crate::error::Result;

/// `epsilon` of torch's batch norm.
const EPSILON: f32 = 1e-5;
const STEM_CHANNELS: usize = 64;
/// Images that go through the network together: enough rows for the products of the last stage (49 an image).
const GROUP: usize = 2;
/// Bytes of maps for each pixel of an image at the widest place, those of the stem (64 channels at half the size),
/// and of what they are computed from.
const PIXEL_BYTES: usize = 220;

/// Blocks of each stage, and whether they are bottlenecks; table 1 of the paper.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    blocks: [usize; 4],
    bottleneck: bool,
}

impl Shape {
    /// The shape of the network of this depth, if there is one.
    pub(super) fn of_depth(depth: usize) -> Option<Self> {
        let (blocks, bottleneck) = match depth {
            18 => ([2, 2, 2, 2], false),
            34 => ([3, 4, 6, 3], false),
            50 => ([3, 4, 6, 3], true),
            101 => ([3, 4, 23, 3], true),
            152 => ([3, 8, 36, 3], true),
            _ => return None,
        };
        Some(Self { blocks, bottleneck })
    }

    /// Any shape of four stages.
    pub(super) fn new(blocks: [usize; 4], bottleneck: bool) -> Self {
        Self { blocks, bottleneck }
    }
}

/// A `ResNet` with its weights.
pub(super) struct ResNet {
    stem: Convolution,
    blocks: Vec<Block>,
    classifier: Matrix,
}

/// Convolutions, all but the last with `ReLU`, and one more for what goes around them where shapes differ.
struct Block {
    convolutions: Vec<Convolution>,
    shortcut: Option<Convolution>,
}

impl ResNet {
    /// The network of `shape` with the weights of a file.
    pub(super) fn load(shape: Shape, weights: Weights) -> Result<Self> {
        let transformers = weights.contains("resnet.embedder.embedder.convolution.weight");
        let weights = if transformers { weights.named(transformers_names()) } else { weights };
        weights.build(|weights| Self::new(shape, weights))
    }

    fn new(shape: Shape, weights: &Weights) -> Result<Self> {
        let convolution = |path: &str, norm: &str, shape: [usize; 4], stride: usize| {
            let (kernel, bias) = normalized(weights, (path, norm), &shape, EPSILON)?;
            Ok::<_, crate::Error>(Convolution::new(&kernel, &bias, shape[2], stride))
        };
        let stem = convolution("conv1", "bn1", [STEM_CHANNELS, 3, 7, 7], 2)?;
        let (mut blocks, mut inputs) = (Vec::new(), STEM_CHANNELS);
        for (stage, &count) in shape.blocks.iter().enumerate() {
            let width = STEM_CHANNELS << stage;
            let outputs = if shape.bottleneck { 4 * width } else { width };
            for index in 0..count {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let kernels = if shape.bottleneck {
                    vec![(width, 1, 1), (width, 3, stride), (outputs, 1, 1)]
                } else {
                    vec![(width, 3, stride), (width, 3, 1)]
                };
                let path = format!("layer{}.{index}", stage + 1);
                let (mut convolutions, mut before) = (Vec::new(), inputs);
                for (number, (outputs, kernel, stride)) in kernels.into_iter().enumerate() {
                    let (name, norm) =
                        (format!("{path}.conv{}", number + 1), format!("{path}.bn{}", number + 1));
                    convolutions.push(convolution(&name, &norm, [outputs, before, kernel, kernel], stride)?);
                    before = outputs;
                }
                let shortcut = (stride > 1 || inputs != outputs)
                    .then(|| {
                        let (name, norm) = (format!("{path}.downsample.0"), format!("{path}.downsample.1"));
                        convolution(&name, &norm, [outputs, inputs, 1, 1], stride)
                    })
                    .transpose()?;
                blocks.push(Block { convolutions, shortcut });
                inputs = outputs;
            }
        }
        let [classes, _] = weights.shape("fc.weight")?;
        let (matrix, bias) =
            (weights.tensor("fc.weight", &[classes, inputs])?, weights.tensor("fc.bias", &[classes])?);
        Ok(Self { stem, blocks, classifier: Matrix::new(&matrix, &bias, classes) })
    }

    /// Logits (B, classes) of a few images, one after the other.
    fn forward(&self, images: ArrayView4<'_, f32>) -> Vec<f32> {
        let mut maps = max_pool(&self.stem.apply(&Maps::of(images), After::Relu, None));
        for block in &self.blocks {
            maps = block.forward(maps);
        }
        let pooled = mean_over_pixels(&maps);
        let mut logits = vec![0.0; maps.images * self.classifier.outputs()];
        self.classifier.multiply_all(&pooled, &mut logits, After::Keep);
        logits
    }
}

impl Block {
    fn forward(&self, maps: Maps) -> Maps {
        let (last, first) = self.convolutions.split_last().expect("a block has convolutions");
        let mut inside = first[0].apply(&maps, After::Relu, None);
        for convolution in &first[1..] {
            inside = convolution.apply(&inside, After::Relu, None);
        }
        let around = match &self.shortcut {
            Some(shortcut) => shortcut.apply(&maps, After::Keep, None),
            None => maps,
        };
        last.apply(&inside, After::AddRelu, Some(around))
    }
}

impl Network for ResNet {
    fn classes(&self) -> usize {
        self.classifier.outputs()
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        in_groups(batch, Cost::of_maps(batch, GROUP, PIXEL_BYTES), self.classes(), |images| {
            Ok(self.forward(images))
        })
    }
}

/// The names that transformers gives.
fn transformers_names() -> Naming {
    Box::new(|name| {
        let parts: Vec<&str> = name.split('.').collect();
        let kind = |word: &str| if word.starts_with("bn") { "normalization" } else { "convolution" };
        vec![match parts[..] {
            ["fc", last] => format!("classifier.1.{last}"),
            [stem, last] => format!("resnet.embedder.embedder.{}.{last}", kind(stem)),
            [stage, block, "downsample", number, last] => {
                let kind = if number == "1" { "normalization" } else { "convolution" };
                format!("{}.shortcut.{kind}.{last}", transformers_block(stage, block))
            }
            [stage, block, part, last] => {
                // Theirs count from 0.
                let number = part.bytes().last().map_or(0, |digit| digit - b'1');
                format!("{}.layer.{number}.{}.{last}", transformers_block(stage, block), kind(part))
            }
            _ => name.to_owned(),
        }]
    })
}

fn transformers_block(stage: &str, block: &str) -> String {
    let stage = stage.bytes().last().map_or(0, |digit| digit - b'1');
    format!("resnet.encoder.stages.{stage}.layers.{block}")
}
