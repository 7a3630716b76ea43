//! Many searches at once: which coalitions share a batch, and the loop over ask and tell.

use std::cmp::Reverse;

use super::batch::Batch;
use super::greedy::{Direction, Greedy, Outcome, Score, Stop, Task};
use crate::error::{Error, Result};

/// How a [`Search`] goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchOptions {
    /// Insertion or deletion.
    pub direction: Direction,
    /// When the search of an image ends.
    pub stop: Stop,
    /// Most coalitions in a batch, at least 1. Changes the speed, never the outcome.
    pub batch_size: usize,
    /// Most images searched at the same time, at least 1: more of them fill the batches better, fewer need less
    /// memory. Changes the speed, never the outcome.
    pub in_flight: usize,
}

/// Insertion until the answer holds, 64 coalitions a batch, 64 images in flight.
impl Default for SearchOptions {
    fn default() -> Self {
        let stop = Stop::Flip { min_confidence: 0.0, min_players: 0 };
        Self { direction: Direction::Insertion, stop, batch_size: 64, in_flight: 64 }
    }
}

impl SearchOptions {
    fn check(&self) -> Result<()> {
        for (name, count) in [("batch_size", self.batch_size), ("in_flight", self.in_flight)] {
            if count == 0 {
                return Err(Error::argument(name, "at least 1", count, "leave it out for the default"));
            }
        }
        match self.stop {
            Stop::Flip { min_confidence, .. } if !(0.0..=1.0).contains(&min_confidence) => {
                Err(Error::argument(
                    "min_confidence",
                    "a probability from 0 to 1",
                    min_confidence,
                    "leave it out to stop as soon as the answer holds",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Why [`Search::run`] and the functions of [`crate::game`] that take a callback ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E> {
    /// The callback failed; this is its own error.
    #[error("{0}")]
    Callback(E),
    /// The callback's scores were unusable.
    #[error("{0}")]
    Search(Error),
}

impl<E> From<Error> for RunError<E> {
    fn from(error: Error) -> Self {
        Self::Search(error)
    }
}

/// Greedy searches of any number of images that share their batches.
///
/// ```
/// use interpix::search::{Score, Search, SearchOptions, Stop, Task};
///
/// // The reward is the sum of the present players' indices; they suffice from a sum of 4 on.
/// let mut search = Search::new(vec![Task::new(4)], SearchOptions::default())?;
/// while let Some(batch) = search.ask() {
///     let sums = batch.coalitions().map(|coalition| coalition.members().sum::<usize>());
///     let scores: Vec<Score> = sums
///         .map(|sum| Score { reward: sum as f64, answer: sum as f64 / 6.0, predicted: None, holds: sum >= 4 })
///         .collect();
///     search.tell(&scores)?;
/// }
/// let outcome = &search.outcomes()[0];
/// assert_eq!((&outcome.ranking[..], outcome.stopped_at), (&[3, 2][..], Some(2)));
/// assert_eq!(outcome.evaluations, 2 + 4 + 3); // both ends, then two steps
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Search {
    options: SearchOptions,
    images: Vec<Greedy>,
    /// Images whose search has begun and not ended, ascending.
    active: Vec<usize>,
    /// The first image that has not begun.
    next: usize,
    /// The batch that was asked and not yet told.
    open: Option<Batch>,
}

impl Search {
    /// A search for each task.
    ///
    /// # Errors
    /// An option is out of its range, a task has no players, or a known end is not finite.
    // Owning the tasks is the interface that callers build them for.
    #[allow(clippy::needless_pass_by_value)]
    pub fn new(tasks: Vec<Task>, options: SearchOptions) -> Result<Self> {
        options.check()?;
        tasks.iter().enumerate().try_for_each(|(image, task)| task.check(image))?;
        let images = tasks.iter().map(|task| Greedy::new(task, options.direction, options.stop)).collect();
        Ok(Self { options, images, active: Vec::new(), next: 0, open: None })
    }

    /// The next coalitions to evaluate, or `None` when every search has ended. Asking again before [`Self::tell`]
    /// gives the same batch.
    pub fn ask(&mut self) -> Option<Batch> {
        if self.open.is_none() {
            self.refill();
            self.open = self.pack();
        }
        self.open.clone()
    }

    /// Takes the scores of the batch that was asked last, row by row. On an error nothing has changed: the batch
    /// stays open.
    ///
    /// # Errors
    /// No batch is open, the number of scores is not its length, or a reward or answer is not finite.
    pub fn tell(&mut self, scores: &[Score]) -> Result<()> {
        let Some(batch) = self.open.as_ref() else {
            let cure = "call `ask` first, and tell each batch once";
            return Err(Error::argument("scores", "an open batch", "scores for none", cure));
        };
        check_scores(batch, scores)?;
        let mut row = 0;
        for rows in batch.owner().chunk_by(|a, b| a == b) {
            self.images[rows[0]].tell(&scores[row..row + rows.len()]);
            row += rows.len();
        }
        self.open = None;
        Ok(())
    }

    /// Evaluates batch after batch until every search has ended.
    ///
    /// # Errors
    /// The callback's own error, untouched; or its scores cannot be told. The search can go on after either: the
    /// batch that failed is asked again.
    pub fn run<E>(
        &mut self,
        mut evaluate: impl FnMut(&Batch) -> std::result::Result<Vec<Score>, E>,
    ) -> std::result::Result<Vec<Outcome>, RunError<E>> {
        while let Some(batch) = self.ask() {
            let scores = evaluate(&batch).map_err(RunError::Callback)?;
            self.tell(&scores)?;
        }
        Ok(self.outcomes())
    }

    /// What was found, in the order of the tasks: every image once the search has ended; before that, the images whose
    /// two ends are known, as far as they have come.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.images.iter().enumerate().filter_map(|(image, greedy)| greedy.outcome(image)).collect()
    }

    /// Whether every search has ended.
    pub fn is_done(&self) -> bool {
        self.images.iter().all(Greedy::is_done)
    }

    /// Coalitions evaluated so far.
    pub fn evaluations(&self) -> usize {
        self.images.iter().map(Greedy::evaluations).sum()
    }

    /// Flips done so far, for each image.
    pub fn steps(&self) -> Vec<usize> {
        self.images.iter().map(Greedy::steps).collect()
    }

    /// Begins searches in the places of those that have ended.
    fn refill(&mut self) {
        let images = &self.images;
        self.active.retain(|&image| !images[image].is_done());
        while self.active.len() < self.options.in_flight && self.next < images.len() {
            if !images[self.next].is_done() {
                self.active.push(self.next);
            }
            self.next += 1;
        }
    }

    /// Takes coalitions of one size, in the order of the images.
    fn pack(&self) -> Option<Batch> {
        let size = self.best_size()?;
        let mut batch = Batch::new(size);
        for &image in &self.active {
            let greedy = &self.images[image];
            let room = self.options.batch_size - batch.len();
            if room > 0 && greedy.size() == size {
                let pending = greedy.pending();
                batch.push(image, greedy.base(), &pending[..room.min(pending.len())]);
            }
        }
        Some(batch)
    }

    /// The size of the image whose round is scored in part, else the one that fills the batch best, among equals that of
    /// the image with the fewest steps. Without the first and the last rule a batch boundary would split images that
    /// could go in lockstep, and filling batches would become harder from step to step.
    fn best_size(&self) -> Option<usize> {
        let active = || self.active.iter().map(|&image| &self.images[image]);
        if let Some(greedy) = active().find(|greedy| greedy.is_partly_told()) {
            return Some(greedy.size());
        }
        // Size, coalitions, steps; a handful of groups, so a list is quick enough.
        let mut groups: Vec<(usize, usize, usize)> = Vec::new();
        for greedy in active() {
            let (size, rows, steps) = (greedy.size(), greedy.pending().len(), greedy.steps());
            match groups.iter_mut().find(|group| group.0 == size) {
                Some(group) => *group = (size, group.1 + rows, group.2.min(steps)),
                None => groups.push((size, rows, steps)),
            }
        }
        let urgency =
            |&&(_, rows, steps): &&(usize, usize, usize)| (rows.min(self.options.batch_size), Reverse(steps));
        groups.iter().max_by_key(urgency).map(|group| group.0)
    }
}

fn check_scores(batch: &Batch, scores: &[Score]) -> Result<()> {
    if scores.len() != batch.len() {
        let expected = format!("{} of them, one for each coalition of the batch", batch.len());
        return Err(Error::argument("scores", expected, scores.len(), "score the rows in their order"));
    }
    let Some(row) = scores.iter().position(|score| !score.is_finite()) else { return Ok(()) };
    let got = format!("{} for image {}, coalition {}", scores[row], batch.owner()[row], batch.coalition(row));
    let cure = "check that the model's outputs are finite on this masked image (a float16 model may overflow: use \
                float32)";
    Err(Error::argument("scores", "finite rewards and answers", got, cure))
}
