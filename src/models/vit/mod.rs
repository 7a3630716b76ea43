//! Vision Transformers: Dosovitskiy et al., *An Image is Worth 16x16 Words*, ICLR 2021; `DeiT`, with and without a
//! distillation token: Touvron et al., ICML 2021; with registers: Darcet et al., ICLR 2024.
//!
//! ```text
//! x <- x + proj(attention(qkv(norm1(x))));   x <- x + fc2(gelu(fc1(norm2(x))))
//! ```
//!
//! What a model has is said by its name or its configuration, never by what its file has, of which something may be missing;
//! from the file's shapes come the size of patches, the inner width of its blocks, and the number of classes. Weights have the
//! names that timm, torchvision or transformers give them. Layer scales are folded into the matrices before them at load.
//!
//! An image is embedded once, with what the first block computes of each token alone; a coalition gathers the tokens of
//! its patches. Tokens that no head reads are not computed in the last block.

mod coalitions;
mod known;
mod names;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ndarray::{Array2, ArrayView4, Axis};
use rayon::prelude::*;

pub(super) use self::known::{named, names};
use self::names::in_own_names;
use super::kernels::{After, Attention, LayerNorm, Matrix, Rows, attend, task_rows};
use super::network::{Cost, Network, in_groups};
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::parallel;

/// Tokens that go through a block together on each thread: enough rows for its products, few enough for its maps to
/// stay in a core's own cache.
const TOKENS: usize = 800;
/// Of each number of a token: itself, its query, key and value, what it attends to, and copies of some of these.
const NUMBERS: usize = 8;

/// What a file's shapes do not tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Height and width of an image.
    pub(super) image: (usize, usize),
    /// Numbers of a token. Like the depth, a file's shapes tell it, but not whether it is the file that is meant.
    pub(super) width: usize,
    /// Blocks.
    pub(super) depth: usize,
    /// Heads of attention.
    pub(super) heads: usize,
    /// Tokens that are neither of patches nor read by the head.
    pub(super) registers: usize,
    /// Whether the mean of the patches is read, and not the class token.
    pub(super) mean: bool,
    /// Of layer norms.
    pub(super) epsilon: f32,
    /// What it has, a bit for each [`Part`].
    parts: u16,
}

/// What not every Vision Transformer has. One that has it needs its weights: what is missing is no sign that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    ClassToken,
    DistillationToken,
    /// The classifier that reads the distillation token.
    SecondHead,
    /// Positions are added to patches alone, not to the tokens before them.
    PatchPositionsOnly,
    /// Of the embedding of patches.
    PatchBias,
    /// Of queries, keys and values.
    QkvBias,
    /// A layer norm before the first block.
    NormBefore,
    /// Layer scales.
    Scales,
    /// A layer norm after the last block.
    Norm,
    /// A layer norm of what the classifier reads.
    NormOfMean,
    /// Where the mean is read, the last norm stays before it.
    NormBeforeMean,
}

impl Options {
    /// The Vision Transformer of the paper, of some width, depth and number of heads.
    pub(super) fn new(image: (usize, usize), (width, depth, heads): (usize, usize, usize)) -> Self {
        let mut this =
            Self { image, width, depth, heads, registers: 0, mean: false, epsilon: 1e-6, parts: 0 };
        for part in [Part::ClassToken, Part::PatchBias, Part::QkvBias, Part::Norm] {
            this.set(part, true);
        }
        this
    }

    pub(super) fn has(self, part: Part) -> bool {
        self.parts & 1 << part as u16 > 0
    }

    pub(super) fn set(&mut self, part: Part, there: bool) {
        self.parts = self.parts & !(1 << part as u16) | u16::from(there) << part as u16;
    }
}

