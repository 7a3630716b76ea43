//! The graph and its solvers against slow, obvious ones.

use std::sync::atomic::{AtomicUsize, Ordering};

use interpix::Error;
use interpix::color::lab_from_srgb;
use interpix::graph::{GraphOptions, PixelGraph, SolveOptions, Solver};
use interpix::parallel;
use ndarray::{Array3, array};
use proptest::prelude::*;

fn image(height: usize, width: usize, seed: u64) -> Array3<f32> {
    let mut state = seed;
    let rgb = Array3::from_shape_simple_fn((height, width, 3), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Few colors, so that some neighbors are equal and some far apart.
        ((state >> 60) * 17) as u8
    });
    lab_from_srgb(rgb.view(), &|| false).unwrap()
}

fn map(height: usize, width: usize) -> Array3<f64> {
    Array3::from_shape_fn((1, height, width), |(_, r, c)| ((r * 7 + c * 3) % 11) as f64 - 4.0)
}

fn graph(lab: &Array3<f32>, radius: usize, memory_budget: usize) -> PixelGraph {
    let options = GraphOptions { radius: Some(radius), memory_budget };
    PixelGraph::new(lab.view(), &options, &|| false).unwrap()
}

/// P from the formula, pair by pair, and V by plain sweeps in double precision.
fn oracle(lab: &Array3<f32>, rewards: &Array3<f64>, radius: isize, discount: f64) -> Vec<f64> {
    let (_, height, width) = lab.dim();
    let pixels: Vec<(isize, isize)> =
        (0..height * width).map(|i| ((i / width) as isize, (i % width) as isize)).collect();
    let distance = |(r, c): (isize, isize), (s, d): (isize, isize)| {
        let channel = |i: usize| {
            f64::from(lab[[i, r as usize, c as usize]]) - f64::from(lab[[i, s as usize, d as usize]])
        };
        let color = (0..3).map(|i| channel(i).powi(2)).sum::<f64>().sqrt();
        ((r - s) as f64).hypot((c - d) as f64) + color
    };
    let rows: Vec<Vec<(usize, f64)>> = (pixels.iter().enumerate())
        .map(|(i, &p)| {
            let near = |&(j, q): &(usize, (isize, isize))| {
                j != i && (p.0 - q.0).abs() <= radius && (p.1 - q.1).abs() <= radius
            };
            let row: Vec<(usize, f64)> =
                pixels.iter().copied().enumerate().filter(near).map(|(j, q)| (j, distance(p, q))).collect();
            let nearest = row.iter().map(|edge| edge.1).fold(f64::INFINITY, f64::min);
            let sum: f64 = row.iter().map(|edge| (nearest - edge.1).exp()).sum();
            row.into_iter().map(|(j, d)| (j, (nearest - d).exp() / sum)).collect()
        })
        .collect();
    let rewards: Vec<f64> = rewards.iter().copied().collect();
    let mut values = rewards.clone();
    for _ in 0..=(30.0 / (1.0 - discount)) as usize {
        values = (rows.iter().zip(&rewards))
            .map(|(row, reward)| reward + discount * row.iter().map(|&(j, p)| p * values[j]).sum::<f64>())
            .collect();
    }
    values
}

