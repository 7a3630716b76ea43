//! Greedy search against an obvious recomputation on random table games.

// Helpers of tests may panic, and the rewards are whole numbers, so sums are exact.
#![allow(clippy::unwrap_used, clippy::float_cmp)]

use std::collections::HashSet;
use std::convert::Infallible;

use interpix::Error;
use interpix::search::{
    Batch, Best, Coalition, Direction, Outcome, Round, RunError, Score, Search, SearchOptions, Stop, Task,
};
use proptest::prelude::*;

use super::tables::{Table, table};

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Insertion), Just(Direction::Deletion)]
}

fn stop() -> impl Strategy<Value = Stop> {
    prop_oneof![
        Just(Stop::All),
        (0..=4_u8, 0..4_usize).prop_map(|(quarter, min_players)| Stop::Flip {
            min_confidence: f64::from(quarter) / 4.0,
            min_players
        }),
        (0..=9_usize).prop_map(Stop::Steps),
    ]
}

/// Greedy search in plain words: every step rates every remaining player from scratch.
fn brute_force(image: usize, game: &Table, direction: Direction, stop: Stop) -> Outcome {
    let n = game.players;
    let (full, empty) = (game.score(&Coalition::full(n)), game.score(&Coalition::empty(n)));
    let reached = |chosen: &[usize]| match direction {
        Direction::Insertion => game.score(&Coalition::of(n, chosen.iter().copied())),
        Direction::Deletion => {
            game.score(&Coalition::of(n, (0..n).filter(|player| !chosen.contains(player))))
        }
    };
    let holds = |score: &Score| match (direction, stop) {
        (Direction::Deletion, _) => !score.holds,
        (_, Stop::Flip { min_confidence, .. }) => score.holds && score.answer >= min_confidence,
        _ => score.holds,
    };
    let (mut ranking, mut gaps, mut scores) = (vec![], vec![], vec![reached(&[])]);
    while ranking.len() < n {
        let finished = match stop {
            Stop::All => false,
            Stop::Flip { min_players, .. } => scores.len() > min_players && scores.iter().any(holds),
            Stop::Steps(steps) => ranking.len() == steps,
        };
        if finished {
            break;
        }
        let sign = if direction == Direction::Insertion { -1.0 } else { 1.0 };
        let mut rated: Vec<(f64, usize)> = (0..n)
            .filter(|player| !ranking.contains(player))
            .map(|player| (sign * reached(&[&ranking[..], &[player]].concat()).reward, player))
            .collect();
        rated.sort_by(|a, b| a.partial_cmp(b).unwrap());
        gaps.push(rated.get(1).map_or(f64::INFINITY, |second| second.0 - rated[0].0));
        ranking.push(rated[0].1);
        scores.push(reached(&ranking));
    }
    let steps = ranking.len();
    // Both ends, then all remaining players of each step but for the last player's, who leads to the other end.
    let evaluations = 2 + (0..steps).map(|step| n - step).filter(|&remaining| remaining > 1).sum::<usize>();
    let stopped_at = scores.iter().position(holds);
    Outcome { image, ranking, scores, full, empty, stopped_at, gaps, evaluations }
}

/// Answers from the tables and checks every batch against its contract.
fn run(games: &[Table], tasks: Vec<Task>, options: SearchOptions) -> (Vec<Outcome>, usize) {
    let mut search = Search::new(tasks, options).unwrap();
    let mut asked = HashSet::new();
    let mut batches = 0;
    let outcomes = search.run(|batch| {
        batches += 1;
        check(batch, &options);
        Ok::<_, Infallible>(
            batch
                .coalitions()
                .zip(batch.owner())
                .map(|(coalition, &owner)| {
                    let score = games[owner].score(&coalition);
                    assert!(asked.insert((owner, coalition)), "a coalition was asked twice");
                    score
                })
                .collect(),
        )
    });
    assert!(search.is_done() && search.ask().is_none());
    assert_eq!(search.evaluations(), asked.len());
    (outcomes.unwrap(), batches)
}

