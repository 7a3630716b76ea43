//! The greedy search of one image, as a state machine that asks for one round of coalitions at a time.

use super::coalition::Coalition;
use crate::error::{Error, Result};

/// Which way the search goes.
///
/// ```
/// use interpix::search::{Coalition, Direction, Score, Search, SearchOptions, Stop, Task};
///
/// // 0 and 1 show the same, which is worth 3; 2 is worth 1.
/// let any = |set: &Coalition| set.contains(0) || set.contains(1);
/// let reward = |set: Coalition| 3.0 * f64::from(any(&set)) + f64::from(set.contains(2));
/// let ranking = |direction| -> interpix::Result<_> {
///     let options = SearchOptions { direction, stop: Stop::All, ..SearchOptions::default() };
///     let mut search = Search::new(vec![Task::new(3)], options)?;
///     while let Some(batch) = search.ask() {
///         let score = |reward| Score { reward, answer: reward / 4.0, predicted: None, holds: reward >= 3.0 };
///         search.tell(&batch.coalitions().map(reward).map(score).collect::<Vec<_>>())?;
///     }
///     Ok(search.outcomes().remove(0).ranking)
/// };
/// assert_eq!(ranking(Direction::Insertion)?, [0, 2, 1]); // 3, 4, 4: the copy adds nothing
/// assert_eq!(ranking(Direction::Deletion)?, [2, 0, 1]); // 3, 3, 0: without one copy there is the other
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// From nothing: each step adds the player that raises the reward most.
    #[default]
    Insertion,
    /// From everything: each step removes the player that lowers the reward most.
    Deletion,
}

/// When the search of an image ends. Every rule also ends it when no player is left.
///
/// ```
/// use interpix::search::{Score, Search, SearchOptions, Stop, Task};
///
/// // The answer grows by a fifth with each player, and holds from three on.
/// let found = |stop| -> interpix::Result<_> {
///     let mut search = Search::new(vec![Task::new(5)], SearchOptions { stop, ..SearchOptions::default() })?;
///     while let Some(batch) = search.ask() {
///         let answer = batch.size() as f64 / 5.0;
///         let score = Score { reward: answer, answer, predicted: None, holds: batch.size() >= 3 };
///         search.tell(&vec![score; batch.len()])?;
///     }
///     Ok(search.outcomes()[0].ranking.len())
/// };
/// assert_eq!((found(Stop::All)?, found(Stop::Steps(1))?), (5, 1));
/// assert_eq!(found(Stop::Flip { min_confidence: 0.0, min_players: 0 })?, 3);
/// assert_eq!(found(Stop::Flip { min_confidence: 0.75, min_players: 0 })?, 4); // 4 / 5
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stop {
    /// After all players.
    All,
    /// At the first step where the model says what is explained (insertion) or no longer does (deletion).
    Flip {
        /// Insertion only: the least answer, a probability in `[0, 1]`; 0 asks for nothing (Appendix E).
        min_confidence: f64,
        /// Find at least so many players, whenever the flip was.
        min_players: usize,
    },
    /// After this many steps.
    Steps(usize),
}

/// What the model says about a coalition.
///
/// ```
/// use interpix::search::Score;
///
/// // Three to one for class 0 of two, which is what is explained: the reward is its log-odds.
/// let odds = 3.0_f64;
/// let (reward, answer) = (odds.ln(), odds / (1.0 + odds));
/// let score = Score { reward, answer, predicted: Some(0), holds: reward > 0.0 };
/// assert_eq!((score.answer, score.holds), (0.75, true));
/// // A number of 21 that should be within 10% of 20.
/// let score = Score { reward: -1.0, answer: 21.0, predicted: None, holds: (21.0_f64 / 20.0 - 1.0).abs() < 0.1 };
/// assert_eq!((score.to_string(), score.holds), ("reward -1 and answer 21".to_owned(), true));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The number that the search compares, for instance the target's log-odds; finite.
    pub reward: f64,
    /// What the model says of the target, for people: a classifier's probability, a regression's number; finite.
    pub answer: f64,
    /// The class of the greatest logit, where the model has classes.
    pub predicted: Option<usize>,
    /// Whether the model still says what is explained: of a softmax, that the target is the predicted class.
    pub holds: bool,
}

