//! Games as tables, for searches to be tried on.

use interpix::search::{Coalition, Score};
use proptest::prelude::*;

/// A game as a table over all coalitions; bit `i` of the index is player `i`.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) players: usize,
    pub(super) scores: Vec<Score>,
}

impl Table {
    pub(super) fn score(&self, coalition: &Coalition) -> Score {
        self.scores[coalition.members().map(|member| 1 << member).sum::<usize>()]
    }
}

/// Games of up to `most` players: small whole rewards, so that ties are common; whether it holds is independent of
/// them, and as often as `holds` says.
pub(super) fn table(most: usize, holds: f64) -> impl Strategy<Value = Table> {
    (1..=most).prop_flat_map(move |players| {
        let score =
            (-3..=3_i32, 0..=4_u8, prop::bool::weighted(holds)).prop_map(|(reward, quarter, holds)| Score {
                reward: f64::from(reward),
                answer: f64::from(quarter) / 4.0,
                predicted: None,
                holds,
            });
        prop::collection::vec(score, 1 << players).prop_map(move |scores| Table { players, scores })
    })
}
