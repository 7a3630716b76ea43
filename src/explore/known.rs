//! What has been said to the coalitions of one image.

use std::collections::{HashMap, HashSet};

use super::objective::{Objective, Verdict};
use crate::search::{Coalition, Score};

/// Something must be asked before a search can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting;

/// What is known so far, or that it is not known yet.
pub(super) type Answered<T> = std::result::Result<T, Waiting>;

/// The scores of an image's coalitions, and those that are wanted next.
///
/// The searches here are plain functions that are called again with more answers, until they come to their end: what they
/// ask twice, they are told at once.
#[derive(Debug, Clone)]
pub(super) struct Known {
    players: usize,
    scores: HashMap<Coalition, Score>,
    wanted: HashSet<Coalition>,
    /// The wanted ones in the order in which they were asked.
    queue: Vec<Coalition>,
}

impl Known {
    pub(super) fn new(players: usize) -> Self {
        Self { players, scores: HashMap::new(), wanted: HashSet::new(), queue: Vec::new() }
    }

    pub(super) fn players(&self) -> usize {
        self.players
    }

    pub(super) fn tell(&mut self, coalition: Coalition, score: Score) {
        self.scores.insert(coalition, score);
    }

    /// How many coalitions have a score.
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    /// Hands over what is wanted, in the order in which it was asked.
    pub(super) fn take_wanted(&mut self) -> Vec<Coalition> {
        self.wanted.clear();
        std::mem::take(&mut self.queue)
    }

    /// The score of a coalition.
    pub(super) fn score(&mut self, coalition: &Coalition) -> Answered<Score> {
        if let Some(&score) = self.scores.get(coalition) {
            return Ok(score);
        }
        if self.wanted.insert(coalition.clone()) {
            self.queue.push(coalition.clone());
        }
        Err(Waiting)
    }

    /// What each group is; all that is missing is wanted at once.
    pub(super) fn judge(&mut self, objective: Objective, groups: &[Coalition]) -> Answered<Vec<Verdict>> {
        // All are looked up before the first that is missing ends it, so that they share batches.
        let verdicts: Vec<Answered<Verdict>> =
            groups.iter().map(|group| self.judge_one(objective, group)).collect();
        verdicts.into_iter().collect()
    }

    /// What a group is, if all is known that it takes; nothing is wanted.
    pub(super) fn peek(&self, objective: Objective, group: &Coalition) -> Option<Verdict> {
        let scores: Option<Vec<Score>> =
            objective.coalitions(group).map(|coalition| self.scores.get(&coalition).copied()).collect();
        let scores = scores?;
        Some(objective.verdict(*scores.first()?, *scores.last()?))
    }

    fn judge_one(&mut self, objective: Objective, group: &Coalition) -> Answered<Verdict> {
        let asked: Vec<Answered<Score>> =
            objective.coalitions(group).map(|coalition| self.score(&coalition)).collect();
        let scores = asked.into_iter().collect::<Answered<Vec<Score>>>()?;
        // What is not asked about does not matter: the other side stands for it.
        Ok(objective.verdict(scores[0], scores[scores.len() - 1]))
    }
}

/// The place of the greatest value, the first of equal ones, and how far it is ahead of the second.
///
/// `None` where there is none.
pub(super) fn best_of(values: impl IntoIterator<Item = f64>) -> Option<(usize, f64)> {
    let mut best: Option<(usize, f64)> = None;
    let mut second = f64::NEG_INFINITY;
    for (place, value) in values.into_iter().enumerate() {
        match best {
            Some((_, greatest)) if value <= greatest => second = second.max(value),
            _ => {
                second = best.map_or(second, |(_, greatest)| greatest);
                best = Some((place, value));
            }
        }
    }
    best.map(|(place, greatest)| (place, greatest - second))
}

#[cfg(test)]
mod tests {
    use super::best_of;

    #[test]
    fn the_first_of_equal_values_is_best_and_not_ahead() {
        assert_eq!(best_of([]), None);
        assert_eq!(best_of([2.0]), Some((0, f64::INFINITY)));
        assert_eq!(best_of([1.0, 3.0, 3.0]), Some((1, 0.0)));
        assert_eq!(best_of([1.0, 2.5, 0.0, 4.0]), Some((3, 1.5)));
    }
}