fn relative_error(values: impl IntoIterator<Item = f64>, exact: &[f64]) -> f64 {
    let largest = exact.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
    values.into_iter().zip(exact).fold(0.0, |max: f64, (v, e)| max.max((v - e).abs())) / largest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_solver_keeps_the_error_it_reports(
        // Up to three rows in a lane; narrower than the neighborhood is wide, and not.
        height in 1_usize..36, width in 1_usize..40, radius in prop_oneof![1_usize..6, Just(50)], seed: u64,
        discount in 0.0..0.95, stored: bool, conjugate: bool,
    ) {
        let width = width.min(400 / height);
        let (lab, rewards) = (image(height, width, seed), map(height, width));
        let solver = if conjugate { Solver::ConjugateGradients } else { Solver::Chebyshev };
        let options = SolveOptions { discounts: vec![discount], solver, max_iterations: 1000, ..SolveOptions::default() };
        let budget = if stored { usize::MAX } else { 0 };
        let answer = graph(&lab, radius, budget).propagate(rewards.view(), &options, &|| false);
        if conjugate && matches!(answer, Err(Error::NotConverged { .. })) {
            // Pixels that no neighbor resembles weigh nothing in its inner product; it must say so, and does.
            return Ok(());
        }
        let answer = answer.unwrap();
        let exact = oracle(&lab, &rewards, radius as isize, discount);
        let error = relative_error(answer.values, &exact);
        prop_assert!(error <= answer.error_bounds[[0, 0]] + 1e-6, "{error} > {}", answer.error_bounds);
        prop_assert!(answer.error_bounds[[0, 0]] <= 1e-4);
    }

    #[test]
    fn transition_matrix_is_the_formula(height in 1_usize..8, width in 2_usize..9, radius in 1_usize..4, seed: u64) {
        let (lab, rewards) = (image(height, width, seed), map(height, width));
        let matrix = graph(&lab, radius, usize::MAX).transition_matrix(&|| false).unwrap();
        for row in matrix.outer_iterator() {
            prop_assert!((row.data().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let mut values: Vec<f64> = rewards.iter().copied().collect();
        for _ in 0..200 {
            let step = &matrix * &ndarray::Array1::from_vec(values);
            values = rewards.iter().zip(step).map(|(&r, p)| r + 0.8 * p).collect();
        }
        let exact = oracle(&lab, &rewards, radius as isize, 0.8);
        prop_assert!(relative_error(values, &exact) < 1e-6);
    }
}

#[test]
fn a_constant_map_gives_the_geometric_series() {
    let lab = image(23, 37, 5);
    for (discount, tolerance) in [(0.0, 1e-5), (0.9, 1e-5), (0.99, 1e-5), (0.999, 1e-5)] {
        let options = SolveOptions { discounts: vec![discount], tolerance, ..SolveOptions::default() };
        let ones = Array3::from_elem((1, 23, 37), 1.0);
        let values = graph(&lab, 3, usize::MAX).propagate(ones.view(), &options, &|| false).unwrap().values;
        for value in values {
            assert!((value * (1.0 - discount) - 1.0).abs() < 1e-5, "{value} at {discount}");
        }
    }
}

#[test]
fn several_maps_and_discounts_are_what_each_is_alone() {
    let lab = image(33, 21, 9);
    let graph = graph(&lab, 4, usize::MAX);
    let maps = Array3::from_shape_fn((3, 33, 21), |(m, r, c)| {
        ((m + 1) * (r + 2 * c) % 13) as f64 * 1e3_f64.powi(m as i32)
    });
    let options = SolveOptions { discounts: vec![0.5, 0.99], ..SolveOptions::default() };
    let together = graph.propagate(maps.view(), &options, &|| false).unwrap();
    for (d, &discount) in options.discounts.iter().enumerate() {
        for m in 0..3 {
            let one = maps.slice(ndarray::s![m..=m, .., ..]);
            let alone =
                SolveOptions { discounts: vec![discount], tolerance: 1e-6, ..SolveOptions::default() };
            let alone = graph.propagate(one, &alone, &|| false).unwrap();
            let exact: Vec<f64> = alone.values.iter().copied().collect();
            let values = together.values.slice(ndarray::s![d, m, .., ..]).to_owned();
            assert!(relative_error(values, &exact) < 1.1e-4);
        }
    }
}

#[test]
fn thread_count_and_storage_change_no_bit() {
    let (lab, rewards) = (image(70, 45, 3), map(70, 45));
    let solve = |threads: usize, budget: usize| {
        parallel::set_threads(threads);
        let answer =
            graph(&lab, 5, budget).propagate(rewards.view(), &SolveOptions::default(), &|| false).unwrap();
        answer.values.mapv(f64::to_bits)
    };
    let one = solve(1, usize::MAX);
    assert_eq!(one, solve(2, usize::MAX));
    assert_eq!(one, solve(3, 0));
    parallel::set_threads(0);
}

#[test]
fn colors_too_far_apart_for_single_precision() {
    // Blue and green: exp(-d) is 1e-113. Each pixel has one neighbor, so P is a swap whatever the weight.
    let lab = lab_from_srgb(array![[[0_u8, 0, 255], [0, 255, 0]]].view(), &|| false).unwrap();
    let options = SolveOptions { discounts: vec![0.5], tolerance: 1e-6, ..SolveOptions::default() };
    let values = graph(&lab, 1, usize::MAX)
        .propagate(array![[[3.0, 0.0]]].view(), &options, &|| false)
        .unwrap()
        .values;
    assert!((values[[0, 0, 0, 0]] - 4.0).abs() < 1e-5 && (values[[0, 0, 0, 1]] - 2.0).abs() < 1e-5);
}

#[test]
fn a_pixel_unlike_all_others_in_a_large_image() {
    // One green pixel in blue: single precision holds none of its weights, and its neighbors are in several lanes.
    let mut rgb = Array3::from_shape_fn(
        (37, 21, 3),
        |(r, c, channel)| {
            if channel == 2 { 250 - (r + c) as u8 % 3 } else { 0 }
        },
    );
    for (channel, value) in [0, 255, 0].into_iter().enumerate() {
        rgb[[2, 20, channel]] = value;
    }
    let (lab, rewards) = (lab_from_srgb(rgb.view(), &|| false).unwrap(), map(37, 21));
    let exact = oracle(&lab, &rewards, 4, 0.9);
    for budget in [0, usize::MAX] {
        let options = SolveOptions { discounts: vec![0.9], ..SolveOptions::default() };
        let answer = graph(&lab, 4, budget).propagate(rewards.view(), &options, &|| false).unwrap();
        assert!(relative_error(answer.values, &exact) <= 1e-4);
    }
}

#[test]
fn several_tiles_are_one_matrix() {
    // 18 rows in a lane and 150 columns: two bands of three tiles, and edges across all of their borders.
    let (height, width) = (280, 150);
    let (lab, rewards) = (image(height, width, 8), map(height, width));
    let graph = graph(&lab, 3, usize::MAX);
    let options = SolveOptions { discounts: vec![0.9], tolerance: 1e-6, ..SolveOptions::default() };
    let values = graph.propagate(rewards.view(), &options, &|| false).unwrap().values;
    let matrix = graph.transition_matrix(&|| false).unwrap();
    let values: Vec<f64> = values.iter().copied().collect();
    let step = &matrix * &ndarray::Array1::from_vec(values.clone());
    let largest = values.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
    for ((value, step), &reward) in values.iter().zip(step).zip(&rewards) {
        assert!((reward + 0.9 * step - value).abs() < 1e-6 * largest);
    }
}

#[test]
fn one_pixel_keeps_its_reward() {
    let lab = image(1, 1, 0);
    let values =
        graph(&lab, 9, usize::MAX).propagate(array![[[7.0]]].view(), &SolveOptions::default(), &|| false);
    assert!((values.unwrap().values[[0, 0, 0, 0]] - 7.0).abs() <= 7e-4);
}

#[test]
fn value_iteration_stops_by_the_papers_rule() {
    // Two equal pixels, R = (1, 1), discount 0.5: iterates 1, 1.5, 1.75, ...; the change squared is 4^-(k - 1).
    let lab = Array3::<f32>::zeros((3, 1, 2));
    let options = SolveOptions {
        discounts: vec![0.5],
        solver: Solver::ValueIteration,
        tolerance: 0.01,
        ..SolveOptions::default()
    };
    let answer =
        graph(&lab, 1, usize::MAX).propagate(array![[[1.0, 1.0]]].view(), &options, &|| false).unwrap();
    assert_eq!(answer.iterations, 5);
    assert!((answer.values[[0, 0, 0, 0]] - 1.9375).abs() < 1e-6);
    assert!((answer.error_bounds[[0, 0]] - 0.0625 / 1.9375).abs() < 1e-6);
}

#[test]
fn bad_arguments_are_named_with_their_cure() {
    let lab = image(4, 6, 1);
    let graph = graph(&lab, 1, usize::MAX);
    let message = |map: Array3<f64>, options: SolveOptions| {
        graph.propagate(map.view(), &options, &|| false).unwrap_err().to_string()
    };
    let wrong_size = message(map(6, 4), SolveOptions::default());
    assert!(
        wrong_size.contains("`attribution`")
            && wrong_size.contains("(4, 6)")
            && wrong_size.contains("[1, 6, 4]")
    );
    let mut nan = map(4, 6);
    nan[[0, 2, 2]] = f64::NAN;
    assert!(message(nan, SolveOptions::default()).contains("finite values, got NaN"));
    for discount in [1.0, -0.1, f64::NAN] {
        let options = SolveOptions { discounts: vec![discount], ..SolveOptions::default() };
        assert!(message(map(4, 6), options).contains("0 <= discount < 1"));
    }
    let options = GraphOptions { radius: Some(0), ..GraphOptions::default() };
    let error = PixelGraph::new(lab.view(), &options, &|| false).unwrap_err();
    assert!(error.to_string().starts_with("`radius`: expected at least 1, got 0"));
}

#[test]
fn too_few_iterations_and_interrupts_are_errors() {
    let (lab, rewards) = (image(40, 31, 2), map(40, 31));
    let graph = graph(&lab, 2, usize::MAX);
    let options = SolveOptions { max_iterations: 5, ..SolveOptions::default() };
    let error = graph.propagate(rewards.view(), &options, &|| false).unwrap_err();
    assert!(
        matches!(error, Error::NotConverged { iterations: 5.., error_bound, .. } if error_bound > 1e-4),
        "{error}"
    );
    let looks = AtomicUsize::new(0);
    // True once only: what a thread has left undone then is noticed all the same.
    let interrupted = || looks.fetch_add(1, Ordering::Relaxed) == 30;
    let solve = |options: &SolveOptions| graph.propagate(rewards.view(), options, &interrupted);
    assert!(matches!(solve(&SolveOptions::default()), Err(Error::Interrupted)));
    looks.store(0, Ordering::Relaxed);
    let built = PixelGraph::new(lab.view(), &GraphOptions::default(), &interrupted);
    assert!(matches!(built, Err(Error::Interrupted)));
    assert!(matches!(graph.transition_matrix(&|| true), Err(Error::Interrupted)));
    assert!(matches!(lab_from_srgb(Array3::zeros((9, 7, 3)).view(), &|| true), Err(Error::Interrupted)));
}

#[test]
fn no_scale_changes_more_than_the_scale() {
    // F16 and R3: single precision overflowed, and lost what was small.
    let (lab, rewards) = (image(11, 14, 4), map(11, 14));
    let graph = graph(&lab, 2, usize::MAX);
    for solver in [Solver::Chebyshev, Solver::ConjugateGradients] {
        let options = SolveOptions { solver, discounts: vec![0.5, 0.9], ..SolveOptions::default() };
        let solve = |maps: &Array3<f64>| graph.propagate(maps.view(), &options, &|| false).unwrap();
        let plain = solve(&rewards);
        for exponent in [-900, -200, -130, 126, 200, 1010] {
            let scale = f64::from(exponent).exp2();
            let scaled = solve(&rewards.mapv(|value| value * scale));
            assert_eq!(scaled.values.mapv(|value| value / scale), plain.values, "{solver:?} at 2^{exponent}");
            assert_eq!(scaled.error_bounds, plain.error_bounds);
        }
    }
}

#[test]
fn what_is_lost_among_the_least_numbers_is_in_the_bound() {
    let (lab, rewards) = (image(5, 7, 6), map(5, 7).mapv(|value| value * 5e-324));
    let options = SolveOptions { discounts: vec![0.9], ..SolveOptions::default() };
    let answer = graph(&lab, 1, usize::MAX).propagate(rewards.view(), &options, &|| false).unwrap();
    let exact = oracle(&lab, &map(5, 7), 1, 0.9);
    let error = relative_error(answer.values.mapv(|value| value / 5e-324), &exact);
    assert!(error > 1e-3 && error <= 1.01 * answer.error_bounds[[0, 0]], "{error} {}", answer.error_bounds);
}

#[test]
fn values_out_of_range_are_refused() {
    let (lab, rewards) = (image(5, 7, 6), Array3::from_elem((1, 5, 7), 1e307));
    let graph = graph(&lab, 1, usize::MAX);
    for solver in [Solver::Chebyshev, Solver::ConjugateGradients, Solver::ValueIteration] {
        let options = SolveOptions { solver, ..SolveOptions::default() };
        let error = graph.propagate(rewards.view(), &options, &|| false).unwrap_err().to_string();
        assert!(error.contains("double precision's range, got values of about 1e309"), "{error}");
    }
}

#[test]
fn the_papers_rule_is_reached_at_any_scale() {
    let lab = image(5, 7, 6);
    for scale in [1e4, 1e30, 1e300] {
        let options =
            SolveOptions { solver: Solver::ValueIteration, discounts: vec![0.9], ..SolveOptions::default() };
        let rewards = map(5, 7).mapv(|value| value * scale);
        let answer = graph(&lab, 1, usize::MAX).propagate(rewards.view(), &options, &|| false).unwrap();
        let exact = oracle(&lab, &map(5, 7), 1, 0.9);
        assert!(relative_error(answer.values.mapv(|value| value / scale), &exact) < 1e-6);
    }
}

#[test]
fn colors_that_are_none_are_refused() {
    for value in [f32::NAN, f32::INFINITY, 1e20, -300.0] {
        let mut lab = image(4, 6, 1);
        lab[[1, 2, 3]] = value;
        let error = PixelGraph::new(lab.view(), &GraphOptions::default(), &|| false).unwrap_err();
        assert!(error.to_string().starts_with("`lab`: expected finite colors"), "{error}");
    }
}

#[test]
fn a_graph_of_its_own_colors_is_the_same() {
    let lab = image(33, 21, 9);
    assert_eq!(graph(&lab, 4, usize::MAX).colors(), lab);
}
