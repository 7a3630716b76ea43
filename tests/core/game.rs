//! Values and interactions: axioms, hand-made games, and the identities that make greedy search interaction-aware.

// Helpers of tests may panic, and the rewards are whole numbers, so sums are exact.
#![allow(clippy::unwrap_used, clippy::float_cmp)]

use std::collections::HashSet;
use std::convert::Infallible;

use interpix::Error;
use interpix::game::{
    MAX_PLAYERS, SampleOptions, Sampler, Table, full_context_interaction, full_context_value, one_shot,
    sampled_shapley_values, self_context_interaction, self_context_value,
};
use interpix::search::{Coalition, Direction, RunError, Score, Search, SearchOptions, Stop, Task};
use proptest::prelude::*;

use super::memory::measured;

/// A random game of 2 to 6 players with whole rewards, so that all sums are exact.
fn table() -> impl Strategy<Value = Table> {
    (2..=6_usize).prop_flat_map(|players| {
        prop::collection::vec(-50..=50_i32, 1 << players)
            .prop_map(move |rewards| Table::from_fn(players, |set| f64::from(rewards[code(set)])).unwrap())
    })
}

fn code(set: &Coalition) -> usize {
    set.members().map(|member| 1 << member).sum()
}

fn coalitions(players: usize) -> impl Iterator<Item = Coalition> {
    (0..1_u64 << players).map(move |code| Coalition::from_code(players, code))
}

fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance), "{a:?} is not near {b:?}");
}

/// Shapley values as the mean gain over all orders of joining.
fn over_all_orders(game: &Table) -> Vec<f64> {
    let mut values = vec![0.0; game.players()];
    let mut orders = 0.0;
    let mut stack: Vec<(Coalition, Vec<(usize, f64)>)> = vec![(Coalition::empty(game.players()), vec![])];
    while let Some((present, gains)) = stack.pop() {
        if gains.len() == game.players() {
            orders += 1.0;
            for &(player, gain) in &gains {
                values[player] += gain;
            }
        }
        for player in present.complement().members() {
            let gain = game.reward(&present.with(player)) - game.reward(&present);
            stack.push((present.with(player), [&gains[..], &[(player, gain)]].concat()));
        }
    }
    values.iter().map(|value| value / orders).collect()
}

/// The game of `players` in which each new player stands for the given old ones, and nobody else is present.
fn restricted(game: &Table, groups: &[Vec<usize>]) -> Table {
    let members = |set: &Coalition| set.members().flat_map(|group| groups[group].clone()).collect::<Vec<_>>();
    Table::from_fn(groups.len(), |set| game.reward(&Coalition::of(game.players(), members(set)))).unwrap()
}

/// Equation 2 as it is written: the merged pair's value, less each one's value in the absence of the other.
fn interaction_by_merging(game: &Table, i: usize, j: usize) -> f64 {
    let others: Vec<Vec<usize>> =
        (0..game.players()).filter(|&k| k != i && k != j).map(|k| vec![k]).collect();
    let first = |group: Vec<usize>| restricted(game, &[&[group], &others[..]].concat()).shapley_values()[0];
    first(vec![i, j]) - first(vec![i]) - first(vec![j])
}

