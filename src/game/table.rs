//! Games small enough to be written out: exact Shapley values and interactions.

use ndarray::Array2;

use super::evaluator::{Evaluator, check_players};
use crate::error::{Error, Result};
use crate::search::{Coalition, RunError};

/// Most players of a [`Table`]: 65,536 rewards.
pub const MAX_PLAYERS: usize = 16;

/// The rewards of all `2^n` coalitions of at most [`MAX_PLAYERS`] players.
///
/// ```
/// use interpix::game::Table;
/// use interpix::search::Coalition;
///
/// // 6 for 0 and 1 together, 1 for player 2.
/// let reward = |set: &Coalition| {
///     6.0 * f64::from(set.contains(0) && set.contains(1)) + f64::from(set.contains(2))
/// };
/// let game = Table::from_fn(3, reward)?;
/// assert_eq!(game.reward(&Coalition::of(3, [0, 1, 2])), 7.0);
/// assert_eq!(game.shapley_values(), [3.0, 3.0, 1.0]);
/// assert_eq!(game.shapley_interactions(), ndarray::array![[0.0, 6.0, 0.0], [6.0, 0.0, 0.0], [0.0, 0.0, 0.0]]);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    players: usize,
    /// Bit `i` of the index: player `i` is present.
    rewards: Vec<f64>,
}

impl Table {
    /// Calls `reward` for every coalition.
    ///
    /// # Errors
    /// `players` is 0 or above [`MAX_PLAYERS`], or a reward is not finite.
    pub fn from_fn(players: usize, reward: impl Fn(&Coalition) -> f64) -> Result<Self> {
        let evaluate =
            |sets: &[Coalition]| Ok::<_, std::convert::Infallible>(sets.iter().map(&reward).collect());
        Self::evaluate(players, 1 << MAX_PLAYERS, evaluate).map_err(|error| match error {
            RunError::Search(error) => error,
            RunError::Callback(never) => match never {},
        })
    }

    /// Evaluates every coalition through a callback, at most `batch_size` at a time.
    ///
    /// # Errors
    /// The callback's own error; `players` is 0 or above [`MAX_PLAYERS`]; or rewards that are too few, too many or not
    /// finite.
    pub fn evaluate<E>(
        players: usize,
        batch_size: usize,
        evaluate: impl FnMut(&[Coalition]) -> std::result::Result<Vec<f64>, E>,
    ) -> std::result::Result<Self, RunError<E>> {
        check_players(players)?;
        if players > MAX_PLAYERS {
            let cure = "sample the values, or take fewer, larger regions";
            let expected = format!("at most {MAX_PLAYERS} for an exact answer");
            return Err(Error::argument("players", expected, players, cure).into());
        }
        let coalitions: Vec<Coalition> =
            (0..1_u64 << players).map(|code| Coalition::from_code(players, code)).collect();
        let mut evaluator = Evaluator::new(evaluate, batch_size)?;
        evaluator.fetch(&coalitions)?;
        let rewards = coalitions.iter().map(|coalition| evaluator.reward(coalition)).collect();
        Ok(Self { players, rewards })
    }

    /// Number of players.
    pub fn players(&self) -> usize {
        self.players
    }

    /// The reward of a coalition of this game's players.
    pub fn reward(&self, coalition: &Coalition) -> f64 {
        self.rewards[coalition.members().map(|member| 1 << member).sum::<usize>()]
    }

    /// Each player's Shapley value (equation 1), with `S` over the coalitions without player `i`:
    /// `phi(i) = sum |S|! (n - 1 - |S|)! / n! [f(S + i) - f(S)]`.
    ///
    /// ```
    /// # use interpix::game::Table;
    /// // The glove game: players 0 and 1 hold a left glove each, player 2 the only right one; a pair earns 6.
    /// let game = Table::from_fn(3, |set| f64::from(set.contains(2) && set.size() > 1) * 6.0)?;
    /// assert_eq!(game.shapley_values(), [1.0, 1.0, 4.0]);
    /// # Ok::<(), interpix::Error>(())
    /// ```
    pub fn shapley_values(&self) -> Vec<f64> {
        let weights = weights(self.players);
        (0..self.players)
            .map(|player| self.average(&weights, 1 << player, |code| self.gain(code, player)))
            .collect()
    }

    /// The Shapley interaction index of each pair (equation 2), (n, n), symmetric with a zero diagonal: the Shapley
    /// value of the pair as one merged player, less each one's value in the absence of the other. With `S` over the
    /// coalitions without `i` and `j`:
    /// `I(i, j) = sum |S|! (n - 2 - |S|)! / (n - 1)! [f(S + i + j) - f(S + i) - f(S + j) + f(S)]`.
    pub fn shapley_interactions(&self) -> Array2<f64> {
        let weights = weights(self.players - 1);
        Array2::from_shape_fn((self.players, self.players), |(i, j)| {
            if i == j {
                return 0.0;
            }
            // One order for both halves, so that they are equal to the last bit.
            let (i, j) = (i.min(j), i.max(j));
            self.average(&weights, 1 << i | 1 << j, |code| self.gain(code | 1 << j, i) - self.gain(code, i))
        })
    }

    /// `f(S + player) - f(S)` for a coalition as a bit code.
    fn gain(&self, code: usize, player: usize) -> f64 {
        self.rewards[code | 1 << player] - self.rewards[code]
    }

    /// The weighted sum over all coalitions without the `excluded` players.
    fn average(&self, weights: &[f64], excluded: usize, term: impl Fn(usize) -> f64) -> f64 {
        let codes = (0..self.rewards.len()).filter(|code| code & excluded == 0);
        codes.map(|code| weights[code.count_ones() as usize] * term(code)).sum()
    }
}

/// `s! (n - 1 - s)! / n!` for `s` in `0..n`.
fn weights(players: usize) -> Vec<f64> {
    let mut weights = vec![1.0 / players as f64; players];
    for size in 1..players {
        weights[size] = weights[size - 1] * size as f64 / (players - size) as f64;
    }
    weights
}