fn check(batch: &Batch, options: &SearchOptions) {
    assert!(!batch.is_empty() && batch.len() <= options.batch_size);
    assert!(batch.owner().iter().collect::<HashSet<_>>().len() <= options.in_flight);
    assert!(batch.owner().is_sorted());
    let (masks, kept, bases) = (batch.masks(), batch.kept(), batch.bases());
    assert_eq!(batch.base_of_rows().count(), batch.len());
    assert_eq!(kept.dim(), (batch.len(), batch.size()));
    for ((row, coalition), number) in batch.coalitions().enumerate().zip(batch.base_of_rows()) {
        let owner = batch.owner()[row];
        let members: Vec<usize> = coalition.members().collect();
        assert_eq!(members.len(), batch.size());
        assert_eq!(kept.row(row).iter().map(|&player| player as usize).collect::<Vec<_>>(), members);
        assert!((0..batch.players()).all(|player| masks[[row, player]] == members.contains(&player)));
        let base = batch.base(owner).unwrap();
        let has = |player| player < base.players() && base.contains(player);
        assert!((0..batch.players()).all(|player| bases[[number, player]] == has(player)));
        match batch.flip()[row] {
            Some(player) => assert_ne!(base.contains(player), coalition.contains(player)),
            None => assert_eq!(*base, coalition),
        }
    }
}

fn tasks(games: &[Table]) -> Vec<Task> {
    games.iter().map(|game| Task::new(game.players)).collect()
}

/// The best of a step of each image of a round, listed in plain words.
fn best(round: &Round, games: &[Table], direction: Direction) -> Vec<Best> {
    let sign = if direction == Direction::Insertion { 1.0 } else { -1.0 };
    let one = |(&image, base): (&usize, &Coalition)| {
        let rate = |player| {
            let mut coalition = base.clone();
            coalition.flip(player);
            (player, games[image].score(&coalition))
        };
        let candidates = (0..base.players()).filter(|&player| base.contains(player) == (sign < 0.0));
        let mut rated: Vec<(usize, Score)> = candidates.map(rate).collect();
        rated.sort_by(|a, b| (sign * b.1.reward).partial_cmp(&(sign * a.1.reward)).unwrap());
        Best { player: rated[0].0, score: rated[0].1, gap: sign * (rated[0].1.reward - rated[1].1.reward) }
    };
    round.images().iter().zip(round.bases()).map(one).collect()
}

/// As `run`, with steps told by their best: up to `open` rounds at once, the last of which is told first.
fn run_rounds(
    games: &[Table],
    tasks: Vec<Task>,
    options: SearchOptions,
    (open, most): (usize, usize),
    mix: bool,
) -> Vec<Outcome> {
    let mut search = Search::new(tasks, options).unwrap();
    let mut rounds: Vec<Round> = Vec::new();
    let mut turn = 0;
    loop {
        turn += 1;
        if rounds.len() < open
            && !(mix && turn % 3 == 0)
            && let Some(round) = search.ask_round(most)
        {
            let busy: usize = rounds.iter().map(|other| other.images().len()).sum();
            assert!(busy + round.images().len() <= options.in_flight);
            let size = round.size();
            let each = if options.direction == Direction::Insertion {
                round.bases()[0].players() - size
            } else {
                size
            };
            assert!(round.images().len() == 1 || round.images().len() * each <= most);
            assert!(round.images().is_sorted() && !round.images().is_empty());
            assert!(round.bases().iter().all(|base| base.size() == round.size()));
            assert!(rounds.iter().all(|other| !other.images().iter().any(|i| round.images().contains(i))));
            rounds.push(round);
            continue;
        }
        if let Some(batch) = search.ask() {
            check(&batch, &options);
            assert!(rounds.iter().all(|other| !other.images().iter().any(|i| batch.owner().contains(i))));
            let scores = batch.coalitions().zip(batch.owner()).map(|(one, &owner)| games[owner].score(&one));
            search.tell(&scores.collect::<Vec<_>>()).unwrap();
        } else if let Some(round) = rounds.pop() {
            search.tell_best(round.ticket(), &best(&round, games, options.direction)).unwrap();
        } else {
            assert!(search.is_done());
            return search.outcomes();
        }
    }
}

