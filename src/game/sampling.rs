//! Shapley values from random coalitions.

use super::evaluator::{Evaluator, check_memory, check_players};
use super::random::SplitMix;
use crate::error::{Error, Result};
use crate::search::{Coalition, RunError};

/// Rounds whose coalitions are collected before they are evaluated: fills the batches and bounds the memory.
const ROUNDS_AT_ONCE: usize = 16;
/// Coalitions for which fewer rounds do.
const ENOUGH: usize = 4096;

/// How coalitions are drawn. Both are unbiased.
///
/// ```
/// use interpix::game::{SampleOptions, Sampler, sampled_shapley_values};
/// use interpix::search::Coalition;
///
/// // 6 for all three together: who joins as the last gains them.
/// let reward = |set: &Coalition| if set.size() == 3 { 6.0 } else { 0.0 };
/// let evaluate = |sets: &[Coalition]| Ok::<_, std::convert::Infallible>(sets.iter().map(reward).collect());
/// let sum = |sampler| {
///     let options = SampleOptions { sampler, rounds: 1, ..SampleOptions::default() };
///     sampled_shapley_values(3, &options, evaluate).map(|sampled| sampled.values.iter().sum::<f64>())
/// };
/// assert_eq!(sum(Sampler::Permutation)?, 6.0); // one of an order is the last
/// assert!([0.0, 18.0].contains(&sum(Sampler::Moxi)?)); // all join two others, or none does
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sampler {
    /// Each round draws one size ratio, and for each player a random coalition of others of that ratio, as in the
    /// `MoXI` experiments. `2 n` coalitions a round. The authors' program never draws the largest size, all others,
    /// which biases its values; here the sizes `0..n` are equally likely, as equation 1 has it.
    Moxi,
    /// Each round draws an order of all players and lets them join one after the other. `n + 1` coalitions a round,
    /// and every round's gains add up to `f(N) - f({})`.
    #[default]
    Permutation,
}

/// How [`sampled_shapley_values`] samples.
///
/// ```
/// use interpix::game::{SampleOptions, sampled_shapley_values};
/// use interpix::search::Coalition;
///
/// // Of two that show the same, the first to join gains 2 and the other 0.
/// let reward = |set: &Coalition| if set.size() > 0 { 2.0 } else { 0.0 };
/// let evaluate = |sets: &[Coalition]| Ok::<_, std::convert::Infallible>(sets.iter().map(reward).collect());
/// let error = |rounds| {
///     let options = SampleOptions { rounds, ..SampleOptions::default() };
///     sampled_shapley_values(2, &options, evaluate).map(|sampled| sampled.standard_errors[0])
/// };
/// assert!((error(100)? - 0.1).abs() < 0.01); // 1 / sqrt(100): a gain is 1 from the mean
/// assert!((error(10_000)? - 0.01).abs() < 0.001);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleOptions {
    /// How coalitions are drawn.
    pub sampler: Sampler,
    /// Number of rounds, at least 1; the error falls with its square root.
    pub rounds: usize,
    /// The same seed gives the same coalitions everywhere.
    pub seed: u64,
    /// Most coalitions that the callback gets at once, at least 1; changes no result.
    pub batch_size: usize,
}

/// Permutations, the authors' 200 rounds, seed 0, 64 coalitions a batch.
impl Default for SampleOptions {
    fn default() -> Self {
        Self { sampler: Sampler::default(), rounds: 200, seed: 0, batch_size: 64 }
    }
}

/// Estimated Shapley values.
///
/// ```
/// use interpix::game::{SampleOptions, sampled_shapley_values};
/// use interpix::search::Coalition;
///
/// // 6 for a pair with player 2 in it: the values are 1, 1 and 4.
/// let reward = |set: &Coalition| if set.contains(2) && set.size() > 1 { 6.0 } else { 0.0 };
/// let evaluate = |sets: &[Coalition]| Ok::<_, std::convert::Infallible>(sets.iter().map(reward).collect());
/// let sampled = sampled_shapley_values(3, &SampleOptions::default(), evaluate)?;
/// for (value, (error, exact)) in sampled.values.iter().zip(sampled.standard_errors.iter().zip([1.0, 1.0, 4.0])) {
///     assert!((value - exact).abs() < 3.0 * error);
/// }
/// assert_eq!(sampled.evaluations, 8); // 200 rounds of four, but there are no more
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Each player's mean gain.
    pub values: Vec<f64>,
    /// Each value's standard error; infinite after a single round.
    pub standard_errors: Vec<f64>,
    /// Coalitions that were evaluated; one drawn again is not evaluated again unless it was forgotten: 64 MB of rewards
    /// are remembered.
    pub evaluations: usize,
}

