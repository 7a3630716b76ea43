//! The inner loops, generic over the float type and compiled for several vector instruction sets.
//!
//! No fused multiply-add and no libm: every variant gives the same bits.

use std::ops::{Add, AddAssign, Mul, Sub};

use super::layout::{LANES, Lanes, Layout, Pass, Tile};
use super::packed::{PackedMut, PackedRef, round};
use crate::parallel::Interrupted;

/// f32 for the iteration, f64 for the certificate.
pub(super) trait Real:
    Copy
    + Default
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + AddAssign
    + 'static
{
    fn of(value: f64) -> Self;
    fn from_lab(value: f32) -> Self;
    fn sqrt(self) -> Self;
    /// `exp(-self)` for `self >= 0`; 0 where that is below the smallest normal number, and for NaN.
    fn exp_neg(self) -> Self;
    /// A weight as the iteration uses it: in single precision without its last bits, as [`PackedRef`] holds it.
    fn packable(self) -> Self;
    /// Adds up the products of a tile with weights that are computed anew; see [`push_tile_computed`].
    fn push_tile_computed(edges: &Edges<'_>, tile: &Tile, values: &[Self], sums: &mut [Lanes<Self>]);
    /// Adds up what all tiles have for one row of a vector; see [`Layout::collect`].
    fn collect(layout: &Layout, sums: &[Lanes<Self>], vector: (usize, usize), row: usize, out: &mut [Self]);
}

/// Where the edges are, and what their weights depend on.
pub(super) struct Edges<'a> {
    pub(super) layout: &'a Layout,
    /// L, a and b, each laid out as a vector; infinite outside of the image.
    pub(super) lab: &'a [Vec<f32>; 3],
    /// Distance in pixels of each offset of the neighborhood.
    pub(super) spatial: &'a [f64],
    /// Whether to leave a tile half done: asked at each pass, as a tile of a large neighborhood takes seconds.
    pub(super) interrupted: &'a Interrupted<'a>,
}

impl Edges<'_> {
    /// The tile's colors.
    #[inline(always)]
    fn colors<T: Real>(&self, tile: &Tile) -> Colors<T> {
        [0, 1, 2].map(|channel| {
            let mut plane = vec![Lanes([0.0; LANES]); tile.len()];
            self.layout.load(tile, &self.lab[channel], f32::INFINITY, &mut plane);
            plane.iter().map(|lanes| Lanes(lanes.0.map(T::from_lab))).collect()
        })
    }
}

/// L, a and b of a tile's pixels.
type Colors<T> = [Vec<Lanes<T>>; 3];

/// The weights of one pass. Pixels outside of the image are infinitely far from all others.
#[inline(always)]
fn weigh<T: Real>(pass: &Pass, spatial: &[f64], colors: &Colors<T>, weights: &mut [Lanes<T>]) {
    let spatial = &spatial[pass.first..][..pass.offsets];
    for (column, weights) in weights.chunks_exact_mut(pass.offsets).enumerate() {
        let [l0, a0, b0] = [0, 1, 2].map(|channel: usize| colors[channel][pass.here + column].0);
        let [l1, a1, b1] =
            [0, 1, 2].map(|channel: usize| &colors[channel][pass.there + column..][..pass.offsets]);
        for ((((weights, &spatial), l1), a1), b1) in weights.iter_mut().zip(spatial).zip(l1).zip(a1).zip(b1) {
            let spatial = T::of(spatial);
            for lane in 0..LANES {
                let (l, a, b) = (l1.0[lane] - l0[lane], a1.0[lane] - a0[lane], b1.0[lane] - b0[lane]);
                weights.0[lane] = ((l * l + a * a + b * b).sqrt() + spatial).exp_neg().packable();
            }
        }
    }
}

#[inline(always)]
fn weigh_tile(edges: &Edges<'_>, tile: &Tile, packed: &mut PackedMut<'_>) {
    let colors = edges.colors(tile);
    let mut weights = edges.layout.weights_of_a_pass();
    let mut start = 0;
    for pass in tile.passes() {
        if (edges.interrupted)() {
            return;
        }
        let weights = &mut weights[..pass.columns * pass.offsets];
        weigh(&pass, edges.spatial, &colors, weights);
        packed.pack(start, weights);
        start += weights.len();
    }
}

