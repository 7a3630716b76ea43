//! What is asked of a solver, and what it answers.

use ndarray::{Array2, Array4};

use crate::error::{Error, Result};

/// How the system is solved.
///
/// ```
/// use interpix::graph::{GraphOptions, PixelGraph, SolveOptions, Solver};
/// use ndarray::{Array3, array};
///
/// // Two pixels have 1 each: V = 1 + V / 2 = 2.
/// let graph = PixelGraph::new(Array3::zeros((3, 1, 2)).view(), &GraphOptions::default(), &|| false)?;
/// let value = |solver| {
///     let options = SolveOptions { discounts: vec![0.5], solver, tolerance: 0.01, ..SolveOptions::default() };
///     graph.propagate(array![[[1.0, 1.0]]].view(), &options, &|| false).map(|found| found.values[[0, 0, 0, 0]])
/// };
/// assert!((value(Solver::Chebyshev)? - 2.0).abs() <= 0.02); // one percent
/// assert!((value(Solver::ConjugateGradients)? - 2.0).abs() <= 0.02);
/// assert_eq!(value(Solver::ValueIteration)?, 1.9375); // it was 1.875 before, and (1 / 16)^2 < 0.01
/// # Ok::<(), interpix::Error>(())
/// ```
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
///
/// ```
/// use interpix::graph::{GraphOptions, PixelGraph, SolveOptions};
/// use ndarray::{Array3, array};
///
/// // How much one pixel of two has of what the other was given: nothing, and 1/2 / (1 - 1/4).
/// let graph = PixelGraph::new(Array3::zeros((3, 1, 2)).view(), &GraphOptions::default(), &|| false)?;
/// let map = array![[[1.0, 0.0]]];
/// let options = SolveOptions { discounts: vec![0.0, 0.5], tolerance: 1e-6, ..SolveOptions::default() };
/// let values = graph.propagate(map.view(), &options, &|| false)?.values;
/// assert!(values[[0, 0, 0, 1]].abs() < 1e-5 && (values[[1, 0, 0, 1]] - 2.0 / 3.0).abs() < 1e-5);
/// let impossible = SolveOptions { discounts: vec![1.0], ..options };
/// assert!(graph.propagate(map.view(), &impossible, &|| false).is_err()); // it would flow forever
/// # Ok::<(), interpix::Error>(())
/// ```
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

impl SolveOptions {
    /// Refuses what no solver can do.
    ///
    /// # Errors
    /// [`Error::Argument`] for an option that is out of its range.
    pub fn check(&self) -> Result<()> {
        if self.discounts.is_empty() {
            return Err(Error::argument("discount", "at least one", "none", "0.99 is the paper's"));
        }
        if let Some(discount) = self.discounts.iter().find(|discount| !(0.0..1.0).contains(*discount)) {
            return Err(Error::argument("discount", "0 <= discount < 1", discount, "0.99 is the paper's"));
        }
        let least = if self.solver == Solver::ValueIteration { f64::MIN_POSITIVE } else { 1e-6 };
        if !(least..1.0).contains(&self.tolerance) {
            let (expected, got) = (format!("{least:.0e} <= tolerance < 1"), self.tolerance);
            return Err(Error::argument("tolerance", expected, got, "leave it out for a good choice"));
        }
        Ok(())
    }
}

/// Propagated maps and how good they are.
///
/// ```
/// use interpix::graph::{GraphOptions, PixelGraph, SolveOptions, Solver};
/// use ndarray::{Array3, array};
///
/// // V = 1 + V / 2 = 2, by 1, 1.5, 1.75, 1.875 and 1.9375.
/// let graph = PixelGraph::new(Array3::zeros((3, 1, 2)).view(), &GraphOptions::default(), &|| false)?;
/// let (discounts, solver) = (vec![0.5], Solver::ValueIteration);
/// let options = SolveOptions { discounts, solver, tolerance: 0.01, ..SolveOptions::default() };
/// let found = graph.propagate(array![[[1.0, 1.0]]].view(), &options, &|| false)?;
/// assert_eq!((found.values.dim(), found.iterations), ((1, 1, 1, 2), 5));
/// assert!((found.residuals[[0, 0]] - 1.0 / 32.0).abs() < 1e-9); // 1 + 1.9375 / 2 - 1.9375
/// assert!((found.error_bounds[[0, 0]] - 0.0625 / 1.9375).abs() < 1e-3); // 2 - 1.9375, of 1.9375
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Propagation {
    /// V, shape (discounts, maps, height, width).
    pub values: Array4<f64>,
    /// Products with P, the certificates not counted.
    pub iterations: usize,
    /// `max |R + discount P V - V|`, shape (discounts, maps).
    pub residuals: Array2<f64>,
    /// Upper bound of `max |V - V*| / max |V|`, shape (discounts, maps).
    pub error_bounds: Array2<f64>,
}
