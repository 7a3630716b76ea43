//! Systems that are being solved: what all solvers share, including the certificate.

use super::options::SolveOptions;
use crate::error::{Error, Result};
use crate::graph::pixel_graph::PixelGraph;
use crate::parallel::Interrupted;

/// V of each discount and map in double precision, one after the other.
pub(super) struct Solution {
    pub(super) values: Vec<f64>,
    pub(super) iterations: usize,
    pub(super) residuals: Vec<f64>,
    pub(super) error_bounds: Vec<f64>,
}

/// Systems that are being solved, one for each discount and map, and how far they have come.
pub(super) struct Progress<'a> {
    pub(super) graph: &'a PixelGraph,
    /// R of each map, multiplied by its scale.
    pub(super) rewards: &'a [f64],
    /// What each map was multiplied by: a power of two.
    pub(super) scales: &'a [f64],
    pub(super) options: &'a SolveOptions,
    pub(super) interrupted: &'a Interrupted<'a>,
    pub(super) solution: Solution,
    /// R + discount P V - V, laid out as `solution.values`.
    pub(super) defect: Vec<f64>,
}

impl Progress<'_> {
    /// Solves for the defect in single precision until the certificate is below the tolerance.
    pub(super) fn refine(&mut self, correct: fn(&mut Self) -> Result<()>) -> Result<()> {
        self.certify()?;
        let mut worst = self.worst();
        // Asked so that a bound that is no number is none.
        let tolerance = self.options.tolerance;
        let is_reached = |bound: f64| bound <= tolerance;
        while !is_reached(worst) {
            correct(self)?;
            self.certify()?;
            let now = self.worst();
            let is_halved = now <= 0.5 * worst;
            if !is_reached(now) && (!is_halved || self.out_of_iterations()) {
                return Err(self.not_converged(now));
            }
            worst = now;
        }
        Ok(())
    }

    pub(super) fn worst(&self) -> f64 {
        max_abs(&self.solution.error_bounds)
    }

    /// The residual that is small enough for one system, given the largest value so far and the correction's.
    pub(super) fn goal(&self, discount: f64, largest_value: f64, largest_correction: f64) -> f64 {
        let wanted = CERTIFICATE_MARGIN * self.options.tolerance * largest_value.max(largest_correction);
        (1.0 - discount) * wanted.max(SINGLE_PRECISION * largest_correction)
    }

    pub(super) fn out_of_iterations(&self) -> bool {
        self.solution.iterations >= self.options.max_iterations
    }

    pub(super) fn not_converged(&self, error_bound: f64) -> Error {
        let scales = self.scales.iter().cycle();
        let residuals: Vec<f64> = self.solution.residuals.iter().zip(scales).map(|(r, s)| r / s).collect();
        Error::NotConverged {
            solver: self.options.solver.name(),
            iterations: self.solution.iterations,
            residual: max_abs(&residuals),
            error_bound,
            tolerance: self.options.tolerance,
        }
    }

    /// Computes the defect in double precision, and from it residuals and error bounds.
    pub(super) fn certify(&mut self) -> Result<()> {
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
                let largest = max_abs(values);
                let error = (residual + ROUNDING * largest) / (1.0 - self.options.discounts[index / maps]);
                // Before the first pass V is 0 and all of it is missing.
                if error == 0.0 { 0.0 } else { error / largest.max(residual) }
            })
            .collect();
        Ok(())
    }
}

/// The part of the tolerance that a pass in single precision aims at; its rounding gets the rest.
const CERTIFICATE_MARGIN: f64 = 0.9;
/// Relative error that a pass in single precision does not reliably get below.
const SINGLE_PRECISION: f64 = 2e-5;

/// Relative error of the certificate's own arithmetic: distances of up to 700 in weights, sums over a neighborhood.
const ROUNDING: f64 = 1e-12;

/// The greatest absolute value; NaN if there is one.
pub(super) fn max_abs(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, value| if value.abs() <= max { max } else { value.abs() })
}

/// What brings values to a size of about 1: a power of two, so that nothing is rounded.
pub(super) fn power_of_two_scale(values: &[f64]) -> f64 {
    let largest = max_abs(values);
    // Of the least numbers the inverse would be infinite; what is left of them is large enough.
    if largest == 0.0 { 1.0 } else { (-largest.log2().round()).clamp(-1022.0, 1022.0).exp2() }
}