/// The best player of a whole step, by whoever can tell it without a score for each (see [`super::Search::ask_round`]).
///
/// ```
/// use interpix::search::{Best, Score, Search, SearchOptions, Stop, Task};
///
/// // The candidates' rewards are 1, 4 and 2: player 1 is the best, and 2 ahead.
/// let score = |reward| Score { reward, answer: 0.5, predicted: None, holds: false };
/// let task = Task { players: 3, full: Some(score(7.0)), empty: Some(score(0.0)) };
/// let mut search = Search::new(vec![task], SearchOptions { stop: Stop::Steps(1), ..SearchOptions::default() })?;
/// let round = search.ask_round(usize::MAX).unwrap();
/// search.tell_best(round.ticket(), &[Best { player: 1, score: score(4.0), gap: 2.0 }])?;
/// let outcome = &search.outcomes()[0];
/// assert_eq!((&outcome.ranking[..], &outcome.gaps[..], outcome.evaluations), (&[1][..], &[2.0][..], 3));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// The player whose flip is best; the lowest of equal ones.
    pub player: usize,
    /// The score of the set with it flipped.
    pub score: Score,
    /// How far its reward is ahead of the second best, at least 0.
    pub gap: f64,
}

/// One image's search.
///
/// ```
/// use interpix::search::{Score, Search, SearchOptions, Stop, Task};
///
/// // What is known is not evaluated again.
/// let score = |size: usize| Score { reward: size as f64, answer: 0.5, predicted: None, holds: size > 1 };
/// let tasks = vec![Task::new(3), Task { players: 3, full: Some(score(3)), empty: Some(score(0)) }];
/// let mut search = Search::new(tasks, SearchOptions { stop: Stop::Steps(1), ..SearchOptions::default() })?;
/// while let Some(batch) = search.ask() {
///     search.tell(&vec![score(batch.size()); batch.len()])?;
/// }
/// let evaluations = search.outcomes().iter().map(|outcome| outcome.evaluations).collect::<Vec<_>>();
/// assert_eq!(evaluations, [2 + 3, 3]);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Number of players, at least 1.
    pub players: usize,
    /// The score of all players together, where it is known already.
    pub full: Option<Score>,
    /// The score of no player at all, where it is known already.
    pub empty: Option<Score>,
}

impl Task {
    /// A task of which nothing is known yet.
    pub fn new(players: usize) -> Self {
        Self { players, full: None, empty: None }
    }

    pub(crate) fn check(&self, image: usize) -> Result<()> {
        if self.players == 0 {
            let got = format!("0 for image {image}");
            return Err(Error::argument(
                "players",
                "at least 1 for each image",
                got,
                "leave such images out",
            ));
        }
        let ends = [("full", self.full), ("empty", self.empty)];
        let bad = ends.into_iter().find_map(|(name, end)| Some((name, end.filter(|end| !end.is_finite())?)));
        bad.map_or(Ok(()), |(name, score)| {
            let got = format!("{score} for image {image}");
            Err(Error::argument(name, "finite numbers", got, "leave it out and it is evaluated"))
        })
    }
}

impl Score {
    pub(crate) fn is_finite(&self) -> bool {
        self.reward.is_finite() && self.answer.is_finite()
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "reward {} and answer {}", self.reward, self.answer)
    }
}

