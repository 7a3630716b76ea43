//! One search for groups of an image, from its options to what it found.

use super::catalogue::{Catalogue, CatalogueOptions, Entry};
use super::groups::{exchange, shrink};
use super::known::{Answered, Known};
use super::objective::{Aim, Objective};
use super::paths::{Order, beam, bidirectional, greedy};
use crate::error::{Error, Result};
use crate::search::{Coalition, Score, Stop};

/// How groups are looked for.
///
/// ```
/// use interpix::explore::{Aim, Explorer, Method, Plan};
/// use interpix::search::{Coalition, Score, Task};
///
/// // 0 suffices with 1 and 2, of whom nobody can be left out, or with 3, who is worth less than either.
/// let holds = |set: &Coalition| set.contains(0) && (set.contains(3) || set.contains(1) && set.contains(2));
/// let score = |set: &Coalition| {
///     let reward = set.members().map(|player| [3.0, 2.0, 1.0, 0.5][player]).sum();
///     Score { reward, answer: 0.5, predicted: None, holds: holds(set) }
/// };
/// let plan = |method| Plan { aim: Aim::Insertion, method, ..Plan::default() };
/// let plans = vec![plan(Method::Greedy), plan(Method::Exchange)];
/// let mut explorer = Explorer::new(vec![Task::new(4)], plans, 64, 1)?;
/// while let Some(asked) = explorer.ask() {
///     explorer.tell(&asked.coalitions().iter().map(score).collect::<Vec<_>>())?;
/// }
/// let groups = explorer.outcome(0).unwrap().groups;
/// assert_eq!((&groups[0][0].order[..], &groups[1][0].order[..]), (&[0, 1, 2][..], &[0, 3][..]));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// One player after the other, as `MoXI` does.
    Greedy,
    /// The best `width` groups of each size, to the first size at which any does what it shall.
    Beam {
        /// How many groups.
        width: usize,
    },
    /// From both ends, as `LiMA` does.
    Bidirectional {
        /// How many of the players of least value are tried for the back, at least 1; `LiMA` has 8.
        pending: usize,
    },
    /// Greedy, then exchanges of one player for another, as long as they lead to smaller groups.
    Exchange,
    /// Several groups that overlap little.
    Catalogue(CatalogueOptions),
}

/// A search of each image.
///
/// ```
/// use interpix::explore::{Aim, Explorer, Plan};
/// use interpix::search::{Coalition, Score, Task};
///
/// // 0 and 1 show the same: one of them suffices, but only both are needed.
/// let holds = |set: &Coalition| set.contains(0) || set.contains(1);
/// let score = |holds| Score { reward: f64::from(holds), answer: 0.5, predicted: None, holds };
/// let plans = vec![Plan { aim: Aim::Insertion, ..Plan::default() }, Plan::default()];
/// let mut explorer = Explorer::new(vec![Task::new(3)], plans, 64, 1)?;
/// while let Some(asked) = explorer.ask() {
///     explorer.tell(&asked.coalitions().iter().map(holds).map(score).collect::<Vec<_>>())?;
/// }
/// let groups = explorer.outcome(0).unwrap().groups;
/// assert_eq!((&groups[0][0].order[..], &groups[1][0].order[..]), (&[0][..], &[0, 1][..]));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// What a group shall do.
    pub aim: Aim,
    /// How groups are looked for.
    pub method: Method,
    /// When it ends; exchanges and catalogues take [`Stop::Flip`] only.
    pub stop: Stop,
    /// Whether the group is shrunk until nobody can be left out; with [`Stop::Flip`].
    pub minimal: bool,
}

impl Default for Plan {
    /// Greedy, for a group that suffices and is needed.
    fn default() -> Self {
        let stop = Stop::Flip { min_confidence: 0.0, min_players: 0 };
        Self { aim: Aim::Both { weight: 0.5 }, method: Method::Greedy, stop, minimal: false }
    }
}