proptest! {
    #[test]
    fn exact_values_are_the_mean_over_all_orders(game in table()) {
        assert_close(&game.shapley_values(), &over_all_orders(&game), 1e-9);
    }

    #[test]
    fn values_share_out_the_whole_reward(game in table()) {
        let n = game.players();
        let whole = game.reward(&Coalition::full(n)) - game.reward(&Coalition::empty(n));
        assert_close(&[game.shapley_values().iter().sum()], &[whole], 1e-9);
    }

    #[test]
    fn equal_players_get_equal_values_and_a_dummy_gets_its_own(game in table(), own in -9..=9_i32) {
        // A copy of player 0 counts as player 0, both as one; a dummy adds its own reward to any coalition.
        let n = game.players();
        let extended = Table::from_fn(n + 2, |set| {
            let mut members: HashSet<usize> = set.members().filter(|&member| member < n).collect();
            if set.contains(n) {
                members.insert(0);
            }
            game.reward(&Coalition::of(n, members)) + f64::from(own) * f64::from(set.contains(n + 1))
        });
        let values = extended.unwrap().shapley_values();
        assert_close(&[values[0], values[n + 1]], &[values[n], f64::from(own)], 1e-9);
    }

    #[test]
    fn interactions_are_those_of_merged_players(game in table()) {
        let interactions = game.shapley_interactions();
        for i in 0..game.players() {
            prop_assert_eq!(interactions[[i, i]], 0.0);
            for j in (0..game.players()).filter(|&j| j != i) {
                prop_assert_eq!(interactions[[i, j]], interactions[[j, i]]);
                assert_close(&[interactions[[i, j]]], &[interaction_by_merging(&game, i, j)], 1e-9);
            }
        }
    }

    #[test]
    fn the_insertion_step_counts_the_interaction(game in table()) {
        let reward = |set: &Coalition| game.reward(set);
        for group in coalitions(game.players()) {
            for player in group.complement().members() {
                let alone = Coalition::of(game.players(), [player]);
                let sum = self_context_value(reward, &alone) + self_context_interaction(reward, &group, player);
                // Up to f(A), which is the same for all players: so the arg-max is that of f(A + b).
                prop_assert_eq!(sum + reward(&group), reward(&group.with(player)));
            }
        }
    }

    #[test]
    fn the_deletion_step_counts_the_interaction(game in table()) {
        let reward = |set: &Coalition| game.reward(set);
        let all = Coalition::full(game.players());
        for group in coalitions(game.players()) {
            for player in group.complement().members() {
                let alone = Coalition::of(game.players(), [player]);
                let sum = full_context_value(reward, &group, &alone)
                    + full_context_value(reward, &alone, &group)
                    + full_context_interaction(reward, &group, player);
                // The merged player's value: it falls with f(N - A - b), by a factor that all players share.
                let merged = full_context_value(reward, &group.with(player), &Coalition::empty(game.players()));
                let rest = (game.players() - group.size()) as f64;
                assert_close(&[sum, sum], &[merged, (reward(&all) - reward(&group.with(player).complement())) / rest], 1e-9);
            }
        }
    }

    #[test]
    fn samples_that_draw_everything_are_exact_on_additive_games(
        gains in prop::collection::vec(-9..=9_i32, 1..=12),
        seed in any::<u64>(),
        moxi in any::<bool>(),
    ) {
        let reward = |set: &Coalition| set.members().map(|member| f64::from(gains[member])).sum::<f64>();
        let sampler = if moxi { Sampler::Moxi } else { Sampler::Permutation };
        let sampled = sample(gains.len(), SampleOptions { sampler, rounds: 3, seed, batch_size: 7 }, reward);
        assert_close(&sampled.values, &gains.iter().map(|&gain| f64::from(gain)).collect::<Vec<_>>(), 1e-9);
    }

    #[test]
    fn greedy_insertion_takes_all_new_values_first_on_set_sum(values in prop::collection::vec(1..=5_u32, 1..=8)) {
        let mut search = Search::new(vec![Task::new(values.len())], all()).unwrap();
        let outcomes = search.run(|batch| Ok::<_, Infallible>(batch.coalitions().map(|set| score(&values, &set)).collect()));
        let found: Vec<u32> = outcomes.unwrap()[0].ranking.iter().map(|&player| values[player]).collect();
        let distinct: HashSet<u32> = values.iter().copied().collect();
        prop_assert_eq!(found[..distinct.len()].iter().collect::<HashSet<_>>().len(), distinct.len());
        prop_assert!(found[..distinct.len()].is_sorted_by(|a, b| a > b));
    }
}

fn all() -> SearchOptions {
    SearchOptions { stop: Stop::All, ..SearchOptions::default() }
}

/// SET-SUM: the sum of the distinct values that are present.
fn set_sum(values: &[u32], set: &Coalition) -> f64 {
    f64::from(set.members().map(|member| values[member]).collect::<HashSet<_>>().into_iter().sum::<u32>())
}