/// What the search of one image found.
///
/// ```
/// use interpix::search::{Coalition, Score, Search, SearchOptions, Stop, Task};
///
/// // The players are worth 1, 4 and 2, and suffice from 5 on.
/// let reward = |set: Coalition| set.members().map(|player| [1.0, 4.0, 2.0][player]).sum::<f64>();
/// let score = |reward| Score { reward, answer: reward / 7.0, predicted: None, holds: reward >= 5.0 };
/// let mut search = Search::new(vec![Task::new(3)], SearchOptions { stop: Stop::All, ..SearchOptions::default() })?;
/// while let Some(batch) = search.ask() {
///     search.tell(&batch.coalitions().map(reward).map(score).collect::<Vec<_>>())?;
/// }
/// let found = search.outcome(0).unwrap();
/// assert_eq!((&found.ranking[..], found.stopped_at), (&[1, 2, 0][..], Some(2)));
/// assert_eq!(found.scores.iter().map(|score| score.reward).collect::<Vec<_>>(), [0.0, 4.0, 6.0, 7.0]);
/// assert_eq!(found.gaps, [2.0, 1.0, f64::INFINITY]); // 4 before 2, then 4 + 2 before 4 + 1
/// assert_eq!((found.empty, found.full), (found.scores[0], found.scores[3]));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Which task this is, as an index into the tasks.
    pub image: usize,
    /// The players in the order of their flips, most important first.
    pub ranking: Vec<usize>,
    /// The scores after 0, 1, … flips; one more than there are flips.
    pub scores: Vec<Score>,
    /// The score of all players together.
    pub full: Score,
    /// The score of no player at all.
    pub empty: Score,
    /// The first number of flips at which the condition of [`Stop::Flip`] held, 0 = already at the start. Recorded
    /// under every rule; rules without a least probability take 0.
    pub stopped_at: Option<usize>,
    /// How far the best reward of each step was ahead of the second best, at least 0; infinite where only one player
    /// was left.
    pub gaps: Vec<f64>,
    /// Coalitions that were evaluated for this image.
    pub evaluations: usize,
}

/// The search of one image: a round of coalitions is open until all of them are scored.
#[derive(Debug, Clone)]
pub(super) struct Greedy {
    direction: Direction,
    stop: Stop,
    /// The present players after the flips so far.
    current: Coalition,
    /// Score of the set that the last flip leads to.
    last: Option<Score>,
    round: Round,
    /// The open round's coalitions as flips of its base set.
    flips: Vec<Option<usize>>,
    /// Scores of the first of them.
    told: Vec<Score>,
    ranking: Vec<usize>,
    scores: Vec<Score>,
    gaps: Vec<f64>,
    stopped_at: Option<usize>,
    evaluations: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The set before any flip.
    Start,
    /// The set after every flip.
    Last,
    /// The sets one flip further.
    Step,
    Done,
}

impl Greedy {
    pub(super) fn new(task: &Task, direction: Direction, stop: Stop) -> Self {
        let (current, start, last) = match direction {
            Direction::Insertion => (Coalition::empty(task.players), task.empty, task.full),
            Direction::Deletion => (Coalition::full(task.players), task.full, task.empty),
        };
        let mut greedy = Self {
            direction,
            stop,
            current,
            last,
            round: Round::Start,
            flips: Vec::new(),
            told: Vec::new(),
            ranking: Vec::new(),
            scores: Vec::new(),
            gaps: Vec::new(),
            stopped_at: None,
            evaluations: 0,
        };
        if let Some(score) = start {
            greedy.record(score);
        }
        greedy.open();
        greedy
    }

    pub(super) fn is_done(&self) -> bool {
        self.round == Round::Done
    }

    /// Flips so far.
    pub(super) fn steps(&self) -> usize {
        self.ranking.len()
    }

    pub(super) fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// The set that the open round's flips refer to.
    pub(super) fn base(&self) -> Coalition {
        match self.round {
            Round::Last => self.current.complement(),
            _ => self.current.clone(),
        }
    }

    /// Number of present players in each of the open round's coalitions.
    pub(super) fn size(&self) -> usize {
        let present = self.current.size();
        match (self.round, self.direction) {
            (Round::Last, _) => self.current.players() - present,
            (Round::Step, Direction::Insertion) => present + 1,
            (Round::Step, Direction::Deletion) => present - 1,
            _ => present,
        }
    }

    /// Whether some but not all of the open round's coalitions have a score.
    pub(super) fn is_partly_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// The open round's coalitions that have no score yet.
    pub(super) fn pending(&self) -> &[Option<usize>] {
        &self.flips[self.told.len()..]
    }

    /// Takes the scores of the first pending coalitions.
    pub(super) fn tell(&mut self, scores: &[Score]) {
        self.evaluations += scores.len();
        self.told.extend_from_slice(scores);
        if self.told.len() < self.flips.len() {
            return;
        }
        match self.round {
            Round::Start => self.record(self.told[0]),
            Round::Last => self.last = Some(self.told[0]),
            Round::Step => self.take_best(),
            Round::Done => {}
        }
        self.open();
    }