proptest! {
    #[test]
    fn rounds_find_what_batches_find(
        games in prop::collection::vec(table(8, 0.5), 1..=5),
        direction in direction(),
        stop in stop(),
        batch_size in 1..=20_usize,
        in_flight in 1..=6_usize,
        open in 1..=3_usize,
        most in 1..40_usize,
        mix in any::<bool>(),
    ) {
        let options = SearchOptions { direction, stop, batch_size, in_flight };
        prop_assert_eq!(run_rounds(&games, tasks(&games), options, (open, most), mix), run(&games, tasks(&games), options).0);
    }

    #[test]
    fn equals_brute_force_whatever_the_packing(
        games in prop::collection::vec(table(8, 0.5), 1..=5),
        direction in direction(),
        stop in stop(),
        batch_size in 1..=20_usize,
        in_flight in 1..=6_usize,
    ) {
        let options = SearchOptions { direction, stop, batch_size, in_flight };
        let (outcomes, _) = run(&games, tasks(&games), options);
        let expected: Vec<Outcome> =
            games.iter().enumerate().map(|(image, game)| brute_force(image, game, direction, stop)).collect();
        prop_assert_eq!(outcomes, expected);
    }

    #[test]
    fn known_ends_are_not_asked_again(
        game in table(8, 0.5),
        direction in direction(),
        stop in stop(),
        (knows_full, knows_empty) in any::<(bool, bool)>(),
    ) {
        let mut task = Task::new(game.players);
        task.full = knows_full.then(|| game.score(&Coalition::full(game.players)));
        task.empty = knows_empty.then(|| game.score(&Coalition::empty(game.players)));
        let options = SearchOptions { direction, stop, ..SearchOptions::default() };
        let (outcomes, _) = run(std::slice::from_ref(&game), vec![task], options);
        let mut expected = brute_force(0, &game, direction, stop);
        expected.evaluations -= usize::from(knows_full) + usize::from(knows_empty);
        prop_assert_eq!(&outcomes[0], &expected);
    }
}

/// Players 0 to 3; the reward is the number of present players, three of them suffice.
fn counting() -> Table {
    let score = |code: u32| Score {
        reward: f64::from(code.count_ones()),
        answer: f64::from(code.count_ones()) / 4.0,
        predicted: None,
        holds: code.count_ones() >= 3,
    };
    Table { players: 4, scores: (0..16).map(score).collect() }
}

fn options(direction: Direction, stop: Stop) -> SearchOptions {
    SearchOptions { direction, stop, ..SearchOptions::default() }
}

#[test]
fn ties_go_to_the_lowest_player() {
    for direction in [Direction::Insertion, Direction::Deletion] {
        let (outcomes, _) = run(&[counting()], tasks(&[counting()]), options(direction, Stop::All));
        assert_eq!(outcomes[0].ranking, [0, 1, 2, 3]);
        assert_eq!(outcomes[0].gaps, [0.0, 0.0, 0.0, f64::INFINITY]);
    }
}

#[test]
fn images_share_batches() {
    let games = vec![counting(); 10];
    let wide = SearchOptions { batch_size: 40, in_flight: 10, ..options(Direction::Insertion, Stop::All) };
    // Both ends and three steps, for all ten images at once.
    assert_eq!(run(&games, tasks(&games), wide).1, 5);
    assert_eq!(run(&games, tasks(&games), SearchOptions { in_flight: 1, ..wide }).1, 50);
}

#[test]
fn equal_images_stay_in_lockstep_across_batch_boundaries() {
    let games = vec![counting(); 5];
    let options = SearchOptions { batch_size: 7, ..options(Direction::Deletion, Stop::All) };
    // One batch for each end; then 20, 15 and 10 coalitions.
    assert_eq!(run(&games, tasks(&games), options).1, 1 + 1 + 3 + 3 + 2);
}

#[test]
fn an_answer_that_holds_from_the_start_ends_at_step_zero() {
    let mut game = counting();
    game.scores[0].holds = true;
    let flip = Stop::Flip { min_confidence: 0.0, min_players: 0 };
    let outcome =
        &run(std::slice::from_ref(&game), tasks(&[game.clone()]), options(Direction::Insertion, flip)).0[0];
    assert_eq!((outcome.stopped_at, outcome.ranking.len(), outcome.evaluations), (Some(0), 0, 2));
    assert_eq!((outcome.full.reward, outcome.empty.reward), (4.0, 0.0));
}

#[test]
fn asking_twice_gives_the_same_batch() {
    let mut search = Search::new(tasks(&[counting()]), SearchOptions::default()).unwrap();
    assert_eq!(search.ask(), search.ask());
}

