//! Searches that put players in an order: greedy, beam, from both ends.

use std::collections::HashSet;

use super::known::{Answered, Known, best_of};
use super::objective::Objective;
use crate::search::{Coalition, Stop};

/// Whether a search that has put `found` of `all` players in order goes on; `reached` is the length at which it was.
fn goes_on(stop: Stop, found: usize, all: usize, reached: Option<usize>) -> bool {
    found < all
        && match stop {
            Stop::All => true,
            Stop::Flip { min_players, .. } => reached.is_none() || found < min_players,
            Stop::Steps(steps) => found < steps,
        }
}

/// Players in the order found, and by how much each was ahead of the best other one that was tried in its place: infinite
/// where there was none, negative where a search did not take the best.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Order {
    pub(super) players: Vec<usize>,
    pub(super) gaps: Vec<f64>,
}

impl Order {
    /// Players beside whom no other was tried.
    pub(super) fn of(players: Vec<usize>) -> Self {
        Self { gaps: vec![f64::INFINITY; players.len()], players }
    }

    fn push(&mut self, player: usize, gap: f64) {
        self.players.push(player);
        self.gaps.push(gap);
    }

    fn len(&self) -> usize {
        self.players.len()
    }
}

/// Step by step the player that makes the value greatest, the lowest of equal ones, out of those allowed.
pub(super) fn greedy(
    known: &mut Known,
    objective: Objective,
    allowed: &Coalition,
    stop: Stop,
) -> Answered<Order> {
    let mut group = Coalition::empty(known.players());
    let mut order = Order::default();
    let mut reached = known.judge(objective, std::slice::from_ref(&group))?[0].reached.then_some(0);
    while goes_on(stop, order.len(), allowed.size(), reached) {
        let rest: Vec<usize> = allowed.difference(&group).members().collect();
        let sets: Vec<Coalition> = rest.iter().map(|&player| group.with(player)).collect();
        let verdicts = known.judge(objective, &sets)?;
        let Some((best, gap)) = best_of(verdicts.iter().map(|verdict| verdict.value)) else { break };
        group.insert(rest[best]);
        order.push(rest[best], gap);
        if reached.is_none() && verdicts[best].reached {
            reached = Some(order.len());
        }
    }
    Ok(order)
}

/// A group and the order in which a beam came to it.
#[derive(Debug, Clone)]
struct Path {
    group: Coalition,
    order: Order,
}

/// Of all groups one player larger than the best `width` of the step before, again the best `width`; of equal values the
/// first one made. At the first size at which any group does what it shall: the orders of those that do, best first.
/// Without any, or where a number of steps is asked for: the best order of the last size, `largest` at most.
///
/// Of width 1 it is greedy search, but for its end: that takes the player of the greatest value even where only the group
/// with another one does what it shall.
pub(super) fn beam(
    known: &mut Known,
    objective: Objective,
    allowed: &Coalition,
    width: usize,
    largest: usize,
    stop: Stop,
) -> Answered<Vec<Order>> {
    let until_reached = matches!(stop, Stop::Flip { .. });
    let start = Coalition::empty(known.players());
    if known.judge(objective, std::slice::from_ref(&start))?[0].reached && until_reached {
        return Ok(vec![Order::default()]);
    }
    let mut paths = vec![Path { group: start, order: Order::default() }];
    for size in 0..allowed.size().min(largest) {
        if !goes_on(stop, size, allowed.size(), None) {
            break;
        }
        let longer = expanded(&paths, allowed);
        let sets: Vec<Coalition> = longer.iter().map(|(_, _, group)| group.clone()).collect();
        let verdicts = known.judge(objective, &sets)?;
        let any = until_reached && verdicts.iter().any(|verdict| verdict.reached);
        let mut places: Vec<usize> =
            (0..longer.len()).filter(|&place| !any || verdicts[place].reached).collect();
        // Stable: of equal values the first stays first.
        places.sort_by(|&a, &b| verdicts[b].value.total_cmp(&verdicts[a].value));
        places.truncate(width);
        let kept = places.into_iter().map(|place| {
            let (path, player, group) = &longer[place];
            let mut order = path.order.clone();
            order
                .push(*player, verdicts[place].value - best_beside(known, objective, path, allowed, *player));
            Path { group: group.clone(), order }
        });
        let kept = kept.collect();
        paths = kept;
        if any {
            return Ok(paths.into_iter().map(|path| path.order).collect());
        }
    }
    Ok(paths.into_iter().take(1).map(|path| path.order).collect())
}

