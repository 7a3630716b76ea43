//! The inner loops, generic over the float type and compiled for several vector instruction sets.
//!
//! No fused multiply-add and no libm: every variant gives the same bits.

use std::ops::{Add, AddAssign, Mul, Sub};

use super::neighborhood::HalfNeighborhood;

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
    /// `exp(-self)` for `self >= 0`; 0 where that is below the smallest normal number.
    fn exp_neg(self) -> Self;
    /// Fills `weights` with the weights of the edges that start in one row.
    fn weigh_row(row: &Row<'_>, weights: &mut [Self]);
    /// Adds one row's share of the symmetric product; see [`push`].
    fn push_row(row: &Row<'_>, weights: &[Self], vectors: &Vectors<'_, Self>, sums: &mut [Self]);
}

/// An image row, the edges that start in it, and how rows lie in memory: `stride` apart, with at least
/// `neighborhood.across` zeros on either side of each row's `lanes` columns.
pub(super) struct Row<'a> {
    pub(super) neighborhood: HalfNeighborhood,
    /// Rows down that the edges go: fewer than the neighborhood's near the bottom of the image.
    pub(super) down: usize,
    /// Columns, rounded up to a multiple of [`LANES`].
    pub(super) lanes: usize,
    /// Elements from a row's start to the next one's.
    pub(super) stride: usize,
    /// Columns of the image.
    pub(super) width: usize,
    /// L, a and b from this row's first element on.
    pub(super) lab: [&'a [f32]; 3],
}

/// Several vectors over the image that are multiplied together, so that each weight is fetched once.
pub(super) struct Vectors<'a, T> {
    /// One vector after the other.
    pub(super) values: &'a [T],
    /// Number of vectors.
    pub(super) count: usize,
    /// Elements in a vector.
    pub(super) len: usize,
    /// Index of the row's first element.
    pub(super) start: usize,
    /// Index of its sums within a vector's sums.
    pub(super) top: usize,
}

/// Columns that are worked on together: one AVX-512 register of f32.
pub(super) const LANES: usize = 16;

#[inline(always)]
fn weigh<T: Real>(row: &Row<'_>, weights: &mut [T]) {
    let across = row.neighborhood.across;
    let mut planes = weights.chunks_exact_mut(row.lanes);
    for rows in 0..=row.down {
        for (columns, plane) in row.neighborhood.columns(rows).zip(planes.by_ref()) {
            let from = columns.min(0).unsigned_abs();
            let len = row.width - columns.unsigned_abs();
            let there = rows * row.stride + across + columns.max(0).unsigned_abs();
            plane.fill(T::default());
            let plane = &mut plane[from..][..len];
            let [l0, a0, b0] = row.lab.map(|lab| &lab[across + from..][..len]);
            let [l1, a1, b1] = row.lab.map(|lab| &lab[there..][..len]);
            let spatial = T::of((rows as f64).hypot(columns as f64));
            for i in 0..len {
                let l = T::from_lab(l0[i]) - T::from_lab(l1[i]);
                let a = T::from_lab(a0[i]) - T::from_lab(a1[i]);
                let b = T::from_lab(b0[i]) - T::from_lab(b1[i]);
                plane[i] = (spatial + (l * l + a * a + b * b).sqrt()).exp_neg();
            }
        }
    }
}

