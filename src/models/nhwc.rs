//! Operations on feature maps whose channels lie side by side: a matrix of (images * height * width, channels).
//!
//! In this layout a 1 x 1 convolution is one matrix product, and a depthwise convolution works on whole vectors of
//! channels. candle's own grouped convolution runs one convolution for each group, which for 672 groups is unusable.
//! Everything elementwise is fused: bias, `ReLU6` and shortcut are one pass each.
//!
//! Every output is computed by one thread in one order, so results depend neither on the number of threads nor on the
//! images that go through together. They run on the pool that they are called in; callers come through
//! [`crate::parallel::install`].

use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail,
};
use multiversion::multiversion;
use rayon::prelude::*;

/// Channels of one vector step of the depthwise kernel.
pub(super) const LANES: usize = 16;
/// Elements of one task of an elementwise pass: 128 KiB, well inside of a core's own cache.
const TASK: usize = 32 * 1024;
/// The upper bound of `ReLU6`.
const SIX: f32 = 6.0;

/// The shape of feature maps (images * height * width, channels).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Extent {
    /// Number of pixels of all images: the rows of the matrix.
    pub(super) fn rows(self) -> usize {
        self.images * self.height * self.width
    }

    /// The extent after a convolution of this stride.
    pub(super) fn strided(self, stride: usize) -> Self {
        Self { height: self.height.div_ceil(stride), width: self.width.div_ceil(stride), ..self }
    }
}

/// Where the zeros around an image are; either way the output has `ceil(n / stride)` pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    /// `TensorFlow`'s `SAME`: no more than are needed, and if their number is odd, the extra one comes after the image.
    Same,
    /// torch's: as many before the image as keep the size at stride 1.
    Even,
}

/// Side, stride and padding of a square convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: Padding,
}

impl Window {
    /// Zeros before the first of `length` pixels.
    fn before(self, length: usize) -> usize {
        if self.padding == Padding::Even {
            return self.kernel / 2;
        }
        let needed = (length.div_ceil(self.stride) - 1) * self.stride + self.kernel;
        needed.saturating_sub(length) / 2
    }

    /// The kernel positions `first..last` of output `index` that lie inside of `length` pixels, and the pixel under
    /// the first of them.
    fn inside(self, index: usize, length: usize) -> (usize, usize, usize) {
        let (start, before) = (index * self.stride, self.before(length));
        let first = before.saturating_sub(start);
        let last = self.kernel.min(length + before - start);
        (first, last, start + first - before)
    }
}

/// The contiguous elements of a tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => bail!("expected a contiguous tensor"),
    }
}

/// As [`values`], to write to.
fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}

/// Images (B, C, H, W) as rows of `C * kernel * kernel` pixels under each place of the window, zeros outside.
pub(super) struct Unfold {
    pub(super) window: Window,
}

impl CustomOp1 for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, channels, height, width) = layout.shape().dims4()?;
        let source = values(storage, layout)?;
        let out = Extent { images, height, width }.strided(self.window.stride);
        let columns = channels * self.window.kernel * self.window.kernel;
        let mut rows = vec![0.0; out.rows() * columns];
        rows.par_chunks_mut(out.width * columns).enumerate().for_each(|(line, rows)| {
            let image =
                &source[(line / out.height) * channels * height * width..][..channels * height * width];
            self.line(image, (height, width), line % out.height, rows);
        });
        Ok((CpuStorage::F32(rows), (out.rows(), columns).into()))
    }
}

impl Unfold {
    /// The rows of one line of places.
    fn line(&self, image: &[f32], (height, width): (usize, usize), line: usize, rows: &mut [f32]) {
        let kernel = self.window.kernel;
        let planes = image.len() / (height * width);
        let (top, bottom, y) = self.window.inside(line, height);
        for (place, row) in rows.chunks_exact_mut(planes * kernel * kernel).enumerate() {
            let (left, right, x) = self.window.inside(place, width);
            for (plane, patch) in
                image.chunks_exact(height * width).zip(row.chunks_exact_mut(kernel * kernel))
            {
                for (dy, taps) in patch.chunks_exact_mut(kernel).enumerate().take(bottom).skip(top) {
                    let from = (y + dy - top) * width + x;
                    taps[left..right].copy_from_slice(&plane[from..from + right - left]);
                }
            }
        }
    }
}

/// Depthwise convolution, bias and `ReLU6`: (rows, C), weights (kernel * kernel, C), bias (C).
pub(super) struct Depthwise {
    pub(super) extent: Extent,
    pub(super) window: Window,
}

