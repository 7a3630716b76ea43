//! Values and interactions in the two extreme contexts: nobody else present, everybody else present.
//!
//! With these, the greedy steps of [`crate::search`] read
//!
//! ```text
//! insertion   argmax_b f(A + b)      =  argmax_b [phi0(b) + I0(A, b)]
//! deletion    argmin_b f(N - A - b)  =  argmax_b [phi_d(A | b absent) + phi_d(b | A absent) + I_d(A, b)]
//! ```
//!
//! where `phi_d(A | b absent)` treats the group `A` as one merged player. The paper prints `I_d` for a single player
//! `a`, and one exponent for terms with different numbers of players; here every term is divided by its own number.

use crate::search::Coalition;

/// `phi0(A) = f(A) - f({})`: what a group earns alone.
///
/// ```
/// use interpix::game::self_context_value;
/// use interpix::search::Coalition;
///
/// // 10 for nobody, and 3 more for each.
/// let reward = |set: &Coalition| 10.0 + 3.0 * set.size() as f64;
/// assert_eq!(self_context_value(reward, &Coalition::of(4, [0, 2])), 16.0 - 10.0);
/// ```
pub fn self_context_value(reward: impl Fn(&Coalition) -> f64, group: &Coalition) -> f64 {
    reward(group) - reward(&Coalition::empty(group.players()))
}

/// `I0(A, b) = f(A + b) - f(A) - f(b) + f({})`: what a group and a player outside of it earn beyond their own.
///
/// ```
/// use interpix::game::self_context_interaction;
/// use interpix::search::Coalition;
///
/// let (group, squared) = (Coalition::of(4, [0, 2]), |set: &Coalition| (set.size() * set.size()) as f64);
/// assert_eq!(self_context_interaction(squared, &group, 1), 9.0 - 4.0 - 1.0 + 0.0); // more than each alone
/// let any = |set: &Coalition| if set.size() > 0 { 1.0 } else { 0.0 };
/// assert_eq!(self_context_interaction(any, &group, 1), 1.0 - 1.0 - 1.0 + 0.0); // the one is as good as the other
/// ```
pub fn self_context_interaction(reward: impl Fn(&Coalition) -> f64, group: &Coalition, player: usize) -> f64 {
    let players = group.players();
    reward(&group.with(player)) - reward(group) - reward(&Coalition::of(players, [player]))
        + reward(&Coalition::empty(players))
}

/// `phi_d(A) = [f(N - D) - f(N - D - A)] / m`: what the game loses without the group `A` when the players `D`
/// (`absent`, disjoint from the group) are absent anyway.
///
/// `m = n - |D| - |A| + 1` is the number of players left, the group counted as one: this is the term of the group's
/// Shapley value in which everybody else is present. For one player and nobody absent it is `[f(N) - f(N - a)] / n`.
///
/// ```
/// use interpix::game::full_context_value;
/// use interpix::search::Coalition;
///
/// let squared = |set: &Coalition| (set.size() * set.size()) as f64;
/// assert_eq!(full_context_value(squared, &Coalition::of(3, [1]), &Coalition::empty(3)), (9.0 - 4.0) / 3.0);
/// ```
pub fn full_context_value(reward: impl Fn(&Coalition) -> f64, group: &Coalition, absent: &Coalition) -> f64 {
    let present = absent.complement();
    let players = present.difference(group).size() + 1;
    (reward(&present) - reward(&present.difference(group))) / players as f64
}

/// `I_d(A, b) = [f(N) - f(N - A) - f(N - b) + f(N - A - b)] / (n - |A|)`: what a group and a player outside of it
/// earn together beyond their own when everybody else is present.
///
/// ```
/// use interpix::game::{full_context_interaction, self_context_interaction};
/// use interpix::search::Coalition;
///
/// // 6 for all three: one alone earns nothing with another, but each is missed as much as two are.
/// let reward = |set: &Coalition| if set.size() == 3 { 6.0 } else { 0.0 };
/// let group = Coalition::of(3, [0]);
/// assert_eq!(self_context_interaction(reward, &group, 1), 0.0);
/// assert_eq!(full_context_interaction(reward, &group, 1), (6.0 - 0.0 - 0.0 + 0.0) / 2.0);
/// ```
pub fn full_context_interaction(reward: impl Fn(&Coalition) -> f64, group: &Coalition, player: usize) -> f64 {
    let (all, rest) = (Coalition::full(group.players()), group.complement());
    let sum = reward(&all) - reward(&rest) - reward(&all.without(player)) + reward(&rest.without(player));
    sum / rest.size() as f64
}
