//! `MoXI(-)`: all players ranked at once, by what each does alone.

use std::cmp::Ordering;

use super::context::{full_context_value, self_context_value};
use super::evaluator::{Evaluator, check_memory, check_players};
use crate::search::{Coalition, Direction, RunError};

/// A ranking without interactions.
///
/// ```
/// use interpix::game::one_shot;
/// use interpix::search::{Coalition, Direction};
///
/// // Nobody interacts.
/// let reward = |set: &Coalition| set.members().map(|player| [1.0, 4.0, 2.0][player]).sum::<f64>();
/// let evaluate = |sets: &[Coalition]| Ok::<_, std::convert::Infallible>(sets.iter().map(reward).collect());
/// let found = one_shot(3, Direction::Insertion, 64, evaluate)?;
/// assert_eq!((&found.ranking[..], &found.values[..]), (&[1, 2, 0][..], &[1.0, 4.0, 2.0][..]));
/// assert_eq!(found.evaluations, 1 + 3); // nobody, and each alone
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OneShot {
    /// All players, most important first; equals in the order of their indices.
    pub ranking: Vec<usize>,
    /// Each player's `phi0` (insertion) or `phi_d` (deletion).
    pub values: Vec<f64>,
    /// Coalitions that were evaluated.
    pub evaluations: usize,
}

/// Ranks all players by their [`self_context_value`] (insertion) or [`full_context_value`] (deletion): `n + 1`
/// evaluations, at most `batch_size` at a time.
///
/// ```
/// use interpix::game::one_shot;
/// use interpix::search::{Coalition, Direction};
///
/// // 0 and 1 show the same, which is worth 3; 2 is worth 1. Nobody misses one of two copies.
/// let any = |set: &Coalition| set.contains(0) || set.contains(1);
/// let reward = |set: &Coalition| 3.0 * f64::from(any(set)) + f64::from(set.contains(2));
/// let evaluate = |sets: &[Coalition]| Ok::<_, std::convert::Infallible>(sets.iter().map(reward).collect());
/// assert_eq!(one_shot(3, Direction::Insertion, 64, evaluate)?.values, [3.0, 3.0, 1.0]);
/// let deletion = one_shot(3, Direction::Deletion, 64, evaluate)?;
/// assert_eq!((&deletion.values[..], deletion.ranking[0]), (&[0.0, 0.0, 1.0 / 3.0][..], 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The callback's own error; no players; or rewards that are too few, too many or not finite.
pub fn one_shot<E>(
    players: usize,
    direction: Direction,
    batch_size: usize,
    evaluate: impl FnMut(&[Coalition]) -> Result<Vec<f64>, E>,
) -> Result<OneShot, RunError<E>> {
    check_players(players)?;
    check_memory(players, players + 1)?;
    let mut evaluator = Evaluator::new(evaluate, batch_size)?;
    let start = match direction {
        Direction::Insertion => Coalition::empty(players),
        Direction::Deletion => Coalition::full(players),
    };
    let mut flipped: Vec<Coalition> = vec![start.clone(); players];
    flipped.iter_mut().enumerate().for_each(|(player, set)| set.flip(player));
    evaluator.fetch(std::iter::once(&start).chain(&flipped))?;

    let reward = |set: &Coalition| evaluator.reward(set);
    let value = |player| match (direction, Coalition::of(players, [player])) {
        (Direction::Insertion, alone) => self_context_value(reward, &alone),
        (Direction::Deletion, alone) => full_context_value(reward, &alone, &Coalition::empty(players)),
    };
    let values: Vec<f64> = (0..players).map(value).collect();
    let mut ranking: Vec<usize> = (0..players).collect();
    ranking.sort_by(|&a, &b| values[b].partial_cmp(&values[a]).unwrap_or(Ordering::Equal));
    Ok(OneShot { ranking, values, evaluations: evaluator.evaluations() })
}
