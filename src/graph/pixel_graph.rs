//! The graph of one image: built once, any number of maps propagated over it.

use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

use super::layout::Layout;
use super::neighborhood::default_radius;
use super::packed::Packed;
use super::stencil::{Stencil, Sums};
use crate::error::{Error, Result};
use crate::memory;
use crate::parallel::{self, Interrupted, stop_if};

/// Below this row sum of S, a pixel's probabilities are stored apart: single precision would lose them.
/// Weights down to exp(-87) are kept, so what a row above the limit loses is below 1e-11 of its sum.
const ISOLATED_BELOW: f32 = 8.8e-27;

/// Greatest absolute value of L, a and b: CIELAB's stay below 130. Colors any further apart than twice this would lie
/// beyond the range of double precision's weights.
const MAX_COLOR: f32 = 200.0;

/// How the graph is built.
///
/// ```
/// use interpix::graph::{GraphOptions, PixelGraph};
///
/// // Three pixels of one color in a row; of the first's neighbors, one is at the distance 1 and one at 2.
/// let gray = ndarray::Array3::zeros((3, 1, 3));
/// let graph = |options| PixelGraph::new(gray.view(), &options, &|| false);
/// let paper = graph(GraphOptions::default())?.transition_matrix(&|| false)?;
/// assert_eq!((paper.get(0, 1), paper.get(0, 2)), (Some(&1.0), None));
/// let wide = GraphOptions { radius: Some(2), ..GraphOptions::default() };
/// let farther = *graph(wide.clone())?.transition_matrix(&|| false)?.get(0, 2).unwrap();
/// assert!((farther - 1.0 / (1.0 + 1.0_f64.exp())).abs() < 1e-12); // exp(-2) / (exp(-1) + exp(-2))
/// assert_eq!(graph(GraphOptions { memory_budget: 0, ..wide })?.weight_bytes(), 0);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GraphOptions {
    /// Chebyshev radius of the neighborhood in pixels, at least 1; `None` is the paper's `max(height, width) / 32`.
    /// A radius larger than the image means the whole image.
    pub radius: Option<usize>,
    /// Bytes that stored weights may take (3 for each undirected edge: 540 a pixel at radius 9). If they need more, they
    /// are computed again in every product, which takes no memory and three times as long.
    pub memory_budget: usize,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self { radius: None, memory_budget: 1 << 30 }
    }
}

