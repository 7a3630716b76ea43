//! Many searches at once: which coalitions are asked together, and the loop over ask and tell.

use ndarray::Array2;

use super::known::Known;
use super::plan::{Group, Plan, Quest};
use crate::error::{Error, Result};
use crate::search::{Coalition, RunError, Score, Task};

/// Coalitions of one or more images that are evaluated together.
///
/// ```
/// use interpix::explore::{Explorer, Plan};
/// use interpix::search::Task;
///
/// // Of two images, everybody and nobody are asked first.
/// let tasks = vec![Task::new(3), Task::new(2)];
/// let asked = Explorer::new(tasks, vec![Plan::default()], 64, 64)?.ask().unwrap();
/// assert_eq!((asked.len(), asked.owner()), (4, &[0, 0, 1, 1][..]));
/// assert_eq!(asked.coalitions()[2].to_string(), "[0, 1]");
/// assert_eq!(asked.masks().row(2).to_vec(), [true, true, false]); // the image has no third player
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    owner: Vec<usize>,
    coalitions: Vec<Coalition>,
}

/// Coalitions as sets with one player flipped in each, for models that compute only what a flip changes.
///
/// ```
/// use interpix::explore::{Explorer, Plan};
/// use interpix::search::{Score, Task};
///
/// let end = |holds| Some(Score { reward: 0.0, answer: 0.5, predicted: None, holds });
/// let task = Task { players: 3, full: end(true), empty: end(false) };
/// let asked = Explorer::new(vec![task], vec![Plan::default()], 64, 1)?.ask().unwrap();
/// let flips = asked.flips();
/// assert_eq!((asked.len(), flips.bases.len()), (6, 2));
/// for ((row, flip), coalition) in flips.row.iter().zip(&flips.flip).zip(asked.coalitions()) {
///     let mut set = flips.bases[*row].clone();
///     flip.iter().for_each(|player| set.flip(*player));
///     assert_eq!(&set, coalition);
/// }
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flips {
    /// The sets.
    pub bases: Vec<Coalition>,
    /// The set of each coalition, as an index into `bases`.
    pub row: Vec<usize>,
    /// The player of each whose presence differs from it; `None`: the set itself.
    pub flip: Vec<Option<usize>>,
}

impl Asked {
    /// The same as sets with one player flipped, found from coalitions that stand beside each other: candidates of one
    /// step have all but one player in common.
    ///
    /// ```
    /// use interpix::explore::{Explorer, Plan};
    /// use interpix::search::{Score, Task};
    ///
    /// let end = |holds| Some(Score { reward: 0.0, answer: 0.5, predicted: None, holds });
    /// let task = Task { players: 4, full: end(true), empty: end(false) };
    /// let asked = Explorer::new(vec![task], vec![Plan::default()], 64, 1)?.ask().unwrap();
    /// let flips = asked.flips(); // of everybody, then of nobody
    /// assert_eq!(flips.bases.iter().map(ToString::to_string).collect::<Vec<_>>(), ["[0, 1, 2, 3]", "[]"]);
    /// assert_eq!(flips.flip, [0, 1, 2, 3, 0, 1, 2, 3].map(Some));
    /// # Ok::<(), interpix::Error>(())
    /// ```
    pub fn flips(&self) -> Flips {
        let mut flips = Flips::default();
        let mut first = 0;
        while first < self.len() {
            let (base, count) = self.run_at(first);
            flips.row.extend(std::iter::repeat_n(flips.bases.len(), count));
            flips.flip.extend(self.coalitions[first..first + count].iter().map(|one| flipped(&base, one)));
            flips.bases.push(base);
            first += count;
        }
        flips
    }

    /// The set of which most coalitions from one on are flips, and how many these are.
    fn run_at(&self, first: usize) -> (Coalition, usize) {
        let one = &self.coalitions[first];
        let image = self.owner[first];
        let rest = || self.coalitions[first..].iter().zip(&self.owner[first..]);
        let count = |base: &Coalition| {
            rest().take_while(|(other, owner)| **owner == image && flipped(base, other).is_some()).count()
        };
        let next = self.coalitions.get(first + 1).filter(|_| self.owner[first + 1] == image);
        let bases =
            next.into_iter().flat_map(|next| [one.difference(&one.difference(next)), one.union(next)]);
        let runs = bases.map(|base| (count(&base), base)).filter(|(count, _)| *count > 1);
        // Of equally long ones the first, as both do.
        runs.rev().max_by_key(|(count, _)| *count).map_or((one.clone(), 1), |(count, base)| (base, count))
    }

    /// The image of each.
    pub fn owner(&self) -> &[usize] {
        &self.owner
    }

