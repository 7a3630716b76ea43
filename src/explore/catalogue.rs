//! Several groups of one image that overlap little.

use std::collections::{HashSet, VecDeque};

use super::groups::{exhaust, shrink};
use super::known::{Answered, Known};
use super::objective::Objective;
use super::paths::beam;
use crate::search::{Coalition, Stop};

/// What of a catalogue is asked for.
///
/// ```
/// use interpix::explore::{Aim, CatalogueOptions, Explorer, Method, Plan};
/// use interpix::search::{Coalition, Score, Task};
///
/// // 1 suffices with either neighbor: two groups that share half of their players.
/// let score = |holds| Score { reward: 0.0, answer: 0.5, predicted: None, holds };
/// let known = |code| (Coalition::from_code(3, code), score([0b011, 0b110, 0b111].contains(&code)));
/// let plan = |overlap| {
///     let options = CatalogueOptions { count: 5, overlap, width: 4, exhaust: 2, tries: 5 };
///     Plan { aim: Aim::Insertion, method: Method::Catalogue(options), ..Plan::default() }
/// };
/// let mut explorer = Explorer::new(vec![Task::new(3)], vec![plan(0.0), plan(0.5)], 64, 1)?;
/// explorer.know(0, (0..8).map(known))?;
/// assert!(explorer.ask().is_none()); // there is nothing left to ask
/// let groups = explorer.outcome(0).unwrap().groups;
/// let orders = |plan: usize| groups[plan].iter().map(|group| &group.order[..]).collect::<Vec<_>>();
/// assert_eq!(orders(0), [[0, 1]]);
/// assert_eq!(orders(1), [[0, 1], [1, 2]]);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CatalogueOptions {
    /// Most groups.
    pub count: usize,
    /// Most that two of them share, as a part of the smaller one's players, in `[0, 1]`.
    pub overlap: f64,
    /// Width of the beams that look for them.
    pub width: usize,
    /// All groups of up to so many players are tried first.
    pub exhaust: usize,
    /// Most beams; each leaves out players of groups that are found.
    pub tries: usize,
}

/// An entry: a group of which nobody can be left out, and the order in which it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) group: Coalition,
    pub(super) order: Vec<usize>,
    /// Whether no part of it at all does what it shall, not only none that lacks a single player.
    pub(super) all_parts_tried: bool,
}

/// The search for several groups, entry by entry.
///
/// First all groups of up to some size. Then beams: the first among all players; where one has found a group `G`, further
/// ones each without a part of `G` that is large enough for what they find to overlap `G` no more than allowed, those
/// parts first that hold the players found first. It is the hitting-set tree that lists all minimal sets of constraints
/// (Reiter 1987), with parts in the place of single elements.
#[derive(Debug, Clone)]
pub(super) struct Catalogue {
    objective: Objective,
    options: CatalogueOptions,
    pub(super) entries: Vec<Entry>,
    pub(super) none_up_to: Option<usize>,
    begun: bool,
    /// The groups that trying all has found.
    tried: Vec<Coalition>,
    /// Players that the next beams do without.
    queue: VecDeque<Coalition>,
    queued: HashSet<Coalition>,
    tries: usize,
    /// Most players of a group that is looked for.
    largest: usize,
}

impl Catalogue {
    pub(super) fn new(players: usize, objective: Objective, options: CatalogueOptions) -> Self {
        let nobody = Coalition::empty(players);
        Self {
            objective,
            options,
            entries: Vec::new(),
            none_up_to: None,
            begun: false,
            tried: Vec::new(),
            queue: VecDeque::from([nobody.clone()]),
            queued: HashSet::from([nobody]),
            tries: 0,
            largest: players,
        }
    }

