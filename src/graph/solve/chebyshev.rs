//! `(1 - g P)^-1 = sum of c_k T_k(P)` with `s = sqrt(1 - g^2)`, `q = g / (1 + s)`, `c_0 = 1 / s`, `c_k = 2 q^k / s`.
//!
//! P is similar to a symmetric matrix with its spectrum in [-1, 1], the interval of the polynomials; a narrower one
//! diverges, because pairs of pixels unlike all others fill it down to -1. `T_{k+1}(P) R = 2 P T_k(P) R - T_{k-1}(P) R`, so
//! one product a term serves every discount. Cut after term n, what is left of the right-hand side is exactly
//! `g / 2 (c_n T_{n+1} R - c_{n+1} T_n R)`: the stop rule costs nothing.
//!
//! The series is summed for `P P R` instead of R, `V = R + g P R + g^2 (1 - g P)^-1 P P R`: in the maximum norm `T_k(P)` may
//! grow, by a factor of 100 on photos, at pixels unlike their neighbors; averaging over the neighbors first prevents it.
//!
//! Two passes over the vectors follow a product: the recurrence, and every system's sum with its stop rule.

use rayon::prelude::*;

use super::progress::{Progress, max_abs, power_of_two_scale};
use super::terms::{Term, add_term};
use crate::error::Result;
use crate::graph::pixel_graph::PixelGraph;
use crate::graph::stencil::Sums;
use crate::parallel::{self, Interrupted, stop_if};

/// Adds the solution for the defect to the values.
pub(super) fn correct(progress: &mut Progress<'_>) -> Result<()> {
    let discounts = &progress.options.discounts;
    // At first all discounts have the same right-hand sides.
    let shared = progress.solution.iterations == 0;
    let rhs = if shared { progress.rewards } else { &progress.defect[..] };
    let mut expansion =
        Expansion::new(progress.graph, rhs, progress.rewards.len(), discounts, progress.interrupted)?;
    progress.solution.iterations += 2;
    let pixels = progress.graph.stencil.layout.len();
    let largest: Vec<f64> = progress.solution.values.chunks_exact(pixels).map(max_abs).collect();
    let mut finished = false;
    while !finished && !progress.out_of_iterations() {
        let ends = expansion.add_term(progress.interrupted)?;
        progress.solution.iterations += 1;
        finished = ends.iter().zip(&largest).enumerate().all(|(system, (end, &largest))| {
            let goal = progress.goal(expansion.discounts[system / expansion.maps], largest, end.largest);
            end.left <= goal
        });
    }
    for (value, sum) in progress.solution.values.iter_mut().zip(&expansion.sums) {
        *value += sum;
    }
    Ok(())
}

/// The first terms of the series for several right-hand sides and discounts.
struct Expansion<'a> {
    graph: &'a PixelGraph,
    discounts: &'a [f64],
    maps: usize,
    /// What each right-hand side was multiplied by.
    scales: Vec<f64>,
    /// `T_k P P R` and `T_{k-1} P P R` of each right-hand side.
    new: Vec<f32>,
    old: Vec<f32>,
    k: usize,
    /// V of each discount and map as far as the series is summed, in double precision: its rounding would be the largest
    /// part of the residual.
    sums: Vec<f64>,
    products: Sums<f32>,
}

/// How far a system's sum has come.
#[derive(Clone, Copy, Default)]
struct End {
    /// The largest part of the right-hand side that is left.
    left: f64,
    /// The largest value.
    largest: f64,
}

