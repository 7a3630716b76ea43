//! Products with matrices that are laid out once, and what is done to a product while it is still in registers.
//!
//! A matrix (outputs, inputs) is kept in panels of 64 outputs, one line of 64 for each input, so that the innermost
//! loop reads it from front to back: an outer product of up to six rows and one line, in registers. The rows are read
//! where they lie, at any distance from each other and in pieces, so that a convolution is such a product without a
//! matrix of its windows ever being written.
//!
//! Each output is one sum in one order, whatever the rows beside it and whatever the number of threads. The loops are
//! plain Rust, compiled for several vector instruction sets.

use std::ops::Range;

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::functions::gelu;
use crate::parallel;

/// Outputs of a panel; the last one may have 16 or 32.
const PANEL: usize = 64;
/// Rows of a tile: 24 of the 32 registers of AVX-512 hold its sums.
const TALL: usize = 6;
/// Inputs of one unrolled step.
const STEP: usize = 4;
/// Outputs of a tile where registers are fewer and narrower.
const NARROW: usize = 16;
/// Most rows of a task; those of a transformer's token, 768 numbers long, stay in a core's own cache.
const MAX_TASK: usize = 192;

/// What is done to a product, bias included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::models) enum After {
    /// Nothing.
    Keep,
    /// The Gaussian error linear unit, by the error function.
    Gelu,
    /// The larger of it and 0.
    Relu,
    /// It is added to what is in its place.
    Add,
    /// It is added to what is in its place, and of that the larger of it and 0.
    AddRelu,
}

/// The rows of the left factor: row `r` is the pieces of `depth` numbers that begin at `starts[r]` + each of `taps`.
#[derive(Debug, Clone, Copy)]
pub(in crate::models) struct Rows<'a> {
    pub(in crate::models) values: &'a [f32],
    pub(in crate::models) starts: &'a [usize],
    pub(in crate::models) taps: &'a [usize],
    pub(in crate::models) depth: usize,
}

/// A matrix (outputs, inputs) with a bias (outputs).
#[derive(Debug, Clone, Default)]
pub(in crate::models) struct Matrix {
    inputs: usize,
    outputs: usize,
    /// Panel after panel, (inputs, its width) each.
    panels: Vec<f32>,
    /// As wide as all panels.
    bias: Vec<f32>,
}

impl Matrix {
    /// Lays out `weights` (outputs, inputs), with a `bias` (outputs) or zeros. Of nothing, as in a dry run, nothing.
    pub(in crate::models) fn new(weights: &[f32], bias: &[f32], outputs: usize) -> Self {
        if weights.is_empty() {
            return Self::default();
        }
        let inputs = weights.len() / outputs;
        let mut matrix = Self { inputs, outputs, ..Self::default() };
        matrix.refill(outputs, inputs, |output, input| weights[output * inputs + input]);
        matrix.bias[..bias.len()].copy_from_slice(bias);
        matrix
    }

    /// Makes it another matrix, without a bias, in the same memory.
    pub(super) fn refill(&mut self, outputs: usize, inputs: usize, weight: impl Fn(usize, usize) -> f32) {
        (self.inputs, self.outputs) = (inputs, outputs);
        let padded: usize = panels(outputs).map(|columns| width(columns.len())).sum();
        self.panels.clear();
        self.panels.resize(padded * inputs, 0.0);
        self.bias.clear();
        self.bias.resize(padded, 0.0);
        for columns in panels(outputs) {
            let width = width(columns.len());
            let panel = &mut self.panels[columns.start * inputs..][..width * inputs];
            for (input, line) in panel.chunks_exact_mut(width).enumerate() {
                for (place, output) in line.iter_mut().zip(columns.clone()) {
                    *place = weight(output, input);
                }
            }
        }
    }

    /// The number of outputs.
    pub(in crate::models) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The products of `rows` into `out` (rows, outputs), on the threads of the pool.
    pub(in crate::models) fn product(&self, rows: Rows<'_>, out: &mut [f32], after: After) {
        let task = task_rows(rows.starts.len());
        let tasks = out.par_chunks_mut(task * self.outputs).zip(rows.starts.par_chunks(task));
        tasks.for_each(|(out, starts)| self.multiply(Rows { starts, ..rows }, out, after));
    }

    /// The products of `rows` into `out` (rows, outputs), here.
    pub(in crate::models) fn multiply(&self, rows: Rows<'_>, out: &mut [f32], after: After) {
        let inputs = rows.taps.len() * rows.depth;
        assert!(inputs == self.inputs, "{inputs} inputs of a matrix of {}", self.inputs);
        multiply(self, rows, out, after);
    }

    /// The products of contiguous `rows` (rows, inputs) into `out` (rows, outputs), here.
    pub(in crate::models) fn multiply_all(&self, rows: &[f32], out: &mut [f32], after: After) {
        let starts: Vec<usize> = (0..rows.len()).step_by(self.inputs).collect();
        self.multiply(Rows { values: rows, starts: &starts, taps: &[0], depth: self.inputs }, out, after);
    }
}