/// Estimates every player's Shapley value from the gains of joining random coalitions.
///
/// ```
/// use interpix::game::{SampleOptions, sampled_shapley_values};
/// use interpix::search::Coalition;
///
/// // Nobody interacts: player i always gains i, so every sample is exact.
/// let evaluate = |sets: &[Coalition]| {
///     Ok::<_, std::convert::Infallible>(sets.iter().map(|set| set.members().sum::<usize>() as f64).collect())
/// };
/// let sampled = sampled_shapley_values(3, &SampleOptions::default(), evaluate)?;
/// assert_eq!(sampled.values, [0.0, 1.0, 2.0]);
/// assert_eq!(sampled.standard_errors, [0.0; 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The callback's own error; no players or rounds; or rewards that are too few, too many or not finite.
pub fn sampled_shapley_values<E>(
    players: usize,
    options: &SampleOptions,
    evaluate: impl FnMut(&[Coalition]) -> std::result::Result<Vec<f64>, E>,
) -> std::result::Result<Sampled, RunError<E>> {
    check_players(players)?;
    check_rounds(options.rounds)?;
    let at_once = (ENOUGH / players).clamp(1, ROUNDS_AT_ONCE);
    check_memory(players, players.saturating_mul(2 * at_once))?;
    let mut evaluator = Evaluator::new(evaluate, options.batch_size)?;
    let mut random = SplitMix::new(options.seed);
    let mut gains = vec![Moments::default(); players];
    let mut left = options.rounds;
    while left > 0 {
        let rounds = left.min(at_once);
        let joins: Vec<Join> =
            (0..rounds).flat_map(|_| draw(options.sampler, players, &mut random)).collect();
        evaluator.fetch(joins.iter().flat_map(|join| [&join.before, &join.after]))?;
        for join in &joins {
            gains[join.player].add(evaluator.reward(&join.after) - evaluator.reward(&join.before));
        }
        left -= rounds;
    }
    Ok(Sampled {
        values: gains.iter().map(|gain| gain.mean).collect(),
        standard_errors: gains.iter().map(Moments::standard_error).collect(),
        evaluations: evaluator.evaluations(),
    })
}

fn check_rounds(rounds: usize) -> Result<()> {
    match rounds {
        0 => Err(Error::argument("rounds", "at least 1", rounds, "leave it out for the default")),
        _ => Ok(()),
    }
}

/// A player who joins a coalition.
struct Join {
    player: usize,
    before: Coalition,
    after: Coalition,
}

/// One join for each player.
fn draw(sampler: Sampler, players: usize, random: &mut SplitMix) -> Vec<Join> {
    match sampler {
        Sampler::Moxi => {
            let size = random.below(players);
            (0..players).map(|player| join_random(player, players, size, random)).collect()
        }
        Sampler::Permutation => {
            let mut order: Vec<usize> = (0..players).collect();
            random.shuffle_front(&mut order, players);
            let mut present = Coalition::empty(players);
            let join = |player| {
                let before = present.clone();
                present.insert(player);
                Join { player, before, after: present.clone() }
            };
            order.into_iter().map(join).collect()
        }
    }
}

fn join_random(player: usize, players: usize, size: usize, random: &mut SplitMix) -> Join {
    let mut others: Vec<usize> = (0..players).filter(|&other| other != player).collect();
    random.shuffle_front(&mut others, size);
    others.truncate(size);
    let before = Coalition::of(players, others);
    Join { player, after: before.with(player), before }
}

/// Running mean and squared deviations (Welford).
#[derive(Debug, Clone, Default)]
struct Moments {
    count: f64,
    mean: f64,
    deviations: f64,
}

impl Moments {
    fn add(&mut self, sample: f64) {
        self.count += 1.0;
        let distance = sample - self.mean;
        self.mean += distance / self.count;
        self.deviations += distance * (sample - self.mean);
    }

    fn standard_error(&self) -> f64 {
        if self.count < 2.0 {
            return f64::INFINITY;
        }
        (self.deviations / (self.count - 1.0) / self.count).sqrt()
    }
}