    /// The coalitions.
    pub fn coalitions(&self) -> &[Coalition] {
        &self.coalitions
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.owner.len()
    }

    /// Whether there is none; never true for what an [`Explorer`] asks.
    pub fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    /// Presence, (coalitions, players), `true` = present. An image with fewer players than others has `false` beyond its
    /// own.
    pub fn masks(&self) -> Array2<bool> {
        presence(&self.coalitions)
    }
}

/// What was found on one image.
///
/// ```
/// use interpix::explore::{Aim, Explorer, Plan};
/// use interpix::search::{Coalition, Score, Task};
///
/// // 1 and 2 suffice, and both are needed.
/// let reward = |set: &Coalition| f64::from(set.contains(1)) + f64::from(set.contains(2));
/// let score = |reward| Score { reward, answer: reward / 2.0, predicted: None, holds: reward > 1.0 };
/// let plans = [Aim::Insertion, Aim::Deletion].map(|aim| Plan { aim, ..Plan::default() });
/// let mut explorer = Explorer::new(vec![Task::new(3)], plans.to_vec(), 64, 1)?;
/// while let Some(asked) = explorer.ask() {
///     explorer.tell(&asked.coalitions().iter().map(reward).map(score).collect::<Vec<_>>())?;
/// }
/// let found = explorer.outcome(0).unwrap();
/// assert_eq!((&found.groups[0][0].order[..], &found.groups[1][0].order[..]), (&[1, 2][..], &[1][..]));
/// assert_eq!((found.full.reward, found.empty.reward), (2.0, 0.0));
/// assert_eq!(found.evaluations, 8); // 2 + 3 + 2 and 2 + 3, but there are no more
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Explored {
    /// For each plan its groups: one, or those of a catalogue.
    pub groups: Vec<Vec<Group>>,
    /// The score of all players together.
    pub full: Score,
    /// The score of no player at all.
    pub empty: Score,
    /// Coalitions that were evaluated for this image; its plans share them.
    pub evaluations: usize,
}

/// Searches of any number of images that share their batches.
///
/// ```
/// use interpix::explore::{Aim, Explorer, Method, Plan};
/// use interpix::search::{Score, Stop, Task};
///
/// // Two pairs suffice, 0 with 3 and 1 with 2; player 4 alone is worth most, and leads nowhere.
/// let holds = |set: &[usize]| [[0, 3], [1, 2]].iter().any(|pair| pair.iter().all(|player| set.contains(player)));
/// let score = |set: Vec<usize>| {
///     let reward = set.iter().map(|&player| [0.5, 0.2, 0.1, 0.4, 0.9][player]).sum::<f64>();
///     Score { reward, answer: reward / 3.0, predicted: None, holds: holds(&set) }
/// };
/// let stop = Stop::Flip { min_confidence: 0.0, min_players: 0 };
/// let plan = |method| Plan { aim: Aim::Insertion, method, stop, minimal: true };
/// let plans = vec![plan(Method::Greedy), plan(Method::Beam { width: 8 })];
/// let mut explorer = Explorer::new(vec![Task::new(5)], plans, 64, 64)?;
/// while let Some(asked) = explorer.ask() {
///     let scores: Vec<Score> = asked.coalitions().iter().map(|set| score(set.members().collect())).collect();
///     explorer.tell(&scores)?;
/// }
/// let found = explorer.outcome(0).unwrap();
/// assert_eq!((&found.groups[0][0].order[..], found.groups[0][0].minimal.as_ref().unwrap().players.len()), (&[4, 0, 3][..], 2));
/// assert_eq!(found.groups[1][0].order, [0, 3]);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Explorer {
    plans: Vec<Plan>,
    images: Vec<Image>,
    batch_size: usize,
    in_flight: usize,
    open: Option<Asked>,
}

#[derive(Debug, Clone)]
struct Image {
    known: Known,
    quests: Vec<Quest>,
    /// Asked for and not yet handed out, the largest first.
    wanted: Vec<Coalition>,
    /// How many coalitions were known from the start.
    given: usize,
}

/// Presence in some sets, (sets, most players of any), `true` = present.
pub(crate) fn presence(sets: &[Coalition]) -> Array2<bool> {
    let players = sets.iter().map(Coalition::players).max().unwrap_or(0);
    let mut masks = Array2::from_elem((sets.len(), players), false);
    for (mut mask, set) in masks.rows_mut().into_iter().zip(sets) {
        set.members().for_each(|member| mask[member] = true);
    }
    masks
}

