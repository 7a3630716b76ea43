//! Rewards through a callback: a batch at a time, each coalition once.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::search::{Coalition, RunError};

pub(super) struct Evaluator<F> {
    evaluate: F,
    batch_size: usize,
    rewards: HashMap<Coalition, f64>,
}

impl<E, F: FnMut(&[Coalition]) -> std::result::Result<Vec<f64>, E>> Evaluator<F> {
    pub(super) fn new(evaluate: F, batch_size: usize) -> Result<Self> {
        if batch_size == 0 {
            let cure = "leave it out for the default";
            return Err(Error::argument("batch_size", "at least 1", batch_size, cure));
        }
        Ok(Self { evaluate, batch_size, rewards: HashMap::new() })
    }

    /// Evaluates those of the coalitions that are not known yet, in their order.
    pub(super) fn fetch<'a>(
        &mut self,
        coalitions: impl IntoIterator<Item = &'a Coalition>,
    ) -> std::result::Result<(), RunError<E>> {
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
            self.rewards.extend(batch.iter().cloned().zip(rewards));
        }
        Ok(())
    }

    /// The reward of a coalition that was fetched.
    pub(super) fn reward(&self, coalition: &Coalition) -> f64 {
        self.rewards[coalition]
    }

    /// Coalitions evaluated so far.
    pub(super) fn evaluations(&self) -> usize {
        self.rewards.len()
    }
}

pub(super) fn check_players(players: usize) -> Result<()> {
    match players {
        0 => Err(Error::argument("players", "at least 1", players, "a game needs somebody to play it")),
        _ => Ok(()),
    }
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
