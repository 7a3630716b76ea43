//! Games on coalitions: what a player or a pair of players is worth.
//!
//! A game gives every coalition `S` of the players `N = {0, …, n-1}` a reward `f(S)`. Here are the quantities that
//! explain why greedy search ([`crate::search`]) takes interactions into account, and those it is compared with:
//!
//! * [`Table`]: the whole game, with exact Shapley values and interactions (equations 1 and 2 of the `MoXI` paper);
//! * [`sampled_shapley_values`]: the same values from random coalitions, when there are too many players;
//! * [`self_context_value`], [`self_context_interaction`]: in the presence of nobody else (insertion);
//! * [`full_context_value`], [`full_context_interaction`]: in the presence of everybody else (deletion);
//! * [`one_shot`]: `MoXI(-)`, a ranking by the values alone.
//!
//! ```
//! use interpix::game::{Table, one_shot, self_context_interaction};
//! use interpix::search::{Coalition, Direction};
//!
//! // Three players: 0 and 1 hold the same value 2, player 2 holds 1; a coalition earns its distinct values' sum.
//! let reward = |set: &Coalition| {
//!     2.0 * f64::from(set.contains(0) || set.contains(1)) + f64::from(set.contains(2))
//! };
//! let game = Table::from_fn(3, reward)?;
//! assert_eq!(game.shapley_values(), [1.0, 1.0, 1.0]);
//! assert_eq!(game.shapley_interactions()[[0, 1]], -2.0);
//! assert_eq!(self_context_interaction(reward, &Coalition::of(3, [0]), 1), -2.0);
//!
//! // Without interactions the copy comes second; a greedy search would take player 2 instead.
//! let evaluate = |sets: &[Coalition]| Ok::<_, std::convert::Infallible>(sets.iter().map(reward).collect());
//! assert_eq!(one_shot(3, Direction::Insertion, 64, evaluate)?.ranking, [0, 1, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod context;
mod evaluator;
mod one_shot;
mod random;
mod sampling;
mod table;

pub use context::{full_context_interaction, full_context_value, self_context_interaction, self_context_value};
pub use one_shot::{OneShot, one_shot};
pub use sampling::{SampleOptions, Sampled, Sampler, sampled_shapley_values};
pub use table::{MAX_PLAYERS, Table};