/// A group of players, or an order of them.
///
/// ```
/// use interpix::explore::{Aim, Explorer, Plan};
/// use interpix::search::{Coalition, Score, Task};
///
/// // The players are worth 1, 4 and 2, and suffice from 6 on.
/// let reward = |set: &Coalition| set.members().map(|player| [1.0, 4.0, 2.0][player]).sum::<f64>();
/// let score = |reward| Score { reward, answer: reward / 7.0, predicted: None, holds: reward >= 6.0 };
/// let plan = Plan { aim: Aim::Insertion, ..Plan::default() };
/// let mut explorer = Explorer::new(vec![Task::new(3)], vec![plan], 64, 1)?;
/// while let Some(asked) = explorer.ask() {
///     explorer.tell(&asked.coalitions().iter().map(reward).map(score).collect::<Vec<_>>())?;
/// }
/// let group = explorer.outcome(0).unwrap().groups[0][0].clone();
/// assert_eq!((&group.order[..], group.stopped_at), (&[1, 2][..], Some(2)));
/// assert_eq!(group.with.iter().map(|score| score.reward).collect::<Vec<_>>(), [0.0, 4.0, 6.0]);
/// assert_eq!((&group.gaps[..], group.without.len()), (&[2.0, 1.0][..], 0)); // 4 before 2, then 6 before 5
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The players in the order found.
    pub order: Vec<usize>,
    /// What is said to the first 0, 1, … of them alone; empty where that is not asked (deletion).
    pub with: Vec<Score>,
    /// What is said to all others; empty where that is not asked (insertion).
    pub without: Vec<Score>,
    /// How far the value with each player is ahead of that with the best other one that was tried in its place: negative
    /// where a search knew better than to take that, infinite where no other was tried.
    pub gaps: Vec<f64>,
    /// The least number of players that do what they shall.
    pub stopped_at: Option<usize>,
    /// Of those, the ones that cannot be left out, in the order found, where that was looked for.
    pub minimal: Option<Shrunk>,
    /// Every group of up to so many players was tried, and none does what it shall.
    pub none_up_to: Option<usize>,
    /// Whether every part of the group was tried, and none does what it shall.
    pub all_parts_tried: bool,
}

/// A group of which nobody can be left out.
///
/// ```
/// use interpix::explore::{Aim, Explorer, Plan};
/// use interpix::search::{Coalition, Score, Task};
///
/// // 0 and 1 suffice; 2 is worth more than both, comes first, and can be left out.
/// let reward = |set: &Coalition| set.members().map(|player| [1.0, 1.0, 3.0][player]).sum::<f64>();
/// let score = |set: &Coalition| {
///     let holds = set.contains(0) && set.contains(1);
///     Score { reward: reward(set), answer: 0.5, predicted: None, holds }
/// };
/// let plan = Plan { aim: Aim::Insertion, minimal: true, ..Plan::default() };
/// let mut explorer = Explorer::new(vec![Task::new(3)], vec![plan], 64, 1)?;
/// while let Some(asked) = explorer.ask() {
///     explorer.tell(&asked.coalitions().iter().map(score).collect::<Vec<_>>())?;
/// }
/// let group = explorer.outcome(0).unwrap().groups[0][0].clone();
/// let minimal = group.minimal.unwrap();
/// assert_eq!((&group.order[..], &minimal.players[..]), (&[2, 0, 1][..], &[0, 1][..]));
/// assert_eq!((minimal.with.map(|score| score.reward), minimal.without), (Some(2.0), None));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The players in the order found.
    pub players: Vec<usize>,
    /// What is said to them alone, where that is asked.
    pub with: Option<Score>,
    /// What is said to all others, where that is asked.
    pub without: Option<Score>,
}

impl Plan {
    pub(super) fn check(&self) -> Result<()> {
        self.objective().check()?;
        let counts = match self.method {
            Method::Greedy | Method::Exchange => vec![],
            Method::Beam { width } => vec![("width", width)],
            Method::Bidirectional { pending } => vec![("pending", pending)],
            Method::Catalogue(options) => {
                vec![("count", options.count), ("width", options.width), ("tries", options.tries)]
            }
        };
        if let Some((name, count)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(Error::argument(name, "at least 1", count, "leave it out for the default"));
        }
        if let Method::Catalogue(options) = self.method
            && !(0.0..=1.0).contains(&options.overlap)
        {
            let cure = "0 for groups that share nobody";
            return Err(Error::argument("overlap", "a number from 0 to 1", options.overlap, cure));
        }
        let flips = matches!(self.stop, Stop::Flip { .. });
        if !flips && (self.minimal || matches!(self.method, Method::Exchange | Method::Catalogue(_))) {
            let cure = "only greedy search, beams and searches from both ends go on to other ends";
            return Err(Error::argument("stop", "\"flip\"", format!("{:?}", self.stop), cure));
        }
        let in_order = matches!(self.method, Method::Greedy | Method::Bidirectional { .. });
        match self.stop {
            Stop::Flip { min_players, .. } if min_players > 0 && !in_order => {
                let cure = "leave it out, or search greedily";
                Err(Error::argument("min_players", "0 for a search of groups", min_players, cure))
            }
            _ => Ok(()),
        }
    }

    fn objective(&self) -> Objective {
        let min_confidence = match self.stop {
            Stop::Flip { min_confidence, .. } => min_confidence,
            _ => 0.0,
        };
        Objective { aim: self.aim, min_confidence }
    }
}

/// A plan that is being carried out on one image.
#[derive(Debug, Clone)]
pub(super) struct Quest {
    plan: Plan,
    catalogue: Option<Catalogue>,
    /// The order that somebody else has found, in the place of a search.
    given: Option<Vec<usize>>,
    found: Option<Vec<Group>>,
}

impl Quest {
    pub(super) fn new(players: usize, plan: Plan) -> Self {
        let catalogue = match plan.method {
            Method::Catalogue(options) => Some(Catalogue::new(players, plan.objective(), options)),
            _ => None,
        };
        Self { plan, catalogue, given: None, found: None }
    }

