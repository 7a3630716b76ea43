//! A whole step of some searches where the model is: its candidates are listed here, and the best of each image found.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::classifier::Classifier;
use super::masked::log_odds;
use crate::error::{Error, Result};
use crate::search::Direction;

/// Candidates that are asked about at once.
const ROWS: usize = 1024;

/// What the candidates of a step are compared by.
///
/// ```
/// use interpix::models::Reward;
/// use ndarray::array;
///
/// // Three to one for the first class.
/// let logits = array![3.0_f32.ln(), 0.0];
/// assert!((Reward::LogOdds.of(logits.view(), 0, false) - 3.0_f64.ln()).abs() < 1e-7);
/// assert!((Reward::Probability.of(logits.view(), 0, false) - 0.75).abs() < 1e-7);
/// assert_eq!(Reward::Logit.of(logits.view(), 1, false), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reward {
    /// Of the target against all other classes.
    LogOdds,
    /// Its logarithm, which grows on where the probability rounds to 1 or 0.
    LogProbability,
    /// The target's.
    Probability,
    /// The target's.
    Logit,
}

impl Reward {
    /// The reward of logits (classes); with `independent` classes, each is there or not whatever the others are.
    pub fn of(self, logits: ArrayView1<'_, f32>, target: usize, independent: bool) -> f64 {
        let logit = f64::from(logits[target]);
        let odds = if independent || self == Self::Logit { logit } else { log_odds(logits, target) };
        let log_probability = || odds.min(0.0) - (-odds.abs()).exp().ln_1p();
        match self {
            Self::LogOdds | Self::Logit => odds,
            Self::LogProbability => log_probability(),
            Self::Probability => log_probability().exp(),
        }
    }
}

/// One step of the searches of some images, as [`crate::search::Round`] hands it out: which player of each is the best to
/// flip next?
///
/// ```
/// use interpix::models::{Reward, Step};
/// use interpix::search::Direction;
/// use ndarray::{Array2, ArrayView2, array};
/// # use interpix::models::{Classifier, Preprocessing};
/// # struct TwoClasses(Preprocessing);
/// # impl Classifier for TwoClasses {
/// #     fn name(&self) -> &str { "two" }
/// #     fn preprocessing(&self) -> &Preprocessing { &self.0 }
/// #     fn classes(&self) -> usize { 2 }
/// #     fn class_names(&self) -> Option<&[String]> { None }
/// #     fn logits(&self, batch: ndarray::ArrayView4<'_, f32>) -> interpix::Result<Array2<f32>> {
/// #         Ok(Array2::zeros((batch.dim().0, 2)))
/// #     }
/// # }
/// # let model = TwoClasses(interpix::models::preprocessing("resnet18")?);
///
/// // What the players are worth for class 0; 0 and 1 are present.
/// let ask = |_: &[usize], masks: ArrayView2<'_, bool>| {
///     Ok(masks.map(|&present| f32::from(present)).dot(&array![[1.0, 0.0], [5.0, 0.0], [3.0, 0.0], [2.0, 0.0]]))
/// };
/// let (bases, direction) = (array![[true, true, false, false]], Direction::Insertion);
/// let (images, targets, reward) = (&[0], &[0], Reward::Logit);
/// let step = Step { images, bases: bases.view(), targets, direction, reward, independent: false };
/// assert_eq!(step.best(&model, ask)?[0].player, 2); // 1 + 5 + 3 is more than 1 + 5 + 2
/// let step = Step { direction: Direction::Deletion, ..step };
/// assert_eq!(step.best(&model, ask)?[0].player, 1); // which leaves 1
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Which images, (b,).
    pub images: &'a [usize],
    /// The set of each, (b, n), `true` = present.
    pub bases: ArrayView2<'a, bool>,
    /// The class that each image is about, (b,).
    pub targets: &'a [usize],
    /// Insertion: which absent player raises the reward most; deletion: which present one lowers it most.
    pub direction: Direction,
    /// What is compared.
    pub reward: Reward,
    /// Whether each class is a label of its own (a sigmoid), and not one of many (a softmax).
    pub independent: bool,
}

/// The best candidate of an image.
///
/// ```
/// use interpix::models::{Reward, Step};
/// use interpix::search::Direction;
/// use ndarray::{Array2, ArrayView2, array};
/// # use interpix::models::{Classifier, Preprocessing};
/// # struct TwoClasses(Preprocessing);
/// # impl Classifier for TwoClasses {
/// #     fn name(&self) -> &str { "two" }
/// #     fn preprocessing(&self) -> &Preprocessing { &self.0 }
/// #     fn classes(&self) -> usize { 2 }
/// #     fn class_names(&self) -> Option<&[String]> { None }
/// #     fn logits(&self, batch: ndarray::ArrayView4<'_, f32>) -> interpix::Result<Array2<f32>> {
/// #         Ok(Array2::zeros((batch.dim().0, 2)))
/// #     }
/// # }
/// # let model = TwoClasses(interpix::models::preprocessing("resnet18")?);
///
/// // Nobody is present in the first image, and all but player 1 in the second one.
/// let ask = |_: &[usize], masks: ArrayView2<'_, bool>| {
///     Ok(masks.map(|&present| f32::from(present)).dot(&array![[1.0, 0.0], [5.0, 0.0], [3.0, 0.0]]))
/// };
/// let (bases, direction) = (array![[false, false, false], [true, false, true]], Direction::Insertion);
/// let (images, targets, reward) = (&[0, 1], &[0, 0], Reward::Logit);
/// let step = Step { images, bases: bases.view(), targets, direction, reward, independent: false };
/// let best = step.best(&model, ask)?;
/// assert_eq!((best[0].player, best[0].gap, &best[0].logits), (1, 5.0 - 3.0, &array![5.0, 0.0]));
/// assert_eq!((best[1].player, best[1].gap, &best[1].logits), (1, f64::INFINITY, &array![9.0, 0.0]));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The lowest of the best players.
    pub player: usize,
    /// How far its reward is ahead of the second best, infinite where it is the only candidate.
    pub gap: f64,
    /// What the model says to the set with the player flipped, (classes,).
    pub logits: Array1<f32>,
}

