//! Searches beyond greedy on random table games, against enumeration and against themselves in plain words.

// Helpers of tests may panic, and the rewards are whole numbers, so sums are exact.
#![allow(clippy::unwrap_used, clippy::float_cmp)]

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use interpix::explore::{
    Aim, Asked, CatalogueOptions, Explored, Explorer, Group, Method, Objective, Plan, Verdict,
};
use interpix::search::{Coalition, Direction, RunError, Score, Search, SearchOptions, Stop, Task};
use proptest::prelude::*;

use super::tables::{Table, table};

const FLIP: Stop = Stop::Flip { min_confidence: 0.0, min_players: 0 };

impl Table {
    fn verdict(&self, objective: Objective, group: &Coalition) -> Verdict {
        objective.verdict(self.score(group), self.score(&group.complement()))
    }

    fn all(&self) -> impl Iterator<Item = Coalition> + '_ {
        (0..1 << self.players).map(|code| Coalition::from_code(self.players, code))
    }

    /// All groups that do what they shall and of which no part does.
    fn minimal(&self, objective: Objective) -> Vec<Coalition> {
        let reached: Vec<Coalition> =
            self.all().filter(|group| self.verdict(objective, group).reached).collect();
        let has_part = |group: &Coalition| reached.iter().any(|part| part != group && is_in(part, group));
        reached.iter().filter(|group| !has_part(group)).cloned().collect()
    }
}

fn is_in(part: &Coalition, group: &Coalition) -> bool {
    part.difference(group).size() == 0
}

fn aim() -> impl Strategy<Value = Aim> {
    let weight = (0..=4_u8).prop_map(|quarter| Aim::Both { weight: f64::from(quarter) / 4.0 });
    prop_oneof![Just(Aim::Insertion), Just(Aim::Deletion), weight]
}

fn stop() -> impl Strategy<Value = Stop> {
    let flip = (0..=4_u8, 0..4_usize).prop_map(|(quarter, min_players)| Stop::Flip {
        min_confidence: f64::from(quarter) / 4.0,
        min_players,
    });
    prop_oneof![Just(Stop::All), flip, (0..=9_usize).prop_map(Stop::Steps)]
}

fn catalogue() -> impl Strategy<Value = CatalogueOptions> {
    (1..=4_usize, 0..=4_u8, 1..=3_usize, 0..=3_usize, 1..=12_usize).prop_map(
        |(count, quarter, width, exhaust, tries)| {
            let overlap = f64::from(quarter) / 4.0;
            CatalogueOptions { count, overlap, width, exhaust, tries }
        },
    )
}

fn run(games: &[Table], plans: &[Plan], batch_size: usize, in_flight: usize) -> Vec<Explored> {
    let tasks = games.iter().map(|game| Task::new(game.players)).collect();
    let mut explorer = Explorer::new(tasks, plans.to_vec(), batch_size, in_flight).unwrap();
    let mut seen = HashSet::new();
    let done: Result<(), RunError<Infallible>> = explorer.run(|asked| {
        assert!(!asked.is_empty() && asked.len() <= batch_size);
        check_flips(asked);
        let rows = asked.owner().iter().zip(asked.coalitions());
        Ok(rows
            .map(|(&image, coalition)| {
                assert!(
                    seen.insert((image, coalition.clone())),
                    "{coalition} of image {image} is asked twice"
                );
                games[image].score(coalition)
            })
            .collect())
    });
    done.unwrap();
    assert!(explorer.is_done());
    assert_eq!(explorer.evaluations(), seen.len());
    (0..games.len()).map(|image| explorer.outcome(image).unwrap()).collect()
}

/// Flipped, the sets are what is asked; and each is of one image.
fn check_flips(asked: &Asked) {
    let flips = asked.flips();
    let mut image_of = HashMap::new();
    for (place, coalition) in asked.coalitions().iter().enumerate() {
        let mut set = flips.bases[flips.row[place]].clone();
        if let Some(player) = flips.flip[place] {
            set.flip(player);
        }
        assert_eq!(&set, coalition);
        assert_eq!(*image_of.entry(flips.row[place]).or_insert(asked.owner()[place]), asked.owner()[place]);
    }
    assert_eq!(image_of.len(), flips.bases.len());
    assert!(flips.row.is_sorted());
}

