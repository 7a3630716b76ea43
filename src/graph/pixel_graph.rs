//! The graph of one image: built once, any number of maps propagated over it.

use ndarray::{ArrayView3, ArrayView4};

use super::neighborhood::default_radius;
use super::solve::{Propagation, SolveOptions, solve};
use super::stencil::{Stencil, Weights};
use crate::error::{Error, Result};

/// A row of S whose sum is below this has its probabilities kept on their own: single precision would lose them.
/// Weights down to exp(-87) are kept, so what a row above the limit loses is below 1e-11 of its sum.
const ISOLATED_BELOW: f32 = 8.8e-27;

/// How the graph is built.
#[derive(Clone, Debug)]
pub struct GraphOptions {
    /// Chebyshev radius of the neighborhood in pixels, at least 1; `None` is the paper's `max(height, width) / 32`.
    /// Larger than the image is the same as the whole image.
    pub radius: Option<usize>,
    /// Bytes that stored weights may take (4 for each undirected edge: 720 a pixel at radius 9). Above it they are
    /// computed again in every product, which takes no memory and about five times as long.
    pub memory_budget: usize,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self { radius: None, memory_budget: 1 << 30 }
    }
}

/// The pixels of an image and the probabilities of stepping from each to its neighbors.
#[derive(Debug)]
pub struct PixelGraph {
    height: usize,
    radius: usize,
    pub(super) stencil: Stencil,
    stored: Option<Vec<f32>>,
    /// 1 / row sum of S; 0 for an isolated pixel.
    inverse_degree: Vec<f32>,
    isolated: Vec<IsolatedPixel>,
}

/// A pixel so unlike its neighbors that single precision holds none of its weights.
#[derive(Debug)]
struct IsolatedPixel {
    position: usize,
    /// Position and probability of each neighbor.
    neighbors: Vec<(usize, f32)>,
}

impl PixelGraph {
    /// Builds the graph of an image in CIELAB, shape (3, height, width) as [`crate::color::lab_from_srgb`] gives it.
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
    /// [`Error::Argument`] for an empty image, a color that is not finite or a radius of 0; [`Error::Interrupted`]
    /// when `interrupted` says so.
    pub fn new(
        lab: ArrayView3<'_, f32>,
        options: &GraphOptions,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let (channels, height, width) = lab.dim();
        if channels != 3 || height == 0 || width == 0 {
            let got = format!("shape {:?}", lab.shape());
            return Err(Error::argument("lab", "shape (3, height, width), not empty", got, "see `color`"));
        }
        if let Some(value) = lab.iter().find(|value| !value.is_finite()) {
            return Err(Error::argument("lab", "finite colors", value, "replace such pixels first"));
        }
        let radius = options.radius.unwrap_or_else(|| default_radius(height, width));
        if radius == 0 {
            return Err(Error::argument("radius", "at least 1", 0, "leave it out for the paper's choice"));
        }
        let stencil = Stencil::new(height, width, radius, &lab.iter().copied().collect::<Vec<_>>());
        let stored = if stencil.stored_len().saturating_mul(size_of::<f32>()) <= options.memory_budget {
            Some(stencil.weights(interrupted)?)
        } else {
            None
        };
        let mut graph =
            Self { height, radius, stencil, stored, inverse_degree: Vec::new(), isolated: Vec::new() };
        graph.normalize(interrupted)?;
        Ok(graph)
    }

    /// Row sums, and the rows that need more range than single precision has.
    fn normalize(&mut self, interrupted: &dyn Fn() -> bool) -> Result<()> {
        let pixels = self.height * self.width();
        let ones = self.stencil.pad(&vec![1.0_f32; pixels]);
        let mut degree = vec![0.0_f32; ones.len()];
        self.stencil.multiply(self.weights(), &ones, &mut degree, &mut Vec::new(), interrupted)?;
        self.inverse_degree = vec![0.0; degree.len()];
        for pixel in 0..pixels {
            let position = self.stencil.position(pixel);
            if degree[position] >= ISOLATED_BELOW {
                self.inverse_degree[position] = 1.0 / degree[position];
                continue;
            }
            let mut neighbors = Vec::new();
            let place = |neighbor| self.stencil.position(neighbor);
            self.for_each_probability(pixel, |neighbor, p| neighbors.push((place(neighbor), p as f32)));
            self.isolated.push(IsolatedPixel { position, neighbors });
        }
        Ok(())
    }