    /// Takes the order of players that a search would put together.
    pub(super) fn give(&mut self, order: Vec<usize>) {
        (self.catalogue, self.given, self.found) = (None, Some(order), None);
    }

    pub(super) fn is_done(&self) -> bool {
        self.found.is_some()
    }

    /// What was found; of a catalogue that is not done, the groups so far of which everything is known.
    pub(super) fn found(&self, known: &mut Known) -> Vec<Group> {
        let objective = self.plan.objective();
        match (&self.found, &self.catalogue) {
            (Some(found), _) => found.clone(),
            (None, Some(catalogue)) => catalogue
                .entries
                .iter()
                .filter_map(|entry| entry_of(known, objective, catalogue, entry).ok())
                .collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Goes on as far as what is known allows.
    pub(super) fn advance(&mut self, known: &mut Known) -> Answered<()> {
        if self.found.is_some() {
            return Ok(());
        }
        let objective = self.plan.objective();
        let found = if let Some(catalogue) = &mut self.catalogue {
            catalogue.advance(known)?;
            let catalogue = &*catalogue;
            let entries: Vec<Answered<Group>> =
                catalogue.entries.iter().map(|entry| entry_of(known, objective, catalogue, entry)).collect();
            entries.into_iter().collect::<Answered<Vec<Group>>>()?
        } else {
            vec![self.search(known)?]
        };
        self.found = Some(found);
        Ok(())
    }

    fn search(&self, known: &mut Known) -> Answered<Group> {
        let (plan, objective) = (&self.plan, self.plan.objective());
        let everybody = Coalition::full(known.players());
        let order = match plan.method {
            _ if self.given.is_some() => Order::of(self.given.clone().unwrap_or_default()),
            Method::Beam { width } => {
                beam(known, objective, &everybody, width, known.players(), plan.stop)?.swap_remove(0)
            }
            Method::Bidirectional { pending } => {
                bidirectional(known, objective, &everybody, pending, plan.stop)?
            }
            Method::Exchange => {
                let order = greedy(known, objective, &everybody, plan.stop)?;
                let mut group = Coalition::of(known.players(), order.players.iter().copied());
                let mut smaller = exchange(known, objective, &everybody, &group)?;
                let mut found = order;
                while smaller != group {
                    found = greedy(known, objective, &smaller, plan.stop)?;
                    // Of a group that cannot lose a single player a part may do all the same.
                    group = Coalition::of(known.players(), found.players.iter().copied());
                    smaller = exchange(known, objective, &everybody, &group)?;
                }
                found
            }
            Method::Greedy | Method::Catalogue(_) => greedy(known, objective, &everybody, plan.stop)?,
        };
        let mut group = described(known, objective, order)?;
        if let (true, Some(length)) = (plan.minimal, group.stopped_at) {
            let set = Coalition::of(known.players(), group.order[..length].iter().copied());
            let kept = shrink(known, objective, &set)?;
            let players = group.order.iter().copied().filter(|&player| kept.contains(player)).collect();
            let with = objective.asks_with().then(|| known.score(&kept)).transpose()?;
            let without = objective.asks_without().then(|| known.score(&kept.complement())).transpose()?;
            group.minimal = Some(Shrunk { players, with, without });
        }
        Ok(group)
    }
}

/// An entry of a catalogue with what is said after each of its players.
fn entry_of(
    known: &mut Known,
    objective: Objective,
    catalogue: &Catalogue,
    entry: &Entry,
) -> Answered<Group> {
    // How a beam came to those that were left out says nothing of the others.
    let mut group = described(known, objective, Order::of(entry.order.clone()))?;
    let (with, without) = (group.with.last().copied(), group.without.last().copied());
    group.minimal = Some(Shrunk { players: entry.order.clone(), with, without });
    group.none_up_to = catalogue.none_up_to;
    group.all_parts_tried = entry.all_parts_tried;
    Ok(group)
}

/// An order of players with what is said after each.
fn described(known: &mut Known, objective: Objective, order: Order) -> Answered<Group> {
    let Order { players: order, gaps } = order;
    let players = known.players();
    let sets: Vec<Coalition> =
        (0..=order.len()).map(|length| Coalition::of(players, order[..length].iter().copied())).collect();
    let verdicts = known.judge(objective, &sets)?;
    let with = objective.asks_with().then(|| sets.iter().map(|set| known.score(set)).collect());
    let without =
        objective.asks_without().then(|| sets.iter().map(|set| known.score(&set.complement())).collect());
    Ok(Group {
        order,
        with: with.unwrap_or(Ok(Vec::new()))?,
        without: without.unwrap_or(Ok(Vec::new()))?,
        gaps,
        stopped_at: verdicts.iter().position(|verdict| verdict.reached),
        minimal: None,
        none_up_to: None,
        all_parts_tried: false,
    })
}
