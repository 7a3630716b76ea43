//! Attention of one head: `softmax(q k' / sqrt(d)) v`.

use multiversion::multiversion;
use rayon::prelude::*;

use super::functions::exp_of_negative;
use super::products::{After, Matrix, Rows};

const LANES: usize = 16;

/// Queries, keys and values of `images` x `tokens` tokens, (heads * dimensions) each.
///
/// Queries are those of the first `queries` tokens of each image: what is read of its last block's output.
#[derive(Debug, Clone, Copy)]
pub(in crate::models) struct Attention<'a> {
    /// (images, asking, heads * dimensions), each `stride.0` numbers after the other.
    pub(in crate::models) q: &'a [f32],
    /// (images, tokens, 2 * heads * dimensions): keys, then values, each `stride.1` numbers after the other.
    pub(in crate::models) kv: &'a [f32],
    pub(in crate::models) stride: (usize, usize),
    pub(in crate::models) images: usize,
    /// Tokens that have a row in `q`, of which the first `queries` are wanted.
    pub(in crate::models) asking: usize,
    pub(in crate::models) queries: usize,
    pub(in crate::models) tokens: usize,
    pub(in crate::models) heads: usize,
    pub(in crate::models) dimensions: usize,
    /// Which tokens of each image are seen, (images, tokens); all if there is none.
    pub(in crate::models) seen: Option<&'a [bool]>,
}

/// What each token attends to, (images, heads, queries, dimensions).
pub(in crate::models) fn attend(this: Attention<'_>) -> Vec<f32> {
    let each = this.queries * this.dimensions;
    let mut out = vec![0.0; this.images * this.heads * each];
    if each > 0 {
        out.par_chunks_mut(each).enumerate().for_each_init(Scratch::default, |scratch, (index, out)| {
            one_head(this, index / this.heads, index % this.heads, scratch, out);
        });
    }
    out
}

/// Memory of one thread.
#[derive(Default)]
struct Scratch {
    keys: Matrix,
    values: Matrix,
    weights: Vec<f32>,
}

fn one_head(this: Attention<'_>, image: usize, head: usize, scratch: &mut Scratch, out: &mut [f32]) {
    let Attention { tokens, dimensions, .. } = this;
    let key = |token: usize| (image * tokens + token) * this.stride.1 + head * dimensions;
    let beyond_keys = this.heads * dimensions;
    scratch.keys.refill(tokens, dimensions, |token, d| this.kv[key(token) + d]);
    scratch.values.refill(dimensions, tokens, |d, token| this.kv[key(token) + beyond_keys + d]);
    let first = image * this.asking;
    let starts: Vec<usize> =
        (first..first + this.queries).map(|query| query * this.stride.0 + head * dimensions).collect();
    let queries = Rows { values: this.q, starts: &starts, taps: &[0], depth: dimensions };
    scratch.weights.resize(this.queries * tokens, 0.0);
    scratch.keys.multiply(queries, &mut scratch.weights, After::Keep);
    let scale = 1.0 / (dimensions as f32).sqrt();
    let seen = this.seen.map(|seen| &seen[image * tokens..][..tokens]);
    softmax_all(&mut scratch.weights, tokens, scale, seen);
    scratch.values.multiply_all(&scratch.weights, out, After::Keep);
}

/// All rows at once: looking up the processor's instructions takes longer than a row.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn softmax_all(rows: &mut [f32], tokens: usize, scale: f32, seen: Option<&[bool]>) {
    for row in rows.chunks_exact_mut(tokens) {
        softmax(row, scale, seen);
    }
}

/// `softmax(scale * row)` over what is seen, 0 elsewhere; where nothing is seen all is 0, as torch has it.
#[inline(always)]
fn softmax(row: &mut [f32], scale: f32, seen: Option<&[bool]>) {
    if let Some(seen) = seen {
        if !seen.contains(&true) {
            row.fill(0.0);
            return;
        }
        for (value, &seen) in row.iter_mut().zip(seen) {
            *value = if seen { *value } else { f32::NEG_INFINITY };
        }
    }
    let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (steps, rest) = row.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for step in steps {
        for lane in 0..LANES {
            step[lane] = exp_of_negative((step[lane] - greatest) * scale);
            sums[lane] += step[lane];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for value in rest {
        *value = exp_of_negative((*value - greatest) * scale);
        sum += *value;
    }
    let share = 1.0 / sum;
    for value in row {
        *value *= share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_nothing_gets_nothing() {
        let (q, kv) = (vec![1.0; 12], vec![2.0; 24]);
        let seen = [false, false, false, true, false, true];
        let (stride, dimensions) = ((2, 4), 2);
        let counts = Attention {
            q: &q,
            kv: &kv,
            stride,
            images: 2,
            asking: 3,
            queries: 3,
            tokens: 3,
            heads: 1,
            dimensions,
            seen: Some(&seen),
        };
        assert_eq!(attend(counts), [[0.0; 6], [2.0; 6]].concat());
    }

    #[test]
    fn attention_is_its_definition_also_where_tokens_are_not_seen() {
        let (images, queries, tokens, heads, dimensions) = (2, 3, 19, 2, 5);
        let width = heads * dimensions;
        let wave =
            |count: usize, step: f32| (0..count).map(|i| 2.0 * (i as f32 * step).sin()).collect::<Vec<_>>();
        let (q, kv) = (wave(images * queries * width, 0.7), wave(images * tokens * 2 * width, 0.3));
        let seen: Vec<bool> = (0..images * tokens).map(|token| token % 3 != 1).collect();
        for seen in [None, Some(&seen[..])] {
            let out = attend(Attention {
                q: &q,
                kv: &kv,
                stride: (width, 2 * width),
                images,
                asking: queries,
                queries,
                tokens,
                heads,
                dimensions,
                seen,
            });
            for (index, &found) in out.iter().enumerate() {
                let (d, query) = (index % dimensions, index / dimensions % queries);
                let (head, image) =
                    (index / dimensions / queries % heads, index / dimensions / queries / heads);
                let (mut above, mut below) = (0.0, 0.0);
                for token in (0..tokens).filter(|token| seen.is_none_or(|seen| seen[image * tokens + token]))
                {
                    let key = (image * tokens + token) * 2 * width + head * dimensions;
                    let query = (image * queries + query) * width + head * dimensions;
                    let dot: f64 =
                        (0..dimensions).map(|d| f64::from(q[query + d]) * f64::from(kv[key + d])).sum();
                    let weight = (dot / (dimensions as f64).sqrt()).exp();
                    above += weight * f64::from(kv[key + width + d]);
                    below += weight;
                }
                assert!((f64::from(found) - above / below).abs() < 1e-5);
            }
        }
    }
}
