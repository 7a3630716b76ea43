//! Maps in, propagated maps out: the solver called with a graph.

use ndarray::{Array2, Array4, ArrayView3};

use super::options::{Propagation, SolveOptions, Solver};
use super::progress::{Progress, Solution, max_abs, power_of_two_scale};
use super::{chebyshev, conjugate_gradients, value_iteration};
use crate::error::{Error, Result};
use crate::graph::pixel_graph::PixelGraph;
use crate::memory;
use crate::parallel::{self, Interrupted, stop_if};

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
    /// let values = graph.propagate(array![[[1.0, 0.0]]].view(), &options, &|| false)?.values;
    /// assert!((values[[0, 0, 0, 0]] - 4.0 / 3.0).abs() < 1e-4);
    /// assert!((values[[0, 0, 0, 1]] - 2.0 / 3.0).abs() < 1e-4);
    /// # Ok::<(), interpix::Error>(())
    /// ```
    ///
    /// Each map is solved scaled by a power of two, so no scale of its numbers is out of range.
    ///
    /// # Errors
    /// [`Error::Argument`] for a map of another size, with values that are not finite, or whose propagated values are not,
    /// and for options out of range; [`Error::NotConverged`] when the iterations do not suffice; [`Error::Memory`];
    /// [`Error::Interrupted`].
    pub fn propagate(
        &self,
        maps: ArrayView3<'_, f64>,
        options: &SolveOptions,
        interrupted: &Interrupted<'_>,
    ) -> Result<Propagation> {
        options.check()?;
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
        let cure = "propagate fewer maps or discounts at once, or choose a smaller radius";
        memory::require(self.solve_bytes(count, options.discounts.len()), "attribution", "the solver", cure)?;
        let interrupted = &parallel::lasting(interrupted);
        let (rewards, scales) = self.rewards(maps, interrupted)?;
        let solution = solve(self, &rewards, &scales, options, interrupted)?;
        self.unscaled(&solution, &scales, options.discounts.len(), interrupted)
    }

    /// The most bytes that a solver holds at once.
    fn solve_bytes(&self, maps: usize, discounts: usize) -> usize {
        let (layout, systems) = (&self.stencil.layout, maps * discounts);
        // Rewards, values and the defect; then either the series or the certificate.
        let kept = 8 * (maps + 2 * systems) * layout.len();
        let series = 16 * systems * layout.len() + layout.product_bytes::<f32>(systems);
        let certificate = 8 * (1 + 2 * systems) * layout.len() + layout.product_bytes::<f64>(1 + systems);
        kept + series.max(certificate)
    }

    /// The maps as vectors, each brought to a size of about 1, and what each was multiplied by.
    fn rewards(
        &self,
        maps: ArrayView3<'_, f64>,
        interrupted: &Interrupted<'_>,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let (mut rewards, mut scales) = (Vec::new(), Vec::new());
        for map in maps.outer_iter() {
            stop_if(interrupted)?;
            let map = map.as_standard_layout();
            let values = map.as_slice().expect("it is in standard layout");
            let scale = power_of_two_scale(values);
            let mut padded = self.stencil.layout.pad(values, 0.0);
            for value in &mut padded {
                *value *= scale;
            }
            rewards.append(&mut padded);
            scales.push(scale);
        }
        Ok((rewards, scales))
    }

    /// The answer at the scale of the maps, with what that rounds away.
    fn unscaled(
        &self,
        solution: &Solution,
        scales: &[f64],
        discounts: usize,
        interrupted: &Interrupted<'_>,
    ) -> Result<Propagation> {
        let (maps, layout) = (scales.len(), &self.stencil.layout);
        let mut values = Array4::<f64>::zeros((discounts, maps, self.height(), self.width()));
        let mut residuals = Array2::zeros((discounts, maps));
        let mut error_bounds = Array2::zeros((discounts, maps));
        let images = values.as_slice_mut().expect("a new array is contiguous");
        let images = images.chunks_exact_mut(self.height() * self.width());
        for (system, (image, solved)) in images.zip(solution.values.chunks_exact(layout.len())).enumerate() {
            stop_if(interrupted)?;
            let (at, scale) = ((system / maps, system % maps), scales[system % maps]);
            layout.crop(solved, image);
            // Only what is below the normal numbers is rounded.
            let mut rounding = 0.0_f64;
            for value in &mut *image {
                let exact = *value;
                *value /= scale;
                rounding = rounding.max((*value * scale - exact).abs());
            }
            let largest = max_abs(image);
            let lost = if rounding == 0.0 { 0.0 } else { rounding / (largest * scale) };
            residuals[at] = solution.residuals[system] / scale;
            error_bounds[at] = solution.error_bounds[system] + lost;
            if !(largest.is_finite() && error_bounds[at].is_finite()) {
                let expected = "a map whose propagated values are in double precision's range";
                let got = format!("values of about 1e{:.0}", max_abs(solved).log10() - scale.log10());
                return Err(Error::argument("attribution", expected, got, "scale it first"));
            }
        }
        Ok(Propagation { values, iterations: solution.iterations, residuals, error_bounds })
    }
}

fn solve(
    graph: &PixelGraph,
    rewards: &[f64],
    scales: &[f64],
    options: &SolveOptions,
    interrupted: &Interrupted<'_>,
) -> Result<Solution> {
    let systems = options.discounts.len();
    let mut progress = Progress {
        graph,
        rewards,
        scales,
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