/// The tile's part of each vector, one after the other.
#[inline(always)]
fn load<T: Real>(edges: &Edges<'_>, tile: &Tile, values: &[T]) -> Vec<Lanes<T>> {
    let len = edges.layout.len();
    let mut out = vec![Lanes::default(); values.len() / len * tile.len()];
    for (values, out) in values.chunks_exact(len).zip(out.chunks_exact_mut(tile.len())) {
        edges.layout.load(tile, values, T::default(), out);
    }
    out
}

/// What a tile adds to the symmetric product of each vector in `values`; `sums` has [`Layout::tile_len`] elements for each.
#[inline(always)]
fn push_tile(edges: &Edges<'_>, tile: &Tile, packed: PackedRef<'_>, values: &[f32], sums: &mut [Lanes<f32>]) {
    let values = load(edges, tile, values);
    sums.fill(Lanes::default());
    let mut weights = edges.layout.weights_of_a_pass();
    let mut rest = packed;
    for pass in tile.passes() {
        if (edges.interrupted)() {
            return;
        }
        let part;
        (part, rest) = rest.split_at(pass.columns * pass.offsets);
        for column in 0..pass.columns {
            let part = part.slice(column * pass.offsets, pass.offsets);
            if values.len() == tile.len() {
                push(&pass, column, part.iter(), &values, sums);
            } else {
                part.unpack(&mut weights[..pass.offsets]);
                push_each(edges, tile, (&pass, column), &weights[..pass.offsets], &values, sums);
            }
        }
    }
}

/// One pixel's weights for each of several vectors: the weights stay in the nearest cache.
#[inline(always)]
fn push_each<T: Real>(
    edges: &Edges<'_>,
    tile: &Tile,
    (pass, column): (&Pass, usize),
    weights: &[Lanes<T>],
    values: &[Lanes<T>],
    sums: &mut [Lanes<T>],
) {
    // Not `for_each`: a closure that is not inlined is not compiled for the vector instruction set.
    let vectors = values.chunks_exact(tile.len()).zip(sums.chunks_exact_mut(edges.layout.tile_len()));
    for (values, sums) in vectors {
        push(pass, column, weights.iter().copied(), values, sums);
    }
}

/// As [`push_tile`] with weights that are computed when they are needed.
#[inline(always)]
fn push_tile_computed<T: Real>(edges: &Edges<'_>, tile: &Tile, values: &[T], sums: &mut [Lanes<T>]) {
    let values = load(edges, tile, values);
    let colors = edges.colors(tile);
    sums.fill(Lanes::default());
    let mut weights = edges.layout.weights_of_a_pass();
    for pass in tile.passes() {
        if (edges.interrupted)() {
            return;
        }
        let weights = &mut weights[..pass.columns * pass.offsets];
        weigh(&pass, edges.spatial, &colors, weights);
        for (column, weights) in weights.chunks_exact(pass.offsets).enumerate() {
            push_each(edges, tile, (&pass, column), weights, &values, sums);
        }
    }
}

/// Uses each weight of one pixel's edges twice: from the pixel to its later neighbor, and back.
#[inline(always)]
fn push<T: Real>(
    pass: &Pass,
    column: usize,
    weights: impl Iterator<Item = Lanes<T>>,
    values: &[Lanes<T>],
    sums: &mut [Lanes<T>],
) {
    let here = values[pass.here + column];
    let values = &values[pass.there + column..][..pass.offsets];
    let back = &mut sums[pass.there + column..][..pass.offsets];
    let mut forth = Lanes::default();
    for ((values, back), weights) in values.iter().zip(back).zip(weights) {
        add_product(&mut forth, &weights, values);
        add_product(back, &weights, &here);
    }
    let sum = &mut sums[pass.here + column].0;
    sum.iter_mut().zip(forth.0).for_each(|(sum, forth)| *sum += forth);
}

/// Arrays in between, because a loop that updates memory lane by lane is not always vectorized.
#[inline(always)]
fn add_product<T: Real>(sum: &mut Lanes<T>, x: &Lanes<T>, y: &Lanes<T>) {
    let (mut out, x, y) = (sum.0, x.0, y.0);
    for lane in 0..LANES {
        out[lane] += x[lane] * y[lane];
    }
    sum.0 = out;
}

/// Compiles a function for several vector instruction sets; the one that the processor has runs.
macro_rules! compiled {
    ($visibility:vis fn $name:ident($($argument:ident: $type:ty),*) $(-> $out:ty)? => $body:expr) => {
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        $visibility fn $name($($argument: $type),*) $(-> $out)? {
            $body
        }
    };
}