/// A Vision Transformer with its weights.
///
/// ```no_run
/// use ndarray::{Array2, Array4};
/// let model = interpix::models::load(std::path::Path::new("vit_tiny"))?;
/// let vit = model.transformer().expect("it has tokens");
/// let tokens = vit.embed(Array4::zeros((1, 3, 224, 224)).view())?;
/// let every_second = Array2::from_shape_fn((1, 196), |(_, patch)| patch % 2 == 0);
/// assert_eq!(vit.dropped(&tokens, &[0], every_second.view(), 0, &|| false)?.dim(), (1, 1000));
/// # Ok::<(), interpix::Error>(())
/// ```
pub struct VisionTransformer {
    image: (usize, usize),
    patch: (usize, usize),
    width: usize,
    heads: usize,
    embedding: Matrix,
    /// Class, distillation and register tokens with their positions, (prefix, width).
    prefix: Vec<f32>,
    /// Of each patch, (patches, width).
    positions: Vec<f32>,
    norm_before: Option<LayerNorm>,
    blocks: Vec<Block>,
    norm: Option<LayerNorm>,
    mean: bool,
    norm_of_mean: Option<LayerNorm>,
    before_logits: Option<Matrix>,
    /// Of the class token or the mean, and of the distillation token.
    classifiers: Vec<Matrix>,
}

struct Block {
    norm1: LayerNorm,
    q: Matrix,
    kv: Matrix,
    proj: Matrix,
    norm2: LayerNorm,
    fc1: Matrix,
    fc2: Matrix,
}

/// What goes into a block: tokens (images, n, width), and of each its query, and its key and value.
struct Level {
    x: Vec<f32>,
    q: Vec<f32>,
    kv: Vec<f32>,
}

/// Embedded images, of which coalitions of patches are asked; what they share is computed when it is first asked for.
///
/// ```no_run
/// use ndarray::{Array2, Array4};
/// let model = interpix::models::load(std::path::Path::new("vit_tiny"))?;
/// let vit = model.transformer().expect("it has tokens");
/// // Two images are embedded once; then each half of the second one is asked about, tokens dropped from the start, or
/// // hidden from the last block alone.
/// let tokens = vit.embed(Array4::zeros((2, 3, 224, 224)).view())?;
/// let halves = Array2::from_shape_fn((2, 196), |(half, patch)| patch / 98 == half);
/// assert_eq!(vit.dropped(&tokens, &[1, 1], halves.view(), 0, &|| false)?.dim(), (2, 1000));
/// assert_eq!(vit.masked(&tokens, &[1, 1], halves.view(), vit.depth() - 1, &|| false)?.dim(), (2, 1000));
/// # Ok::<(), interpix::Error>(())
/// ```
pub struct Tokens {
    images: usize,
    levels: Levels,
}

/// What [`Tokens`] remembers: what goes into the blocks that were asked for, all patches present.
#[derive(Default)]
struct Levels(Mutex<HashMap<usize, Arc<Level>>>);

impl VisionTransformer {
    /// The network with the weights of a file.
    pub(super) fn load(mut options: Options, weights: Weights) -> Result<Self> {
        let (weights, teacher) = in_own_names(weights);
        if teacher {
            options.set(Part::SecondHead, true);
        }
        weights.build(|weights| Self::new(options, weights))
    }

