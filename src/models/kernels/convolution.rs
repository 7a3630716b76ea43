//! Convolutions over maps whose channels lie side by side: (images, height, width, channels).
//!
//! A window's line of `kernel * channels` numbers lies in one piece, so that a convolution is a product whose rows are
//! read in `kernel` pieces from the maps themselves, behind a border of zeros.

use ndarray::ArrayView4;
use rayon::prelude::*;

use super::products::{After, Matrix, Rows};

/// Feature maps (images, height, width, channels).
#[derive(Debug, Clone)]
pub(in crate::models) struct Maps {
    pub(in crate::models) images: usize,
    pub(in crate::models) height: usize,
    pub(in crate::models) width: usize,
    pub(in crate::models) channels: usize,
    pub(in crate::models) values: Vec<f32>,
}

/// A square convolution with as many zeros on each side as keep the size at stride 1.
#[derive(Debug, Clone)]
pub(in crate::models) struct Convolution {
    matrix: Matrix,
    kernel: usize,
    stride: usize,
}

impl Convolution {
    /// Takes `weights` (outputs, inputs, kernel, kernel) and a `bias` (outputs).
    pub(in crate::models) fn new(weights: &[f32], bias: &[f32], kernel: usize, stride: usize) -> Self {
        let (outputs, area) = (bias.len().max(1), kernel * kernel);
        let inputs = weights.len() / outputs / area;
        let mut turned = vec![0.0; weights.len()];
        for (index, turned) in turned.iter_mut().enumerate() {
            let (input, place, output) = (index % inputs, index / inputs % area, index / inputs / area);
            *turned = weights[(output * inputs + input) * area + place];
        }
        Self { matrix: Matrix::new(&turned, bias, outputs), kernel, stride }
    }

    /// The maps after the convolution; of [`After::Add`] and [`After::AddRelu`], what they are added to comes as `onto`.
    pub(in crate::models) fn apply(&self, maps: &Maps, after: After, onto: Option<Maps>) -> Maps {
        let border = self.kernel / 2;
        let output = |length: usize| (length - 1) / self.stride + 1;
        let (height, width, channels) = (output(maps.height), output(maps.width), self.matrix.outputs());
        let count = maps.images * height * width;
        let values = onto.map_or_else(|| vec![0.0; count * channels], |onto| onto.values);
        let mut out = Maps { images: maps.images, height, width, channels, values };
        let padded = (border > 0).then(|| pad(maps, border));
        let (tall, wide) = (maps.height + 2 * border, maps.width + 2 * border);
        let line = wide * maps.channels;
        let starts: Vec<usize> = (0..count)
            .map(|place| {
                let (x, y, image) = (place % width, place / width % height, place / width / height);
                (image * tall + y * self.stride) * line + x * self.stride * maps.channels
            })
            .collect();
        let taps: Vec<usize> = (0..self.kernel).map(|row| row * line).collect();
        let values = padded.as_deref().unwrap_or(&maps.values);
        let rows = Rows { values, starts: &starts, taps: &taps, depth: self.kernel * maps.channels };
        self.matrix.product(rows, &mut out.values, after);
        out
    }
}

impl Maps {
    /// Images (B, C, H, W) as maps.
    pub(in crate::models) fn of(images: ArrayView4<'_, f32>) -> Self {
        let (count, channels, height, width) = images.dim();
        let turned = images.permuted_axes([0, 2, 3, 1]);
        let values = turned.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
        Self { images: count, height, width, channels, values }
    }
}

/// The maps behind `border` zeros on each side.
fn pad(maps: &Maps, border: usize) -> Vec<f32> {
    let line = maps.width * maps.channels;
    let (tall, wide) = (maps.height + 2 * border, (maps.width + 2 * border) * maps.channels);
    let mut out = vec![0.0; maps.images * tall * wide];
    let images = out.chunks_exact_mut(tall * wide).zip(maps.values.chunks_exact(maps.height * line));
    for (out, image) in images {
        let lines = out.chunks_exact_mut(wide).skip(border).zip(image.chunks_exact(line));
        lines.for_each(|(out, from)| out[border * maps.channels..][..line].copy_from_slice(from));
    }
    out
}

