//! What the search itself costs: everything but the evaluator, for each coalition.
//!
//! The evaluator here only sums the flipped player's own worth, so the time is the driver's: packing, the state
//! machines, and (in the second benchmark) the masks that an evaluator of pixels asks for.

use std::convert::Infallible;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interpix::search::{Batch, Direction, Outcome, Score, Search, SearchOptions, Stop, Task};

/// The patches of a 224 x 224 image at 16 pixels.
const PLAYERS: usize = 196;
const IMAGES: usize = 16;

/// A player's worth: the order 0, 83, 166, … is neither ascending nor descending.
fn worth(player: usize) -> f64 {
    -((player * 83 % PLAYERS) as f64)
}

fn scores(batch: &Batch) -> Vec<Score> {
    let reward = |flip: &Option<usize>| flip.map_or(0.0, worth);
    batch
        .flip()
        .iter()
        .map(|flip| Score { reward: reward(flip), answer: 0.0, predicted: None, holds: false })
        .collect()
}

fn search(visit: impl Fn(&Batch)) -> Vec<Outcome> {
    let tasks = vec![Task::new(PLAYERS); IMAGES];
    let options = SearchOptions {
        direction: Direction::Insertion,
        stop: Stop::All,
        batch_size: 512,
        in_flight: IMAGES,
    };
    let mut search = Search::new(tasks, options).expect("the options are in range");
    let evaluate = |batch: &Batch| {
        visit(batch);
        Ok::<_, Infallible>(scores(batch))
    };
    search.run(evaluate).expect("the scores are finite")
}

fn benchmark(criterion: &mut Criterion) {
    let outcomes = search(|_| ());
    for outcome in &outcomes {
        assert!(outcome.ranking.is_sorted_by(|&a, &b| worth(a) > worth(b)), "best player first");
    }
    let evaluations: usize = outcomes.iter().map(|outcome| outcome.evaluations).sum();

    let mut group = criterion.benchmark_group("search");
    group.sample_size(10).throughput(Throughput::Elements(evaluations as u64));
    group.bench_function("ask and tell", |bencher| bencher.iter(|| search(|_| ())));
    group.bench_function("ask, masks and tell", |bencher| {
        bencher.iter(|| search(|batch| drop(black_box(batch.masks()))));
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
