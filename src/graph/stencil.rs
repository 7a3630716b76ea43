//! Products with the symmetric matrix S, `S[I, J] = exp(-d(I, J))`, without any column index.
//!
//! Only the edges to later pixels are kept, in exactly the order in which a product walks them: image row, offset,
//! column. So a product streams through the weights once and uses each twice. Rows are worked on in bands; each band
//! adds into rows of its own, and what it adds below its last row is summed in band order afterwards. The bands do not
//! depend on the number of threads, so neither do the results.

use rayon::prelude::*;

use super::neighborhood::{Offset, half_neighborhood};
use super::vector_math::{Real, Row, Vectors};
use crate::error::{Error, Result};
use crate::parallel;

/// Edges between two looks at the interrupt hook: 20 ms of work where weights are computed anew.
const EDGES_PER_BLOCK: usize = 20_000_000;

/// Where the edges are, and the colors they depend on.
#[derive(Debug)]
pub(super) struct Stencil {
    height: usize,
    width: usize,
    offsets: Vec<Offset>,
    /// L, a and b planes, one after the other.
    lab: Vec<f32>,
    /// Rows in a band.
    band: usize,
    /// Rows below a band that its edges reach.
    halo: usize,
}

/// Where the weights of a product come from.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a, T> {
    /// Stored, row after row.
    Stored(&'a [T]),
    /// Computed when they are needed.
    Computed,
}

impl Stencil {
    /// `lab` has shape (3, height, width), in C order.
    pub(super) fn new(height: usize, width: usize, radius: usize, lab: Vec<f32>) -> Self {
        let offsets = half_neighborhood(height, width, radius);
        let halo = radius.min(height - 1);
        Self { height, width, offsets, lab, band: halo.max(8), halo }
    }

    pub(super) fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The edges that start in a row, and the row's colors.
    pub(super) fn row(&self, row: usize) -> Row<'_> {
        let (start, pixels) = (row * self.width, self.pixels());
        let lab = [0, 1, 2].map(|channel| &self.lab[channel * pixels + start..(channel + 1) * pixels]);
        Row { width: self.width, offsets: self.offsets_of(row), lab }
    }

    fn offsets_of(&self, row: usize) -> &[Offset] {
        let inside = self.offsets.partition_point(|offset| offset.rows < self.height - row);
        &self.offsets[..inside]
    }

    fn row_edges(&self, row: usize) -> usize {
        self.offsets_of(row).iter().map(|offset| offset.len).sum()
    }

    /// Undirected edges of the whole image: the number of weights to store.
    pub(super) fn edges(&self) -> usize {
        (0..self.height).map(|row| self.row_edges(row)).sum()
    }

    /// All weights, in the order of a product.
    pub(super) fn weights(&self, interrupted: &dyn Fn() -> bool) -> Result<Vec<f32>> {
        let mut weights = vec![0.0; self.edges()];
        let full_row = self.row_edges(0).max(1);
        let rows_per_block = (EDGES_PER_BLOCK / full_row).max(1);
        let mut rest = weights.as_mut_slice();
        for first in (0..self.height).step_by(rows_per_block) {
            let mut rows = Vec::new();
            for row in first..(first + rows_per_block).min(self.height) {
                let part;
                (part, rest) = rest.split_at_mut(self.row_edges(row));
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
        let count = values.len() / self.pixels();
        let span = (self.band + self.halo) * self.width;
        let bands = self.height.div_ceil(self.band);
        scratch.resize(bands * count * span, T::default());
        let band_edges = self.row_edges(0).max(1) * self.band * count;
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
            products.par_chunks_exact_mut(self.width).enumerate().for_each(|(index, out)| {
                let (vector, row) = (index / self.height, index % self.height);
                let mut band = row / self.band;
                out.copy_from_slice(self.band_row(scratch, count, band, vector, row));
                while band > 0 && row < band * self.band + self.halo {
                    band -= 1;
                    let part = self.band_row(scratch, count, band, vector, row);
                    out.iter_mut().zip(part).for_each(|(sum, &value)| *sum += value);
                }
            });
        });
        Ok(())
    }

    fn band_row<'a, T>(&self, scratch: &'a [T], count: usize, band: usize, vector: usize, row: usize) -> &'a [T] {
        let span = (self.band + self.halo) * self.width;
        let start = (band * count + vector) * span + (row - band * self.band) * self.width;
        &scratch[start..start + self.width]
    }

    fn multiply_band<T: Real>(&self, weights: Weights<'_, T>, first: usize, values: &[T], sums: &mut [T]) {
        sums.fill(T::default());
        let count = values.len() / self.pixels();
        let mut fresh = match weights {
            Weights::Stored(_) => Vec::new(),
            Weights::Computed => vec![T::default(); self.row_edges(first)],
        };
        // Every row above the last ones has the same number of edges, so a band's place is a multiple.
        let mut at = first * self.row_edges(0) - self.edges_missing_above(first);
        for row in first..(first + self.band).min(self.height) {
            let edges = self.row_edges(row);
            let part = match weights {
                Weights::Stored(all) => &all[at..at + edges],
                Weights::Computed => {
                    T::weigh_row(&self.row(row), &mut fresh[..edges]);
                    &fresh[..edges]
                }
            };
            at += edges;
            let top = (row - first) * self.width;
            let vectors = Vectors { values, count, len: self.pixels(), start: row * self.width, top };
            T::push_row(&self.row(row), part, &vectors, sums);
        }
    }

    /// How many edges fewer than `row * row_edges(0)` the rows above `row` have: the last rows reach out of the image.
    fn edges_missing_above(&self, row: usize) -> usize {
        let first_short = self.height.saturating_sub(self.halo);
        (first_short..row).map(|above| self.row_edges(0) - self.row_edges(above)).sum()
    }
}

pub(super) fn stop_if(interrupted: &dyn Fn() -> bool) -> Result<()> {
    if interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}