    fn new(options: Options, weights: &Weights) -> Result<Self> {
        let [_, _, rows, columns] = weights.shape("patch_embed.proj.weight")?;
        let Options { width, depth, heads, epsilon, .. } = options;
        let (height, wide) = options.image;
        if height < rows || wide < columns || height % rows > 0 || wide % columns > 0 {
            return Err(weights.fail(&format!(
                "expected images that are made of patches of {rows} x {columns}, got {height} x {wide}; correct the \
                 image's size in config.json, or name the architecture of that size"
            )));
        }
        if width % heads > 0 {
            return Err(weights.fail(&format!(
                "expected a number of heads that share {width} channels evenly, got {heads}; say `num_heads` in \
                 config.json, or name the architecture of that width"
            )));
        }
        let (prefix, positions) = tokens(options, weights, width, height / rows * (wide / columns))?;
        let norm = |part: Part, name: &str| -> Result<Option<LayerNorm>> {
            options.has(part).then(|| layer_norm(weights, name, width, epsilon)).transpose()
        };
        let [hidden, _] = weights.shape("blocks.0.mlp.fc1.weight")?;
        let [classes, inputs] = weights.shape("head.weight")?;
        // torchvision's `representation_size`, which only the file tells.
        let before_logits = weights.has("pre_logits.fc.weight") || inputs != width;
        let before_logits =
            before_logits.then(|| matrix(weights, "pre_logits.fc", (inputs, width))).transpose()?;
        let mut classifiers = vec![matrix(weights, "head", (classes, inputs))?];
        if options.has(Part::SecondHead) {
            classifiers.push(matrix(weights, "head_dist", (classes, inputs))?);
        }
        let patch_bias = if options.has(Part::PatchBias) {
            weights.tensor("patch_embed.proj.bias", &[width])?
        } else {
            Vec::new()
        };
        let embedding = weights.tensor("patch_embed.proj.weight", &[width, 3, rows, columns])?;
        Ok(Self {
            image: options.image,
            patch: (rows, columns),
            width,
            heads,
            embedding: Matrix::new(&embedding, &patch_bias, width),
            prefix,
            positions,
            norm_before: norm(Part::NormBefore, "norm_pre")?,
            blocks: (0..depth)
                .map(|index| block(options, weights, index, (width, hidden)))
                .collect::<Result<_>>()?,
            norm: norm(Part::Norm, "norm")?,
            mean: options.mean,
            norm_of_mean: norm(Part::NormOfMean, "fc_norm")?,
            before_logits,
            classifiers,
        })
    }

    /// Rows and columns of patches.
    pub fn grid(&self) -> (usize, usize) {
        (self.image.0 / self.patch.0, self.image.1 / self.patch.1)
    }

    /// The number of blocks.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Whether the head reads the mean of the patches, so that a dropped token is not the same as one that attention
    /// does not see.
    pub fn pools_patches(&self) -> bool {
        self.mean
    }

    /// Embeds preprocessed images (K, 3, H, W), once for all of their coalitions.
    ///
    /// # Errors
    /// [`Error::Argument`] for images of another size.
    pub fn embed(&self, images: ArrayView4<'_, f32>) -> Result<Tokens> {
        self.check(images)?;
        let (count, whole) = (images.len_of(Axis(0)), self.cost(self.prefix() + self.patches()));
        Cost { group: count.max(1), ..whole }.require(count)?;
        let x = parallel::install(|| self.embedded(images));
        let levels = Levels::default();
        levels.insert(0, parallel::install(|| self.level(0, x)));
        Ok(Tokens { images: images.len_of(Axis(0)), levels })
    }

    fn check(&self, images: ArrayView4<'_, f32>) -> Result<()> {
        let (_, channels, height, width) = images.dim();
        if (channels, height, width) == (3, self.image.0, self.image.1) {
            return Ok(());
        }
        let expected = format!("preprocessed images of shape (B, 3, {}, {})", self.image.0, self.image.1);
        let cure = "pass what `preprocess` returns, stacked";
        Err(Error::argument("batch", expected, format!("shape {:?}", images.shape()), cure))
    }

    fn patches(&self) -> usize {
        self.grid().0 * self.grid().1
    }

    /// What images of so many tokens take.
    fn cost(&self, tokens: usize) -> Cost {
        let numbers = |count: usize, each: usize| count.saturating_mul(each).saturating_mul(size_of::<f32>());
        let (pixels, dimensions) = (3 * self.image.0 * self.image.1, self.width / self.heads);
        Cost {
            group: (TOKENS / tokens.max(1)).max(1),
            image: numbers(tokens, NUMBERS * self.width).saturating_add(numbers(pixels, 2)),
            // Of one head at a time: what each token attends to of each other one, and keys and values.
            thread: numbers(tokens, tokens.saturating_add(2 * dimensions)),
        }
    }

    fn prefix(&self) -> usize {
        self.prefix.len() / self.width
    }

