//! V = R + discount * P V, to an error that is known.
//!
//! The certificate is one product in double precision with weights computed afresh: the residual
//! `r = R + discount P V - V` bounds the error, `max |V - V*| <= max |r| / (1 - discount)`, because P's rows sum to 1. When
//! it is not yet below the tolerance, the residual becomes the next right-hand side (iterative refinement), so single
//! precision inside does not limit what comes out.

mod chebyshev;
mod conjugate_gradients;
mod value_iteration;

use ndarray::{Array2, Array4};

use super::pixel_graph::PixelGraph;
use crate::error::{Error, Result};

/// How the system is solved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Solver {
    /// Expansion of `(1 - discount P)^-1` in Chebyshev polynomials of P: no inner products, all discounts from one
    /// recurrence.
    #[default]
    Chebyshev,
    /// Conjugate gradients on `D - discount S`, preconditioned by D. Where pixels resemble none of their neighbors
    /// (row sums of S that differ by many orders of magnitude) it may not converge, and says so.
    ConjugateGradients,
    /// The paper's Algorithm 1: V <- R + discount P V until the mean squared difference of two iterates is below the
    /// tolerance. The rule is absolute, so it depends on the scale of R; look at the error bound.
    ValueIteration,
}

impl Solver {
    /// The name used in messages and in Python.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chebyshev => "chebyshev",
            Self::ConjugateGradients => "conjugate_gradients",
            Self::ValueIteration => "value_iteration",
        }
    }
}

/// What is solved, and how exactly.
#[derive(Clone, Debug)]
pub struct SolveOptions {
    /// Discounts, each in `0.0..1.0`: how far information flows. The paper's is 0.99.
    pub discounts: Vec<f64>,
    /// The method.
    pub solver: Solver,
    /// Relative maximum-norm error that the result is guaranteed to keep, in `1e-6..1.0`; for
    /// [`Solver::ValueIteration`] the mean squared difference of two iterates (the paper: 1e-7).
    pub tolerance: f64,
    /// Products with P after which the solver gives up.
    pub max_iterations: usize,
}

impl Default for SolveOptions {
    fn default() -> Self {
        Self { discounts: vec![0.99], solver: Solver::Chebyshev, tolerance: 1e-4, max_iterations: 100_000 }
    }
}

/// Propagated maps and how good they are.
#[derive(Clone, Debug)]
pub struct Propagation {
    /// V, shape (discounts, maps, height, width).
    pub values: Array4<f32>,
    /// Products with P, the certificates not counted.
    pub iterations: usize,
    /// `max |R + discount P V - V|`, shape (discounts, maps).
    pub residuals: Array2<f64>,
    /// Upper bound of `max |V - V*| / max |V|`, shape (discounts, maps).
    pub error_bounds: Array2<f64>,
}

/// V of each discount and map in double precision, one after the other.
pub(super) struct Solution {
    pub(super) values: Vec<f64>,
    pub(super) iterations: usize,
    pub(super) residuals: Vec<f64>,
    pub(super) error_bounds: Vec<f64>,
}

/// A system that is being solved, and how far it is.
struct Progress<'a> {
    graph: &'a PixelGraph,
    rewards: &'a [f64],
    options: &'a SolveOptions,
    interrupted: &'a dyn Fn() -> bool,
    solution: Solution,
    /// R + discount P V - V, as `solution.values`.
    defect: Vec<f64>,
}

pub(super) fn solve(
    graph: &PixelGraph,
    rewards: &[f64],
    options: &SolveOptions,
    interrupted: &dyn Fn() -> bool,
) -> Result<Solution> {
    check(options)?;
    let systems = options.discounts.len();
    let mut progress = Progress {
        graph,
        rewards,
        options,
        interrupted,
        solution: Solution {
            values: vec![0.0; systems * rewards.len()],
            iterations: 0,
            residuals: Vec::new(),
            error_bounds: Vec::new(),
        },
        defect: rewards.repeat(systems),
    };
    match options.solver {
        Solver::Chebyshev => progress.refine(chebyshev::correct)?,
        Solver::ConjugateGradients => progress.refine(conjugate_gradients::correct)?,
        Solver::ValueIteration => value_iteration::solve(&mut progress)?,
    }
    Ok(progress.solution)
}

