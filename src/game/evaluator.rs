//! Rewards through a callback: a batch at a time, each coalition once as long as it is remembered.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::memory;
use crate::search::{Coalition, RunError};

/// Bytes of the rewards that are remembered from one [`Evaluator::fetch`] to the next.
const MAX_BYTES: usize = 64 << 20;
/// Bytes of a reward and its coalition, but for one bit for each player: with what a table and the heap add, some.
const ENTRY_BYTES: usize = 112;

pub(super) struct Evaluator<F> {
    evaluate: F,
    batch_size: usize,
    rewards: HashMap<Coalition, f64>,
    evaluations: usize,
}

impl<E, F: FnMut(&[Coalition]) -> std::result::Result<Vec<f64>, E>> Evaluator<F> {
    pub(super) fn new(evaluate: F, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            let cure = "leave it out for the default";
            return Err(Error::argument("batch_size", "at least 1", batch_size, cure));
        }
        Ok(Self { evaluate, batch_size, rewards: HashMap::new(), evaluations: 0 })
    }

    /// Evaluates those of the coalitions that are not known yet, in their order. Their rewards are known until the next
    /// call.
    pub(super) fn fetch<'a>(
        &mut self,
        coalitions: impl IntoIterator<Item = &'a Coalition>,
    ) -> std::result::Result<(), RunError<E>> {
        self.forget();
        let mut queue: Vec<Coalition> = Vec::new();
        for coalition in coalitions {
            if !self.rewards.contains_key(coalition) {
                // Reserves the place, so that a coalition is queued once.
                self.rewards.insert(coalition.clone(), f64::NAN);
                queue.push(coalition.clone());
            }
        }
        for batch in queue.chunks(self.batch_size) {
            let rewards = (self.evaluate)(batch).map_err(RunError::Callback)?;
            check(batch, &rewards)?;
            self.evaluations += batch.len();
            self.rewards.extend(batch.iter().cloned().zip(rewards));
        }
        Ok(())
    }

    /// Keeps, once there are too many, the rewards of those coalitions only that every few rounds draw again: with at most
    /// one member, or without one at most.
    fn forget(&mut self) {
        let entry = |set: &Coalition| ENTRY_BYTES + set.players() / 8;
        if self.rewards.keys().next().is_some_and(|set| self.rewards.len() > MAX_BYTES / entry(set)) {
            self.rewards.retain(|set, _| set.size() <= 1 || set.size() + 1 >= set.players());
            self.rewards.shrink_to_fit();
        }
    }

    /// The reward of a coalition that was fetched last.
    pub(super) fn reward(&self, coalition: &Coalition) -> f64 {
        self.rewards[coalition]
    }

    /// Coalitions evaluated so far.
    pub(super) fn evaluations(&self) -> usize {
        self.evaluations
    }
}

pub(super) fn check_players(players: usize) -> Result<()> {
    match players {
        0 => Err(Error::argument("players", "at least 1", players, "a game needs somebody to play it")),
        _ => Ok(()),
    }
}

/// Refuses to fetch so many coalitions at once if the memory does not hold them, each in three places.
pub(super) fn check_memory(players: usize, coalitions: usize) -> Result<()> {
    let bytes = (ENTRY_BYTES + players / 8).saturating_mul(coalitions).saturating_mul(3);
    memory::require(bytes, "regions", "the table of sets of players", "take fewer, larger regions")
}

fn check(batch: &[Coalition], rewards: &[f64]) -> Result<()> {
    if rewards.len() != batch.len() {
        let expected = format!("{} rewards, one for each coalition", batch.len());
        return Err(Error::argument("evaluate", expected, rewards.len(), "return one number for each row"));
    }
    let Some(row) = rewards.iter().position(|reward| !reward.is_finite()) else { return Ok(()) };
    let got = format!("{} for coalition {}", rewards[row], batch[row]);
    let cure = "check that the model's outputs are finite there (a float16 model may overflow: use float32)";
    Err(Error::argument("evaluate", "finite rewards", got, cure))
}
