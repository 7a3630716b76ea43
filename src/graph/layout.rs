//! How a vector over the image lies in memory, and the tiles that a product works on.
//!
//! The image is cut into [`LANES`] bands of rows that lie side by side: lane `j` of element `(row, column)` is the pixel in
//! row `j * rows + row`. So a neighbor `down` and `right` is `down` rows and `right` elements further on in the same lane,
//! whatever the offset: no product shifts lanes. Only past a band's last row it is in the next lane; tiles hide that.

use std::ops::AddAssign;

use super::neighborhood::HalfNeighborhood;
use crate::parallel;

/// Pixels that are worked on together: one AVX-512 register of f32.
pub(super) const LANES: usize = 16;

/// A number for each lane, aligned so that no load touches two cache lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Lanes<T>(pub(super) [T; LANES]);

/// About how large a tile is, in rows and columns: small enough for the second-level cache, and large enough that what
/// reaches beyond it costs little. One map of 224 x 224 at radius 9 keeps four threads busy, one of 299 x 299 ten.
const TILE: (usize, usize) = (16, 64);

/// Where the pixels and the tiles are.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) neighborhood: HalfNeighborhood,
    /// Rows in a lane's band.
    pub(super) rows: usize,
    bands: usize,
    blocks: usize,
}

/// The pixels whose edges are walked together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) row: usize,
    pub(super) rows: usize,
    pub(super) column: usize,
    pub(super) columns: usize,
    neighborhood: HalfNeighborhood,
}

impl Layout {
    pub(super) fn new(height: usize, width: usize, radius: usize) -> Self {
        let neighborhood = HalfNeighborhood::new(height, width, radius);
        let rows = height.div_ceil(LANES);
        let bands = rows.div_ceil(TILE.0.max(neighborhood.down));
        let blocks = width.div_ceil(TILE.1.max(neighborhood.across));
        Self { height, width, neighborhood, rows, bands, blocks }
    }

    /// Elements of a vector over the image, including those that lie outside of it.
    pub(super) fn len(&self) -> usize {
        self.rows * self.width * LANES
    }

    /// Where pixel `index`, counted row by row, is in a vector.
    pub(super) fn position(&self, index: usize) -> usize {
        let (row, column) = (index / self.width, index % self.width);
        (row % self.rows * self.width + column) * LANES + row / self.rows
    }

    /// A vector that is 1 in the image and 0 outside of it.
    pub(super) fn ones<T: Copy + From<u8>>(&self) -> Vec<T> {
        let mut out = vec![T::from(0); self.len()];
        for row in 0..self.height {
            out[self.position(row * self.width)..]
                .iter_mut()
                .step_by(LANES)
                .take(self.width)
                .for_each(|out| *out = T::from(1));
        }
        out
    }

    /// Undirected edges of a pixel.
    pub(super) fn edges(&self) -> usize {
        self.neighborhood.edges()
    }

    /// Lays out one or more images' values, given row by row, as vectors.
    pub(super) fn pad<T: Copy>(&self, values: &[T], outside: T) -> Vec<T> {
        let pixels = self.height * self.width;
        let mut out = vec![outside; values.len() / pixels * self.len()];
        for (out, values) in out.chunks_exact_mut(self.len()).zip(values.chunks_exact(pixels)) {
            for (row, values) in values.chunks_exact(self.width).enumerate() {
                let places = out[self.position(row * self.width)..].iter_mut().step_by(LANES);
                places.zip(values).for_each(|(out, &value)| *out = value);
            }
        }
        out
    }

    /// The inverse of [`Layout::pad`], into one image's values.
    pub(super) fn crop<T: Copy>(&self, values: &[T], out: &mut [T]) {
        for (row, out) in out.chunks_exact_mut(self.width).enumerate() {
            let places = values[self.position(row * self.width)..].iter().step_by(LANES);
            out.iter_mut().zip(places).for_each(|(out, &value)| *out = value);
        }
    }