/// The greatest of each 3 x 3 window, every second one, with a border of one pixel that is never the greatest.
pub(in crate::models) fn max_pool(maps: &Maps) -> Maps {
    let Maps { images, height, width, channels, .. } = *maps;
    let (tall, wide) = ((height - 1) / 2 + 1, (width - 1) / 2 + 1);
    let mut values = vec![f32::NEG_INFINITY; images * tall * wide * channels];
    values.par_chunks_mut(wide * channels).enumerate().for_each(|(line, out)| {
        let (image, y) = (line / tall, line % tall);
        for row in (2 * y).saturating_sub(1)..(2 * y + 2).min(height) {
            let from = &maps.values[(image * height + row) * width * channels..][..width * channels];
            for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                for column in (2 * x).saturating_sub(1)..(2 * x + 2).min(width) {
                    let pixel = &from[column * channels..][..channels];
                    out.iter_mut().zip(pixel).for_each(|(out, &value)| *out = out.max(value));
                }
            }
        }
    });
    Maps { images, height: tall, width: wide, channels, values }
}

/// The mean over each image's pixels, (images, channels).
pub(in crate::models) fn mean_over_pixels(maps: &Maps) -> Vec<f32> {
    let pixels = maps.height * maps.width;
    let mut means = vec![0.0; maps.images * maps.channels];
    let images = means.chunks_exact_mut(maps.channels).zip(maps.values.chunks_exact(pixels * maps.channels));
    for (mean, map) in images {
        for pixel in map.chunks_exact(maps.channels) {
            mean.iter_mut().zip(pixel).for_each(|(mean, value)| *mean += value);
        }
        for mean in mean {
            *mean /= pixels as f32;
        }
    }
    means
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "what must be equal to the last bit is compared so")]
mod tests {
    use super::*;

    fn wave(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn convolutions_are_their_definition() {
        for (kernel, stride, height, width) in
            [(1, 1, 4, 7), (1, 2, 5, 6), (3, 1, 4, 7), (3, 2, 6, 5), (7, 2, 9, 4), (3, 1, 1, 1)]
        {
            let (images, inputs, outputs) = (2, 3, 5);
            let maps = Maps {
                images,
                height,
                width,
                channels: inputs,
                values: wave(images * height * width * inputs, 0.7),
            };
            let weights = wave(outputs * inputs * kernel * kernel, 1.3);
            let bias = wave(outputs, 0.4);
            let out = Convolution::new(&weights, &bias, kernel, stride).apply(&maps, After::Keep, None);
            assert_eq!((out.height, out.width), (height.div_ceil(stride), width.div_ceil(stride)));
            for (index, &found) in out.values.iter().enumerate() {
                let (output, place) = (index % outputs, index / outputs);
                let (x, y, image) =
                    (place % out.width, place / out.width % out.height, place / out.width / out.height);
                let mut expected = bias[output];
                for (input, dy, dx) in (0..inputs * kernel * kernel)
                    .map(|i| (i / kernel / kernel, i / kernel % kernel, i % kernel))
                {
                    let (row, column) = ((y * stride + dy) as i64, (x * stride + dx) as i64);
                    let (row, column) = (row - kernel as i64 / 2, column - kernel as i64 / 2);
                    if (0..height as i64).contains(&row) && (0..width as i64).contains(&column) {
                        let pixel = (image * height + row as usize) * width + column as usize;
                        expected += maps.values[pixel * inputs + input]
                            * weights[((output * inputs + input) * kernel + dy) * kernel + dx];
                    }
                }
                assert!((found - expected).abs() < 1e-4, "{kernel} {stride} {height} {width}");
            }
        }
    }

    #[test]
    fn pooling_is_its_definition() {
        let (height, width) = (5, 4);
        let maps = Maps { images: 1, height, width, channels: 1, values: wave(20, 0.7) };
        let pooled = max_pool(&maps);
        assert_eq!((pooled.height, pooled.width), (3, 2));
        for (index, &found) in pooled.values.iter().enumerate() {
            let (y, x) = (2 * (index / 2), 2 * (index % 2));
            let near = (0..20_usize).filter(|i| (i / 4).abs_diff(y) <= 1 && (i % 4).abs_diff(x) <= 1);
            assert_eq!(found, near.map(|i| maps.values[i]).fold(f32::NEG_INFINITY, f32::max));
        }
        assert!((mean_over_pixels(&maps)[0] - maps.values.iter().sum::<f32>() / 20.0).abs() < 1e-6);
    }
}
