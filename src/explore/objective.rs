//! What a group of players is looked for.

use crate::error::{Error, Result};
use crate::search::{Coalition, Score};

/// What a group shall do.
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// What it shall do.
    pub aim: Aim,
    /// The least answer of a group that suffices, a probability in `[0, 1]`; 0 asks for nothing.
    pub min_confidence: f64,
}

/// How good a group is.
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