impl Step<'_> {
    /// The best candidate of each image.
    ///
    /// ```
    /// use interpix::models::{self, MaskedImages, Reward, Step};
    /// use interpix::search::Direction;
    /// use ndarray::{Array3, Array4, array};
    ///
    /// # fn run() -> interpix::Result<()> {
    /// let model = models::load(std::path::Path::new("resnet18"))?;
    /// let (image, fill) = (Array4::from_elem((1, 3, 224, 224), 1.0), Array4::zeros((1, 3, 224, 224)));
    /// let halves = Array3::from_shape_fn((1, 224, 224), |(_, _, x)| (x / 112) as i64);
    /// let game = MaskedImages { images: image.view(), regions: halves.view(), fill: fill.view() };
    /// let nothing = array![[false, false]];
    /// let step = Step {
    ///     images: &[0],
    ///     bases: nothing.view(),
    ///     targets: &[7],
    ///     direction: Direction::Insertion,
    ///     reward: Reward::LogOdds,
    ///     independent: false,
    /// };
    /// let best = step.best(&*model, |owner, masks| game.logits(&*model, owner, masks, &|| false))?;
    /// println!("half {} is {} ahead of the other", best[0].player, best[0].gap);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Arguments
    /// `ask` gives logits (c, classes) of coalitions (c, n) of images (c,).
    ///
    /// # Errors
    /// [`Error::Argument`] if lengths differ, a target is no class, or an image has no candidate; [`Error::Model`] if a
    /// logit is not finite; and those of `ask`.
    pub fn best(
        &self,
        classifier: &dyn Classifier,
        mut ask: impl FnMut(&[usize], ArrayView2<'_, bool>) -> Result<Array2<f32>>,
    ) -> Result<Vec<Candidate>> {
        self.check(classifier)?;
        let (inserts, players) = (self.direction == Direction::Insertion, self.bases.ncols());
        let listed = self.bases.outer_iter().enumerate().flat_map(|(place, base)| {
            (0..players).filter(move |&player| base[player] != inserts).map(move |player| (place, player))
        });
        let listed: Vec<(usize, usize)> = listed.collect();
        let mut best: Vec<Option<(f64, Candidate)>> = vec![None; self.images.len()];
        for part in listed.chunks(ROWS) {
            let owner: Vec<usize> = part.iter().map(|&(place, _)| self.images[place]).collect();
            let masks = Array2::from_shape_fn((part.len(), players), |(row, player)| {
                let (place, flipped) = part[row];
                self.bases[[place, player]] != (player == flipped)
            });
            let logits = ask(&owner, masks.view())?;
            if logits.dim() != (part.len(), classifier.classes()) {
                let expected = format!("shape ({}, {})", part.len(), classifier.classes());
                let got = format!("shape {:?}", logits.shape());
                return Err(Error::argument(
                    "ask",
                    expected,
                    got,
                    "return a row of logits for each coalition",
                ));
            }
            for ((&(place, player), logits), mask) in
                part.iter().zip(logits.outer_iter()).zip(masks.outer_iter())
            {
                if logits.iter().any(|logit| !logit.is_finite()) {
                    return Err(not_finite(classifier, mask));
                }
                let reward = self.reward.of(logits, self.targets[place], self.independent);
                let gain = if inserts { reward } else { -reward };
                match &mut best[place] {
                    Some((most, found)) if gain <= *most => found.gap = found.gap.min(*most - gain),
                    other => {
                        let gap = other.as_ref().map_or(f64::INFINITY, |(most, _)| gain - most);
                        *other = Some((gain, Candidate { player, gap, logits: logits.to_owned() }));
                    }
                }
            }
        }
        let found = best.into_iter().zip(self.images).map(|(best, &image)| {
            best.map(|(_, candidate)| candidate).ok_or_else(|| {
                let got = format!("none for image {image}");
                Error::argument("bases", "sets with a candidate", got, "take images whose search goes on")
            })
        });
        found.collect()
    }

    fn check(&self, classifier: &dyn Classifier) -> Result<()> {
        let (images, classes) = (self.images.len(), classifier.classes());
        for (name, count) in [("bases", self.bases.nrows()), ("targets", self.targets.len())] {
            if count != images {
                let expected = format!("{images} of them, one for each image");
                return Err(Error::argument(name, expected, count, "give one for each image"));
            }
        }
        if let Some(&target) = self.targets.iter().find(|&&target| target >= classes) {
            let expected = format!("a class below {classes}");
            return Err(Error::argument("targets", expected, target, "pass one of the model's classes"));
        }
        Ok(())
    }
}

fn not_finite(classifier: &dyn Classifier, mask: ArrayView1<'_, bool>) -> Error {
    let absent = mask.iter().filter(|&&present| !present).count();
    Error::Model {
        model: classifier.name().to_owned(),
        message: format!(
            "its logits hold NaN or infinity for the image with {absent} of its {} patches absent; it may divide by what \
             a flat picture lacks: show another absence, as \"mean\" or \"blur\"",
            mask.len()
        ),
    }
}