/// Each group that is one player larger, once: the first path that leads to it, and with whom.
fn expanded<'a>(paths: &'a [Path], allowed: &Coalition) -> Vec<(&'a Path, usize, Coalition)> {
    let mut seen = HashSet::new();
    let mut longer = Vec::new();
    for path in paths {
        for player in allowed.difference(&path.group).members() {
            let group = path.group.with(player);
            if seen.insert(group.clone()) {
                longer.push((path, player, group));
            }
        }
    }
    longer
}

/// The greatest value of a path's group with another player than `player`; all of them have been judged.
fn best_beside(known: &Known, objective: Objective, path: &Path, allowed: &Coalition, player: usize) -> f64 {
    let others = allowed.difference(&path.group.with(player));
    let sets = others.members().map(|other| path.group.with(other));
    sets.filter_map(|set| known.peek(objective, &set))
        .map(|verdict| verdict.value)
        .fold(f64::NEG_INFINITY, f64::max)
}

/// Greedy search from both ends, as `LiMA` does it: each step puts the player that makes the value greatest to the front,
/// and of the `pending` others with the least values the one to the back that adds least to those that are there.
///
/// A step has two candidates fewer than the one before, so a whole order takes half of the evaluations; it is not that of
/// greedy search, since who was put to the back is not tried again.
pub(super) fn bidirectional(
    known: &mut Known,
    objective: Objective,
    allowed: &Coalition,
    pending: usize,
    stop: Stop,
) -> Answered<Order> {
    let nobody = Coalition::empty(known.players());
    let (mut front, mut back) = (nobody.clone(), nobody);
    let (mut order, mut last) = (Order::default(), Vec::new());
    let mut reached = known.judge(objective, std::slice::from_ref(&front))?[0].reached.then_some(0);
    while goes_on(stop, order.len(), allowed.size(), reached) {
        let rest: Vec<usize> = allowed.difference(&front.union(&back)).members().collect();
        let sets: Vec<Coalition> = rest.iter().map(|&player| front.with(player)).collect();
        let verdicts = known.judge(objective, &sets)?;
        let Some((best, gap)) = best_of(verdicts.iter().map(|verdict| verdict.value)) else { break };
        if rest.len() > pending {
            let mut least: Vec<usize> = (0..rest.len()).filter(|&place| place != best).collect();
            least.sort_by(|&a, &b| verdicts[a].value.total_cmp(&verdicts[b].value));
            least.truncate(pending);
            let sets: Vec<Coalition> = least.iter().map(|&place| back.with(rest[place])).collect();
            let behind = known.judge(objective, &sets)?;
            if let Some((worst, _)) = best_of(behind.iter().map(|verdict| -verdict.value)) {
                back.insert(rest[least[worst]]);
                last.push(rest[least[worst]]);
            }
        }
        front.insert(rest[best]);
        order.push(rest[best], gap);
        if reached.is_none() && verdicts[best].reached {
            reached = Some(order.len());
        }
    }
    // Those at the back follow, the last one put there first, as far as they are asked for.
    let mut group = front;
    for player in last.into_iter().rev() {
        if !goes_on(stop, order.len(), allowed.size(), reached) {
            break;
        }
        group.insert(player);
        order.push(player, f64::INFINITY);
        if reached.is_none() && known.judge(objective, std::slice::from_ref(&group))?[0].reached {
            reached = Some(order.len());
        }
    }
    Ok(order)
}
