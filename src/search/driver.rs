//! Many searches at once: which coalitions share a batch, and the loop over ask and tell.

use std::cmp::Reverse;

use super::batch::Batch;
use super::greedy::{Best, Direction, Greedy, Outcome, Score, Stop, Task};
use super::round::Round;
use crate::error::{Error, Result};

const OVERFLOW_CURE: &str = "check that the model's outputs are finite on this masked image (a float16 model may \
                             overflow: use float32)";

/// How a [`Search`] goes.
///
/// ```
/// use interpix::search::{Direction, Score, Search, SearchOptions, Task};
///
/// // The reward is the sum of the present players' indices; they suffice from a sum of 4 on.
/// let search = |options| -> interpix::Result<_> {
///     let (mut search, mut batches) = (Search::new(vec![Task::new(4)], options)?, 0);
///     while let Some(batch) = search.ask() {
///         let sums = batch.coalitions().map(|set| set.members().sum::<usize>());
///         let score = |sum| Score { reward: sum as f64, answer: sum as f64 / 6.0, predicted: None, holds: sum >= 4 };
///         search.tell(&sums.map(score).collect::<Vec<_>>())?;
///         batches += 1;
///     }
///     Ok((search.outcomes().remove(0).ranking, batches))
/// };
/// let options = SearchOptions::default();
/// assert_eq!(search(options)?, (vec![3, 2], 4)); // both ends and two steps
/// assert_eq!(search(SearchOptions { batch_size: 2, ..options })?, (vec![3, 2], 1 + 1 + 2 + 2)); // 4 + 3 coalitions
/// assert_eq!(search(SearchOptions { direction: Direction::Deletion, ..options })?, (vec![3], 3)); // 0 + 1 + 2 < 4
/// # Ok::<(), interpix::Error>(())
/// ```
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
///
/// ```
/// use interpix::Error;
/// use interpix::search::{RunError, Search, SearchOptions, Task};
///
/// let mut search = Search::new(vec![Task::new(2)], SearchOptions::default())?;
/// assert!(matches!(search.run(|_| Err("no device")), Err(RunError::Callback("no device"))));
/// // No score for a batch of one.
/// let failed = search.run(|_| Ok::<_, &str>(vec![]));
/// assert!(matches!(failed, Err(RunError::Search(Error::Argument { name: "scores", .. }))));
/// # Ok::<(), Error>(())
/// ```
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
    /// The rounds that were asked and not yet told.
    rounds: Vec<Round>,
    /// The number of rounds asked so far, which is the next one's ticket.
    asked: usize,
    /// Images whose search has ended, and was not told of.
    ended: Vec<usize>,
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
        Ok(Self {
            options,
            images,
            active: Vec::new(),
            next: 0,
            open: None,
            rounds: Vec::new(),
            asked: 0,
            ended: Vec::new(),
        })
    }

    /// The next coalitions to evaluate, or `None` when every search has ended, or waits for [`Self::tell_best`]. Asking
    /// again before [`Self::tell`] gives the same batch.
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

    /// A whole step of about half of the images in flight, of those whose sets are of one size, and of no more than `most`
    /// candidates unless one image has more; `None` where no image awaits a step that is not asked already: then
    /// [`Self::ask`] has what else there is.
    ///
    /// For evaluators that list a step's candidates themselves and find the best where they compute. Any number of
    /// rounds may be open, and are told in any order: half of the images, so that there are two, and one can be
    /// prepared while the other is evaluated. The outcome is that of [`Self::ask`].
    ///
    /// ```
    /// use interpix::search::{Best, Score, Search, SearchOptions, Stop, Task};
    ///
    /// // The reward is the sum of the present players' indices: the greatest absent player is the best.
    /// let ends = |sum: usize| Score { reward: sum as f64, answer: sum as f64 / 6.0, predicted: None, holds: sum >= 4 };
    /// let task = Task { players: 4, full: Some(ends(6)), empty: Some(ends(0)) };
    /// let mut search = Search::new(vec![task], SearchOptions::default())?;
    /// while let Some(round) = search.ask_round(usize::MAX) {
    ///     let best: Vec<Best> = round.bases().iter().map(|base| {
    ///         let player = (0..4).rev().find(|&player| !base.contains(player)).unwrap();
    ///         Best { player, score: ends(base.with(player).members().sum()), gap: 1.0 }
    ///     }).collect();
    ///     search.tell_best(round.ticket(), &best)?;
    /// }
    /// assert_eq!(search.outcomes()[0].ranking, [3, 2]);
    /// assert_eq!(search.outcomes()[0].evaluations, 4 + 3);
    /// # Ok::<(), interpix::Error>(())
    /// ```
    pub fn ask_round(&mut self, most: usize) -> Option<Round> {
        self.refill();
        let share = self.active.len().div_ceil(2);
        let waiting =
            self.active.iter().filter(|&&image| self.images[image].awaits_step() && !self.is_asked(image));
        let waiting: Vec<(usize, (usize, usize))> =
            waiting.map(|&image| (image, self.shape(image))).collect();
        let kinds = waiting.iter().map(|&(image, shape)| (shape, 1, self.images[image].steps()));
        let shape @ (size, players) = most_urgent(kinds, share)?;
        let candidates = match self.options.direction {
            Direction::Insertion => players - size,
            Direction::Deletion => size,
        };
        let share = share.min(most / candidates.max(1)).max(1);
        let alike = waiting.iter().filter(|(_, other)| *other == shape).map(|&(image, _)| image);
        let images: Vec<usize> = alike.take(share).collect();
        let bases = images.iter().map(|&image| self.images[image].current().clone()).collect();
        let round = Round::new(self.asked, size, images, bases);
        self.asked += 1;
        self.rounds.push(round.clone());
        Some(round)
    }

    /// Takes the best player of each image of an open round, in the round's order. On an error nothing has changed:
    /// the round stays open.
    ///
    /// # Errors
    /// No round with this ticket is open, the number of players is not that of its images, a player is no candidate, or
    /// a number is not finite (a gap may be infinite).
    pub fn tell_best(&mut self, ticket: usize, best: &[Best]) -> Result<()> {
        let Some(place) = self.rounds.iter().position(|round| round.ticket() == ticket) else {
            let cure = "tell each round that was asked once";
            return Err(Error::argument("ticket", "that of an open round", ticket, cure));
        };
        let round = &self.rounds[place];
        if best.len() != round.images().len() {
            let expected = format!("{} of them, one for each image of the round", round.images().len());
            return Err(Error::argument("best", expected, best.len(), "tell the images in their order"));
        }
        for (&image, found) in round.images().iter().zip(best) {
            check_best(image, &self.images[image], found)?;
        }
        let round = self.rounds.remove(place);
        for (&image, &found) in round.images().iter().zip(best) {
            self.images[image].tell_best(found);
        }
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

    /// The images whose searches have ended since this was asked last, ascending. Another image may take the place of
    /// each: see [`Self::replace`].
    pub fn ended(&mut self) -> Vec<usize> {
        self.refill();
        self.ended.sort_unstable();
        std::mem::take(&mut self.ended)
    }

    /// What was found on one image so far, once its two ends are known.
    pub fn outcome(&self, image: usize) -> Option<Outcome> {
        self.images.get(image)?.outcome(image)
    }

    /// Begins the search of another image in the place of one whose search has ended, so that any number of images goes
    /// through few places.
    ///
    /// ```
    /// use interpix::search::{Score, Search, SearchOptions, Task};
    ///
    /// let one = |holds| Some(Score { reward: 0.0, answer: 0.5, predicted: None, holds });
    /// let task = |players| Task { players, full: one(true), empty: one(true) };
    /// let mut search = Search::new(vec![task(1)], SearchOptions::default())?;
    /// assert_eq!(search.ended(), [0]);
    /// search.replace(0, &task(2))?;
    /// assert_eq!((search.ended(), search.ended()), (vec![0], vec![]));
    /// # Ok::<(), interpix::Error>(())
    /// ```
    ///
    /// # Errors
    /// The place does not exist, its search goes on, or the task is none.
    pub fn replace(&mut self, image: usize, task: &Task) -> Result<()> {
        task.check(image)?;
        let free = image < self.next && self.images[image].is_done();
        if !free {
            let cure = "take one that `ended` gave";
            return Err(Error::argument("image", "a place whose search has ended", image, cure));
        }
        self.refill();
        self.images[image] = Greedy::new(task, self.options.direction, self.options.stop);
        self.begin(image);
        Ok(())
    }

    /// Begins searches in the places of those that have ended.
    fn refill(&mut self) {
        let images = &self.images;
        self.ended.extend(self.active.extract_if(.., |image| images[*image].is_done()));
        while self.active.len() < self.options.in_flight && self.next < self.images.len() {
            self.next += 1;
            self.begin(self.next - 1);
        }
    }

    /// Counts an image among those in flight, unless nothing is left to be asked.
    fn begin(&mut self, image: usize) {
        if self.images[image].is_done() {
            self.ended.push(image);
        } else {
            let place = self.active.partition_point(|&other| other < image);
            self.active.insert(place, image);
        }
    }

    /// Takes coalitions of one size, in the order of the images.
    fn pack(&self) -> Option<Batch> {
        let size = self.best_size()?;
        let mut batch = Batch::new(size);
        for &image in self.active.iter().filter(|&&image| !self.is_asked(image)) {
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
        let free =
            self.active.iter().filter(|&&image| !self.is_asked(image)).map(|&image| &self.images[image]);
        let active = || free.clone();
        if let Some(greedy) = active().find(|greedy| greedy.is_partly_told()) {
            return Some(greedy.size());
        }
        let kinds = active().map(|greedy| (greedy.size(), greedy.pending().len(), greedy.steps()));
        most_urgent(kinds, self.options.batch_size)
    }

    /// Whether an open round asks about an image.
    fn is_asked(&self, image: usize) -> bool {
        let in_batch = self.open.as_ref().is_some_and(|batch| batch.owner().binary_search(&image).is_ok());
        in_batch || self.rounds.iter().any(|round| round.images().binary_search(&image).is_ok())
    }

    /// How many players an image's set has, and how many there are.
    fn shape(&self, image: usize) -> (usize, usize) {
        let current = self.images[image].current();
        (current.size(), current.players())
    }
}

/// Of (kind, count, steps), the kind that has the most, of which no more than `most` matter; among equals that with the
/// fewest steps.
fn most_urgent<K: Copy + PartialEq>(
    counted: impl Iterator<Item = (K, usize, usize)>,
    most: usize,
) -> Option<K> {
    // A handful of kinds, so a list is quick enough.
    let mut groups: Vec<(K, usize, usize)> = Vec::new();
    for (kind, count, steps) in counted {
        match groups.iter_mut().find(|group| group.0 == kind) {
            Some(group) => *group = (kind, group.1 + count, group.2.min(steps)),
            None => groups.push((kind, count, steps)),
        }
    }
    groups.into_iter().max_by_key(|&(_, count, steps)| (count.min(most), Reverse(steps))).map(|group| group.0)
}

fn check_best(image: usize, greedy: &Greedy, best: &Best) -> Result<()> {
    if !greedy.is_candidate(best.player) {
        let got = format!("player {} for image {image}", best.player);
        return Err(Error::argument(
            "best",
            "a candidate of each image's step",
            got,
            "tell the player flipped",
        ));
    }
    if !best.score.is_finite() {
        let got = format!("{} for image {image}, player {}", best.score, best.player);
        return Err(Error::argument("best", "finite rewards and answers", got, OVERFLOW_CURE));
    }
    if best.gap.is_nan() || best.gap < 0.0 {
        let got = format!("{} for image {image}, player {}", best.gap, best.player);
        return Err(Error::argument(
            "gap",
            "at least 0",
            got,
            "subtract the second best reward from the best",
        ));
    }
    Ok(())
}

fn check_scores(batch: &Batch, scores: &[Score]) -> Result<()> {
    if scores.len() != batch.len() {
        let expected = format!("{} of them, one for each coalition of the batch", batch.len());
        return Err(Error::argument("scores", expected, scores.len(), "score the rows in their order"));
    }
    let Some(row) = scores.iter().position(|score| !score.is_finite()) else { return Ok(()) };
    let got = format!("{} for image {}, coalition {}", scores[row], batch.owner()[row], batch.coalition(row));
    Err(Error::argument("scores", "finite rewards and answers", got, OVERFLOW_CURE))
}
