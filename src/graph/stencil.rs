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
use crate::error::Result;
use crate::parallel::{self, Interrupted, stop_if};

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
    pub(super) fn new(layout: Layout, lab: &[f32], interrupted: &Interrupted<'_>) -> Result<Self> {
        let mut planes = [const { Vec::new() }; 3];
        for (padded, plane) in planes.iter_mut().zip(lab.chunks_exact(layout.height * layout.width)) {
            *padded = layout.pad(plane, f32::INFINITY);
            stop_if(interrupted)?;
        }
        let mut spatial = Vec::new();
        for down in 0..=layout.neighborhood.down {
            spatial.extend(layout.neighborhood.columns(down).map(|right| (down as f64).hypot(right as f64)));
        }
        Ok(Self { layout, lab: planes, spatial })
    }

    fn edges<'a>(&'a self, interrupted: &'a Interrupted<'a>) -> Edges<'a> {
        Edges { layout: &self.layout, lab: &self.lab, spatial: &self.spatial, interrupted }
    }

    /// The planes L, a and b, one after the other, each row by row.
    pub(super) fn colors(&self) -> Vec<f32> {
        let mut lab = vec![0.0; 3 * self.layout.height * self.layout.width];
        let planes = lab.chunks_exact_mut(self.layout.height * self.layout.width);
        planes.zip(&self.lab).for_each(|(out, plane)| self.layout.crop(plane, out));
        lab
    }

    /// L, a and b of a pixel, counted row by row.
    pub(super) fn color(&self, index: usize) -> [f64; 3] {
        [0, 1, 2].map(|channel| f64::from(self.lab[channel][self.layout.position(index)]))
    }

    /// All weights, tile after tile.
    pub(super) fn weigh(&self, interrupted: &Interrupted<'_>) -> Result<Packed> {
        let mut weights = Packed::new(self.layout.weight_count())?;
        let mut rest = weights.get_mut();
        let mut parts = Vec::new();
        for index in 0..self.layout.tiles() {
            let tile = self.layout.tile(index);
            let part;
            (part, rest) = rest.split_at(tile.weight_count());
            parts.push((tile, part));
        }
        let edges = self.edges(interrupted);
        parallel::install(|| {
            parts.par_iter_mut().for_each(|(tile, part)| weigh_packed(&edges, tile, part));
        });
        stop_if(interrupted)?;
        Ok(weights)
    }

    /// S times each of several vectors (one after the other in `values`), as sums for [`Stencil::collect`]; weights that
    /// are not given are computed when they are needed.
    pub(super) fn multiply(
        &self,
        weights: Option<&Packed>,
        values: &[f32],
        sums: &mut Sums<f32>,
        interrupted: &Interrupted<'_>,
    ) -> Result<()> {
        self.push(values.len() / self.layout.len(), sums, interrupted, |index, sums| {
            let tile = self.layout.tile(index);
            if let Some(weights) = weights {
                let weights = weights.get().slice(self.layout.weights_before(index), tile.weight_count());
                push_packed(&self.edges(interrupted), &tile, weights, values, sums);
            } else {
                f32::push_tile_computed(&self.edges(interrupted), &tile, values, sums);
            }
        })
    }

    /// As [`Stencil::multiply`], in double precision with weights computed in double precision.
    pub(super) fn multiply_exactly(
        &self,
        values: &[f64],
        sums: &mut Sums<f64>,
        interrupted: &Interrupted<'_>,
    ) -> Result<()> {
        self.push(values.len() / self.layout.len(), sums, interrupted, |index, sums| {
            f64::push_tile_computed(&self.edges(interrupted), &self.layout.tile(index), values, sums);
        })
    }

    fn push<T: Real>(
        &self,
        count: usize,
        sums: &mut Sums<T>,
        interrupted: &Interrupted<'_>,
        push_tile: impl Fn(usize, &mut [Lanes<T>]) + Sync,
    ) -> Result<()> {
        let len = count * self.layout.tile_len();
        sums.tiles.resize(self.layout.sums_len(count), Lanes::default());
        let mut tiles: Vec<_> = sums.tiles.chunks_exact_mut(len).enumerate().collect();
        if sums.backward {
            tiles.reverse();
        }
        let push_tile = |(tile, sums): &mut (usize, &mut [Lanes<T>])| {
            // Loading what is left of a large image would take its time, too.
            if !interrupted() {
                push_tile(*tile, sums);
            }
        };
        parallel::install(|| tiles.par_iter_mut().for_each(push_tile));
        stop_if(interrupted)?;
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
