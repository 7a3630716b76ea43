//! What a classifier says about an image of which only some regions are present.
//!
//! An absent region shows the fill instead of the image. The reward is the target's log-odds,
//! `z_y - log sum_{k != y} exp(z_k)`: unlike the probability it does not saturate, and its sign says which side of one
//! half the probability is on. Equal logits: the lowest class is the predicted one. Where each class is a label of its own,
//! `z_y` itself is the log-odds.

use std::ops::Range;
use std::time::{Duration, Instant};

use ndarray::{Array2, Array4, ArrayView1, ArrayView2, ArrayView3, ArrayView4, Axis, Zip, s};
use rayon::prelude::*;

use super::classifier::Classifier;
use crate::error::{Error, Result};
use crate::parallel;
use crate::search::Score;

/// How long a chunk may take, so that an interrupt is answered within twice that.
const CHUNK_TIME: Duration = Duration::from_millis(75);
/// Most images in a chunk: 64 at 224 x 224 are 38 MB.
const MAX_CHUNK: usize = 64;

/// Images of one size, their division into regions, and what an absent region shows.
///
/// ```no_run
/// use interpix::models::{self, MaskedImages};
/// use ndarray::{Array3, Array4, array};
/// let model = models::load(std::path::Path::new("resnet18"))?;
/// let (image, fill) = (Array4::from_elem((1, 3, 224, 224), 1.0), Array4::zeros((1, 3, 224, 224)));
/// let halves = Array3::from_shape_fn((1, 224, 224), |(_, _, x)| (x / 112) as i64);
/// let game = MaskedImages { images: image.view(), regions: halves.view(), fill: fill.view() };
/// let left = array![[true, false]];
/// assert_eq!(game.logits(&*model, &[0], left.view(), &|| false)?.dim(), (1, 1000));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MaskedImages<'a> {
    /// Preprocessed images (K, 3, H, W).
    pub images: ArrayView4<'a, f32>,
    /// The region of each pixel of each image (K, H, W), `0..n`.
    pub regions: ArrayView3<'a, i64>,
    /// What is seen where a region is absent (K, 3, H, W), preprocessed too.
    pub fill: ArrayView4<'a, f32>,
}

/// Logits (B, classes) of a batch (B, 3, H, W), in chunks between which `interrupted` is asked.
///
/// ```no_run
/// use interpix::models;
/// let model = models::load(std::path::Path::new("resnet18"))?;
/// let batch = ndarray::Array4::zeros((100, 3, 224, 224));
/// assert_eq!(models::logits(&*model, batch.view(), &|| false)?.dim(), (100, 1000));
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// As [`Classifier::logits`], and [`Error::Interrupted`].
pub fn logits(
    classifier: &dyn Classifier,
    batch: ArrayView4<'_, f32>,
    interrupted: &dyn Fn() -> bool,
) -> Result<Array2<f32>> {
    let count = batch.len_of(Axis(0));
    if count == 0 {
        return classifier.logits(batch);
    }
    in_chunks(classifier, count, interrupted, |rows| classifier.logits(batch.slice(s![rows, .., .., ..])))
}

/// The logits that `work` finds for `0..count`, in chunks of about [`CHUNK_TIME`], asking `interrupted` before each.
fn in_chunks(
    classifier: &dyn Classifier,
    count: usize,
    interrupted: &dyn Fn() -> bool,
    work: impl Fn(Range<usize>) -> Result<Array2<f32>>,
) -> Result<Array2<f32>> {
    let mut logits = Array2::zeros((count, classifier.classes()));
    let mut rows = 0..1.min(count);
    while !rows.is_empty() {
        if interrupted() {
            return Err(Error::Interrupted);
        }
        let began = Instant::now();
        logits.slice_mut(s![rows.clone(), ..]).assign(&work(rows.clone())?);
        rows = rows.end..(rows.end + next_chunk(began.elapsed(), rows.len())).min(count);
    }
    Ok(logits)
}