    fn weights(&self) -> Weights<'_, f32> {
        self.stored.as_deref().map_or(Weights::Computed, Weights::Stored)
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of pixels.
    pub fn width(&self) -> usize {
        self.stencil.width()
    }

    /// The neighborhood's Chebyshev radius.
    pub fn radius(&self) -> usize {
        self.radius
    }

    /// Bytes of stored weights; 0 when they are computed in every product.
    pub fn weight_bytes(&self) -> usize {
        self.stored.as_ref().map_or(0, |weights| weights.len() * size_of::<f32>())
    }

    /// Solves V = R + discount * P V for each of `maps`, shape (maps, height, width), and each discount.
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
        if (height, width) != (self.height, self.width()) || count == 0 {
            return Err(Error::argument(
                "attribution",
                format!("maps of the image's size ({}, {})", self.height, self.width()),
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
        let rewards = self.stencil.pad(&rewards);
        let solution = solve(self, &rewards, options, interrupted)?;
        let shape = (options.discounts.len(), count, height, width);
        let values = self.stencil.crop(&solution.values);
        let values = ArrayView4::from_shape(shape, &values).expect("the solver keeps the shape");
        let per_map = (options.discounts.len(), count);
        let table = |values: Vec<f64>| {
            ndarray::Array2::from_shape_vec(per_map, values).expect("one number for each map and discount")
        };
        Ok(Propagation {
            values: values.mapv(|value| value as f32),
            iterations: solution.iterations,
            residuals: table(solution.residuals),
            error_bounds: table(solution.error_bounds),
        })
    }

    /// 1 / row sum of S; 0 for an isolated pixel.
    pub(super) fn inverse_degree(&self) -> &[f32] {
        &self.inverse_degree
    }

    /// P times each vector of `values`, in single precision.
    pub(super) fn step(
        &self,
        values: &[f32],
        products: &mut [f32],
        scratch: &mut Vec<f32>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<()> {
        self.stencil.multiply(self.weights(), values, products, scratch, interrupted)?;
        let len = self.stencil.len();
        for (values, products) in values.chunks_exact(len).zip(products.chunks_exact_mut(len)) {
            products.iter_mut().zip(&self.inverse_degree).for_each(|(product, inverse)| *product *= inverse);
            for pixel in &self.isolated {
                products[pixel.position] =
                    pixel.neighbors.iter().map(|&(neighbor, p)| p * values[neighbor]).sum();
            }
        }
        Ok(())
    }

    /// P times each vector of `values` in double precision, from weights computed in double precision.
    pub(super) fn step_exact(&self, values: &[f64], interrupted: &dyn Fn() -> bool) -> Result<Vec<f64>> {
        let len = self.stencil.len();
        let mut vectors = self.stencil.pad(&vec![1.0; self.height * self.width()]);
        vectors.extend_from_slice(values);
        let mut products = vec![0.0; vectors.len()];
        self.stencil.multiply(Weights::Computed, &vectors, &mut products, &mut Vec::new(), interrupted)?;
        let degree = products[..len].to_vec();
        products.drain(..len);
        for part in products.chunks_exact_mut(len) {
            // Beside the image, and in an image of one pixel, there is no neighbor to step to.
            part.iter_mut().zip(&degree).for_each(|(value, &sum)| {
                *value = if sum > 0.0 { *value / sum } else { 0.0 };
            });
        }
        Ok(products)
    }
}