/// Rows of one task: all threads have some, and a tile is only cut at the end.
pub(in crate::models) fn task_rows(rows: usize) -> usize {
    rows.div_ceil(parallel::threads()).clamp(1, MAX_TASK).next_multiple_of(TALL)
}

/// The outputs of each panel.
fn panels(outputs: usize) -> impl Iterator<Item = Range<usize>> {
    (0..outputs).step_by(PANEL).map(move |start| start..(start + PANEL).min(outputs))
}

/// The width of a panel of `columns` outputs.
fn width(columns: usize) -> usize {
    if columns <= PANEL / 4 {
        PANEL / 4
    } else if columns <= PANEL / 2 {
        PANEL / 2
    } else {
        PANEL
    }
}

#[allow(clippy::ifs_same_cond, reason = "the conditions are known, and may be equal, in each variant")]
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn multiply(matrix: &Matrix, rows: Rows<'_>, out: &mut [f32], after: After) {
    if target_cfg_f!(target_feature = "avx512f") {
        all_panels::<PANEL, { PANEL / 2 }, true>(matrix, rows, out, after);
    } else if target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64")) {
        all_panels::<NARROW, NARROW, true>(matrix, rows, out, after);
    } else {
        all_panels::<NARROW, NARROW, false>(matrix, rows, out, after);
    }
}

/// Panel by panel, in tiles of at most `WIDE` outputs, or `HALF` of them in a panel of half the width.
#[inline(always)]
fn all_panels<const WIDE: usize, const HALF: usize, const FUSED: bool>(
    matrix: &Matrix,
    rows: Rows<'_>,
    out: &mut [f32],
    after: After,
) {
    for columns in panels(matrix.outputs) {
        match width(columns.len()) {
            PANEL => one_panel::<PANEL, WIDE, FUSED>(matrix, rows, columns, out, after),
            32 => one_panel::<32, HALF, FUSED>(matrix, rows, columns, out, after),
            _ => one_panel::<NARROW, NARROW, FUSED>(matrix, rows, columns, out, after),
        }
    }
}

#[inline(always)]
fn one_panel<const N: usize, const W: usize, const FUSED: bool>(
    matrix: &Matrix,
    rows: Rows<'_>,
    columns: Range<usize>,
    out: &mut [f32],
    after: After,
) {
    let panel = matrix.panels[columns.start * matrix.inputs..][..N * matrix.inputs].as_chunks::<N>().0;
    let bias = &matrix.bias[columns.start..][..N];
    for at in (0..columns.len()).step_by(W) {
        let columns = columns.start + at..columns.end.min(columns.start + at + W);
        let bias = bias[at..].first_chunk::<W>().expect("as wide as the panel");
        let mut out = Out { rows: out, stride: matrix.outputs, columns, after };
        let mut tall = rows.starts.chunks_exact(TALL);
        for starts in &mut tall {
            tile::<TALL, N, W, FUSED>(Rows { starts, ..rows }, panel, at, bias, &mut out);
        }
        let rest = Rows { starts: tall.remainder(), ..rows };
        match rest.starts.len() {
            0 => {}
            1 => tile::<1, N, W, FUSED>(rest, panel, at, bias, &mut out),
            2 => tile::<2, N, W, FUSED>(rest, panel, at, bias, &mut out),
            3 => tile::<3, N, W, FUSED>(rest, panel, at, bias, &mut out),
            4 => tile::<4, N, W, FUSED>(rest, panel, at, bias, &mut out),
            _ => tile::<5, N, W, FUSED>(rest, panel, at, bias, &mut out),
        }
    }
}

/// What is left to be written: rows of `stride` numbers, of which `columns` are.
struct Out<'a> {
    rows: &'a mut [f32],
    stride: usize,
    columns: Range<usize>,
    after: After,
}

/// `W` outputs of `R` rows. The sums are passed by value and indexed by constants: so they stay in registers.
#[inline(always)]
fn tile<const R: usize, const N: usize, const W: usize, const FUSED: bool>(
    rows: Rows<'_>,
    panel: &[[f32; N]],
    at: usize,
    bias: &[f32; W],
    out: &mut Out<'_>,
) {
    let mut sums = [[0.0; W]; R];
    for (tap, lines) in rows.taps.iter().zip(panel.chunks_exact(rows.depth)) {
        let pieces = std::array::from_fn(|row| &rows.values[rows.starts[row] + tap..][..rows.depth]);
        sums = accumulate::<R, N, W, FUSED>(sums, pieces, lines, at);
    }
    // What follows is too long to be unrolled, and would have the sums indexed by a variable: a copy of theirs is.
    let sums = std::hint::black_box(sums);
    let lines = std::mem::take(&mut out.rows);
    let (mine, rest) = lines.split_at_mut(R * out.stride);
    for row in 0..R {
        let line = &mut mine[row * out.stride..][out.columns.clone()];
        finish(sums[row], bias, line, out.after);
    }
    out.rows = rest;
}