    pub(super) fn tiles(&self) -> usize {
        self.bands * self.blocks
    }

    pub(super) fn tile(&self, index: usize) -> Tile {
        let (row, rows) = part(self.rows, self.bands, index / self.blocks);
        let (column, columns) = part(self.width, self.blocks, index % self.blocks);
        Tile { row, rows, column, columns, neighborhood: self.neighborhood }
    }

    /// Weights of all tiles, each for [`LANES`] edges.
    pub(super) fn weight_count(&self) -> usize {
        self.rows * self.width * self.neighborhood.edges()
    }

    /// Weights of the tiles before one, each for [`LANES`] edges.
    pub(super) fn weights_before(&self, index: usize) -> usize {
        let tile = self.tile(index);
        (tile.row * self.width + tile.rows * tile.column) * self.neighborhood.edges()
    }

    /// Room for the weights of the largest pass.
    pub(super) fn weights_of_a_pass<T: Copy + Default>(&self) -> Vec<Lanes<T>> {
        vec![Lanes::default(); self.pass_len()]
    }

    fn pass_len(&self) -> usize {
        self.width.div_ceil(self.blocks) * (2 * self.neighborhood.across + 1)
    }

    /// Elements of [`LANES`] pixels of the largest tile, with those that its edges reach.
    pub(super) fn tile_len(&self) -> usize {
        let rows = self.rows.div_ceil(self.bands) + self.neighborhood.down;
        rows * (self.width.div_ceil(self.blocks) + 2 * self.neighborhood.across)
    }

    /// Elements of [`LANES`] numbers that all tiles' sums take, for so many vectors.
    pub(super) fn sums_len(&self, vectors: usize) -> usize {
        self.tiles() * self.tile_len() * vectors
    }

    /// Bytes that products of so many vectors of `T` take: all tiles' sums, and what each thread loads of a tile.
    pub(super) fn product_bytes<T>(&self, vectors: usize) -> usize {
        let tile = self.pass_len() + (vectors + 6) * self.tile_len();
        (self.sums_len(vectors) + parallel::threads() * tile) * size_of::<Lanes<T>>()
    }

    /// Copies a tile of a vector, with the pixels that its edges reach.
    #[inline(always)]
    pub(super) fn load<T: Copy>(&self, tile: &Tile, values: &[T], outside: T, out: &mut [Lanes<T>]) {
        let (values, _) = values.as_chunks::<LANES>();
        let across = self.neighborhood.across;
        let columns =
            tile.column.saturating_sub(across)..(tile.column + tile.columns + across).min(self.width);
        let left = columns.start + across - tile.column;
        for (row, out) in out.chunks_exact_mut(tile.width()).enumerate() {
            let (turn, row) = ((tile.row + row) / self.rows, (tile.row + row) % self.rows);
            let values = &values[row * self.width..][columns.clone()];
            out[..left].fill(Lanes([outside; LANES]));
            out[left + values.len()..].fill(Lanes([outside; LANES]));
            let out = &mut out[left..][..values.len()];
            for (out, value) in out.iter_mut().zip(values) {
                if turn == 0 {
                    out.0 = *value;
                } else {
                    *out = Lanes([outside; LANES]);
                    let turn = turn.min(LANES);
                    out.0[..LANES - turn].copy_from_slice(&value[turn..]);
                }
            }
        }
    }

    /// Adds up what all tiles have for one row of one of `count` vectors; `sums` holds [`Layout::tile_len`] elements for
    /// each tile and vector.
    #[inline(always)]
    pub(super) fn collect<T: Copy + Default + AddAssign>(
        &self,
        sums: &[Lanes<T>],
        (vector, count): (usize, usize),
        row: usize,
        out: &mut [T],
    ) {
        let (out, _) = out.as_chunks_mut::<LANES>();
        out.fill([T::default(); LANES]);
        let mut row_sums = vec![Lanes::default(); self.width];
        // Past a band's last row, what a tile has belongs to the next lane.
        let reached = (row..self.rows + self.neighborhood.down).step_by(self.rows);
        for (turn, reached) in reached.enumerate().take(LANES) {
            row_sums.fill(Lanes::default());
            for band in 0..self.bands {
                self.collect_band(sums, (vector, count), (band, reached), &mut row_sums);
            }
            for (out, sums) in out.iter_mut().zip(&row_sums) {
                let mut moved = [T::default(); LANES];
                moved[turn..].copy_from_slice(&sums.0[..LANES - turn]);
                add(out, &moved);
            }
        }
    }

