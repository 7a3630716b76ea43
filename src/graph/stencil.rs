//! Products with the symmetric matrix S, `S[I, J] = exp(-d(I, J))`, without any column index.
//!
//! Only the edges to later pixels are kept, in exactly the order in which a product walks them: tile, row, offset down,
//! column, offset right. So a product streams through the weights once and uses each twice. Each tile adds into sums of
//! its own, which are added up in the order of the tiles. Tiles do not depend on the number of threads, so neither do the
//! results.

use rayon::prelude::*;

use super::layout::{LANES, Lanes, Layout};
use super::packed::Packed;
use super::vector_math::{Edges, Real, push_packed, weigh_packed};
use crate::error::{Error, Result};
use crate::parallel;

/// Edges between two calls of the interrupt hook: 20 ms of work where weights are computed anew.
const EDGES_PER_BLOCK: usize = 20_000_000;

/// Where the edges are, and the colors they depend on.
#[derive(Debug)]
pub(super) struct Stencil {
    pub(super) layout: Layout,
    lab: [Vec<f32>; 3],
    spatial: Vec<f64>,
}

/// What each tile adds to a product; kept from product to product.
#[derive(Debug, Default)]
pub(super) struct Sums<T> {
    tiles: Vec<Lanes<T>>,
    /// Whether the next product starts with the last tile, because what the last product read is still in the cache
    /// there.
    backward: bool,
}

impl Stencil {
    /// `lab` holds the planes L, a and b, one after the other, each row by row.
    pub(super) fn new(height: usize, width: usize, radius: usize, lab: &[f32]) -> Self {
        let layout = Layout::new(height, width, radius);
        let planes: Vec<&[f32]> = lab.chunks_exact(height * width).collect();
        let lab = [0, 1, 2].map(|channel: usize| layout.pad(planes[channel], f32::INFINITY));
        let mut spatial = Vec::new();
        for down in 0..=layout.neighborhood.down {
            spatial.extend(layout.neighborhood.columns(down).map(|right| (down as f64).hypot(right as f64)));
        }
        Self { layout, lab, spatial }
    }

    fn edges(&self) -> Edges<'_> {
        Edges { layout: &self.layout, lab: &self.lab, spatial: &self.spatial }
    }

    /// L, a and b of a pixel, counted row by row.
    pub(super) fn color(&self, index: usize) -> [f64; 3] {
        [0, 1, 2].map(|channel| f64::from(self.lab[channel][self.layout.position(index)]))
    }

    /// Number of weights.
    pub(super) fn weight_count(&self) -> usize {
        self.layout.weights_before(self.layout.tiles()) * LANES
    }

    /// Bytes that stored weights take.
    pub(super) fn stored_bytes(&self) -> usize {
        Packed::bytes(self.weight_count() / LANES)
    }

    /// All weights, tile after tile.
    pub(super) fn weigh(&self, interrupted: &dyn Fn() -> bool) -> Result<Packed> {
        let mut weights = Packed::new(self.weight_count() / LANES)?;
        let mut rest = weights.get_mut();
        let mut parts = Vec::new();
        for index in 0..self.layout.tiles() {
            let tile = self.layout.tile(index);
            let part;
            (part, rest) = rest.split_at(tile.weight_count());
            parts.push((tile, part));
        }
        for parts in parts.chunks_mut(self.tiles_per_block(1)) {
            parallel::install(|| {
                parts.par_iter_mut().for_each(|(tile, part)| weigh_packed(&self.edges(), tile, part));
            });
            stop_if(interrupted)?;
        }
        Ok(weights)
    }

    fn tiles_per_block(&self, vectors: usize) -> usize {
        let edges = self.weight_count() / self.layout.tiles() * vectors;
        (EDGES_PER_BLOCK / edges.max(1)).max(2 * parallel::threads())
    }

    /// S times each of several vectors (one after the other in `values`), as sums for [`Stencil::collect`]; weights that
    /// are not given are computed when they are needed.
    pub(super) fn multiply(
        &self,
        weights: Option<&Packed>,
        values: &[f32],
        sums: &mut Sums<f32>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<()> {
        self.push(values.len() / self.layout.len(), sums, interrupted, |index, sums| {
            let tile = self.layout.tile(index);
            if let Some(weights) = weights {
                let weights = weights.get().slice(self.layout.weights_before(index), tile.weight_count());
                push_packed(&self.edges(), &tile, weights, values, sums);
            } else {
                f32::push_tile_computed(&self.edges(), &tile, values, sums);
            }
        })
    }

    /// As [`Stencil::multiply`], in double precision with weights computed in double precision.
    pub(super) fn multiply_exactly(
        &self,
        values: &[f64],
        sums: &mut Sums<f64>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<()> {
        self.push(values.len() / self.layout.len(), sums, interrupted, |index, sums| {
            f64::push_tile_computed(&self.edges(), &self.layout.tile(index), values, sums);
        })
    }

    fn push<T: Real>(
        &self,
        count: usize,
        sums: &mut Sums<T>,
        interrupted: &dyn Fn() -> bool,
        push_tile: impl Fn(usize, &mut [Lanes<T>]) + Sync,
    ) -> Result<()> {
        let len = count * self.layout.tile_len();
        sums.tiles.resize(self.layout.tiles() * len, Lanes::default());
        let mut tiles: Vec<_> = sums.tiles.chunks_exact_mut(len).enumerate().collect();
        if sums.backward {
            tiles.reverse();
        }
        for tiles in tiles.chunks_mut(self.tiles_per_block(count)) {
            parallel::install(|| tiles.par_iter_mut().for_each(|(tile, sums)| push_tile(*tile, sums)));
            stop_if(interrupted)?;
        }
        sums.backward = !sums.backward;
        Ok(())
    }

    /// One row (of `width` elements of [`LANES`]) of one of `count` products.
    pub(super) fn collect<T: Real>(&self, sums: &Sums<T>, vector: (usize, usize), row: usize, out: &mut [T]) {
        T::collect(&self.layout, &sums.tiles, vector, row, out);
    }

    /// Elements of a row of a vector.
    pub(super) fn row_len(&self) -> usize {
        self.layout.width * LANES
    }
}

pub(super) fn stop_if(interrupted: &dyn Fn() -> bool) -> Result<()> {
    if interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}