fn score(values: &[u32], set: &Coalition) -> Score {
    Score { reward: set_sum(values, set), answer: 0.0, predicted: None, holds: false }
}

fn sample(
    players: usize,
    options: SampleOptions,
    reward: impl Fn(&Coalition) -> f64,
) -> interpix::game::Sampled {
    let batch_size = options.batch_size;
    let mut seen = HashSet::new();
    let sampled = sampled_shapley_values(players, &options, |sets| {
        assert!(sets.len() <= batch_size);
        assert!(sets.iter().all(|set| seen.insert(set.clone())), "a coalition was evaluated twice");
        Ok::<_, Infallible>(sets.iter().map(&reward).collect())
    });
    let sampled = sampled.unwrap();
    assert_eq!(sampled.evaluations, seen.len());
    sampled
}

#[test]
fn a_ranking_by_shapley_values_takes_a_duplicate_before_a_new_value() {
    let values = [5, 5, 5, 3, 2, 1];
    let game = Table::from_fn(values.len(), |set| set_sum(&values, set)).unwrap();
    // The three fives share 5, which is more than 1 each.
    assert_close(&game.shapley_values(), &[5.0 / 3.0, 5.0 / 3.0, 5.0 / 3.0, 3.0, 2.0, 1.0], 1e-12);
}

#[test]
fn the_glove_game() {
    let game = Table::from_fn(3, |set| f64::from(set.contains(2) && set.size() > 1)).unwrap();
    assert_close(&game.shapley_values(), &[1.0 / 6.0, 1.0 / 6.0, 4.0 / 6.0], 1e-15);
    // The two left gloves replace each other; each completes the right one half of the time.
    let interactions = game.shapley_interactions();
    assert_eq!([interactions[[0, 1]], interactions[[0, 2]], interactions[[1, 2]]], [-0.5, 0.5, 0.5]);
}

#[test]
fn sampled_values_approach_the_exact_ones() {
    let rewards = |set: &Coalition| ((code(set) * 7919) % 101) as f64;
    let exact = Table::from_fn(7, rewards).unwrap().shapley_values();
    for sampler in [Sampler::Moxi, Sampler::Permutation] {
        let sampled =
            sample(7, SampleOptions { sampler, rounds: 20_000, ..SampleOptions::default() }, rewards);
        for ((value, error), exact) in sampled.values.iter().zip(&sampled.standard_errors).zip(&exact) {
            assert!(*error < 0.4, "{sampler:?}: {error}");
            assert!((value - exact).abs() < 4.0 * error, "{sampler:?}: {value} ± {error}, exact {exact}");
        }
        assert_eq!(sampled.evaluations, 1 << 7);
    }
}

#[test]
fn the_seed_decides_and_the_batch_size_does_not() {
    let rewards = |set: &Coalition| ((code(set) * 31) % 17) as f64;
    for sampler in [Sampler::Moxi, Sampler::Permutation] {
        let options = SampleOptions { sampler, rounds: 40, seed: 5, batch_size: 64 };
        let sampled = sample(9, options, rewards);
        assert_eq!(sampled, sample(9, SampleOptions { batch_size: 1, ..options }, rewards));
        assert_ne!(sampled, sample(9, SampleOptions { seed: 6, ..options }, rewards));
    }
}

/// F42: each coalition was remembered to the end.
#[test]
fn many_rounds_of_many_players_do_not_fill_the_memory() {
    let (players, rounds, mut asked) = (4000, 80, 0);
    let (sampled, peak) = measured(|| {
        sampled_shapley_values(players, &SampleOptions { rounds, ..SampleOptions::default() }, |sets| {
            asked += sets.len();
            Ok::<_, Infallible>(sets.iter().map(|set| set.size() as f64).collect())
        })
    });
    let sampled = sampled.unwrap();
    assert_eq!(sampled.values, vec![1.0; players]);
    assert_eq!(sampled.evaluations, asked);
    // The empty and the full coalition are never asked about again.
    assert!(asked <= rounds * (players - 1) + 2, "{asked}");
    assert!(peak < 128 << 20, "{peak} bytes");
}