    /// The first block's input, (images, prefix + patches, width).
    fn embedded(&self, images: ArrayView4<'_, f32>) -> Vec<f32> {
        let ((rows, columns), (tall, wide)) = (self.grid(), self.patch);
        let each = self.prefix.len() + self.positions.len();
        let mut x = vec![0.0; images.len_of(Axis(0)) * each];
        let pictures: Vec<_> = images.outer_iter().collect();
        x.par_chunks_mut(each).zip(pictures).for_each(|(x, image)| {
            let (prefix, x) = x.split_at_mut(self.prefix.len());
            prefix.copy_from_slice(&self.prefix);
            x.copy_from_slice(&self.positions);
            let mut pixels = Vec::with_capacity(rows * columns * 3 * tall * wide);
            for patch in 0..rows * columns {
                let (top, left) = (patch / columns * tall, patch % columns * wide);
                let window = ndarray::s![.., top..top + tall, left..left + wide];
                pixels.extend(image.slice(window).iter());
            }
            self.embedding.multiply_all(&pixels, x, After::Add);
        });
        if let Some(norm) = &self.norm_before {
            norm.apply_in_place(&mut x);
        }
        x
    }

    /// Tokens with their queries, keys and values in block `index`.
    fn level(&self, index: usize, x: Vec<f32>) -> Level {
        let mut level = Level { q: vec![0.0; x.len()], kv: vec![0.0; 2 * x.len()], x };
        let task = task_rows(level.x.len() / self.width) * self.width;
        let tasks =
            level.x.par_chunks(task).zip(level.q.par_chunks_mut(task)).zip(level.kv.par_chunks_mut(2 * task));
        tasks.for_each_init(Vec::new, |normed, ((x, q), kv)| {
            normed.resize(x.len(), 0.0);
            self.blocks[index].norm1.apply(x, normed);
            self.blocks[index].q.multiply_all(normed, q, After::Keep);
            self.blocks[index].kv.multiply_all(normed, kv, After::Keep);
        });
        level
    }

    /// The tokens (images, n, width) after the blocks from `first` up to `end`, or, if that is the last, those that the
    /// head reads; `seen` (images, n) tells to which of them attention goes.
    fn run(
        &self,
        (first, end): (usize, usize),
        images: usize,
        level: Level,
        seen: Option<&[bool]>,
    ) -> Vec<f32> {
        let tokens = level.x.len() / self.width / images;
        let Level { mut x, mut q, mut kv } = level;
        for index in first..end {
            let last = index + 1 == self.depth();
            let queries = if last { self.read(tokens) } else { tokens };
            let attended = attend(Attention {
                q: &q,
                kv: &kv,
                stride: (self.width, 2 * self.width),
                images,
                asking: q.len() / self.width / images,
                queries,
                tokens,
                heads: self.heads,
                dimensions: self.width / self.heads,
                seen,
            });
            if queries < tokens {
                x = self.leading(&x, tokens, queries);
            }
            let next = (index + 1 < end).then(|| &self.blocks[index + 1]);
            // Of the next block's queries, only those that are asked: all, or those that the head reads.
            let all_ask = index + 2 < self.depth() || self.read(tokens) == tokens;
            if next.is_some() {
                q.resize(if all_ask { x.len() } else { 0 }, 0.0);
            }
            self.advance(index, &mut x, &attended, queries, next.map(|next| (next, &mut q, &mut kv)));
            if let Some(next) = next.filter(|_| !all_ask) {
                let mut read = self.leading(&x, tokens, self.read(tokens));
                next.norm1.apply_in_place(&mut read);
                q.resize(read.len(), 0.0);
                next.q.multiply_all(&read, &mut q, After::Keep);
            }
        }
        x
    }