/// The pixels of an image and the probabilities of stepping from each to its neighbors.
///
/// ```
/// use interpix::graph::{GraphOptions, PixelGraph, SolveOptions};
/// use ndarray::{Array3, array};
///
/// // Of two pixels, the only neighbors of each other, each map has one. V = 1 + V' / 2 and V' = V / 2: 4/3 and 2/3.
/// let graph = PixelGraph::new(Array3::zeros((3, 1, 2)).view(), &GraphOptions::default(), &|| false)?;
/// let options = SolveOptions { discounts: vec![0.5], ..SolveOptions::default() };
/// let values = graph.propagate(array![[[1.0, 0.0]], [[0.0, 1.0]]].view(), &options, &|| false)?.values;
/// let expected = array![[[[4.0, 2.0]], [[2.0, 4.0]]]] / 3.0;
/// assert!(values.iter().zip(&expected).all(|(value, exact)| (value - exact).abs() < 1e-3));
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug)]
pub struct PixelGraph {
    height: usize,
    radius: usize,
    pub(super) stencil: Stencil,
    weights: Option<Packed>,
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
    /// ```
    /// use interpix::graph::{GraphOptions, PixelGraph};
    /// let gray = ndarray::Array3::zeros((3, 96, 40));
    /// let graph = PixelGraph::new(gray.view(), &GraphOptions::default(), &|| false)?;
    /// assert_eq!((graph.height(), graph.width(), graph.radius()), (96, 40, 3));
    /// # Ok::<(), interpix::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty image, a color that is none of CIELAB or a radius of 0; [`Error::Memory`];
    /// [`Error::Interrupted`] when `interrupted` says so.
    pub fn new(
        lab: ArrayView3<'_, f32>,
        options: &GraphOptions,
        interrupted: &Interrupted<'_>,
    ) -> Result<Self> {
        let (channels, height, width) = lab.dim();
        if channels != 3 || height == 0 || width == 0 {
            let got = format!("shape {:?}", lab.shape());
            return Err(Error::argument(
                "lab",
                "shape (3, height, width), not empty",
                got,
                "convert the image with `color`",
            ));
        }
        if let Some(value) = lab.iter().find(|value| !(-MAX_COLOR..=MAX_COLOR).contains(*value)) {
            let expected = format!("finite colors in -{MAX_COLOR}..={MAX_COLOR}");
            return Err(Error::argument("lab", expected, value, "convert the image with `color`"));
        }
        let radius = options.radius.unwrap_or_else(|| default_radius(height, width));
        if radius == 0 {
            return Err(Error::argument("radius", "at least 1", 0, "leave it out for the paper's choice"));
        }
        let layout = Layout::new(height, width, radius);
        // Colors, ones, row sums and their inverses; the distance of each offset.
        let bytes = 4 * 7 * layout.len() + 8 * layout.edges() + layout.product_bytes::<f32>(1);
        memory::require(
            bytes,
            "radius",
            "the image's graph",
            "choose a smaller radius, or resize the image",
        )?;
        let interrupted = &parallel::lasting(interrupted);
        let lab = lab.as_standard_layout();
        let stencil = Stencil::new(layout, lab.as_slice().expect("it is in standard layout"), interrupted)?;
        let fits = Packed::bytes(stencil.layout.weight_count()) <= options.memory_budget;
        let weights = if fits { Some(stencil.weigh(interrupted)?) } else { None };
        let mut graph =
            Self { height, radius, stencil, weights, inverse_degree: Vec::new(), isolated: Vec::new() };
        graph.normalize(interrupted)?;
        Ok(graph)
    }

    /// Row sums, and the rows that need more range than single precision has.
    fn normalize(&mut self, interrupted: &Interrupted<'_>) -> Result<()> {
        let layout = &self.stencil.layout;
        let pixels = self.height * layout.width;
        let ones = layout.ones::<f32>();
        let (mut sums, mut degree) = (Sums::default(), vec![0.0_f32; ones.len()]);
        self.multiply(&ones, &mut sums, interrupted)?;
        for (row, degree) in degree.chunks_exact_mut(self.stencil.row_len()).enumerate() {
            stop_if(interrupted)?;
            self.stencil.collect(&sums, (0, 1), row, degree);
        }
        let isolated = (0..pixels).filter(|&pixel| degree[layout.position(pixel)] < ISOLATED_BELOW);
        let isolated: Vec<_> = isolated.collect();
        let bytes = isolated.len() * 2 * layout.edges() * size_of::<(usize, f32)>();
        let cure = "choose a smaller radius, or resize the image";
        memory::require(bytes, "radius", "the neighbors of pixels unlike all others", cure)?;
        for pixel in isolated {
            stop_if(interrupted)?;
            self.isolated.push(self.isolated_pixel(pixel));
        }
        self.isolated.sort_by_key(|pixel| pixel.position);
        let inverse = |sum: f32| if sum < ISOLATED_BELOW { 0.0 } else { 1.0 / sum };
        self.inverse_degree = degree.into_iter().map(inverse).collect();
        Ok(())
    }

