//! Products with the symmetric matrix S, `S[I, J] = exp(-d(I, J))`, without any column index.
//!
//! Only the edges to later pixels are kept, in exactly the order in which a product walks them: image row, offset,
//! column. So a product streams through the weights once and uses each twice. Rows are worked on in bands; each band
//! adds into rows of its own, and what it adds below its last row is summed in band order afterwards. The bands do not
//! depend on the number of threads, so neither do the results.

use rayon::prelude::*;

use super::neighborhood::HalfNeighborhood;
use super::vector_math::{LANES, Real, Row, Vectors};
use crate::error::{Error, Result};
use crate::parallel;

/// Edges between two looks at the interrupt hook: 20 ms of work where weights are computed anew.
const EDGES_PER_BLOCK: usize = 20_000_000;

/// Where the edges are, the colors they depend on, and how a vector over the image lies in memory.
///
/// Rows are `stride` elements apart: `across` zeros, the columns filled up with zeros to whole vector registers, and
/// `across` zeros again. So no product needs to know where a row ends.
#[derive(Debug)]
pub(super) struct Stencil {
    height: usize,
    width: usize,
    neighborhood: HalfNeighborhood,
    lanes: usize,
    stride: usize,
    /// L, a and b, each laid out as a vector.
    lab: [Vec<f32>; 3],
    /// Rows in a band.
    band: usize,
}

/// Where the weights of a product come from.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a, T> {
    /// Stored, row after row, as [`Stencil::weights`] gives them.
    Stored(&'a [T]),
    /// Computed when they are needed.
    Computed,
}

impl Stencil {
    /// `lab` holds the planes L, a and b, one after the other, each row by row.
    pub(super) fn new(height: usize, width: usize, radius: usize, lab: &[f32]) -> Self {
        let neighborhood = HalfNeighborhood::new(height, width, radius);
        let lanes = width.next_multiple_of(LANES);
        let stride = lanes + 2 * neighborhood.across;
        let band = neighborhood.down.max(8);
        let mut stencil =
            Self { height, width, neighborhood, lanes, stride, lab: [const { Vec::new() }; 3], band };
        for (plane, values) in lab.chunks_exact(height * width).enumerate() {
            stencil.lab[plane] = stencil.pad(values);
        }
        stencil
    }

    /// Elements of a vector over the image.
    pub(super) fn len(&self) -> usize {
        self.height * self.stride
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Lays one or more images' values, row by row, out as vectors.
    pub(super) fn pad<T: Real>(&self, values: &[T]) -> Vec<T> {
        let mut out = vec![T::default(); values.len() / self.width * self.stride];
        for (row, values) in out.chunks_exact_mut(self.stride).zip(values.chunks_exact(self.width)) {
            row[self.neighborhood.across..][..self.width].copy_from_slice(values);
        }
        out
    }

    /// The inverse of [`Stencil::pad`].
    pub(super) fn crop<T: Real>(&self, values: &[T]) -> Vec<T> {
        let rows = values.chunks_exact(self.stride);
        rows.flat_map(|row| &row[self.neighborhood.across..][..self.width]).copied().collect()
    }

    /// Where pixel `index`, counted row by row, is in a vector.
    pub(super) fn position(&self, index: usize) -> usize {
        index / self.width * self.stride + self.neighborhood.across + index % self.width
    }

    /// L, a and b of a pixel, counted row by row.
    pub(super) fn color(&self, index: usize) -> [f64; 3] {
        [0, 1, 2].map(|channel| f64::from(self.lab[channel][self.position(index)]))
    }

    fn row(&self, row: usize) -> Row<'_> {
        Row {
            neighborhood: self.neighborhood,
            down: self.down(row),
            lanes: self.lanes,
            stride: self.stride,
            width: self.width,
            lab: [0, 1, 2].map(|channel| &self.lab[channel][row * self.stride..]),
        }
    }

    /// Rows down that the edges of a row's pixels go.
    fn down(&self, row: usize) -> usize {
        self.neighborhood.down.min(self.height - 1 - row)
    }

    /// Weights of the edges that start in a row.
    fn row_weights(&self, row: usize) -> usize {
        self.neighborhood.edges(self.down(row)) * self.lanes
    }

    /// Weights of the edges that start above a row.
    fn weights_above(&self, row: usize) -> usize {
        let full = row.min(self.height - self.neighborhood.down);
        full * self.row_weights(0) + (full..row).map(|above| self.row_weights(above)).sum::<usize>()
    }