    /// What comes after attention in block `index`, and what the next block computes of each token alone.
    fn advance(
        &self,
        index: usize,
        x: &mut [f32],
        attended: &[f32],
        queries: usize,
        next: Option<(&Block, &mut Vec<f32>, &mut Vec<f32>)>,
    ) {
        let (block, width, dimensions) = (&self.blocks[index], self.width, self.width / self.heads);
        let starts: Vec<usize> = (0..x.len() / width)
            .map(|row| (row / queries * self.heads * queries + row % queries) * dimensions)
            .collect();
        let taps: Vec<usize> = (0..self.heads).map(|head| head * queries * dimensions).collect();
        let task = task_rows(starts.len());
        let finish = |scratch: &mut (Vec<f32>, Vec<f32>), x: &mut [f32], starts: &[usize]| {
            let (normed, hidden) = scratch;
            normed.resize(x.len(), 0.0);
            hidden.resize(x.len() / width * block.fc1.outputs(), 0.0);
            block.proj.multiply(
                Rows { values: attended, starts, taps: &taps, depth: dimensions },
                x,
                After::Add,
            );
            block.norm2.apply(x, normed);
            block.fc1.multiply_all(normed, hidden, After::Gelu);
            block.fc2.multiply_all(hidden, x, After::Add);
        };
        let parts = x.par_chunks_mut(task * width).zip(starts.par_chunks(task));
        let Some((next, q, kv)) = next else {
            parts.for_each_init(Default::default, |scratch, (x, starts)| finish(scratch, x, starts));
            return;
        };
        let asked = if q.is_empty() { 0 } else { task * width };
        // Where no query is wanted of each token, each task gets nothing to fill.
        let mut queries: Vec<&mut [f32]> = q.chunks_mut(asked.max(1)).collect();
        queries.resize_with(starts.len().div_ceil(task), Default::default);
        parts.zip(queries).zip(kv.par_chunks_mut(2 * task * width)).for_each_init(
            Default::default,
            |scratch, (((x, starts), q), kv)| {
                finish(scratch, x, starts);
                next.norm1.apply(x, &mut scratch.0);
                next.kv.multiply_all(&scratch.0, kv, After::Keep);
                if !q.is_empty() {
                    next.q.multiply_all(&scratch.0, q, After::Keep);
                }
            },
        );
    }

    /// How many of an image's leading tokens the head reads.
    fn read(&self, tokens: usize) -> usize {
        if self.mean { tokens } else { self.classifiers.len() }
    }

    /// The first `count` of each image's `tokens`.
    fn leading(&self, x: &[f32], tokens: usize, count: usize) -> Vec<f32> {
        let images = x.chunks_exact(tokens * self.width);
        images.flat_map(|image| &image[..count * self.width]).copied().collect()
    }

    /// Logits (images, classes) of what [`Self::run`] says of the last block.
    fn head(&self, mut x: Vec<f32>, images: usize) -> Vec<f32> {
        let width = self.width;
        if let Some(norm) = &self.norm {
            norm.apply_in_place(&mut x);
        }
        let mut pooled = if self.mean {
            let each = x.len() / images;
            let mut means = vec![0.0; images * width];
            for (image, mean) in means.chunks_exact_mut(width).enumerate() {
                let patches = &x[image * each..(image + 1) * each][self.prefix.len()..];
                for token in patches.chunks_exact(width) {
                    mean.iter_mut().zip(token).for_each(|(mean, value)| *mean += value);
                }
                // The mean of no patches is zero.
                let count = (patches.len() / width).max(1) as f32;
                for mean in mean {
                    *mean /= count;
                }
            }
            means
        } else {
            x
        };
        if let Some(norm) = &self.norm_of_mean {
            norm.apply_in_place(&mut pooled);
        }
        if let Some(before) = &self.before_logits {
            let mut out = vec![0.0; pooled.len() / width * before.outputs()];
            before.multiply_all(&pooled, &mut out, After::Keep);
            pooled = out.into_iter().map(f32::tanh).collect();
        }
        let (heads, classes) = (self.classifiers.len(), self.classes());
        let inputs = pooled.len() / images / if self.mean { 1 } else { heads };
        let mut logits = vec![0.0; images * classes];
        for (number, classifier) in self.classifiers.iter().enumerate() {
            let starts: Vec<usize> = (0..images)
                .map(|image| (image * if self.mean { 1 } else { heads } + number) * inputs)
                .collect();
            let rows = Rows { values: &pooled, starts: &starts, taps: &[0], depth: inputs };
            classifier.multiply(rows, &mut logits, After::Add);
        }
        for logit in &mut logits {
            *logit /= heads as f32;
        }
        logits
    }
}