/// R8: an allocation that fails aborts the process.
#[test]
fn more_players_than_the_memory_holds_sets_of_are_refused() {
    let size = |sets: &[Coalition]| Ok::<_, Infallible>(sets.iter().map(|set| set.size() as f64).collect());
    let shot = one_shot(20_000_000, Direction::Deletion, 1, size).unwrap_err();
    let sampled = sampled_shapley_values(20_000_000, &SampleOptions::default(), size).unwrap_err();
    for message in [shot.to_string(), sampled.to_string()] {
        assert!(message.starts_with("`regions`: the table of sets of players needs"), "{message}");
    }
}

#[test]
fn a_single_round_knows_no_error() {
    let sampled = sample(2, SampleOptions { rounds: 1, ..SampleOptions::default() }, |set| set.size() as f64);
    assert_eq!(sampled.standard_errors, [f64::INFINITY; 2]);
}

#[test]
fn one_shot_ranks_by_single_players() {
    let values = [3, 7, 7, 1];
    let evaluate =
        |sets: &[Coalition]| Ok::<_, Infallible>(sets.iter().map(|set| set_sum(&values, set)).collect());
    let insertion = one_shot(4, Direction::Insertion, 3, evaluate).unwrap();
    assert_eq!(insertion.ranking, [1, 2, 0, 3]);
    assert_eq!(insertion.values, [3.0, 7.0, 7.0, 1.0]);
    assert_eq!(insertion.evaluations, 5);
    // Without one of the sevens the other is still there.
    let deletion = one_shot(4, Direction::Deletion, 3, evaluate).unwrap();
    assert_eq!(deletion.ranking, [0, 3, 1, 2]);
    assert_eq!(deletion.values, [0.75, 0.0, 0.0, 0.25]);
    assert_eq!(deletion.evaluations, 5);
}

fn message<T: std::fmt::Debug>(result: Result<T, RunError<Infallible>>) -> String {
    match result.unwrap_err() {
        RunError::Search(error @ Error::Argument { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_arguments_are_refused() {
    let size = |sets: &[Coalition]| Ok(sets.iter().map(|set| set.size() as f64).collect::<Vec<_>>());
    let default = SampleOptions::default();
    assert!(message(Table::evaluate(0, 1, size)).starts_with("`players`: expected at least 1, got 0"));
    let many = message(Table::evaluate(MAX_PLAYERS + 1, 1, size));
    assert!(many.contains("at most 16 for an exact answer, got 17; sample the values"), "{many}");
    assert!(message(Table::evaluate(2, 0, size)).starts_with("`batch_size`: expected at least 1"));
    assert!(message(one_shot(0, Direction::Insertion, 1, size)).starts_with("`players`"));
    let rounds = SampleOptions { rounds: 0, ..default };
    assert!(message(sampled_shapley_values(2, &rounds, size)).starts_with("`rounds`: expected at least 1"));
    let short = message(Table::evaluate(2, 3, |_: &[Coalition]| Ok(vec![0.0])));
    assert!(short.contains("`evaluate`: expected 3 rewards, one for each coalition, got 1"), "{short}");
    let nan = |sets: &[Coalition]| Ok(sets.iter().map(|set| (1.0 - set.size() as f64).ln()).collect());
    let infinite = message(one_shot(3, Direction::Insertion, 2, nan));
    assert!(infinite.contains("expected finite rewards, got -inf for coalition [0]"), "{infinite}");
}

#[test]
fn the_callbacks_error_comes_back_untouched() {
    let fail = |_: &[Coalition]| Err("no luck");
    assert!(matches!(one_shot(2, Direction::Deletion, 1, fail), Err(RunError::Callback("no luck"))));
    assert!(matches!(Table::evaluate(2, 1, fail), Err(RunError::Callback("no luck"))));
    let sampled = sampled_shapley_values(2, &SampleOptions::default(), fail);
    assert!(matches!(sampled, Err(RunError::Callback("no luck"))));
}