    /// Number of weights to store, with the margins that a product reads over.
    pub(super) fn stored_len(&self) -> usize {
        self.weights_above(self.height) + 2 * self.neighborhood.across
    }

    /// All weights, in the order of a product.
    pub(super) fn weights(&self, interrupted: &dyn Fn() -> bool) -> Result<Vec<f32>> {
        let mut weights = vec![0.0; self.stored_len()];
        let rows_per_block = (EDGES_PER_BLOCK / self.row_weights(0).max(1)).max(1);
        let mut rest = &mut weights[self.neighborhood.across..];
        for first in (0..self.height).step_by(rows_per_block) {
            let mut rows = Vec::new();
            for row in first..(first + rows_per_block).min(self.height) {
                let part;
                (part, rest) = rest.split_at_mut(self.row_weights(row));
                rows.push((row, part));
            }
            parallel::install(|| {
                rows.into_par_iter().for_each(|(row, part)| f32::weigh_row(&self.row(row), part));
            });
            stop_if(interrupted)?;
        }
        Ok(weights)
    }

    /// S times each of `count` vectors (one after the other in `values`), into `products`.
    pub(super) fn multiply<T: Real>(
        &self,
        weights: Weights<'_, T>,
        values: &[T],
        products: &mut [T],
        scratch: &mut Vec<T>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<()> {
        let count = values.len() / self.len();
        let span = (self.band + self.neighborhood.down) * self.stride;
        scratch.resize(self.height.div_ceil(self.band) * count * span, T::default());
        let band_edges = self.row_weights(0).max(1) * self.band * count;
        let block = (EDGES_PER_BLOCK / band_edges).max(2 * parallel::threads());
        for (index, part) in scratch.chunks_mut(block * count * span).enumerate() {
            parallel::install(|| {
                part.par_chunks_exact_mut(count * span).enumerate().for_each(|(band, sums)| {
                    self.multiply_band(weights, (index * block + band) * self.band, values, sums);
                });
            });
            stop_if(interrupted)?;
        }
        let scratch = &*scratch;
        parallel::install(|| {
            products.par_chunks_exact_mut(self.stride).enumerate().for_each(|(index, out)| {
                self.collect_row(scratch, count, index / self.height, index % self.height, out);
            });
        });
        Ok(())
    }

    /// What the row's own band and the bands above it that reach it have added, in that order.
    fn collect_row<T: Real>(&self, scratch: &[T], count: usize, vector: usize, row: usize, out: &mut [T]) {
        let span = (self.band + self.neighborhood.down) * self.stride;
        let part = |band: usize| {
            let start = (band * count + vector) * span + (row - band * self.band) * self.stride;
            &scratch[start..start + self.stride]
        };
        let mut band = row / self.band;
        out.copy_from_slice(part(band));
        while band > 0 && row < band * self.band + self.neighborhood.down {
            band -= 1;
            out.iter_mut().zip(part(band)).for_each(|(sum, &value)| *sum += value);
        }
        out[self.neighborhood.across + self.width..].fill(T::default());
    }

    fn multiply_band<T: Real>(&self, weights: Weights<'_, T>, first: usize, values: &[T], sums: &mut [T]) {
        sums.fill(T::default());
        let (count, margin) = (values.len() / self.len(), self.neighborhood.across);
        let mut fresh = match weights {
            Weights::Stored(_) => Vec::new(),
            Weights::Computed => vec![T::default(); self.row_weights(first) + 2 * margin],
        };
        let mut at = self.weights_above(first);
        for row in first..(first + self.band).min(self.height) {
            let len = self.row_weights(row);
            let part = match weights {
                Weights::Stored(all) => &all[at..at + len + 2 * margin],
                Weights::Computed => {
                    T::weigh_row(&self.row(row), &mut fresh[margin..margin + len]);
                    &fresh[..len + 2 * margin]
                }
            };
            at += len;
            let (start, top) = (row * self.stride, (row - first) * self.stride);
            let vectors = Vectors { values, count, len: self.len(), start, top };
            T::push_row(&self.row(row), part, &vectors, sums);
        }
    }
}

pub(super) fn stop_if(interrupted: &dyn Fn() -> bool) -> Result<()> {
    if interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}
