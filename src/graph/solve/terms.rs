//! Adding up the Chebyshev expansion: one pass over a system's vectors for each term, compiled for several vector
//! instruction sets.
//!
//! No fused multiply-add: every variant gives the same bits.

use crate::graph::layout::LANES;

/// One system's term of the expansion.
pub(super) struct Term {
    /// The factor of `T_k P P R` in the sum.
    pub(super) factor: f64,
    /// The factors of `T_{k+1} P P R` and, with a minus, of `T_k P P R` in what is left of the right-hand side.
    pub(super) left: [f32; 2],
    /// What the right-hand side was multiplied by.
    pub(super) scale: f64,
}

/// `sum += factor T_k`, for one row; `max |what is left|` and `max |sum|`. `old` is `T_k P P R`, `new` is `T_{k+1} P P R`.
#[multiversion::multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma",
    "x86_64+avx2+fma"
))]
pub(super) fn add_term(term: &Term, old: &[f32], new: &[f32], sum: &mut [f64]) -> (f64, f64) {
    let (old, new, sum) =
        (old.as_chunks::<LANES>().0, new.as_chunks::<LANES>().0, sum.as_chunks_mut::<LANES>().0);
    let (mut left, mut largest) = ([0.0_f32; LANES], [0.0_f64; LANES]);
    for ((old, new), sum) in old.iter().zip(new).zip(sum) {
        for lane in 0..LANES {
            sum[lane] += term.factor * f64::from(old[lane]);
            largest[lane] = larger(largest[lane], sum[lane].abs());
            left[lane] = larger(left[lane], (term.left[0] * new[lane] - term.left[1] * old[lane]).abs());
        }
    }
    (f64::from(left.into_iter().fold(0.0, larger)) / term.scale, largest.into_iter().fold(0.0, larger))
}

/// A maximum that vectorizes.
#[inline(always)]
fn larger<T: PartialOrd>(x: T, y: T) -> T {
    if x > y { x } else { y }
}