    /// Goes on as far as what is known allows; what was found stays.
    pub(super) fn advance(&mut self, known: &mut Known) -> Answered<()> {
        if !self.begun {
            let tried = exhaust(known, self.objective, self.options.exhaust)?;
            self.none_up_to = tried.none_up_to;
            self.begun = true;
            self.tried = tried.groups;
            for group in self.tried.clone() {
                let order = group.members().collect();
                self.admit(Entry { group, order, all_parts_tried: true });
            }
            if let Some(first) = self.entries.first() {
                self.largest = largest_beside(first.group.size());
            }
            // All groups there are were tried.
            if self.options.exhaust >= known.players() {
                self.queue.clear();
            }
        }
        while self.entries.len() < self.options.count && self.tries < self.options.tries {
            let Some(without) = self.queue.front().cloned() else { break };
            let found = self.beam(known, &without)?;
            self.queue.pop_front();
            self.tries += 1;
            for entry in &found {
                self.branch(&without, entry);
            }
            for entry in found {
                if self.entries.is_empty() {
                    self.largest = largest_beside(entry.group.size());
                }
                self.admit(entry);
            }
        }
        Ok(())
    }

    /// The groups at the end of one beam, each shrunk.
    fn beam(&self, known: &mut Known, without: &Coalition) -> Answered<Vec<Entry>> {
        let allowed = without.complement();
        let until = Stop::Flip { min_confidence: 0.0, min_players: 0 };
        let orders = beam(known, self.objective, &allowed, self.options.width, self.largest, until)?;
        let orders: Vec<Vec<usize>> = orders.into_iter().map(|order| order.players).collect();
        let sets: Vec<Coalition> =
            orders.iter().map(|order| Coalition::of(known.players(), order.iter().copied())).collect();
        let verdicts = known.judge(self.objective, &sets)?;
        let reached = orders.into_iter().zip(sets).zip(verdicts).filter(|(_, verdict)| verdict.reached);
        let shrunk: Vec<Answered<Entry>> = reached
            .map(|((order, set), _)| {
                let (group, order) = shrunk_in_order(known, self.objective, &set, order)?;
                // Its parts have one player fewer at most, and none of those that were tried is in it.
                let all_parts_tried = group.size() <= self.options.exhaust + 1;
                Ok(Entry { group, order, all_parts_tried })
            })
            .collect();
        let entries = shrunk.into_iter().collect::<Answered<Vec<Entry>>>()?;
        let is_smallest =
            |entry: &Entry| !self.tried.iter().any(|part| part.difference(&entry.group).size() == 0);
        Ok(entries.into_iter().filter(is_smallest).collect())
    }

    /// Takes an entry that overlaps the others no more than allowed, and neither contains one nor lies in one.
    fn admit(&mut self, entry: Entry) {
        let fits = self.entries.iter().all(|other| {
            let shared = entry.group.size() - entry.group.difference(&other.group).size();
            let smaller = entry.group.size().min(other.group.size());
            shared < smaller && shared as f64 <= self.options.overlap * smaller as f64
        });
        if self.entries.len() < self.options.count && fits {
            self.entries.push(entry);
        }
    }

    /// Further beams without a part of a group.
    fn branch(&mut self, without: &Coalition, entry: &Entry) {
        let size = entry.order.len();
        let kept = ((self.options.overlap * size as f64).floor() as usize).min(size.saturating_sub(1));
        let mut places: Vec<usize> = (0..size - kept).collect();
        // More beams than may be tried need not be listed.
        for _ in 0..self.options.tries {
            let part = Coalition::of(without.players(), places.iter().map(|&place| entry.order[place]));
            let more = without.union(&part);
            if part.size() > 0 && self.queued.insert(more.clone()) {
                self.queue.push_back(more);
            }
            if !super::groups::next_combination(&mut places, size) {
                break;
            }
        }
    }
}

/// A group shrunk, and its order so that no part of it that comes first does what the group shall.
fn shrunk_in_order(
    known: &mut Known,
    objective: Objective,
    group: &Coalition,
    order: Vec<usize>,
) -> Answered<(Coalition, Vec<usize>)> {
    let (mut group, mut order) = (group.clone(), order);
    loop {
        group = shrink(known, objective, &group)?;
        order.retain(|&player| group.contains(player));
        let parts: Vec<Coalition> = (0..order.len())
            .map(|length| Coalition::of(group.players(), order[..length].iter().copied()))
            .collect();
        let verdicts = known.judge(objective, &parts)?;
        let Some(length) = verdicts.iter().position(|verdict| verdict.reached) else {
            return Ok((group, order));
        };
        order.truncate(length);
        group = parts[length].clone();
    }
}

/// Groups much larger than the first one answer another question, and take long to find: twice its size, or four more.
fn largest_beside(first: usize) -> usize {
    (2 * first).max(first + 4)
}