fn check(options: &SolveOptions) -> Result<()> {
    if options.discounts.is_empty() {
        return Err(Error::argument("discount", "at least one", "none", "0.99 is the paper's"));
    }
    if let Some(discount) = options.discounts.iter().find(|discount| !(0.0..1.0).contains(*discount)) {
        return Err(Error::argument("discount", "0 <= discount < 1", discount, "0.99 is the paper's"));
    }
    let least = if options.solver == Solver::ValueIteration { f64::MIN_POSITIVE } else { 1e-6 };
    if !(least..1.0).contains(&options.tolerance) {
        let (expected, got) = (format!("{least:.0e} <= tolerance < 1"), options.tolerance);
        return Err(Error::argument("tolerance", expected, got, "leave it out for a good choice"));
    }
    Ok(())
}

impl Progress<'_> {
    /// Solves for the defect in single precision until the certificate is below the tolerance.
    fn refine(&mut self, correct: fn(&mut Self) -> Result<()>) -> Result<()> {
        self.certify()?;
        let mut worst = self.worst();
        while worst > self.options.tolerance {
            correct(self)?;
            self.certify()?;
            let now = self.worst();
            if now > self.options.tolerance && (now > 0.5 * worst || self.out_of_iterations()) {
                return Err(self.not_converged(now));
            }
            worst = now;
        }
        Ok(())
    }

    fn worst(&self) -> f64 {
        self.solution.error_bounds.iter().copied().fold(0.0, f64::max)
    }

    /// The residual that is small enough for one system, given the largest value so far and the correction's.
    fn goal(&self, discount: f64, largest_value: f64, largest_correction: f64) -> f64 {
        let wanted = CERTIFICATE_MARGIN * self.options.tolerance * largest_value.max(largest_correction);
        (1.0 - discount) * wanted.max(SINGLE_PRECISION * largest_correction)
    }

    fn out_of_iterations(&self) -> bool {
        self.solution.iterations >= self.options.max_iterations
    }

    fn not_converged(&self, error_bound: f64) -> Error {
        Error::NotConverged {
            solver: self.options.solver.name(),
            iterations: self.solution.iterations,
            residual: self.solution.residuals.iter().copied().fold(0.0, f64::max),
            error_bound,
            tolerance: self.options.tolerance,
        }
    }

    /// Computes the defect in double precision, and from it residuals and error bounds.
    fn certify(&mut self) -> Result<()> {
        let pixels = self.graph.stencil.layout.len();
        let solution = &mut self.solution;
        if solution.iterations > 0 {
            let (rewards, discounts) = (self.rewards, &self.options.discounts);
            self.defect = self.graph.defect(rewards, &solution.values, discounts, self.interrupted)?;
        }
        let maps = self.rewards.len() / pixels;
        solution.residuals = self.defect.chunks_exact(pixels).map(max_abs).collect();
        solution.error_bounds = (solution.values.chunks_exact(pixels).zip(&solution.residuals).enumerate())
            .map(|(index, (values, &residual))| {
                let error = residual / (1.0 - self.options.discounts[index / maps]);
                // Before the first pass V is 0 and all of it is missing.
                if error == 0.0 { 0.0 } else { error / max_abs(values).max(residual) }
            })
            .collect();
        Ok(())
    }
}

/// The part of the tolerance that a pass in single precision aims at; its rounding gets the rest.
const CERTIFICATE_MARGIN: f64 = 0.9;
/// Relative error below which a pass in single precision does not get reliably.
const SINGLE_PRECISION: f64 = 2e-5;

fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max: f64, value| max.max(value.abs()))
}