/// `weights` starts `across` elements before the row's first weight and ends as many after its last; `sums` holds, one
/// vector after the other, all rows that an edge of the row's band reaches.
///
/// Every weight is used twice while it is in the nearest cache: from this row's pixel to the later neighbor and back.
/// On the way back a lane may read the weight of another column; it meets one of the zeros beside the row there.
#[inline(always)]
fn push<T: Real>(row: &Row<'_>, weights: &[T], vectors: &Vectors<'_, T>, sums: &mut [T]) {
    let (across, span) = (row.neighborhood.across, sums.len() / vectors.count);
    let mut near = vec![T::default(); (2 * across + 1) * row.lanes + 2 * across];
    let mut first = 0;
    for rows in 0..=row.down {
        let columns = row.neighborhood.columns(rows);
        let planes = columns.clone().count();
        if planes == 0 {
            continue;
        }
        // The loops below jump from plane to plane, which memory is slow at: bring the planes near in one stream.
        let len = planes * row.lanes + 2 * across;
        near[..len].copy_from_slice(&weights[first * row.lanes..][..len]);
        let weights = &near[..len];
        first += planes;
        for (vector, sums) in sums.chunks_exact_mut(span).enumerate() {
            let values = &vectors.values[vector * vectors.len + vectors.start..];
            let here = &values[..row.stride];
            let there = &values[rows * row.stride..][..row.stride];
            let (top, bottom) = (vectors.top + across, vectors.top + rows * row.stride + across);
            let mut at = 0;
            while at + 2 * LANES <= row.lanes {
                forth::<T, { 2 * LANES }>(row, *columns.start(), weights, there, (at, &mut sums[top..]));
                back::<T, { 2 * LANES }>(row, *columns.start(), weights, here, (at, &mut sums[bottom..]));
                at += 2 * LANES;
            }
            if at < row.lanes {
                forth::<T, LANES>(row, *columns.start(), weights, there, (at, &mut sums[top..]));
                back::<T, LANES>(row, *columns.start(), weights, here, (at, &mut sums[bottom..]));
            }
        }
    }
}

/// What the pixels of columns `at..at + N` receive from the row below that `values` is.
#[inline(always)]
fn forth<T: Real, const N: usize>(
    row: &Row<'_>,
    first: isize,
    weights: &[T],
    values: &[T],
    (at, sums): (usize, &mut [T]),
) {
    let across = row.neighborhood.across;
    let start = (across + at) - first.min(0).unsigned_abs() + first.max(0).unsigned_abs();
    let mut sum = [T::default(); N];
    for (step, plane) in weights[across..].chunks_exact(row.lanes).enumerate() {
        add_product(&mut sum, &plane[at..at + N], &values[start + step..start + step + N]);
    }
    sums[at..at + N].iter_mut().zip(sum).for_each(|(out, value)| *out += value);
}

/// What the pixels of columns `at..at + N` of a row below receive from the row that `values` is.
#[inline(always)]
fn back<T: Real, const N: usize>(
    row: &Row<'_>,
    first: isize,
    weights: &[T],
    values: &[T],
    (at, sums): (usize, &mut [T]),
) {
    let across = row.neighborhood.across;
    let planes = (weights.len() - 2 * across) / row.lanes;
    let start = (across + at) + first.min(0).unsigned_abs() - first.max(0).unsigned_abs();
    let mut sum = [T::default(); N];
    for step in 0..planes {
        let column = start - step;
        let plane = &weights[step * row.lanes + column..][..N];
        add_product(&mut sum, plane, &values[column..column + N]);
    }
    sums[at..at + N].iter_mut().zip(sum).for_each(|(out, value)| *out += value);
}

#[inline(always)]
fn add_product<T: Real, const N: usize>(sum: &mut [T; N], weights: &[T], values: &[T]) {
    for i in 0..N {
        sum[i] += weights[i] * values[i];
    }
}

macro_rules! real {
    ($float:ty, $bits:ty, $weigh:ident, $push:ident, $magic:literal, $mantissa:literal, $bias:literal, $least:literal,
     $terms:expr) => {
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $weigh(row: &Row<'_>, weights: &mut [$float]) {
            weigh(row, weights);
        }

        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
            "x86_64+avx2+fma"
        ))]
        fn $push(row: &Row<'_>, weights: &[$float], vectors: &Vectors<'_, $float>, sums: &mut [$float]) {
            push(row, weights, vectors, sums);
        }

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
            fn weigh_row(row: &Row<'_>, weights: &mut [Self]) {
                $weigh(row, weights);
            }
            fn push_row(row: &Row<'_>, weights: &[Self], vectors: &Vectors<'_, Self>, sums: &mut [Self]) {
                $push(row, weights, vectors, sums);
            }
        }
    };
}

real!(
    f32,
    u32,
    weigh_f32,
    push_f32,
    12_582_912.0,
    23,
    127,
    87.0,
    [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]
);
real!(
    f64,
    u64,
    weigh_f64,
    push_f64,
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