    fn isolated_pixel(&self, pixel: usize) -> IsolatedPixel {
        let place = |pixel| self.stencil.layout.position(pixel);
        let mut neighbors = Vec::new();
        self.stencil.for_each_probability(pixel, |neighbor, p| neighbors.push((place(neighbor), p as f32)));
        IsolatedPixel { position: place(pixel), neighbors }
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of pixels.
    pub fn width(&self) -> usize {
        self.stencil.layout.width
    }

    /// The neighborhood's Chebyshev radius.
    pub fn radius(&self) -> usize {
        self.radius
    }

    /// Bytes of stored weights; 0 when they are computed in every product.
    pub fn weight_bytes(&self) -> usize {
        self.weights.as_ref().map_or(0, |_| Packed::bytes(self.stencil.layout.weight_count()))
    }

    /// The image that it is the graph of, shape (3, height, width).
    pub fn colors(&self) -> Array3<f32> {
        let shape = (3, self.height, self.width());
        Array3::from_shape_vec(shape, self.stencil.colors()).expect("three colors for each pixel")
    }

    /// 1 / row sum of S; 0 for an isolated pixel.
    pub(super) fn inverse_degree(&self) -> &[f32] {
        &self.inverse_degree
    }

    /// S times each vector of `values`, as sums for [`PixelGraph::step_row`].
    pub(super) fn multiply(
        &self,
        values: &[f32],
        sums: &mut Sums<f32>,
        interrupted: &Interrupted<'_>,
    ) -> Result<()> {
        self.stencil.multiply(self.weights.as_ref(), values, sums, interrupted)
    }

    /// One row of P times one of `count` vectors, `values`; `sums` is what [`PixelGraph::multiply`] gave for all of them.
    pub(super) fn step_row(
        &self,
        values: &[f32],
        sums: &Sums<f32>,
        vector: (usize, usize),
        row: usize,
        out: &mut [f32],
    ) {
        let start = row * self.stencil.row_len();
        self.stencil.collect(sums, vector, row, out);
        out.iter_mut().zip(&self.inverse_degree[start..]).for_each(|(value, inverse)| *value *= inverse);
        let [first, end] =
            [start, start + out.len()].map(|at| self.isolated.partition_point(|pixel| pixel.position < at));
        for pixel in &self.isolated[first..end] {
            let terms = pixel.neighbors.iter().map(|&(neighbor, p)| p * values[neighbor]);
            out[pixel.position - start] = terms.sum();
        }
    }

    /// P times a vector, in single precision.
    pub(super) fn step(
        &self,
        values: &[f32],
        products: &mut [f32],
        sums: &mut Sums<f32>,
        interrupted: &Interrupted<'_>,
    ) -> Result<()> {
        self.multiply(values, sums, interrupted)?;
        let rows = self.stencil.row_len();
        parallel::install(|| {
            let rows = products.par_chunks_exact_mut(rows).enumerate();
            rows.for_each(|(row, out)| self.step_row(values, sums, (0, 1), row, out));
        });
        Ok(())
    }

    /// `R + discount P V - V` for each vector of `values` in double precision, from weights computed in double precision;
    /// rewards repeat for each discount, a discount for each map.
    pub(super) fn defect(
        &self,
        rewards: &[f64],
        values: &[f64],
        discounts: &[f64],
        interrupted: &Interrupted<'_>,
    ) -> Result<Vec<f64>> {
        let (len, row_len) = (self.stencil.layout.len(), self.stencil.row_len());
        let mut vectors = self.stencil.layout.ones::<f64>();
        vectors.extend_from_slice(values);
        let (count, maps) = (vectors.len() / len, rewards.len() / len);
        let mut sums = Sums::default();
        self.stencil.multiply_exactly(&vectors, &mut sums, interrupted)?;
        drop(vectors);
        let mut defect = vec![0.0; values.len()];
        let rows = self.stencil.layout.rows;
        parallel::install(|| {
            defect.par_chunks_exact_mut(row_len).enumerate().for_each(|(index, out)| {
                let (system, row) = (index / rows, index % rows);
                let mut degree = vec![0.0; row_len];
                self.stencil.collect(&sums, (0, count), row, &mut degree);
                self.stencil.collect(&sums, (1 + system, count), row, out);
                let discount = discounts[system / maps];
                let rewards = &rewards[((system % maps) * rows + row) * row_len..][..row_len];
                let values = &values[index * row_len..][..row_len];
                for (((out, &degree), &r), &v) in out.iter_mut().zip(&degree).zip(rewards).zip(values) {
                    // Outside of the image, and in an image of one pixel, there is no neighbor to step to.
                    let step = if degree > 0.0 { *out / degree } else { 0.0 };
                    *out = r + discount * step - v;
                }
            });
        });
        Ok(defect)
    }
}