impl MaskedImages<'_> {
    /// Scores the coalitions `masks` (c, n; true = present) of the images `owner` (c) for the classes `target` (c).
    ///
    /// `interrupted` is asked on the calling thread before each chunk, at least every 0.15 s.
    ///
    /// # Errors
    /// As [`MaskedImages::logits`]; [`Error::Argument`] if targets do not fit; [`Error::Model`] if a logit is not finite.
    pub fn score(
        &self,
        classifier: &dyn Classifier,
        (owner, target): (&[usize], &[usize]),
        masks: ArrayView2<'_, bool>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<Score>> {
        if target.len() != owner.len() {
            let expected = format!("{} targets, as owners", owner.len());
            return Err(Error::argument("target", expected, target.len(), "pass one for each mask"));
        }
        let classes = classifier.classes();
        if let Some(&target) = target.iter().find(|&&target| target >= classes) {
            let expected = format!("a class below {classes}");
            return Err(Error::argument("target", expected, target, "pass one of the model's classes"));
        }
        let logits = self.logits(classifier, owner, masks, interrupted)?;
        let answers = logits.outer_iter().zip(target);
        answers.map(|(logits, &target)| score(classifier, logits, target)).collect()
    }

    /// Logits (c, classes) of the coalitions `masks` (c, n; true = present) of the images `owner` (c).
    ///
    /// # Errors
    /// [`Error::Argument`] if shapes, owners or regions do not fit; [`Error::Interrupted`]; and [`Error::Model`] if the
    /// classifier fails.
    pub fn logits(
        &self,
        classifier: &dyn Classifier,
        owner: &[usize],
        masks: ArrayView2<'_, bool>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Array2<f32>> {
        self.check(owner, masks)?;
        in_chunks(classifier, owner.len(), interrupted, |rows| {
            classifier.logits(self.compose(&owner[rows.clone()], masks.slice(s![rows, ..])).view())
        })
    }

    /// The images that the network sees.
    fn compose(&self, owner: &[usize], masks: ArrayView2<'_, bool>) -> Array4<f32> {
        let (_, channels, height, width) = self.images.dim();
        let mut batch = Array4::zeros((owner.len(), channels, height, width));
        let rows: Vec<_> = batch.outer_iter_mut().zip(masks.outer_iter()).zip(owner).collect();
        parallel::install(|| {
            rows.into_par_iter().for_each(|((mut out, mask), &owner)| {
                let regions = self.regions.index_axis(Axis(0), owner);
                let planes =
                    out.outer_iter_mut().zip(self.images.index_axis(Axis(0), owner).into_outer_iter());
                for ((out, image), fill) in planes.zip(self.fill.index_axis(Axis(0), owner).into_outer_iter())
                {
                    Zip::from(out).and(image).and(fill).and(regions).for_each(
                        |out, &image, &fill, &region| {
                            *out = if mask[region as usize] { image } else { fill };
                        },
                    );
                }
            });
        });
        batch
    }

    fn check(&self, owner: &[usize], masks: ArrayView2<'_, bool>) -> Result<()> {
        let (count, _, height, width) = self.images.dim();
        let (rows, players) = masks.dim();
        if self.fill.dim() != self.images.dim() {
            return Err(shape_error(
                "fill",
                format!("the images' shape {:?}", self.images.shape()),
                self.fill.shape(),
            ));
        }
        if self.regions.dim() != (count, height, width) {
            let expected = format!("shape ({count}, {height}, {width})");
            return Err(shape_error("regions", expected, self.regions.shape()));
        }
        if owner.len() != rows {
            let expected = format!("{rows} owners, as masks");
            return Err(Error::argument("owner", expected, owner.len(), "pass one for each mask"));
        }
        if let Some(owner) = owner.iter().find(|&&owner| owner >= count) {
            return Err(Error::argument("owner", format!("below {count}"), owner, "index into `images`"));
        }
        // Others may have more regions.
        let mut asked = owner.to_vec();
        asked.sort_unstable();
        asked.dedup();
        let regions = asked.iter().flat_map(|&owner| self.regions.index_axis(Axis(0), owner).into_iter());
        if let Some(&region) = regions.into_iter().find(|region| **region < 0 || **region as usize >= players)
        {
            let expected = format!("labels 0..{players}, one for each column of `masks`");
            return Err(Error::argument("regions", expected, region, "number the regions without gaps"));
        }
        Ok(())
    }
}