/// The player in which two sets differ, if it is one; none where they are the same.
fn flipped(base: &Coalition, other: &Coalition) -> Option<usize> {
    if base.players() != other.players() {
        return None;
    }
    let (more, less) = (other.difference(base), base.difference(other));
    let mut differing = more.members().chain(less.members());
    let player = differing.next()?;
    differing.next().is_none().then_some(player)
}

impl Explorer {
    /// Searches of some images, each after all of the plans; `batch_size` coalitions are handed out at once at most, of
    /// `in_flight` images, which changes the speed and never the outcome.
    ///
    /// # Errors
    /// A task has no players or scores that are not finite, there is no plan, or a plan or a number is none.
    pub fn new(tasks: Vec<Task>, plans: Vec<Plan>, batch_size: usize, in_flight: usize) -> Result<Self> {
        for (image, task) in tasks.iter().enumerate() {
            task.check(image)?;
        }
        for (name, count) in [("batch_size", batch_size), ("in_flight", in_flight), ("plans", plans.len())] {
            if count == 0 {
                return Err(Error::argument(name, "at least 1", count, "pass one"));
            }
        }
        plans.iter().try_for_each(Plan::check)?;
        let images = tasks.iter().map(|task| Image::new(task, &plans)).collect();
        Ok(Self { plans, images, batch_size, in_flight, open: None })
    }

    /// Takes what is known of an image already, before anything is asked of it: it is not evaluated again.
    ///
    /// # Errors
    /// There is no such image, a coalition is of other players, or a score is not finite.
    pub fn know(&mut self, image: usize, known: impl IntoIterator<Item = (Coalition, Score)>) -> Result<()> {
        let count = self.images.len();
        let Some(place) = self.images.get_mut(image) else {
            return Err(Error::argument("image", format!("below {count}"), image, "pass one of the tasks"));
        };
        for (coalition, score) in known {
            if coalition.players() != place.known.players() {
                let expected = format!("coalitions of {} players", place.known.players());
                return Err(Error::argument(
                    "known",
                    expected,
                    coalition.players(),
                    "pass those of this image",
                ));
            }
            if !score.is_finite() {
                let cure = "leave it out and it is evaluated";
                return Err(Error::argument("known", "finite rewards and answers", score, cure));
            }
            place.known.tell(coalition, score);
        }
        place.given = place.known.len();
        Ok(())
    }

    /// Takes an order of an image's players, before anything is asked of it, in the place of those that its plans would
    /// search for: they say where it stops, and with [`Plan::minimal`] what of it can be left out.
    ///
    /// ```
    /// use interpix::explore::{Aim, Explorer, Plan};
    /// use interpix::search::{Score, Task};
    ///
    /// // 1 and 2 are enough, without 0.
    /// let plan = Plan { aim: Aim::Insertion, minimal: true, ..Plan::default() };
    /// let mut explorer = Explorer::new(vec![Task::new(4)], vec![plan], 64, 1)?;
    /// explorer.give(0, vec![0, 1, 2])?;
    /// while let Some(asked) = explorer.ask() {
    ///     let holds = asked.coalitions().iter().map(|set| set.contains(1) && set.contains(2));
    ///     let scores = holds.map(|holds| Score { reward: 0.0, answer: 0.5, predicted: None, holds });
    ///     explorer.tell(&scores.collect::<Vec<_>>())?;
    /// }
    /// let group = &explorer.outcome(0).unwrap().groups[0][0];
    /// assert_eq!((group.stopped_at, &group.minimal.as_ref().unwrap().players[..]), (Some(3), &[1, 2][..]));
    /// # Ok::<(), interpix::Error>(())
    /// ```
    ///
    /// # Errors
    /// There is no such image, or a player is none of its or comes twice.
    pub fn give(&mut self, image: usize, order: Vec<usize>) -> Result<()> {
        let count = self.images.len();
        let Some(place) = self.images.get_mut(image) else {
            return Err(Error::argument("image", format!("below {count}"), image, "pass one of the tasks"));
        };
        let players = place.known.players();
        if order.iter().any(|&player| player >= players)
            || Coalition::of(players, order.iter().copied()).size() < order.len()
        {
            let expected = format!("players below {players}, each once");
            return Err(Error::argument(
                "order",
                expected,
                format!("{order:?}"),
                "pass an order of this image",
            ));
        }
        place.quests.iter_mut().for_each(|quest| quest.give(order.clone()));
        Ok(())
    }

