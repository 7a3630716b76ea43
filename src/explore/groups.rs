//! Searches for one small group: shrinking, exchanging, and trying all.

use super::known::{Answered, Known, best_of};
use super::objective::Objective;
use crate::search::Coalition;

// Groups that are judged at once by `exhaust`: their number grows without bounds, memory must not.
const AT_ONCE: usize = 4096;

/// A group of which nobody can be left out: round by round, of those without whom the group still does what it shall, the
/// one without whom its value is greatest goes, the lowest of equal ones. It is the group itself if it does not do that.
pub(super) fn shrink(known: &mut Known, objective: Objective, group: &Coalition) -> Answered<Coalition> {
    let mut group = group.clone();
    if !known.judge(objective, std::slice::from_ref(&group))?[0].reached {
        return Ok(group);
    }
    loop {
        let members: Vec<usize> = group.members().collect();
        let sets: Vec<Coalition> = members.iter().map(|&member| group.without(member)).collect();
        let verdicts = known.judge(objective, &sets)?;
        let fine: Vec<usize> = (0..members.len()).filter(|&place| verdicts[place].reached).collect();
        let Some((best, _)) = best_of(fine.iter().map(|&place| verdicts[place].value)) else {
            return Ok(group);
        };
        group.remove(members[fine[best]]);
    }
}

/// Exchanges players until no smaller group is in reach.
///
/// The player whom the group misses least is left out; then, as long as that makes the value greater, one member is
/// exchanged for one who is not, each time the best of all such pairs. Where that leads to a group that does what it
/// shall, the next one is left out, and so on.
pub(super) fn exchange(
    known: &mut Known,
    objective: Objective,
    allowed: &Coalition,
    group: &Coalition,
) -> Answered<Coalition> {
    let mut best = shrink(known, objective, group)?;
    if !known.judge(objective, std::slice::from_ref(&best))?[0].reached {
        return Ok(best);
    }
    // Of nobody nothing can be left out.
    while best.size() > 1 {
        let smaller: Vec<Coalition> = best.members().map(|member| best.without(member)).collect();
        let verdicts = known.judge(objective, &smaller)?;
        let Some((place, _)) = best_of(verdicts.iter().map(|verdict| verdict.value)) else { break };
        let (mut current, mut value) = (smaller[place].clone(), verdicts[place].value);
        let found = loop {
            let pairs = exchanged(&current, allowed);
            let verdicts = known.judge(objective, &pairs)?;
            let reached: Vec<usize> = (0..pairs.len()).filter(|&pair| verdicts[pair].reached).collect();
            if let Some((first, _)) = best_of(reached.iter().map(|&pair| verdicts[pair].value)) {
                break Some(pairs[reached[first]].clone());
            }
            match best_of(verdicts.iter().map(|verdict| verdict.value)) {
                Some((pair, _)) if verdicts[pair].value > value => {
                    (current, value) = (pairs[pair].clone(), verdicts[pair].value);
                }
                _ => break None,
            }
        };
        let Some(found) = found else { break };
        best = shrink(known, objective, &found)?;
    }
    Ok(best)
}

/// Each group with one member exchanged for one player who is allowed and not in it.
fn exchanged(group: &Coalition, allowed: &Coalition) -> Vec<Coalition> {
    let outside: Vec<usize> = allowed.difference(group).members().collect();
    let pairs = group.members().flat_map(|member| outside.iter().map(move |&player| (member, player)));
    pairs.map(|(member, player)| group.without(member).with(player)).collect()
}

/// What trying all groups of up to some size has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// Those that do what they shall, of which no part does: the smallest first, then those of greater value.
    pub(super) groups: Vec<Coalition>,
    /// No group of up to so many players does.
    pub(super) none_up_to: Option<usize>,
}

/// Tries all groups of up to `up_to` players.
pub(super) fn exhaust(known: &mut Known, objective: Objective, up_to: usize) -> Answered<Tried> {
    let players = known.players();
    let mut tried = Tried { groups: Vec::new(), none_up_to: None };
    for size in 0..=up_to.min(players) {
        let mut found: Vec<(Coalition, f64)> = Vec::new();
        let mut members: Vec<usize> = (0..size).collect();
        let mut more = true;
        while more {
            let mut sets = Vec::new();
            while more && sets.len() < AT_ONCE {
                sets.push(Coalition::of(players, members.iter().copied()));
                more = next_combination(&mut members, players);
            }
            // What contains a group that is found already is none of the smallest.
            sets.retain(|set| !tried.groups.iter().any(|part| part.difference(set).size() == 0));
            let verdicts = known.judge(objective, &sets)?;
            let reached = sets.into_iter().zip(verdicts).filter(|(_, verdict)| verdict.reached);
            found.extend(reached.map(|(set, verdict)| (set, verdict.value)));
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        tried.groups.extend(found.into_iter().map(|(set, _)| set));
        if tried.groups.is_empty() {
            tried.none_up_to = Some(size);
        }
    }
    Ok(tried)
}

/// The next of the sets of equally many numbers below `count`, ascending; whether there was one.
pub(super) fn next_combination(members: &mut [usize], count: usize) -> bool {
    let size = members.len();
    let Some(place) = (0..size).rev().find(|&place| members[place] < count - size + place) else {
        return false;
    };
    members[place] += 1;
    for later in place + 1..size {
        members[later] = members[later - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::next_combination;

    #[test]
    fn combinations_come_in_order_and_all() {
        let mut members = vec![0, 1];
        let mut all = vec![members.clone()];
        while next_combination(&mut members, 4) {
            all.push(members.clone());
        }
        assert_eq!(all, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert!(!next_combination(&mut [], 3));
        assert!(!next_combination(&mut [0, 1, 2], 3));
    }
}
