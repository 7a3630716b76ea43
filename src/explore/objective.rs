//! What a group of players is looked for.

use crate::error::{Error, Result};
use crate::search::{Coalition, Score};

/// What a group shall do.
///
/// ```
/// use interpix::explore::{Aim, Objective, Verdict};
/// use interpix::search::Score;
///
/// // The group suffices, and so do all others without it.
/// let with = Score { reward: 3.0, answer: 0.5, predicted: None, holds: true };
/// let without = Score { reward: 1.0, ..with };
/// let verdict = |aim| Objective { aim, min_confidence: 0.0 }.verdict(with, without);
/// assert_eq!(verdict(Aim::Insertion), Verdict { value: 3.0, reached: true });
/// assert_eq!(verdict(Aim::Deletion), Verdict { value: -1.0, reached: false });
/// assert_eq!(verdict(Aim::Both { weight: 0.5 }), Verdict { value: 1.0, reached: false });
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    /// Suffice: the answer holds with the group alone.
    Insertion,
    /// Be needed: the answer no longer holds without it.
    Deletion,
    /// Both at once.
    Both {
        /// How much the reward of the group alone counts, in `[0, 1]`; that of all others counts the rest, negatively.
        weight: f64,
    },
}

/// What a group is judged by.
///
/// ```
/// use interpix::explore::{Aim, Objective};
/// use interpix::search::Score;
///
/// // The answer holds with a probability of 0.6: for the group alone that is enough or not, as one asks.
/// let with = Score { reward: 3.0, answer: 0.6, predicted: None, holds: true };
/// let without = Score { holds: false, ..with };
/// let reached = |aim, min_confidence| Objective { aim, min_confidence }.verdict(with, without).reached;
/// assert_eq!([0.0, 0.5, 0.7].map(|least| reached(Aim::Insertion, least)), [true, true, false]);
/// assert!(reached(Aim::Deletion, 0.7)); // nothing is asked of the answer
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// What it shall do.
    pub aim: Aim,
    /// The least answer of a group that suffices, a probability in `[0, 1]`; 0 asks for nothing.
    pub min_confidence: f64,
}

/// How good a group is.
///
/// ```
/// use interpix::explore::{Aim, Objective, Verdict};
/// use interpix::search::Score;
///
/// // Of those that do what they shall, the best: it need not be the one of the greatest value.
/// let objective = Objective { aim: Aim::Insertion, min_confidence: 0.0 };
/// let verdicts = [(5.0, false), (2.0, true), (3.0, true)].map(|(reward, holds)| {
///     let with = Score { reward, answer: 0.5, predicted: None, holds };
///     objective.verdict(with, with)
/// });
/// let best = verdicts.iter().filter(|one| one.reached).max_by(|a, b| a.value.total_cmp(&b.value));
/// assert_eq!(best, Some(&Verdict { value: 3.0, reached: true }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// What a search makes as great as it can: of a group `S` out of all players `N`, `f(S)` (insertion), `-f(N - S)`
    /// (deletion), or `weight f(S) - (1 - weight) f(N - S)`.
    pub value: f64,
    /// Whether it does what it shall.
    pub reached: bool,
}

impl Objective {
    /// Whether groups that suffice, or that suffice and are needed, are asked about by themselves.
    pub(super) fn asks_with(self) -> bool {
        !matches!(self.aim, Aim::Deletion)
    }

    /// Whether it is asked what is said without them.
    pub(super) fn asks_without(self) -> bool {
        !matches!(self.aim, Aim::Insertion)
    }

    /// What a group is, by what is said to it and to all other players; what is not asked about may be anything.
    ///
    /// ```
    /// use interpix::explore::{Aim, Objective, Verdict};
    /// use interpix::search::Score;
    ///
    /// let score = |reward: f64| Score { reward, answer: 0.5, predicted: None, holds: reward > 0.0 };
    /// let both = Objective { aim: Aim::Both { weight: 0.75 }, min_confidence: 0.0 };
    /// assert_eq!(both.verdict(score(4.0), score(-2.0)), Verdict { value: 3.5, reached: true });
    /// assert!(!both.verdict(score(4.0), score(1.0)).reached); // not needed: the others suffice, too
    /// ```
    pub fn verdict(&self, with: Score, without: Score) -> Verdict {
        // Answers that are no probabilities may be negative: 0 asks for nothing.
        let suffices = with.holds && (self.min_confidence == 0.0 || with.answer >= self.min_confidence);
        let needed = !without.holds;
        let (value, reached) = match self.aim {
            Aim::Insertion => (with.reward, suffices),
            Aim::Deletion => (-without.reward, needed),
            Aim::Both { weight } => {
                (weight * with.reward - (1.0 - weight) * without.reward, suffices && needed)
            }
        };
        // Adding nothing makes of -0 what equals it: 0, so that whoever sorts values sees them as equal.
        Verdict { value: value + 0.0, reached }
    }

    pub(super) fn check(self) -> Result<()> {
        let in_range = |number: f64| (0.0..=1.0).contains(&number);
        if let Aim::Both { weight } = self.aim
            && !in_range(weight)
        {
            let cure = "0.5 weighs both alike";
            return Err(Error::argument("weight", "a number from 0 to 1", weight, cure));
        }
        if !in_range(self.min_confidence) {
            let cure = "leave it out to stop as soon as the answer holds";
            return Err(Error::argument(
                "min_confidence",
                "a probability from 0 to 1",
                self.min_confidence,
                cure,
            ));
        }
        Ok(())
    }

    /// What must be asked to judge a group.
    pub(super) fn coalitions(self, group: &Coalition) -> impl Iterator<Item = Coalition> {
        let with = self.asks_with().then(|| group.clone());
        let without = self.asks_without().then(|| group.complement());
        with.into_iter().chain(without)
    }
}