fn run_one(game: &Table, plan: Plan) -> Group {
    run(std::slice::from_ref(game), &[plan], 64, 1)[0].groups[0][0].clone()
}

fn objective(plan: Plan) -> Objective {
    let min_confidence = match plan.stop {
        Stop::Flip { min_confidence, .. } => min_confidence,
        _ => 0.0,
    };
    Objective { aim: plan.aim, min_confidence }
}

/// Greedy search in plain words.
fn greedy_in_words(game: &Table, aim: Objective, stop: Stop) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    let mut reached = game.verdict(aim, &Coalition::empty(game.players)).reached;
    loop {
        let ended = match stop {
            Stop::All => false,
            Stop::Flip { min_players, .. } => reached && order.len() >= min_players,
            Stop::Steps(steps) => order.len() >= steps,
        };
        if ended || order.len() == game.players {
            return order;
        }
        let mut best: Option<(usize, Verdict)> = None;
        for player in (0..game.players).filter(|player| !order.contains(player)) {
            let group = Coalition::of(game.players, order.iter().copied().chain([player]));
            let verdict = game.verdict(aim, &group);
            if best.is_none_or(|(_, other)| verdict.value > other.value) {
                best = Some((player, verdict));
            }
        }
        let (player, verdict) = best.unwrap();
        order.push(player);
        reached |= verdict.reached;
    }
}

/// Beams in plain words: levels of sets, each with the order that came to it first.
fn beam_in_words(game: &Table, aim: Objective, width: usize) -> Vec<usize> {
    let mut level = vec![Vec::new()];
    if game.verdict(aim, &Coalition::empty(game.players)).reached {
        return Vec::new();
    }
    for _ in 0..game.players {
        let mut next: Vec<(Vec<usize>, Verdict)> = Vec::new();
        for order in &level {
            for player in (0..game.players).filter(|player| !order.contains(player)) {
                let mut longer: Vec<usize> = order.clone();
                longer.push(player);
                let as_set = |order: &[usize]| Coalition::of(game.players, order.iter().copied());
                if next.iter().all(|(other, _)| as_set(other) != as_set(&longer)) {
                    let verdict = game.verdict(aim, &as_set(&longer));
                    next.push((longer, verdict));
                }
            }
        }
        let any = next.iter().any(|(_, verdict)| verdict.reached);
        next.retain(|(_, verdict)| verdict.reached || !any);
        next.sort_by(|a, b| b.1.value.partial_cmp(&a.1.value).unwrap());
        level = next.into_iter().take(width).map(|(order, _)| order).collect();
        if any {
            break;
        }
    }
    level[0].clone()
}