impl Network for VisionTransformer {
    fn classes(&self) -> usize {
        self.classifiers[0].outputs()
    }

    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
        self.check(batch)?;
        in_groups(batch, self.cost(self.prefix() + self.patches()), self.classes(), |images| {
            let count = images.len_of(Axis(0));
            let level = self.level(0, self.embedded(images));
            Ok(self.head(self.run((0, self.depth()), count, level, None), count))
        })
    }

    fn transformer(&self) -> Option<&VisionTransformer> {
        Some(self)
    }
}

/// Prefix tokens with their positions, and the positions of `patches` patches.
fn tokens(options: Options, weights: &Weights, width: usize, patches: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let (mut prefix, mut count) = (Vec::new(), 0);
    for (name, tokens) in [
        ("cls_token", usize::from(options.has(Part::ClassToken))),
        ("dist_token", usize::from(options.has(Part::DistillationToken))),
        ("reg_token", options.registers),
    ] {
        if tokens > 0 {
            prefix.extend(weights.tensor(name, &[1, tokens, width])?);
            count += tokens;
        }
    }
    let own = if options.has(Part::PatchPositionsOnly) { 0 } else { count };
    let mut positions = weights.tensor("pos_embed", &[1, patches + own, width])?;
    let of_patches = positions.split_off(positions.len().min(own * width));
    prefix.iter_mut().zip(positions).for_each(|(token, position)| *token += position);
    Ok((prefix, of_patches))
}

fn block(
    options: Options,
    weights: &Weights,
    index: usize,
    (width, hidden): (usize, usize),
) -> Result<Block> {
    let path = |part: &str| format!("blocks.{index}.{part}");
    let mut qkv = weights.tensor(&path("attn.qkv.weight"), &[3 * width, width])?;
    let mut bias = if options.has(Part::QkvBias) {
        weights.tensor(&path("attn.qkv.bias"), &[3 * width])?
    } else {
        Vec::new()
    };
    let kv = qkv.split_off(qkv.len() / 3);
    let kv_bias = bias.split_off(bias.len() / 3);
    let added = |name: &str, scale: &str, shape: (usize, usize)| {
        if options.has(Part::Scales) {
            scaled(weights, &path(name), &path(scale), shape)
        } else {
            matrix(weights, &path(name), shape)
        }
    };
    Ok(Block {
        norm1: layer_norm(weights, &path("norm1"), width, options.epsilon)?,
        q: Matrix::new(&qkv, &bias, width),
        kv: Matrix::new(&kv, &kv_bias, 2 * width),
        proj: added("attn.proj", "ls1.gamma", (width, width))?,
        norm2: layer_norm(weights, &path("norm2"), width, options.epsilon)?,
        fc1: matrix(weights, &path("mlp.fc1"), (hidden, width))?,
        fc2: added("mlp.fc2", "ls2.gamma", (width, hidden))?,
    })
}

fn layer_norm(weights: &Weights, name: &str, width: usize, epsilon: f32) -> Result<LayerNorm> {
    let (gain, shift) = (
        weights.tensor(&format!("{name}.weight"), &[width])?,
        weights.tensor(&format!("{name}.bias"), &[width])?,
    );
    Ok(LayerNorm::new(gain, shift, epsilon))
}

fn matrix(weights: &Weights, name: &str, (outputs, inputs): (usize, usize)) -> Result<Matrix> {
    let values = weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
    Ok(Matrix::new(&values, &weights.tensor(&format!("{name}.bias"), &[outputs])?, outputs))
}

/// A matrix with the scale of what it adds.
fn scaled(weights: &Weights, name: &str, scale: &str, (outputs, inputs): (usize, usize)) -> Result<Matrix> {
    let scale = weights.tensor(scale, &[outputs])?;
    let mut values = weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
    let mut bias = weights.tensor(&format!("{name}.bias"), &[outputs])?;
    for (row, scale) in values.chunks_exact_mut(inputs).zip(&scale) {
        for value in row {
            *value *= scale;
        }
    }
    bias.iter_mut().zip(&scale).for_each(|(bias, scale)| *bias *= scale);
    Ok(Matrix::new(&values, &bias, outputs))
}
