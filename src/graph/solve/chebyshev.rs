//! `(1 - g P)^-1 = sum of c_k T_k(P)` with `s = sqrt(1 - g^2)`, `q = g / (1 + s)`, `c_0 = 1 / s`, `c_k = 2 q^k / s`.
//!
//! P is similar to a symmetric matrix with its spectrum in [-1, 1], the interval of the polynomials; a narrower one
//! diverges, because pairs of pixels unlike all others fill it down to -1. `T_{k+1}(P) R = 2 P T_k(P) R - T_{k-1}(P) R`, so
//! one product a term serves every discount. Cut after term n, what is left of the right-hand side is exactly
//! `g / 2 (c_n T_{n+1} R - c_{n+1} T_n R)`: the stop rule costs nothing.

use rayon::prelude::*;

use super::Progress;
use crate::error::Result;
use crate::parallel;

/// Elements that one thread works on at a time in the vector updates.
const CHUNK: usize = 1 << 14;

/// One discount's sum.
struct Series {
    discount: f64,
    /// Where its right-hand sides start among the polynomials' vectors.
    start: usize,
    /// In double precision: its rounding would be the largest part of the residual.
    sum: Vec<f64>,
}

impl Series {
    fn coefficient(&self, k: usize) -> f64 {
        let s = (1.0 - self.discount * self.discount).sqrt();
        let q = self.discount / (1.0 + s);
        if k == 0 { 1.0 / s } else { 2.0 * q.powi(k as i32) / s }
    }
}

/// Adds the solution for the defect to the values.
pub(super) fn correct(progress: &mut Progress<'_>) -> Result<()> {
    let (graph, pixels) = (progress.graph, progress.graph.stencil.len());
    let width = progress.rewards.len();
    // At first all discounts have the same right-hand sides.
    let shared = progress.solution.iterations == 0;
    let rhs = if shared { progress.rewards } else { &progress.defect[..] };
    let scales: Vec<f64> = rhs.chunks_exact(pixels).map(scale).collect();
    let mut old: Vec<f32> = rhs
        .chunks_exact(pixels)
        .zip(&scales)
        .flat_map(|(part, scale)| part.iter().map(move |r| (r * scale) as f32))
        .collect();
    let mut series: Vec<Series> = (progress.options.discounts.iter().enumerate())
        .map(|(index, &discount)| {
            let start = if shared { 0 } else { index * width };
            let mut series = Series { discount, start, sum: Vec::new() };
            let first = series.coefficient(0);
            series.sum = old[start..start + width].iter().map(|&value| first * f64::from(value)).collect();
            series
        })
        .collect();
    let (mut scratch, mut new) = (Vec::new(), vec![0.0; old.len()]);
    let mut product = vec![0.0; old.len()];
    graph.step(&old, &mut new, &mut scratch, progress.interrupted)?;
    progress.solution.iterations += 1;
    let mut k = 0;
    while !finished(progress, &series, &scales, (&new, &old), k) && !progress.out_of_iterations() {
        k += 1;
        for series in &mut series {
            let (factor, part) = (series.coefficient(k), &new[series.start..series.start + width]);
            series.sum.iter_mut().zip(part).for_each(|(sum, &value)| *sum += factor * f64::from(value));
        }
        graph.step(&new, &mut product, &mut scratch, progress.interrupted)?;
        old.iter_mut().zip(&product).for_each(|(old, &product)| *old = 2.0 * product - *old);
        std::mem::swap(&mut old, &mut new);
        progress.solution.iterations += 1;
    }
    add(progress, &series, &scales);
    Ok(())
}

/// Brings a right-hand side to a size of 1, by a power of two so that nothing is rounded.
fn scale(rhs: &[f64]) -> f64 {
    let largest = super::max_abs(rhs);
    if largest == 0.0 { 1.0 } else { (-largest.log2().round()).exp2() }
}

/// Whether what is left after term `k` is small enough in every system; `new` is `T_{k+1} R`, `old` is `T_k R`.
fn finished(
    progress: &Progress<'_>,
    series: &[Series],
    scales: &[f64],
    (new, old): (&[f32], &[f32]),
    k: usize,
) -> bool {
    let pixels = progress.graph.stencil.len();
    let values = progress.solution.values.chunks_exact(progress.rewards.len());
    series.iter().zip(values).all(|(series, values)| {
        let last = if k == 0 { 2.0 } else { 1.0 } * series.coefficient(k);
        let factors = [last, series.coefficient(k + 1)].map(|c| (0.5 * series.discount * c) as f32);
        let systems = series.sum.chunks_exact(pixels).zip(values.chunks_exact(pixels)).enumerate();
        systems.into_iter().all(|(map, (sum, values))| {
            let at = series.start + map * pixels;
            let (left, largest) = left_over(&new[at..at + pixels], &old[at..at + pixels], sum, factors);
            let scale = scales[at / pixels];
            let goal = progress.goal(series.discount, super::max_abs(values), largest / scale);
            f64::from(left) / scale <= goal
        })
    })
}

/// `max |a T_{k+1} - b T_k|` and `max |sum|`.
fn left_over(new: &[f32], old: &[f32], sum: &[f64], [a, b]: [f32; 2]) -> (f32, f64) {
    parallel::install(|| {
        let chunks = new.par_chunks(CHUNK).zip(old.par_chunks(CHUNK)).zip(sum.par_chunks(CHUNK));
        chunks
            .map(|((new, old), sum)| {
                let left =
                    new.iter().zip(old).fold(0.0, |max: f32, (new, old)| max.max((a * new - b * old).abs()));
                (left, super::max_abs(sum))
            })
            .reduce(|| (0.0, 0.0), |x, y| (x.0.max(y.0), x.1.max(y.1)))
    })
}

fn add(progress: &mut Progress<'_>, series: &[Series], scales: &[f64]) {
    let pixels = progress.graph.stencil.len();
    let width = progress.rewards.len();
    for (series, values) in series.iter().zip(progress.solution.values.chunks_exact_mut(width)) {
        let maps = series.sum.chunks_exact(pixels).zip(values.chunks_exact_mut(pixels)).enumerate();
        for (map, (sum, values)) in maps {
            let scale = scales[series.start / pixels + map];
            values.iter_mut().zip(sum).for_each(|(value, &sum)| *value += sum / scale);
        }
    }
}