    /// Whether a whole step is open, none of which is scored yet.
    pub(super) fn awaits_step(&self) -> bool {
        self.round == Round::Step && self.told.is_empty()
    }

    /// The present players after the flips so far, which a step's flips refer to.
    pub(super) fn current(&self) -> &Coalition {
        &self.current
    }

    /// Whether `player` may be flipped next.
    pub(super) fn is_candidate(&self, player: usize) -> bool {
        player < self.current.players()
            && self.current.contains(player) == (self.direction == Direction::Deletion)
    }

    /// Takes the best player of the open step, all of whose coalitions were evaluated.
    pub(super) fn tell_best(&mut self, best: Best) {
        self.evaluations += self.flips.len();
        self.commit(best.player, best.score, best.gap);
        self.open();
    }

    /// What is known so far, once both ends are.
    pub(super) fn outcome(&self, image: usize) -> Option<Outcome> {
        let (&start, last) = (self.scores.first()?, self.last?);
        let (full, empty) = match self.direction {
            Direction::Insertion => (last, start),
            Direction::Deletion => (start, last),
        };
        Some(Outcome {
            image,
            ranking: self.ranking.clone(),
            scores: self.scores.clone(),
            full,
            empty,
            stopped_at: self.stopped_at,
            gaps: self.gaps.clone(),
            evaluations: self.evaluations,
        })
    }

    /// Opens the next round.
    fn open(&mut self) {
        self.told.clear();
        self.flips.clear();
        let (Some(_), Some(last)) = (self.scores.first(), self.last) else {
            self.round = if self.scores.is_empty() { Round::Start } else { Round::Last };
            self.flips.push(None);
            return;
        };
        let candidates = self.candidates();
        match candidates[..] {
            _ if self.is_finished() => self.round = Round::Done,
            // The last flip leads to the other end, whose score is known.
            [only] => {
                self.commit(only, last, f64::INFINITY);
                self.round = Round::Done;
            }
            _ => {
                self.round = Round::Step;
                self.flips.extend(candidates.into_iter().map(Some));
            }
        }
    }

    fn is_finished(&self) -> bool {
        let stopped = match self.stop {
            Stop::All => false,
            Stop::Flip { min_players, .. } => self.stopped_at.is_some() && self.ranking.len() >= min_players,
            Stop::Steps(steps) => self.ranking.len() >= steps,
        };
        stopped || self.ranking.len() == self.current.players()
    }

    /// The players that have not been flipped, ascending.
    fn candidates(&self) -> Vec<usize> {
        let flipped = self.direction == Direction::Insertion;
        (0..self.current.players()).filter(|&player| self.current.contains(player) != flipped).collect()
    }

    /// Flips the best player of a finished round of at least two.
    fn take_best(&mut self) {
        let sign = match self.direction {
            Direction::Insertion => 1.0,
            Direction::Deletion => -1.0,
        };
        let (mut best, mut second) = (0, f64::NEG_INFINITY);
        for (index, score) in self.told.iter().enumerate().skip(1) {
            if sign * score.reward > sign * self.told[best].reward {
                second = sign * self.told[best].reward;
                best = index;
            } else {
                second = second.max(sign * score.reward);
            }
        }
        let gap = sign * self.told[best].reward - second;
        if let Some(player) = self.flips[best] {
            self.commit(player, self.told[best], gap);
        }
    }

    fn commit(&mut self, player: usize, score: Score, gap: f64) {
        self.current.flip(player);
        self.ranking.push(player);
        self.gaps.push(gap);
        self.record(score);
    }

    fn record(&mut self, score: Score) {
        if self.stopped_at.is_none() && self.has_flipped(score) {
            self.stopped_at = Some(self.scores.len());
        }
        self.scores.push(score);
    }

    fn has_flipped(&self, score: Score) -> bool {
        let min_confidence = match self.stop {
            Stop::Flip { min_confidence, .. } => min_confidence,
            Stop::All | Stop::Steps(_) => 0.0,
        };
        match self.direction {
            Direction::Insertion => score.holds && (min_confidence == 0.0 || score.answer >= min_confidence),
            Direction::Deletion => !score.holds,
        }
    }
}