fn shape_error(name: &'static str, expected: String, got: &[usize]) -> Error {
    Error::argument(name, expected, format!("shape {got:?}"), "make it the images' size")
}

/// As many images as fit into [`CHUNK_TIME`] at the speed of the last chunk, at most doubling.
fn next_chunk(elapsed: Duration, images: usize) -> usize {
    let each = elapsed.as_secs_f64() / images as f64;
    let fitting = CHUNK_TIME.as_secs_f64() / each.max(1e-9);
    (fitting as usize).clamp(1, MAX_CHUNK.min(2 * images))
}

/// What `logits` (classes) of `classifier` say about the class `target`.
///
/// # Errors
/// [`Error::Argument`] if there is no such class; [`Error::Model`] if a logit is not finite, or if there is no other class
/// that the target could be told from.
///
/// ```no_run
/// use interpix::models;
/// let model = models::load(std::path::Path::new("vit_tiny"))?;
/// let image = ndarray::Array4::zeros((1, 3, 224, 224));
/// let logits = model.logits(image.view())?;
/// let target = models::predict(logits.row(0));
/// assert!(models::score(&*model, logits.row(0), target)?.holds);
/// # Ok::<(), interpix::Error>(())
/// ```
pub fn score(classifier: &dyn Classifier, logits: ArrayView1<'_, f32>, target: usize) -> Result<Score> {
    let fail =
        |message: &str| Error::Model { model: classifier.name().to_owned(), message: message.to_owned() };
    if target >= logits.len() {
        let expected = format!("a class below {}", logits.len());
        return Err(Error::argument("target", expected, target, "pass one of the model's classes"));
    }
    let independent = classifier.independent();
    if logits.len() < 2 && !independent {
        return Err(fail(
            "expected at least two classes, as log-odds compare them, got one; ask for its logits",
        ));
    }
    if logits.iter().any(|logit| !logit.is_finite()) {
        return Err(fail("a logit is not finite; are images and fill finite?"));
    }
    let reward = if independent { f64::from(logits[target]) } else { log_odds(logits, target) };
    let predicted = predict(logits);
    Ok(Score {
        reward,
        answer: 1.0 / (1.0 + (-reward).exp()),
        predicted: Some(predicted),
        holds: if independent { reward >= 0.0 } else { predicted == target },
    })
}

/// The class of the greatest of `logits`, the lowest of equal ones.
///
/// ```
/// assert_eq!(interpix::models::predict(ndarray::array![1.0, 3.0, 3.0].view()), 1);
/// ```
pub fn predict(logits: ArrayView1<'_, f32>) -> usize {
    let best = |best: usize, (class, &logit): (usize, &f32)| if logit > logits[best] { class } else { best };
    logits.iter().enumerate().fold(0, best)
}

/// The log-odds of class `target`: `z_y - log sum_{k != y} exp(z_k)`, without overflow.
///
/// ```
/// let even = ndarray::array![7.0_f32, 7.0];
/// assert_eq!(interpix::models::log_odds(even.view(), 0), 0.0);
/// let third = ndarray::array![1000.0_f32, 1000.0, 1000.0];
/// assert!((interpix::models::log_odds(third.view(), 2) + 2.0_f64.ln()).abs() < 1e-12);
/// ```
pub fn log_odds(logits: ArrayView1<'_, f32>, target: usize) -> f64 {
    let others =
        || logits.iter().enumerate().filter(|&(class, _)| class != target).map(|(_, &z)| f64::from(z));
    let greatest = others().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = others().map(|logit| (logit - greatest).exp()).sum();
    f64::from(logits[target]) - greatest - sum.ln()
}