impl CustomOp3 for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        maps: &CpuStorage,
        maps_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (maps, weights) = (values(maps, maps_layout)?, values(weights, weights_layout)?);
        let bias = values(bias, bias_layout)?;
        let channels = bias.len();
        if channels % LANES != 0 || maps.len() != self.extent.rows() * channels {
            bail!("depthwise: expected a multiple of {LANES} channels and {:?}", self.extent)
        }
        let out = self.extent.strided(self.window.stride);
        let mut result = vec![0.0; out.rows() * channels];
        let image_size = self.extent.height * self.extent.width * channels;
        result.par_chunks_mut(out.width * channels).enumerate().for_each(|(line, pixels)| {
            let image = &maps[(line / out.height) * image_size..][..image_size];
            let (top, bottom, y) = self.window.inside(line % out.height, self.extent.height);
            let taps = &weights[top * self.window.kernel * channels..bottom * self.window.kernel * channels];
            let lines = &image[y * self.extent.width * channels..];
            depthwise_line(lines, self.extent.width, taps, bias, self.window, pixels);
        });
        Ok((CpuStorage::F32(result), (out.rows(), channels).into()))
    }
}

/// One line of outputs `pixels`, from the input `lines` under the kernel's rows `taps`.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx512bw+avx512dq", "x86_64+avx2", "aarch64+neon"))]
fn depthwise_line(
    lines: &[f32],
    width: usize,
    taps: &[f32],
    bias: &[f32],
    window: Window,
    pixels: &mut [f32],
) {
    let channels = bias.len();
    for (place, pixel) in pixels.chunks_exact_mut(channels).enumerate() {
        let (left, right, x) = window.inside(place, width);
        for (block, out) in pixel.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let at = block * LANES;
            let mut sums = [0.0_f32; LANES];
            sums.copy_from_slice(&bias[at..at + LANES]);
            for (dy, row) in taps.chunks_exact(window.kernel * channels).enumerate() {
                let source = &lines[(dy * width + x) * channels..][..(right - left) * channels];
                let row = &row[left * channels..right * channels];
                for (input, weight) in source.chunks_exact(channels).zip(row.chunks_exact(channels)) {
                    let (input, weight) = (&input[at..at + LANES], &weight[at..at + LANES]);
                    for lane in 0..LANES {
                        sums[lane] += input[lane] * weight[lane];
                    }
                }
            }
            *out = sums.map(|sum| sum.clamp(0.0, SIX));
        }
    }
}

/// Adds a bias (C) to each row of (rows, C) and clamps to `[0, 6]`, in place.
pub(super) struct BiasRelu6;

impl InplaceOp2 for BiasRelu6 {
    fn name(&self) -> &'static str {
        "bias-relu6"
    }

    fn cpu_fwd(&self, rows: &mut CpuStorage, l1: &Layout, bias: &CpuStorage, l2: &Layout) -> Result<()> {
        let (rows, bias) = (values_mut(rows, l1)?, values(bias, l2)?);
        rows.par_chunks_mut(task(bias.len())).for_each(|rows| bias_relu6(rows, bias));
        Ok(())
    }
}

/// Adds a bias (C) to each row of (rows, C), in place.
pub(super) struct Bias;

impl InplaceOp2 for Bias {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn cpu_fwd(&self, rows: &mut CpuStorage, l1: &Layout, bias: &CpuStorage, l2: &Layout) -> Result<()> {
        let (rows, bias) = (values_mut(rows, l1)?, values(bias, l2)?);
        rows.par_chunks_mut(task(bias.len())).for_each(|rows| add_bias(rows, bias));
        Ok(())
    }
}

/// Adds a bias (C) and a shortcut (rows, C) to (rows, C), in place.
pub(super) struct BiasShortcut;

impl InplaceOp3 for BiasShortcut {
    fn name(&self) -> &'static str {
        "bias-shortcut"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        rows_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
        shortcut: &CpuStorage,
        shortcut_layout: &Layout,
    ) -> Result<()> {
        let (rows, bias) = (values_mut(rows, rows_layout)?, values(bias, bias_layout)?);
        let shortcut = values(shortcut, shortcut_layout)?;
        let task = task(bias.len());
        rows.par_chunks_mut(task).zip(shortcut.par_chunks(task)).for_each(|(rows, shortcut)| {
            add_bias(rows, bias);
            add(rows, shortcut);
        });
        Ok(())
    }
}