compiled!(pub(super) fn weigh_packed(edges: &Edges<'_>, tile: &Tile, weights: &mut PackedMut<'_>) =>
    weigh_tile(edges, tile, weights));
compiled!(pub(super) fn push_packed(
    edges: &Edges<'_>, tile: &Tile, weights: PackedRef<'_>, values: &[f32], sums: &mut [Lanes<f32>]
) => push_tile(edges, tile, weights, values, sums));
compiled!(fn push_computed_f32(edges: &Edges<'_>, tile: &Tile, values: &[f32], sums: &mut [Lanes<f32>]) =>
    push_tile_computed(edges, tile, values, sums));
compiled!(fn push_computed_f64(edges: &Edges<'_>, tile: &Tile, values: &[f64], sums: &mut [Lanes<f64>]) =>
    push_tile_computed(edges, tile, values, sums));
compiled!(fn collect_f32(
    layout: &Layout, sums: &[Lanes<f32>], vector: (usize, usize), row: usize, out: &mut [f32]
) => layout.collect(sums, vector, row, out));
compiled!(fn collect_f64(
    layout: &Layout, sums: &[Lanes<f64>], vector: (usize, usize), row: usize, out: &mut [f64]
) => layout.collect(sums, vector, row, out));

macro_rules! real {
    ($float:ty, $bits:ty, $packable:expr, $push:ident, $collect:ident, $magic:literal, $mantissa:literal, $bias:literal, $least:literal,
     $terms:expr) => {
        impl Real for $float {
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn from_lab(value: f32) -> Self {
                Self::from(value)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            /// exp(-x) = 2^n exp(r) with n = round(-x / ln 2), exp(r) by its Taylor polynomial. Adding `magic` leaves n
            /// in the low bits of the mantissa, which vectorizes where a float-to-integer cast does not.
            #[inline(always)]
            fn exp_neg(self) -> Self {
                const TERMS: &[$float] = &$terms;
                // ln 2 in two parts: the first has few enough bits for its product with n to be exact.
                const LN2_HIGH: $float = 355.0 / 512.0;
                const LN2_LOW: $float = (std::f64::consts::LN_2 - 355.0 / 512.0) as $float;
                let shifted = $magic - self * std::f64::consts::LOG2_E as Self;
                let n = shifted - $magic;
                let r = (-self - n * LN2_HIGH) - n * LN2_LOW;
                let mut sum = TERMS[0];
                let mut k = 1;
                while k < TERMS.len() {
                    sum = sum * r + TERMS[k];
                    k += 1;
                }
                let bits: $bits = shifted.to_bits().wrapping_add($bias) << $mantissa;
                let value = sum * Self::from_bits(bits);
                if self < $least { value } else { 0.0 }
            }
            #[inline(always)]
            fn packable(self) -> Self {
                ($packable)(self)
            }
            fn push_tile_computed(edges: &Edges<'_>, tile: &Tile, values: &[Self], sums: &mut [Lanes<Self>]) {
                $push(edges, tile, values, sums);
            }
            fn collect(
                layout: &Layout,
                sums: &[Lanes<Self>],
                vector: (usize, usize),
                row: usize,
                out: &mut [Self],
            ) {
                $collect(layout, sums, vector, row, out);
            }
        }
    };
}

real!(
    f32,
    u32,
    round,
    push_computed_f32,
    collect_f32,
    12_582_912.0,
    23,
    127,
    87.0,
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]
);
real!(
    f64,
    u64,
    |weight| weight,
    push_computed_f64,
    collect_f64,
    6_755_399_441_055_744.0,
    52,
    1023,
    707.0,
    [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0
    ]
);

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn exp_neg_agrees_with_libm() {
        for i in 0..80_000 {
            let x = f64::from(i) * 1e-3;
            assert!((x.exp_neg() / (-x).exp() - 1.0).abs() < 1e-14, "f64 at {x}");
            let (fast, exact) = ((x as f32).exp_neg(), (-f64::from(x as f32)).exp());
            assert!((f64::from(fast) / exact - 1.0).abs() < 3e-7, "f32 at {x}");
        }
        assert!(600.0_f64.exp_neg() > 0.0);
        assert_eq!(1e4_f64.exp_neg().to_bits(), 0);
        assert_eq!(90.0_f32.exp_neg().to_bits(), 0);
    }
}
