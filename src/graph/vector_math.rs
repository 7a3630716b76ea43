//! The inner loops, generic over the float type and compiled for several vector instruction sets.
//!
//! No fused multiply-add and no libm: every variant gives the same bits.

use std::ops::{Add, AddAssign, Mul, Sub};

use super::neighborhood::Offset;

/// f32 for the iteration, f64 for the certificate.
pub(super) trait Real:
    Copy + Default + Send + Sync + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + AddAssign + 'static
{
    fn of(value: f64) -> Self;
    fn from_lab(value: f32) -> Self;
    fn sqrt(self) -> Self;
    /// `exp(-self)` for `self >= 0`; 0 where that is below the smallest normal number.
    fn exp_neg(self) -> Self;
    /// Fills `weights` with the weights of the edges that start in one row.
    fn weigh_row(row: &Row<'_>, weights: &mut [Self]);
    /// Adds one row's share of the symmetric product; see [`push_row`].
    fn push_row(row: &Row<'_>, weights: &[Self], vectors: &Vectors<'_, Self>, sums: &mut [Self]);
}

/// One image row and the edges that start in it.
pub(super) struct Row<'a> {
    pub(super) width: usize,
    /// The edges that stay inside of the image.
    pub(super) offsets: &'a [Offset],
    /// L, a and b from this row on.
    pub(super) lab: [&'a [f32]; 3],
}

/// Several vectors over the image that are multiplied together, so that each weight is loaded once.
pub(super) struct Vectors<'a, T> {
    /// One vector after the other.
    pub(super) values: &'a [T],
    /// Number of vectors.
    pub(super) count: usize,
    /// Pixels in a vector.
    pub(super) len: usize,
    /// Index of the row's first pixel.
    pub(super) start: usize,
    /// Index of that pixel's sum within a vector's sums.
    pub(super) top: usize,
}

#[inline(always)]
fn weigh<T: Real>(row: &Row<'_>, weights: &mut [T]) {
    let mut rest = weights;
    for offset in row.offsets {
        let plane;
        (plane, rest) = rest.split_at_mut(offset.len);
        let here = |channel: usize| &row.lab[channel][offset.from..][..offset.len];
        let there = |channel: usize| &row.lab[channel][offset.rows * row.width + offset.to..][..offset.len];
        let ([l0, a0, b0], [l1, a1, b1]) = ([here(0), here(1), here(2)], [there(0), there(1), there(2)]);
        let spatial = T::of(offset.distance);
        for i in 0..offset.len {
            let l = T::from_lab(l0[i]) - T::from_lab(l1[i]);
            let a = T::from_lab(a0[i]) - T::from_lab(a1[i]);
            let b = T::from_lab(b0[i]) - T::from_lab(b1[i]);
            plane[i] = (spatial + (l * l + a * a + b * b).sqrt()).exp_neg();
        }
    }
}

/// `sums` holds, one vector after the other, all rows that an edge of the row's band reaches. Every weight is used
/// twice: from this pixel to the later neighbor and back.
#[inline(always)]
fn push<T: Real>(row: &Row<'_>, weights: &[T], vectors: &Vectors<'_, T>, sums: &mut [T]) {
    let span = sums.len() / vectors.count;
    let mut rest = weights;
    for offset in row.offsets {
        let plane;
        (plane, rest) = rest.split_at(offset.len);
        let below = offset.rows * row.width + offset.to;
        for (vector, sums) in sums.chunks_exact_mut(span).enumerate() {
            let values = &vectors.values[vector * vectors.len + vectors.start..];
            let sums = &mut sums[vectors.top..];
            let here = &values[offset.from..][..offset.len];
            let there = &values[below..][..offset.len];
            if offset.rows == 0 {
                accumulate(&mut sums[offset.from..][..offset.len], plane, there);
                accumulate(&mut sums[below..][..offset.len], plane, here);
            } else {
                let (top, bottom) = sums.split_at_mut(row.width);
                let top = &mut top[offset.from..][..offset.len];
                let bottom = &mut bottom[below - row.width..][..offset.len];
                for i in 0..offset.len {
                    top[i] += plane[i] * there[i];
                    bottom[i] += plane[i] * here[i];
                }
            }
        }
    }
}

#[inline(always)]
fn accumulate<T: Real>(sums: &mut [T], weights: &[T], values: &[T]) {
    for ((sum, &weight), &value) in sums.iter_mut().zip(weights).zip(values) {
        *sum += weight * value;
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
                let shifted = $magic - self * std::f64::consts::LOG2_E as Self;
                let n = shifted - $magic;
                // ln 2 in two parts: the first has few enough bits for its product with n to be exact.
                const LN2_HIGH: $float = 0.693_359_375;
                const LN2_LOW: $float = -2.121_944_400_546_905_8e-4;
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

real!(f32, u32, weigh_f32, push_f32, 12_582_912.0, 23, 127, 87.0, [
    1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0
]);
real!(f64, u64, weigh_f64, push_f64, 6_755_399_441_055_744.0, 52, 1023, 707.0, [
    1.0 / 479_001_600.0, 1.0 / 39_916_800.0, 1.0 / 3_628_800.0, 1.0 / 362_880.0, 1.0 / 40_320.0, 1.0 / 5040.0,
    1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0
]);

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn exp_neg_agrees_with_libm() {
        for i in 0..80_000 {
            let x = f64::from(i) * 1e-3;
            assert!((x.exp_neg() / (-x).exp() - 1.0).abs() < 4e-16, "f64 at {x}");
            let (fast, exact) = ((x as f32).exp_neg(), (-f64::from(x as f32)).exp());
            assert!((f64::from(fast) / exact - 1.0).abs() < 3e-7, "f32 at {x}");
        }
        assert!(600.0_f64.exp_neg() > 0.0);
        assert_eq!(1e4_f64.exp_neg().to_bits(), 0);
        assert_eq!(90.0_f32.exp_neg().to_bits(), 0);
    }
}