#[test]
fn an_interrupted_search_keeps_what_it_found() {
    let games = [counting(), counting()];
    let narrow = SearchOptions { in_flight: 1, ..options(Direction::Insertion, Stop::All) };
    let mut search = Search::new(tasks(&games), narrow).unwrap();
    let mut left = 3;
    let error = search.run(|batch| {
        left -= 1;
        if left < 0 {
            return Err("out of patience");
        }
        Ok(batch.coalitions().map(|coalition| games[0].score(&coalition)).collect())
    });
    assert!(matches!(error, Err(RunError::Callback("out of patience"))));
    assert_eq!(
        search.outcomes().iter().map(|outcome| (outcome.image, outcome.ranking.len())).collect::<Vec<_>>(),
        [(0, 1)]
    );
    assert_eq!(search.steps(), [1, 0]);
    let outcomes = search.run(|batch| {
        Ok::<_, Infallible>(batch.coalitions().map(|coalition| games[0].score(&coalition)).collect())
    });
    assert_eq!(outcomes.unwrap()[1], brute_force(1, &games[1], Direction::Insertion, Stop::All));
}

fn message(error: &Error) -> String {
    assert!(matches!(error, Error::Argument { .. }));
    error.to_string()
}

#[test]
fn unusable_scores_are_refused_and_change_nothing() {
    let mut search =
        Search::new(tasks(&[counting(), counting()]), options(Direction::Deletion, Stop::All)).unwrap();
    let early = search.tell(&[]).unwrap_err();
    assert!(message(&early).contains("call `ask` first"), "{early}");
    let batch = search.ask().unwrap();
    let good = Score { reward: 0.0, answer: 0.5, predicted: None, holds: false };
    let short = search.tell(&[good]).unwrap_err();
    assert!(
        message(&short).contains("expected 2 of them, one for each coalition of the batch, got 1"),
        "{short}"
    );
    for reward in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = search.tell(&[good, Score { reward, ..good }]).unwrap_err();
        let expected = format!("got reward {reward} and answer 0.5 for image 1, coalition [0, 1, 2, 3]");
        assert!(message(&error).contains(&expected), "{error}");
        assert!(message(&error).contains("use float32"), "{error}");
    }
    assert_eq!(search.ask().unwrap(), batch);
    assert_eq!(search.evaluations(), 0);
}

#[test]
fn rounds_are_half_of_the_images_of_one_size() {
    let ends = |game: &Table| Task { players: 4, full: Some(game.scores[15]), empty: Some(game.scores[0]) };
    let games = vec![counting(); 5];
    let mut search =
        Search::new(games.iter().map(ends).collect(), options(Direction::Deletion, Stop::All)).unwrap();
    let (first, second) = (search.ask_round(usize::MAX).unwrap(), search.ask_round(usize::MAX).unwrap());
    assert_eq!((first.images(), second.images()), (&[0, 1, 2][..], &[3, 4][..]));
    assert_eq!(
        (first.size(), first.presence().dim(), first.presence().iter().all(|&one| one)),
        (4, (3, 4), true)
    );
    assert!(search.ask_round(usize::MAX).is_none() && search.ask().is_none());
    search.tell_best(second.ticket(), &best(&second, &games, Direction::Deletion)).unwrap();
    let third = search.ask_round(usize::MAX).unwrap();
    assert_eq!((third.images(), third.size()), (&[3, 4][..], 3));
}