proptest! {
    #[test]
    fn greedy_is_greedy_in_words(game in table(7, 0.25), aim in aim(), stop in stop()) {
        let plan = Plan { aim, method: Method::Greedy, stop, minimal: false };
        let group = run_one(&game, plan);
        prop_assert_eq!(&group.order, &greedy_in_words(&game, objective(plan), stop));
        for (length, gap) in group.gaps.iter().enumerate() {
            let value = |player| {
                let set = Coalition::of(game.players, group.order[..length].iter().copied()).with(player);
                game.verdict(objective(plan), &set).value
            };
            let others = (0..game.players).filter(|player| !group.order[..=length].contains(player));
            let second = others.map(value).fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(*gap, value(group.order[length]) - second);
        }
    }

    #[test]
    fn greedy_for_one_aim_is_moxi(game in table(7, 0.25), deletion in any::<bool>(), stop in stop()) {
        let aim = if deletion { Aim::Deletion } else { Aim::Insertion };
        let group = run_one(&game, Plan { aim, method: Method::Greedy, stop, minimal: false });
        let direction = if deletion { Direction::Deletion } else { Direction::Insertion };
        let options = SearchOptions { direction, stop, ..SearchOptions::default() };
        let mut search = Search::new(vec![Task::new(game.players)], options).unwrap();
        let told = |coalition: Coalition| game.score(&coalition);
        let found = search.run(|batch| Ok::<_, Infallible>(batch.coalitions().map(told).collect())).unwrap();
        prop_assert_eq!(&group.order, &found[0].ranking);
        prop_assert_eq!(if deletion { &group.without } else { &group.with }, &found[0].scores);
        // A rule that is none of a flip asks for no confidence, nor does a deletion.
        prop_assert_eq!(group.stopped_at, found[0].stopped_at);
    }

    #[test]
    fn beams_are_beams_in_words(game in table(7, 0.25), aim in aim(), width in 1..=5_usize) {
        let plan = Plan { aim, method: Method::Beam { width }, stop: FLIP, minimal: false };
        let group = run_one(&game, plan);
        prop_assert_eq!(&group.order, &beam_in_words(&game, objective(plan), width));
        let steps = Plan { method: Method::Beam { width: 1 }, stop: Stop::Steps(4), ..plan };
        let greedy = Plan { method: Method::Greedy, ..steps };
        prop_assert_eq!(run_one(&game, steps), run_one(&game, greedy));
    }

    #[test]
    fn a_beam_that_holds_all_groups_finds_a_smallest_one(game in table(6, 0.25), aim in aim()) {
        let plan = Plan { aim, method: Method::Beam { width: 1 << 6 }, stop: FLIP, minimal: false };
        let smallest = game.minimal(objective(plan)).iter().map(Coalition::size).min();
        prop_assert_eq!(run_one(&game, plan).stopped_at, smallest);
    }

    #[test]
    fn a_minimal_group_misses_each_of_its_players(
        game in table(8, 0.25),
        aim in aim(),
        method in prop_oneof![Just(Method::Greedy), Just(Method::Beam { width: 3 }), Just(Method::Exchange),
                              Just(Method::Bidirectional { pending: 2 })],
    ) {
        let plan = Plan { aim, method, stop: FLIP, minimal: true };
        let group = run_one(&game, plan);
        let Some(length) = group.stopped_at else {
            prop_assert_eq!(group.minimal, None);
            return Ok(());
        };
        let minimal = group.minimal.unwrap();
        let set = Coalition::of(game.players, minimal.players.iter().copied());
        prop_assert!(minimal.players.iter().all(|player| group.order[..length].contains(player)));
        prop_assert!(game.verdict(objective(plan), &set).reached);
        for &player in &minimal.players {
            prop_assert!(!game.verdict(objective(plan), &set.without(player)).reached);
        }
        prop_assert_eq!(minimal.with, (aim != Aim::Deletion).then(|| game.score(&set)));
        prop_assert_eq!(minimal.without, (aim != Aim::Insertion).then(|| game.score(&set.complement())));
    }

    #[test]
    fn exchanges_never_make_a_group_larger(game in table(8, 0.25), aim in aim()) {
        let plan = |method, minimal| Plan { aim, method, stop: FLIP, minimal };
        let greedy = run_one(&game, plan(Method::Greedy, true));
        let exchanged = run_one(&game, plan(Method::Exchange, true));
        prop_assert_eq!(greedy.stopped_at.is_some(), exchanged.stopped_at.is_some());
        if let (Some(before), Some(after)) = (greedy.minimal, exchanged.minimal) {
            prop_assert!(after.players.len() <= before.players.len());
        }
    }

    #[test]
    fn both_ends_put_everybody_in_order_once(game in table(8, 0.25), aim in aim(), pending in 1..=9_usize) {
        let plan = Plan { aim, method: Method::Bidirectional { pending }, stop: Stop::All, minimal: false };
        let mut order = run_one(&game, plan).order;
        if pending >= game.players {
            prop_assert_eq!(&order, &greedy_in_words(&game, objective(plan), Stop::All));
        }
        order.sort_unstable();
        prop_assert_eq!(order, (0..game.players).collect::<Vec<_>>());
    }

    #[test]
    fn a_catalogue_of_all_sizes_is_the_truth(game in table(6, 0.25), aim in aim()) {
        let options = CatalogueOptions { count: 1 << 6, overlap: 1.0, width: 1, exhaust: 6, tries: 1 };
        let plan = Plan { aim, method: Method::Catalogue(options), stop: FLIP, minimal: true };
        let found = run(std::slice::from_ref(&game), &[plan], 64, 1)[0].groups[0].clone();
        let truth = game.minimal(objective(plan));
        let sets: HashSet<Coalition> =
            found.iter().map(|group| Coalition::of(game.players, group.order.iter().copied())).collect();
        prop_assert_eq!(sets.len(), found.len());
        prop_assert_eq!(sets, truth.iter().cloned().collect());
        prop_assert!(found.is_sorted_by_key(|group| group.order.len()));
        let smallest = truth.iter().map(Coalition::size).min();
        for group in found {
            prop_assert_eq!(group.none_up_to, smallest.unwrap().checked_sub(1));
            prop_assert!(group.all_parts_tried);
        }
    }

    #[test]
    fn what_a_catalogue_says_is_so(game in table(8, 0.25), aim in aim(), options in catalogue()) {
        let plan = Plan { aim, method: Method::Catalogue(options), stop: FLIP, minimal: true };
        let aim = objective(plan);
        let found = run(std::slice::from_ref(&game), &[plan], 64, 1)[0].groups[0].clone();
        prop_assert!(found.len() <= options.count);
        let sets: Vec<Coalition> =
            found.iter().map(|group| Coalition::of(game.players, group.order.iter().copied())).collect();
        for (place, (group, set)) in found.iter().zip(&sets).enumerate() {
            prop_assert!(game.verdict(aim, set).reached);
            prop_assert_eq!(group.stopped_at, Some(set.size()));
            prop_assert!(set.members().all(|player| !game.verdict(aim, &set.without(player)).reached));
            let parts: Vec<Coalition> = game.all().filter(|part| part != set && is_in(part, set)).collect();
            if group.all_parts_tried {
                prop_assert!(parts.iter().all(|part| !game.verdict(aim, part).reached));
            }
            if let Some(size) = group.none_up_to {
                prop_assert!(game.all().all(|other| other.size() > size || !game.verdict(aim, &other).reached));
            }
            for other in &sets[..place] {
                prop_assert!(!is_in(set, other) && !is_in(other, set));
                let shared = set.size() - set.difference(other).size();
                prop_assert!(shared as f64 <= options.overlap * set.size().min(other.size()) as f64);
            }
        }
        if found.is_empty() && options.exhaust >= game.players {
            prop_assert!(game.minimal(aim).is_empty());
        }
    }

    #[test]
    fn packing_changes_nothing_and_nothing_is_asked_twice(
        games in prop::collection::vec(table(6, 0.25), 1..=4),
        aims in prop::collection::vec(aim(), 1..=3),
        batch_size in 1..=20_usize,
        in_flight in 1..=5_usize,
    ) {
        let options = CatalogueOptions { count: 3, overlap: 0.5, width: 2, exhaust: 1, tries: 6 };
        let methods = [Method::Greedy, Method::Beam { width: 2 }, Method::Exchange,
                       Method::Bidirectional { pending: 2 }, Method::Catalogue(options)];
        let plans: Vec<Plan> = aims
            .iter()
            .flat_map(|&aim| methods.map(|method| Plan { aim, method, stop: FLIP, minimal: true }))
            .collect();
        let together = run(&games, &plans, batch_size, in_flight);
        let alone: Vec<Explored> =
            games.iter().map(|game| run(std::slice::from_ref(game), &plans, 64, 1).swap_remove(0)).collect();
        prop_assert_eq!(&together, &alone);
        // Each plan by itself finds the same, with at most as many evaluations as all together.
        for (number, &plan) in plans.iter().enumerate() {
            let single = run(&games, &[plan], 64, 9);
            for (image, explored) in single.iter().enumerate() {
                prop_assert_eq!(&explored.groups[0], &together[image].groups[number]);
                prop_assert!(explored.evaluations <= together[image].evaluations);
            }
        }
    }
}