#[inline(always)]
fn accumulate<const R: usize, const N: usize, const W: usize, const FUSED: bool>(
    mut sums: [[f32; W]; R],
    rows: [&[f32]; R],
    lines: &[[f32; N]],
    at: usize,
) -> [[f32; W]; R] {
    assert!(at + W <= N, "a tile lies in its panel");
    let (steps, rest) = lines.as_chunks::<STEP>();
    let quads: [&[[f32; STEP]]; R] = rows.map(|row| &row.as_chunks::<STEP>().0[..steps.len()]);
    for (step, lines) in steps.iter().enumerate() {
        let inputs: [&[f32; STEP]; R] = std::array::from_fn(|row| &quads[row][step]);
        for input in 0..STEP {
            let line = lines[input][at..].first_chunk::<W>().expect("it lies in its panel");
            for row in 0..R {
                add_scaled::<W, FUSED>(&mut sums[row], inputs[row][input], line);
            }
        }
    }
    let done = steps.len() * STEP;
    for (input, line) in rest.iter().enumerate() {
        let line = line[at..].first_chunk::<W>().expect("it lies in its panel");
        for row in 0..R {
            add_scaled::<W, FUSED>(&mut sums[row], rows[row][done + input], line);
        }
    }
    sums
}

#[inline(always)]
fn add_scaled<const W: usize, const FUSED: bool>(sums: &mut [f32; W], scale: f32, line: &[f32; W]) {
    for lane in 0..W {
        // Without the instruction it would be a call for each number.
        sums[lane] =
            if FUSED { scale.mul_add(line[lane], sums[lane]) } else { scale * line[lane] + sums[lane] };
    }
}

#[inline(always)]
fn finish<const W: usize>(mut sums: [f32; W], bias: &[f32; W], out: &mut [f32], after: After) {
    for lane in 0..W {
        sums[lane] += bias[lane];
    }
    match after {
        After::Keep => {}
        After::Gelu => {
            for sum in &mut sums {
                *sum = gelu(*sum);
            }
        }
        After::Relu => {
            for sum in &mut sums {
                *sum = sum.max(0.0);
            }
        }
        After::Add => {
            for (sum, old) in sums.iter_mut().zip(&*out) {
                *sum += old;
            }
        }
        After::AddRelu => {
            for (sum, old) in sums.iter_mut().zip(&*out) {
                *sum = (*sum + old).max(0.0);
            }
        }
    }
    out.copy_from_slice(&sums[..out.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn products_are_their_definition_for_every_width_and_height() {
        for outputs in [1, 16, 17, 32, 40, 64, 65, 100, 192] {
            for (rows, inputs) in [(1, 5), (2, 8), (3, 1), (5, 27), (6, 4), (7, 13), (13, 30)] {
                let (values, weights) = (wave(rows * inputs, 0.7), wave(outputs * inputs, 1.3));
                let bias = wave(outputs, 0.4);
                let matrix = Matrix::new(&weights, &bias, outputs);
                for after in [After::Keep, After::Gelu, After::Relu, After::Add, After::AddRelu] {
                    let before = wave(rows * outputs, 0.9);
                    let mut out = before.clone();
                    matrix.multiply_all(&values, &mut out, after);
                    for (index, &found) in out.iter().enumerate() {
                        let (row, output) = (index / outputs, index % outputs);
                        let pairs = (0..inputs).map(|i| {
                            f64::from(values[row * inputs + i]) * f64::from(weights[output * inputs + i])
                        });
                        let sum = pairs.sum::<f64>() + f64::from(bias[output]);
                        let old = f64::from(before[index]);
                        let expected = match after {
                            After::Keep => sum,
                            After::Gelu => f64::from(gelu(sum as f32)),
                            After::Relu => sum.max(0.0),
                            After::Add => sum + old,
                            After::AddRelu => (sum + old).max(0.0),
                        };
                        assert!(
                            (f64::from(found) - expected).abs() < 1e-5,
                            "{outputs} {rows} {inputs} {after:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn rows_lie_anywhere_and_in_pieces() {
        let values = wave(40, 0.7);
        let weights = wave(3 * 6, 1.3);
        let matrix = Matrix::new(&weights, &[], 3);
        let mut out = vec![0.0; 6];
        let rows = Rows { values: &values, starts: &[20, 1], taps: &[0, 10], depth: 3 };
        matrix.product(rows, &mut out, After::Keep);
        for (row, start) in [20, 1].into_iter().enumerate() {
            let together: Vec<f32> = [&values[start..start + 3], &values[start + 10..start + 13]].concat();
            for output in 0..3 {
                let expected: f32 = together.iter().zip(&weights[output * 6..]).map(|(x, w)| x * w).sum();
                assert!((out[row * 3 + output] - expected).abs() < 1e-5);
            }
        }
    }
}
