//! Maps in, propagated maps out: the solver called with a graph.

use ndarray::{Array2, Array4, ArrayView3};

use super::options::{Propagation, SolveOptions, Solver};
use super::progress::{Progress, Solution};
use super::{chebyshev, conjugate_gradients, value_iteration};
use crate::error::{Error, Result};
use crate::graph::pixel_graph::PixelGraph;

impl PixelGraph {
    /// Solves V = R + discount * P V for each of `maps`, shape (maps, height, width), and each discount.
    ///
    /// Two gray pixels that differ by 1 in L, the only neighbors of each other:
    ///
    /// ```
    /// use interpix::graph::{GraphOptions, PixelGraph, SolveOptions};
    /// use ndarray::array;
    /// let lab = array![[[50.0_f32, 51.0]], [[0.0, 0.0]], [[0.0, 0.0]]];
    /// let graph = PixelGraph::new(lab.view(), &GraphOptions::default(), &|| false)?;
    /// // V0 = 1 + V1 / 2, V1 = 0 + V0 / 2: V = (4/3, 2/3)
    /// let options = SolveOptions { discounts: vec![0.5], ..SolveOptions::default() };
    /// let values = graph.propagate(array![[[1.0_f32, 0.0]]].view(), &options, &|| false)?.values;
    /// assert!((values[[0, 0, 0, 0]] - 4.0 / 3.0).abs() < 1e-4);
    /// assert!((values[[0, 0, 0, 1]] - 2.0 / 3.0).abs() < 1e-4);
    /// # Ok::<(), interpix::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for a map of another size or with values that are not finite, and for options out of range;
    /// [`Error::NotConverged`] when the iterations do not suffice; [`Error::Interrupted`].
    pub fn propagate(
        &self,
        maps: ArrayView3<'_, f32>,
        options: &SolveOptions,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Propagation> {
        let (count, height, width) = maps.dim();
        if (height, width) != (self.height(), self.width()) || count == 0 {
            return Err(Error::argument(
                "attribution",
                format!("maps of the image's size ({}, {})", self.height(), self.width()),
                format!("shape {:?}", maps.shape()),
                "resize the map to the image, or the image to the map",
            ));
        }
        if let Some(value) = maps.iter().find(|value| !value.is_finite()) {
            return Err(Error::argument(
                "attribution",
                "finite values",
                value,
                "replace NaN and infinity first",
            ));
        }
        let rewards: Vec<f64> = maps.iter().map(|&value| f64::from(value)).collect();
        let rewards = self.stencil.layout.pad(&rewards, 0.0);
        let solution = solve(self, &rewards, options, interrupted)?;
        let mut values = Array4::<f32>::zeros((options.discounts.len(), count, height, width));
        let images =
            values.as_slice_mut().expect("a new array is contiguous").chunks_exact_mut(height * width);
        for (image, values) in images.zip(solution.values.chunks_exact(self.stencil.layout.len())) {
            self.stencil.layout.crop(values, image);
        }
        let per_map = (options.discounts.len(), count);
        let table = |values: Vec<f64>| {
            Array2::from_shape_vec(per_map, values).expect("one number for each map and discount")
        };
        Ok(Propagation {
            values,
            iterations: solution.iterations,
            residuals: table(solution.residuals),
            error_bounds: table(solution.error_bounds),
        })
    }
}

fn solve(
    graph: &PixelGraph,
    rewards: &[f64],
    options: &SolveOptions,
    interrupted: &dyn Fn() -> bool,
) -> Result<Solution> {
    options.check()?;
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