/// The reward is the number of present players; those of a pair only suffice together.
fn pairs(players: usize, pairs: &[[usize; 2]]) -> Table {
    let score = |code: usize| Score {
        reward: f64::from(code.count_ones()),
        answer: 0.5,
        predicted: None,
        holds: pairs.iter().any(|pair| pair.iter().all(|player| code >> player & 1 == 1)),
    };
    Table { players, scores: (0..1 << players).map(score).collect() }
}

#[test]
fn a_catalogue_lists_what_is_apart() {
    let game = pairs(8, &[[1, 5], [2, 6], [1, 7]]);
    let options = CatalogueOptions { count: 5, overlap: 0.0, width: 4, exhaust: 1, tries: 20 };
    let plan = |overlap| Plan {
        aim: Aim::Insertion,
        method: Method::Catalogue(CatalogueOptions { overlap, ..options }),
        stop: FLIP,
        minimal: true,
    };
    let found = run(std::slice::from_ref(&game), &[plan(0.0), plan(0.5)], 64, 1);
    let sets = |groups: &[Group]| {
        let mut sets: Vec<Vec<usize>> = groups
            .iter()
            .map(|group| {
                let mut members = group.order.clone();
                members.sort_unstable();
                members
            })
            .collect();
        sets.sort();
        sets
    };
    assert_eq!(sets(&found[0].groups[0]), [[1, 5], [2, 6]]);
    assert_eq!(sets(&found[0].groups[1]), [[1, 5], [1, 7], [2, 6]]);
    assert!(found[0].groups[0].iter().all(|group| group.none_up_to == Some(1) && group.all_parts_tried));
}

