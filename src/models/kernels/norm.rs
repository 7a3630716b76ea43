//! Layer normalization.

use multiversion::multiversion;

const LANES: usize = 16;

/// `(x - mean) / sqrt(variance + epsilon) * gain + shift` over a row.
#[derive(Debug, Clone)]
pub(in crate::models) struct LayerNorm {
    gain: Vec<f32>,
    shift: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    pub(in crate::models) fn new(gain: Vec<f32>, shift: Vec<f32>, epsilon: f32) -> Self {
        Self { gain, shift, epsilon }
    }

    /// Normalized `rows` (n, width) into `out`.
    pub(in crate::models) fn apply(&self, rows: &[f32], out: &mut [f32]) {
        normalize_all(rows, &self.gain, &self.shift, self.epsilon, out);
    }

    /// Normalized `rows` (n, width), in their place.
    pub(in crate::models) fn apply_in_place(&self, rows: &mut [f32]) {
        let before = rows.to_vec();
        self.apply(&before, rows);
    }
}

/// All rows at once: looking up the processor's instructions takes longer than a row.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn normalize_all(rows: &[f32], gain: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) {
    for (row, out) in rows.chunks_exact(gain.len()).zip(out.chunks_exact_mut(gain.len())) {
        normalize(row, gain, shift, epsilon, out);
    }
}

#[inline(always)]
fn normalize(row: &[f32], gain: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) {
    let mean = sum_of(row, |x| x) / row.len() as f32;
    let variance = sum_of(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for (((out, x), gain), shift) in out.iter_mut().zip(row).zip(gain).zip(shift) {
        *out = (x - mean) * scale * gain + shift;
    }
}

/// The sum of `term` over `row`, in lanes.
#[inline(always)]
fn sum_of(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (steps, rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for step in steps {
        for lane in 0..LANES {
            sums[lane] += term(step[lane]);
        }
    }
    rest.iter().fold(sums.iter().sum(), |sum, &x| sum + term(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gets_mean_and_deviation_of_its_own() {
        let norm = LayerNorm::new(vec![2.0; 19], vec![1.0; 19], 1e-6);
        let row: Vec<f32> = (0..19).map(|i| 100.0 + i as f32).collect();
        let mut out = vec![0.0; 19];
        norm.apply(&row, &mut out);
        // The variance of 0 ... 18 is (19^2 - 1) / 12 = 30.
        for (index, found) in out.iter().enumerate() {
            let expected = 2.0 * (index as f32 - 9.0) / 30.0_f32.sqrt() + 1.0;
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