/// A whole number of rows.
fn task(channels: usize) -> usize {
    (TASK / channels).max(1) * channels
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn bias_relu6(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value = (*value + bias).clamp(0.0, SIX);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn add_bias(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        add(row, bias);
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "it has to be compiled for its caller's vector instructions")]
fn add(values: &mut [f32], more: &[f32]) {
    for (value, more) in values.iter_mut().zip(more) {
        *value += more;
    }
}

/// The mean over each image's pixels: (images * pixels, C) to (images, C).
pub(super) struct MeanOverPixels {
    pub(super) images: usize,
}

impl CustomOp1 for MeanOverPixels {
    fn name(&self) -> &'static str {
        "mean-over-pixels"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, channels) = layout.shape().dims2()?;
        let maps = values(storage, layout)?;
        let pixels = rows / self.images;
        let mut means = vec![0.0; self.images * channels];
        means.par_chunks_mut(channels).zip(maps.par_chunks(pixels * channels)).for_each(|(mean, map)| {
            for row in map.chunks_exact(channels) {
                add(mean, row);
            }
            for sum in mean {
                *sum /= pixels as f32;
            }
        });
        Ok((CpuStorage::F32(means), (self.images, channels).into()))
    }
}

/// `rows` times `weights` (inputs, outputs): a 1 x 1 convolution.
///
/// Each row's sums are rounded the same way whatever the rows beside it are. A row alone would be multiplied by another
/// kernel, made for vectors, so it goes in twice.
pub(super) fn pointwise(rows: &Tensor, weights: &Tensor) -> Result<Tensor> {
    if rows.dim(0)? == 1 {
        return Tensor::cat(&[rows, rows], 0)?.matmul(weights)?.narrow(0, 0, 1);
    }
    rows.matmul(weights)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{Depthwise, Extent, Padding, Window};

    /// The definition, one multiplication at a time.
    fn slow(maps: &[f32], weights: &[f32], bias: &[f32], extent: Extent, window: Window) -> Vec<f32> {
        let (Extent { images, height, width }, channels) = (extent, bias.len());
        let out = extent.strided(window.stride);
        let before = |n: usize, m: usize| match window.padding {
            Padding::Same => ((m - 1) * window.stride + window.kernel).saturating_sub(n) / 2,
            Padding::Even => window.kernel / 2,
        };
        let (above, left) = (before(height, out.height), before(width, out.width));
        let mut result = Vec::new();
        for index in 0..images * out.height * out.width * channels {
            let (c, place) = (index % channels, index / channels);
            let (x, y, n) =
                (place % out.width, place / out.width % out.height, place / out.width / out.height);
            let mut sum = bias[c];
            for dy in 0..window.kernel {
                for dx in 0..window.kernel {
                    let (row, column) = (y * window.stride + dy, x * window.stride + dx);
                    if row >= above && row < height + above && column >= left && column < width + left {
                        let pixel = (n * height + row - above) * width + column - left;
                        sum += maps[pixel * channels + c] * weights[(dy * window.kernel + dx) * channels + c];
                    }
                }
            }
            result.push(sum.clamp(0.0, 6.0));
        }
        result
    }

    #[test]
    fn depthwise_is_its_definition_for_every_padding() {
        for (kernel, stride, height, width) in
            [(3, 1, 4, 7), (3, 2, 6, 5), (3, 2, 5, 8), (5, 1, 3, 2), (5, 2, 7, 4), (5, 2, 1, 1), (5, 1, 9, 6)]
        {
            for padding in [Padding::Same, Padding::Even] {
                let window = Window { kernel, stride, padding };
                check(Extent { images: 2, height, width }, window);
            }
        }
    }

    fn check(extent: Extent, window: Window) {
        let kernel = window.kernel;
        {
            let wave = |count: usize, step: f32| {
                (0..count).map(|i| (i as f32 * step).sin() * 2.0).collect::<Vec<_>>()
            };
            let channels = 32;
            let (maps, weights) =
                (wave(extent.rows() * channels, 0.7), wave(kernel * kernel * channels, 1.3));
            let bias = wave(channels, 0.4);
            let tensor = |values: &[f32], rows: usize| {
                Tensor::from_slice(values, (rows, channels), &Device::Cpu).unwrap()
            };
            let flat = Tensor::from_slice(&bias, channels, &Device::Cpu).unwrap();
            let fast = tensor(&maps, extent.rows())
                .apply_op3_no_bwd(&tensor(&weights, kernel * kernel), &flat, &Depthwise { extent, window })
                .unwrap();
            let fast: Vec<f32> = fast.flatten_all().unwrap().to_vec1().unwrap();
            for (fast, slow) in fast.iter().zip(slow(&maps, &weights, &bias, extent, window)) {
                assert!((fast - slow).abs() < 1e-4, "{fast} {slow} {extent:?} {window:?}");
            }
        }
    }
}