impl<'a> Expansion<'a> {
    /// `width` elements of `rhs` belong to one discount; if there are no more, to all of them.
    fn new(
        graph: &'a PixelGraph,
        rhs: &[f64],
        width: usize,
        discounts: &'a [f64],
        interrupted: &Interrupted<'_>,
    ) -> Result<Self> {
        let pixels = graph.stencil.layout.len();
        let scales: Vec<f64> = rhs.chunks_exact(pixels).map(power_of_two_scale).collect();
        let mut new = Vec::with_capacity(rhs.len());
        for (part, scale) in rhs.chunks_exact(pixels).zip(&scales) {
            stop_if(interrupted)?;
            new.extend(part.iter().map(|r| (r * scale) as f32));
        }
        let (maps, old) = (width / pixels, vec![0.0; new.len()]);
        let (sums, products) = (Vec::new(), Sums::default());
        let mut expansion = Self { graph, discounts, maps, scales, new, old, k: 0, sums, products };
        expansion.advance(1.0, 0.0, interrupted)?;
        for system in 0..discounts.len() * maps {
            stop_if(interrupted)?;
            let vector = system % expansion.scales.len();
            let (at, factor) = (vector * pixels, discounts[system / maps] / expansion.scales[vector]);
            let steps = rhs[at..][..pixels].iter().zip(&expansion.new[at..]);
            expansion.sums.extend(steps.map(|(r, &step)| r + factor * f64::from(step)));
        }
        expansion.advance(1.0, 0.0, interrupted)?;
        Ok(expansion)
    }

    /// The next vectors: `factor P new - previous old`.
    fn advance(&mut self, factor: f32, previous: f32, interrupted: &Interrupted<'_>) -> Result<()> {
        self.graph.multiply(&self.new, &mut self.products, interrupted)?;
        let (rows, row_len) = (self.graph.stencil.layout.rows, self.graph.stencil.row_len());
        let pixels = rows * row_len;
        let Self { graph, new, old, products, .. } = self;
        let count = new.len() / pixels;
        parallel::install(|| {
            old.par_chunks_exact_mut(row_len).enumerate().for_each(|(index, old)| {
                let (vector, row) = (index / rows, index % rows);
                let mut product = vec![0.0; row_len];
                let values = &new[vector * pixels..][..pixels];
                graph.step_row(values, products, (vector, count), row, &mut product);
                for (old, product) in old.iter_mut().zip(&product) {
                    *old = factor * product - previous * *old;
                }
            });
        });
        std::mem::swap(&mut self.old, &mut self.new);
        Ok(())
    }

    /// Adds the next term to each sum; returns how far each system has come.
    fn add_term(&mut self, interrupted: &Interrupted<'_>) -> Result<Vec<End>> {
        // T_1 is P: there is no previous term.
        let (factor, previous) = if self.k == 0 { (1.0, 0.0) } else { (2.0, 1.0) };
        self.advance(factor, previous, interrupted)?;
        let (rows, row_len) = (self.graph.stencil.layout.rows, self.graph.stencil.row_len());
        let terms: Vec<Term> =
            (0..self.discounts.len() * self.maps).map(|system| self.term(system)).collect();
        let Self { new, old, sums, scales, .. } = self;
        let ends = parallel::install(|| {
            let rows_of_sums = sums.par_chunks_exact_mut(row_len).enumerate();
            let ends = rows_of_sums.map(|(index, sum)| {
                let (system, row) = (index / rows, index % rows);
                let at = ((system % scales.len()) * rows + row) * row_len;
                add_term(&terms[system], &old[at..at + row_len], &new[at..at + row_len], sum)
            });
            ends.collect::<Vec<_>>()
        });
        self.k += 1;
        Ok(ends.chunks_exact(rows).map(End::of_rows).collect())
    }

    fn term(&self, system: usize) -> Term {
        let discount = self.discounts[system / self.maps];
        let s = (1.0 - discount * discount).sqrt();
        let q = discount / (1.0 + s);
        let scale = self.scales[system % self.scales.len()];
        let coefficient = |k: usize| 2.0 * q.powi(k as i32) / s * discount * discount / scale;
        Term {
            factor: if self.k == 0 { 0.5 } else { 1.0 } * coefficient(self.k),
            left: [coefficient(self.k), coefficient(self.k + 1)].map(|c| (0.5 * discount * c * scale) as f32),
            scale,
        }
    }
}

impl End {
    fn of_rows(rows: &[(f64, f64)]) -> Self {
        rows.iter().fold(Self::default(), |end, &(left, largest)| Self {
            left: end.left.max(left),
            largest: end.largest.max(largest),
        })
    }
}