#[test]
fn both_counts_both_sides() {
    // Alone 1 is worth most; but the others say so as well without it.
    let rewards = [(0b00, 0.0), (0b01, 2.0), (0b10, 3.0), (0b11, 4.0)];
    let scores =
        rewards.map(|(code, reward)| Score { reward, answer: 0.5, predicted: None, holds: code & 1 == 1 });
    let game = Table { players: 2, scores: scores.to_vec() };
    for (weight, order) in [(1.0, vec![1, 0]), (0.5, vec![1, 0]), (0.0, vec![1, 0])] {
        let plan = Plan { aim: Aim::Both { weight }, method: Method::Greedy, stop: FLIP, minimal: true };
        let group = run_one(&game, plan);
        assert_eq!(group.order, order);
        // 0 alone is enough: with it the answer holds, without it it does not.
        assert_eq!(group.minimal.unwrap().players, [0]);
    }
}

#[test]
fn an_interrupted_catalogue_keeps_its_groups() {
    let game = pairs(8, &[[1, 5], [2, 6], [3, 7]]);
    let options = CatalogueOptions { count: 3, overlap: 0.0, width: 1, exhaust: 1, tries: 20 };
    let plan = Plan { aim: Aim::Insertion, method: Method::Catalogue(options), stop: FLIP, minimal: true };
    let mut explorer = Explorer::new(vec![Task::new(8)], vec![plan], 4, 1).unwrap();
    let mut counts = Vec::new();
    while let Some(asked) = explorer.ask() {
        let scores: Vec<Score> = asked.coalitions().iter().map(|coalition| game.score(coalition)).collect();
        explorer.tell(&scores).unwrap();
        if let Some(found) = explorer.outcome(0) {
            counts.push(found.groups[0].len());
        }
    }
    assert_eq!(explorer.outcome(0).unwrap().groups[0].len(), 3);
    assert!(counts.is_sorted() && counts.contains(&1) && counts.contains(&2));
}

#[test]
fn a_given_order_is_pruned_as_a_found_one() {
    let game = pairs(6, &[[1, 5], [2, 4]]);
    let plan = Plan { aim: Aim::Insertion, method: Method::Greedy, stop: FLIP, minimal: true };
    let found = run_one(&game, plan);
    let mut explorer = Explorer::new(vec![Task::new(6)], vec![plan], 64, 1).unwrap();
    explorer.give(0, found.order.clone()).unwrap();
    while let Some(asked) = explorer.ask() {
        let scores: Vec<Score> = asked.coalitions().iter().map(|coalition| game.score(coalition)).collect();
        explorer.tell(&scores).unwrap();
    }
    let given = explorer.outcome(0).unwrap().groups[0][0].clone();
    assert_eq!(
        (given.order, given.stopped_at, given.minimal),
        (found.order, found.stopped_at, found.minimal)
    );
    for (order, need) in [(vec![1, 1], "each once"), (vec![6], "below 6")] {
        assert!(explorer.give(0, order).unwrap_err().to_string().contains(need));
    }
    assert!(explorer.give(1, vec![]).unwrap_err().to_string().contains("below 1"));
}

#[test]
fn candidates_of_a_step_are_flips_of_one_set() {
    let game = pairs(7, &[[1, 5]]);
    let plan = |aim, method| Plan { aim, method, stop: Stop::Steps(3), minimal: false };
    // A step of each: one set for those alone, another for all others; and one for each of a beam's.
    for (plan, most) in [
        (plan(Aim::Insertion, Method::Greedy), 1),
        (plan(Aim::Both { weight: 0.5 }, Method::Greedy), 2),
        (plan(Aim::Deletion, Method::Beam { width: 3 }), 3),
    ] {
        let mut explorer = Explorer::new(vec![Task::new(7)], vec![plan], 1000, 1).unwrap();
        let mut steps = 0;
        while let Some(asked) = explorer.ask() {
            // Both ends come first.
            assert!(steps == 0 || asked.flips().bases.len() <= most, "{}", asked.flips().bases.len());
            let scores: Vec<Score> =
                asked.coalitions().iter().map(|coalition| game.score(coalition)).collect();
            explorer.tell(&scores).unwrap();
            steps += 1;
        }
        assert_eq!(steps, 4);
    }
}