proptest! {
    #[test]
    fn any_number_of_images_goes_through_few_places(
        games in prop::collection::vec(table(8, 0.5), 1..=12),
        places in 1..=4_usize,
        direction in direction(),
        stop in stop(),
        batch_size in 1..=20_usize,
    ) {
        let options = SearchOptions { direction, stop, batch_size, in_flight: places };
        let begun = games.len().min(places);
        let mut search = Search::new(tasks(&games[..begun]), options).unwrap();
        // The game in each place.
        let mut here: Vec<usize> = (0..begun).collect();
        let mut next = begun;
        let mut found: Vec<Option<Outcome>> = vec![None; games.len()];
        loop {
            for place in search.ended() {
                let outcome = search.outcome(place).unwrap();
                let game = here[place];
                let twice = found[game].replace(Outcome { image: game, ..outcome });
                prop_assert!(twice.is_none());
                if next < games.len() {
                    search.replace(place, &Task::new(games[next].players)).unwrap();
                    here[place] = next;
                    next += 1;
                }
            }
            let Some(batch) = search.ask() else {
                if search.is_done() && next == games.len() { break }
                continue;
            };
            let scores = batch.coalitions().zip(batch.owner()).map(|(one, &place)| games[here[place]].score(&one));
            search.tell(&scores.collect::<Vec<_>>()).unwrap();
        }
        prop_assert!(search.ended().is_empty());
        let expected: Vec<_> =
            games.iter().enumerate().map(|(image, game)| Some(brute_force(image, game, direction, stop))).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_place_is_free_once_its_search_has_ended() {
    let mut search = Search::new(tasks(&[counting()]), SearchOptions::default()).unwrap();
    for place in [0, 1] {
        let error = search.replace(place, &Task::new(4)).unwrap_err();
        assert!(message(&error).starts_with("`image`: expected a place whose search has ended"), "{error}");
    }
    assert!(search.ended().is_empty() && search.outcome(0).is_none() && search.outcome(1).is_none());
}

#[test]
fn unusable_best_players_are_refused_and_change_nothing() {
    let ends = |reward| Some(Score { reward, answer: 0.5, predicted: None, holds: false });
    let task = Task { players: 3, full: ends(3.0), empty: ends(0.0) };
    let mut search = Search::new(vec![task], options(Direction::Insertion, Stop::All)).unwrap();
    let round = search.ask_round(usize::MAX).unwrap();
    let good = Best { player: 1, score: ends(1.0).unwrap(), gap: 0.5 };
    let error = search.tell_best(round.ticket() + 1, &[good]).unwrap_err();
    assert!(message(&error).starts_with("`ticket`: expected that of an open round, got 1"), "{error}");
    let error = search.tell_best(round.ticket(), &[good; 2]).unwrap_err();
    assert!(
        message(&error).contains("expected 1 of them, one for each image of the round, got 2"),
        "{error}"
    );
    for player in [3, usize::MAX] {
        let error = search.tell_best(round.ticket(), &[Best { player, ..good }]).unwrap_err();
        assert!(message(&error).contains(&format!("got player {player} for image 0")), "{error}");
    }
    for gap in [f64::NAN, -0.5] {
        let error = search.tell_best(round.ticket(), &[Best { gap, ..good }]).unwrap_err();
        assert!(message(&error).starts_with("`gap`: expected at least 0"), "{error}");
    }
    let endless = Score { reward: f64::INFINITY, ..good.score };
    let error = search.tell_best(round.ticket(), &[Best { score: endless, ..good }]).unwrap_err();
    assert!(message(&error).contains("got reward inf and answer 0.5 for image 0, player 1"), "{error}");
    assert_eq!(search.evaluations(), 0);
    search.tell_best(round.ticket(), &[good]).unwrap();
    assert!(search.tell_best(round.ticket(), &[good]).is_err());
    // Player 1 is no candidate any more.
    let round = search.ask_round(usize::MAX).unwrap();
    assert!(search.tell_best(round.ticket(), &[good]).is_err());
    assert_eq!((search.evaluations(), search.steps()), (3, vec![1]));
}

#[test]
fn bad_options_and_tasks_are_refused() {
    let one = || vec![Task::new(1)];
    let new = |tasks, options| message(&Search::new(tasks, options).unwrap_err());
    let default = SearchOptions::default();
    assert!(
        new(one(), SearchOptions { batch_size: 0, ..default })
            .starts_with("`batch_size`: expected at least 1")
    );
    assert!(
        new(one(), SearchOptions { in_flight: 0, ..default }).starts_with("`in_flight`: expected at least 1")
    );
    for min_confidence in [-0.1, 1.1, f64::NAN] {
        let stop = Stop::Flip { min_confidence, min_players: 0 };
        assert!(
            new(one(), SearchOptions { stop, ..default })
                .starts_with("`min_confidence`: expected a probability")
        );
    }
    assert!(new(vec![Task::new(2), Task::new(0)], default).contains("got 0 for image 1"));
    let full = Some(Score { reward: f64::NAN, answer: 0.0, predicted: None, holds: false });
    assert!(new(vec![Task { full, ..Task::new(1) }], default).starts_with("`full`: expected finite numbers"));
}

#[test]
fn images_with_different_numbers_of_players_share_a_padded_mask() {
    let small = Table { players: 2, scores: counting().scores[..4].to_vec() };
    let games = [small, counting()];
    let mut search = Search::new(tasks(&games), options(Direction::Insertion, Stop::All)).unwrap();
    let batch = search.ask().unwrap();
    assert_eq!((batch.masks().dim(), batch.masks_of_owner(0).dim()), ((2, 4), (1, 2)));
    assert_eq!(batch.masks_of_owner(5).dim(), (0, 0));
}

#[test]
fn long_coalitions_are_shortened_in_messages() {
    assert_eq!(Coalition::full(196).to_string(), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … 196 of 196 players]");
}