    /// Adds what the tiles of one band have for a row, if they reach it.
    #[inline(always)]
    fn collect_band<T: Copy + Default + AddAssign>(
        &self,
        sums: &[Lanes<T>],
        (vector, count): (usize, usize),
        (band, row): (usize, usize),
        out: &mut [Lanes<T>],
    ) {
        let across = self.neighborhood.across;
        for block in 0..self.blocks {
            let index = band * self.blocks + block;
            let tile = self.tile(index);
            if row < tile.row || row >= tile.row + tile.height() {
                return;
            }
            let sums = &sums[(index * count + vector) * self.tile_len()..][(row - tile.row) * tile.width()..];
            let columns =
                tile.column.saturating_sub(across)..(tile.column + tile.columns + across).min(self.width);
            let left = columns.start + across - tile.column;
            for (out, sum) in out[columns].iter_mut().zip(&sums[left..]) {
                add(&mut out.0, &sum.0);
            }
        }
    }
}

impl Tile {
    /// Rows with those that edges reach.
    pub(super) fn height(&self) -> usize {
        self.rows + self.neighborhood.down
    }

    /// Columns with those that edges reach.
    pub(super) fn width(&self) -> usize {
        self.columns + 2 * self.neighborhood.across
    }

    /// Elements of [`LANES`] pixels, with those that edges reach.
    pub(super) fn len(&self) -> usize {
        self.height() * self.width()
    }

    /// Weights, each for [`LANES`] edges.
    pub(super) fn weight_count(&self) -> usize {
        self.rows * self.columns * self.neighborhood.edges()
    }

    /// The tile's passes, in the order of the weights.
    pub(super) fn passes(&self) -> impl Iterator<Item = Pass> {
        let (neighborhood, columns) = (self.neighborhood, self.columns);
        let (width, across) = (self.width(), self.neighborhood.across);
        let passes = (0..self.rows).flat_map(move |row| {
            let mut first = 0;
            (0..=neighborhood.down).map(move |down| {
                let offsets = neighborhood.columns(down);
                let here = row * width + across;
                let there = (here + down * width).wrapping_add_signed(*offsets.start());
                let pass = Pass { here, there, columns, first, offsets: offsets.count() };
                first += pass.offsets;
                pass
            })
        });
        passes.filter(|pass| pass.offsets > 0)
    }
}

/// The edges of one row's pixels that go to another row.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// Index of the first pixel in the tile.
    pub(super) here: usize,
    /// Index of its first neighbor.
    pub(super) there: usize,
    /// Number of pixels.
    pub(super) columns: usize,
    /// Index of the first offset among all of the neighborhood.
    pub(super) first: usize,
    /// Number of neighbors of each, next to each other.
    pub(super) offsets: usize,
}

/// Not inlined: a loop around it would be vectorized across elements, lane by lane, which is ten times slower.
#[inline(never)]
fn add<T: Copy + AddAssign>(sum: &mut [T; LANES], x: &[T; LANES]) {
    let mut out = *sum;
    for lane in 0..LANES {
        out[lane] += x[lane];
    }
    *sum = out;
}

/// Where part `index` starts and how long it is, when `len` is cut into `parts` as equal as possible.
fn part(len: usize, parts: usize, index: usize) -> (usize, usize) {
    let start = |index: usize| index * len / parts;
    (start(index), start(index + 1) - start(index))
}
