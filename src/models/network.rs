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

/// The logits of a batch, a group of images after the other and on all threads, each with `forward`.
///
/// `pixel_bytes` is what a group takes for each pixel of each of its images.
pub(super) fn in_groups(
    batch: ArrayView4<'_, f32>,
    (group, pixel_bytes): (usize, usize),
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
    let at_once = count.min(group * parallel::threads());
    let bytes = [at_once, height, width].iter().fold(pixel_bytes, |a, &b| a.saturating_mul(b));
    memory::require(bytes, "batch", "the network", "make the images smaller")?;
    let groups: Vec<_> = batch.axis_chunks_iter(Axis(0), group).collect();
    let logits: Result<Vec<Vec<f32>>> = parallel::install(|| groups.into_par_iter().map(&forward).collect());
    Ok(Array2::from_shape_vec((count, classes), logits?.concat()).expect("a row of logits for each image"))
}