    /// The next coalitions to evaluate, or `None` when every search has ended. Asking again before [`Self::tell`] gives
    /// the same ones.
    pub fn ask(&mut self) -> Option<Asked> {
        if self.open.is_none() {
            let mut asked = Asked::default();
            let active = self.images.iter_mut().enumerate().filter(|(_, image)| !image.is_done());
            for (number, image) in active.take(self.in_flight) {
                image.advance();
                let count = image.wanted.len().min(self.batch_size - asked.len());
                asked.owner.extend(std::iter::repeat_n(number, count));
                asked.coalitions.extend(image.wanted.drain(..count));
                if asked.len() == self.batch_size {
                    break;
                }
            }
            // An image may have come to its end with what is known: others take its place.
            if asked.is_empty() && !self.is_done() {
                return self.ask();
            }
            self.open = (!asked.is_empty()).then_some(asked);
        }
        self.open.clone()
    }

    /// Takes the scores of what was asked last, in order. On an error nothing has changed.
    ///
    /// # Errors
    /// Nothing is open, the number of scores is not that of the coalitions, or a reward or answer is not finite.
    pub fn tell(&mut self, scores: &[Score]) -> Result<()> {
        let Some(asked) = self.open.as_ref() else {
            let cure = "call `ask` first, and tell each batch once";
            return Err(Error::argument("scores", "an open batch", "scores for none", cure));
        };
        if scores.len() != asked.len() {
            let expected = format!("{} of them, one for each coalition of the batch", asked.len());
            return Err(Error::argument("scores", expected, scores.len(), "score the rows in their order"));
        }
        if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
            let got = format!(
                "{} for image {}, coalition {}",
                scores[row], asked.owner[row], asked.coalitions[row]
            );
            let cure = "check that the model's outputs are finite on this masked image";
            return Err(Error::argument("scores", "finite rewards and answers", got, cure));
        }
        let asked = self.open.take().unwrap_or_default();
        for ((image, coalition), &score) in asked.owner.into_iter().zip(asked.coalitions).zip(scores) {
            self.images[image].known.tell(coalition, score);
        }
        Ok(())
    }

    /// Evaluates batch after batch until every search has ended.
    ///
    /// # Errors
    /// The callback's own error, untouched; or its scores cannot be told. The search can go on after either.
    pub fn run<E>(
        &mut self,
        mut evaluate: impl FnMut(&Asked) -> std::result::Result<Vec<Score>, E>,
    ) -> std::result::Result<(), RunError<E>> {
        while let Some(asked) = self.ask() {
            let scores = evaluate(&asked).map_err(RunError::Callback)?;
            self.tell(&scores)?;
        }
        Ok(())
    }

    /// Whether every search has ended.
    pub fn is_done(&self) -> bool {
        self.images.iter().all(Image::is_done)
    }

    /// What was found on one image: all once its searches have ended; before that, what is done by then. `None` where
    /// its two ends are not known, or there is no such image.
    pub fn outcome(&mut self, image: usize) -> Option<Explored> {
        self.images.get_mut(image)?.explored()
    }

    /// Coalitions evaluated so far.
    pub fn evaluations(&self) -> usize {
        self.images.iter().map(Image::evaluations).sum()
    }

    /// The plans, in the order of an outcome's groups.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }
}

impl Image {
    fn new(task: &Task, plans: &[Plan]) -> Self {
        let mut known = Known::new(task.players);
        let ends = [(Coalition::full(task.players), task.full), (Coalition::empty(task.players), task.empty)];
        for (end, score) in ends {
            if let Some(score) = score {
                known.tell(end, score);
            }
        }
        let quests = plans.iter().map(|&plan| Quest::new(task.players, plan)).collect();
        Self { given: known.len(), known, quests, wanted: Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.quests.iter().all(Quest::is_done)
    }

    fn evaluations(&self) -> usize {
        self.known.len() - self.given
    }

    /// Goes on with all quests, once all that they wanted is known.
    fn advance(&mut self) {
        if !self.wanted.is_empty() {
            return;
        }
        let players = self.known.players();
        let ends = [Coalition::full(players), Coalition::empty(players)].map(|end| self.known.score(&end));
        if ends.iter().all(std::result::Result::is_ok) {
            for quest in &mut self.quests {
                // Who waits has said what for.
                let _ = quest.advance(&mut self.known);
            }
        }
        self.wanted = self.known.take_wanted();
        // Those of one size are quick to evaluate together.
        self.wanted.sort_by_key(|coalition| std::cmp::Reverse(coalition.size()));
    }

    fn explored(&mut self) -> Option<Explored> {
        let players = self.known.players();
        let [full, empty] =
            [Coalition::full(players), Coalition::empty(players)].map(|end| self.known.score(&end).ok());
        let groups = self.quests.iter().map(|quest| quest.found(&mut self.known)).collect();
        // What was looked up here is not wanted by a search.
        self.known.take_wanted();
        Some(Explored { groups, full: full?, empty: empty?, evaluations: self.evaluations() })
    }
}
