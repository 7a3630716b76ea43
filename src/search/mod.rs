//! `MoXI`: the group of players that decides together (CVPR 2024).
//!
//! The **players** `N = {0, …, n-1}` are the parts of an image; a **coalition** is the set of the players that are
//! present; its **reward** `f` is what the model says about the target when all others are absent. Greedy search
//! orders the players, one step after the other:
//!
//! ```text
//! insertion   b_k = argmax f(S + b)        S grows from nothing
//! deletion    b_k = argmin f(N - S - b)    S is what has been removed so far
//! ```
//!
//! which takes interactions into account: with `phi0(b) = f(b) - f({})` and
//! `I0(S, b) = f(S + b) - f(S) - f(b) + f({})` the insertion step is `argmax phi0(b) + I0(S, b)` (see
//! [`crate::game`]). Equal rewards go to the lowest player, so an order is reproducible.
//!
//! [`Search`] only asks questions: [`Search::ask`] hands out a [`Batch`] of coalitions of equal size from many
//! images, [`Search::tell`] takes their [`Score`]s, [`Search::run`] loops over both with a callback. No coalition of
//! an image is asked twice, and the outcome depends on neither the batch size nor the packing. An evaluator that finds
//! the best of a step itself, as on a GPU, is handed whole steps by [`Search::ask_round`] and tells
//! [`Search::tell_best`].
//!
//! ```
//! use interpix::search::{Direction, Score, Search, SearchOptions, Stop, Task};
//!
//! // Three players; 0 and 2 only count together.
//! let reward = |present: &[bool]| match present {
//!     [true, _, true] => 4.0,
//!     [_, true, _] => 1.0,
//!     _ => 0.0,
//! };
//! let options = SearchOptions { direction: Direction::Deletion, stop: Stop::All, ..SearchOptions::default() };
//! let mut search = Search::new(vec![Task::new(3)], options)?;
//! let outcomes = search.run(|batch| {
//!     let score = |row: &Vec<bool>| {
//!         let reward = reward(row);
//!         Score { reward, answer: reward / 4.0, predicted: None, holds: reward > 2.0 }
//!     };
//!     let rows: Vec<Vec<bool>> = batch.masks().rows().into_iter().map(|row| row.to_vec()).collect();
//!     Ok::<_, std::convert::Infallible>(rows.iter().map(score).collect())
//! })?;
//!
//! // Without 0 the pair is broken: 4 falls to 1 and the class flips; then 1 is worth more than 2.
//! assert_eq!(outcomes[0].ranking, [0, 1, 2]);
//! assert_eq!(outcomes[0].scores.iter().map(|score| score.reward).collect::<Vec<_>>(), [4.0, 1.0, 0.0, 0.0]);
//! assert_eq!(outcomes[0].stopped_at, Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod coalition;
mod driver;
mod greedy;
mod round;

pub use batch::Batch;
pub use coalition::Coalition;
pub use driver::{RunError, Search, SearchOptions};
pub use greedy::{Best, Direction, Outcome, Score, Stop, Task};
pub use round::Round;
