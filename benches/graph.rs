//! `IProp` on one image of 299 x 299 at radius 9: colors, the graph, and maps propagated to a guaranteed error of 1e-4.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interpix::color::{lab_from_srgb, lab_from_srgb_float};
use interpix::graph::{GraphOptions, PixelGraph, SolveOptions};
use ndarray::{Array3, s};

const SIZE: usize = 299;
/// Pairs of neighbors; each is walked both ways in every product.
const EDGES: u64 = (SIZE * SIZE * 180) as u64;

/// Smooth areas with edges and a little noise, as a photo has.
fn photo() -> Array3<u8> {
    let mut state = 1_u64;
    Array3::from_shape_fn((SIZE, SIZE, 3), |(row, column, channel)| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let area = 60 * ((row / 90 + column / 70 + channel) % 4);
        (area + row / 10 + column / 12 + (state >> 62) as usize) as u8
    })
}

/// Like class activation maps.
fn maps(count: usize) -> Array3<f64> {
    let half = SIZE as f64 / 2.0;
    Array3::from_shape_fn((count, SIZE, SIZE), |(map, row, column)| {
        let (down, right) = (row as f64 - half, column as f64 - half + 9.0 * map as f64);
        (-(down * down + right * right) / (half * half / 6.0)).exp()
    })
}

fn benchmark(criterion: &mut Criterion) {
    let photo = photo();
    let photo_float = photo.mapv(|byte| f32::from(byte) / 255.0);
    let convert = || lab_from_srgb(photo.view(), &|| false).expect("an RGB image");
    let convert_float = || lab_from_srgb_float(photo_float.view(), &|| false).expect("values in 0..=1");
    let lab = convert();
    assert!(convert_float().iter().zip(&lab).all(|(float, byte)| (float - byte).abs() < 1e-4));
    let build = |memory_budget| {
        let options = GraphOptions { radius: Some(9), memory_budget };
        PixelGraph::new(lab.view(), &options, &|| false).expect("the options are in range")
    };
    let (stored, computed) = (build(usize::MAX), build(0));
    let eight = maps(8);
    let one = eight.slice(s![..1, .., ..]);
    let options = SolveOptions::default();
    let solve = |graph: &PixelGraph, maps| graph.propagate(maps, &options, &|| false).expect("it converges");
    let answer = solve(&stored, one);
    assert!(answer.error_bounds[[0, 0]] <= 1e-4);
    assert_eq!(solve(&computed, one).values, answer.values);

    let mut group = criterion.benchmark_group("graph");
    group.sample_size(10);
    group.bench_function("colors", |bencher| bencher.iter(convert));
    group.bench_function("colors from floats", |bencher| bencher.iter(convert_float));
    group.bench_function("build", |bencher| bencher.iter(|| build(usize::MAX)));
    group.throughput(Throughput::Elements(EDGES * answer.iterations as u64));
    group.bench_function("solve", |bencher| bencher.iter(|| solve(&stored, one)));
    group.bench_function("solve, weights computed", |bencher| bencher.iter(|| solve(&computed, one)));
    group.bench_function("solve eight maps", |bencher| bencher.iter(|| solve(&stored, eight.view())));
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
