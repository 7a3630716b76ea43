//! What an architecture is to the rest: logits, and tokens where it has them.

use ndarray::{Array2, ArrayView4, Axis};
use rayon::prelude::*;

use super::vit::VisionTransformer;
use crate::error::{Error, Result};
use crate::{memory, parallel};

/// An architecture with its weights: from preprocessed images to logits.
pub(super) trait Network: Send + Sync {
    /// The number of classes.
    fn classes(&self) -> usize;

    /// Logits (B, classes) of preprocessed images (B, 3, H, W).
    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>>;

    /// The same as a Vision Transformer, if it is one.
    fn transformer(&self) -> Option<&VisionTransformer> {
        None
    }
}

/// What a forward pass takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Images that go through the network together on a thread.
    pub(super) group: usize,
    /// Bytes for each of them.
    pub(super) image: usize,
    /// Bytes for each thread, however many images it has.
    pub(super) thread: usize,
}

impl Cost {
    /// Of a network of feature maps, which takes `pixel_bytes` for each pixel of `batch`.
    pub(super) fn of_maps(batch: ArrayView4<'_, f32>, group: usize, pixel_bytes: usize) -> Self {
        let (_, _, height, width) = batch.dim();
        Self { group, image: pixel_bytes.saturating_mul(height).saturating_mul(width), thread: 0 }
    }

    /// Refuses `count` images that do not fit into memory, of which each thread has a group at a time.
    pub(super) fn require(self, count: usize) -> Result<()> {
        let threads = parallel::threads();
        let images = count.min(self.group.saturating_mul(threads));
        let bytes =
            images.saturating_mul(self.image).saturating_add(threads.min(count).saturating_mul(self.thread));
        memory::require(bytes, "batch", "the network", "take fewer or smaller images, or larger patches")
    }
}

/// The logits of a batch, a group of images after the other and on all threads, each with `forward`.
pub(super) fn in_groups(
    batch: ArrayView4<'_, f32>,
    cost: Cost,
    classes: usize,
    forward: impl Fn(ArrayView4<'_, f32>) -> Result<Vec<f32>> + Sync,
) -> Result<Array2<f32>> {
    let (count, channels, height, width) = batch.dim();
    if channels != 3 || height == 0 || width == 0 {
        return Err(Error::argument(
            "batch",
            "preprocessed images of shape (B, 3, H, W)",
            format!("shape {:?}", batch.shape()),
            "pass what `preprocess` returns, stacked",
        ));
    }
    cost.require(count)?;
    let groups: Vec<_> = batch.axis_chunks_iter(Axis(0), cost.group).collect();
    let logits: Result<Vec<Vec<f32>>> = parallel::install(|| groups.into_par_iter().map(&forward).collect());
    Ok(Array2::from_shape_vec((count, classes), logits?.concat()).expect("a row of logits for each image"))
}