#[test]
fn what_is_known_is_not_asked() {
    let game = pairs(6, &[[1, 5], [2, 4]]);
    let options = CatalogueOptions { count: 3, overlap: 0.0, width: 1, exhaust: 1, tries: 20 };
    let plan = Plan { aim: Aim::Insertion, method: Method::Catalogue(options), stop: FLIP, minimal: true };
    let whole = run(std::slice::from_ref(&game), &[plan], 64, 1);
    let mut explorer = Explorer::new(vec![Task::new(6)], vec![plan], 64, 1).unwrap();
    explorer.know(0, game.all().map(|coalition| (coalition.clone(), game.score(&coalition)))).unwrap();
    assert_eq!(explorer.ask(), None);
    let found = explorer.outcome(0).unwrap();
    assert_eq!((&found.groups, found.evaluations), (&whole[0].groups, 0));
    let one = (Coalition::empty(5), game.scores[0]);
    assert!(
        explorer.know(0, [one.clone()]).unwrap_err().to_string().contains("coalitions of 6 players, got 5")
    );
    assert!(explorer.know(1, [one]).unwrap_err().to_string().contains("below 1"));
}

#[test]
fn bad_options_are_told() {
    let fine = Plan { aim: Aim::Insertion, method: Method::Greedy, stop: FLIP, minimal: false };
    let options = CatalogueOptions { count: 1, overlap: 0.5, width: 1, exhaust: 1, tries: 1 };
    let bad = [
        ("weight", Plan { aim: Aim::Both { weight: 1.5 }, ..fine }),
        ("width", Plan { method: Method::Beam { width: 0 }, ..fine }),
        ("pending", Plan { method: Method::Bidirectional { pending: 0 }, ..fine }),
        ("count", Plan { method: Method::Catalogue(CatalogueOptions { count: 0, ..options }), ..fine }),
        (
            "overlap",
            Plan { method: Method::Catalogue(CatalogueOptions { overlap: -0.1, ..options }), ..fine },
        ),
        ("stop", Plan { method: Method::Exchange, stop: Stop::All, ..fine }),
        ("stop", Plan { minimal: true, stop: Stop::Steps(2), ..fine }),
        (
            "min_players",
            Plan {
                method: Method::Exchange,
                stop: Stop::Flip { min_confidence: 0.0, min_players: 2 },
                ..fine
            },
        ),
        ("min_confidence", Plan { stop: Stop::Flip { min_confidence: f64::NAN, min_players: 0 }, ..fine }),
    ];
    for (name, plan) in bad {
        let error = Explorer::new(vec![Task::new(2)], vec![plan], 1, 1).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{name}`")), "{error}");
    }
    let mut explorer = Explorer::new(vec![Task::new(2)], vec![fine], 1, 1).unwrap();
    let one = Score { reward: 0.0, answer: 0.0, predicted: None, holds: false };
    assert!(explorer.tell(&[one]).unwrap_err().to_string().contains("an open batch"));
    assert_eq!(explorer.ask(), explorer.ask());
    assert!(explorer.tell(&[one, one]).unwrap_err().to_string().contains("1 of them"));
    assert!(explorer.tell(&[Score { reward: f64::NAN, ..one }]).unwrap_err().to_string().contains("finite"));
    assert!(explorer.tell(&[one]).is_ok());
}

/// Answers that are no probabilities may be negative; 0 asks for nothing of them.
#[test]
fn negative_answers_are_answers() {
    let score = |answer, holds| Score { reward: 1.0, answer, predicted: None, holds };
    let aims = [Aim::Insertion, Aim::Both { weight: 0.5 }];
    for aim in aims {
        let of = |min_confidence, answer| {
            Objective { aim, min_confidence }.verdict(score(answer, true), score(0.0, false)).reached
        };
        assert!(of(0.0, -3.0) && of(0.0, 0.0) && of(0.5, 0.5) && !of(0.5, 0.4));
    }
}
