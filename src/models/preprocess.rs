//! From a photo's bytes to a network's input: resize the short side, crop the center, normalize.
//!
//! The resize is the one of Pillow (`Image.resize`): a kernel, as Keys' cubic one with `a = -1/2`, widened by the
//! shrink factor (antialiasing), applied along rows and then along columns, each pass in 22-bit fixed point and rounded
//! to bytes. Same arithmetic, so same bytes; the networks were measured behind exactly this. Pillow 13.0
//! takes the columns first for some tall images, which rounds in another order; here rows always come first.
//!
//! Only what the crop needs is computed: a panorama costs no more than a square.

use std::ops::Range;

use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::{memory, parallel};

/// Fraction bits of a coefficient: 32 less 8 bits of a byte and 2 bits of headroom, as in Pillow's `Resample.c`.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// Keys' cubic kernel reaches two samples to each side.
const CUBIC_SUPPORT: f64 = 2.0;
/// Lanczos' kernel reaches three.
const LANCZOS_SUPPORT: f64 = 3.0;
/// Pixels on a side of a picture, at most, after its resize.
pub(super) const MAX_SIDE: usize = 1 << 14;
/// Red, green, blue.
const CHANNELS: usize = 3;

/// How pixels are weighed in a resize, all with antialiasing, as Pillow has them.
///
/// ```
/// use interpix::models::{Filter, Preprocessing, Resize, Rounding};
///
/// // A dark and a light pixel made four: at a quarter of the way, three parts of four; Keys' kernel overshoots.
/// let photo = ndarray::Array3::from_shape_fn((1, 2, 3), |(_, column, _)| 100 * column as u8);
/// let row = |filter| {
///     let (resize, rounding) = (Resize::Exact(1, 4), Rounding::Even);
///     let how = Preprocessing { resize, filter, crop: (1, 4), rounding, mean: [0.0; 3], scale: [1.0; 3] };
///     how.crop(photo.view()).map(|pixels| pixels.slice(ndarray::s![0, .., 0]).to_vec())
/// };
/// assert_eq!(row(Filter::Bilinear)?, [0, 25, 75, 100]);
/// assert_eq!(row(Filter::Bicubic)?, [0, 21, 79, 109]);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// A triangle.
    Bilinear,
    /// Keys' cubic kernel.
    Bicubic,
    /// A windowed sinc of three lobes.
    Lanczos,
}

/// The size that a photo is brought to before its middle is cut out.
///
/// ```
/// use interpix::models::{Filter, Preprocessing, Resize, Rounding};
///
/// // A photo of 2 x 4, dark at both ends, for a network that sees 2 x 2: its middle, or all of it made narrow.
/// let photo = ndarray::Array3::from_shape_fn((2, 4, 3), |(_, column, _)| [0, 140, 140, 0][column]);
/// let row = |resize| {
///     let (filter, rounding) = (Filter::Bilinear, Rounding::Even);
///     let how = Preprocessing { resize, filter, crop: (2, 2), rounding, mean: [0.0; 3], scale: [1.0; 3] };
///     how.crop(photo.view()).map(|pixels| pixels.slice(ndarray::s![0, .., 0]).to_vec())
/// };
/// assert_eq!(row(Resize::Short(2))?, [140, 140]);
/// assert_eq!(row(Resize::Exact(2, 2))?, [80, 80]); // weights 3/4, 3/4 and 1/4: 140 * 1 / 1.75
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// The short side gets this length, and the long one follows in proportion, rounded down.
    Short(usize),
    /// Both sides change by one factor, rounded, so that height and width are at least these.
    Cover(usize, usize),
    /// Height and width, whatever they were.
    Exact(usize, usize),
}

/// Where the middle of a photo is when an odd number of pixels is cut off.
///
/// ```
/// use interpix::models::{Filter, Preprocessing, Resize, Rounding};
///
/// // Two of five columns: one and a half would have to be cut off at each end.
/// let photo = ndarray::Array3::from_shape_fn((1, 5, 3), |(_, column, _)| column as u8);
/// let row = |rounding| {
///     let (resize, filter) = (Resize::Exact(1, 5), Filter::Bilinear);
///     let how = Preprocessing { resize, filter, crop: (1, 2), rounding, mean: [0.0; 3], scale: [1.0; 3] };
///     how.crop(photo.view()).map(|pixels| pixels.slice(ndarray::s![0, .., 0]).to_vec())
/// };
/// assert_eq!(row(Rounding::Even)?, [2, 3]);
/// assert_eq!(row(Rounding::Down)?, [1, 2]);
/// # Ok::<(), interpix::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// A half is rounded to even, as torchvision's `CenterCrop` does, which timm uses, too.
    Even,
    /// A half is rounded down, as transformers' image processors do.
    Down,
}

/// What is done to an RGB photo before a network sees it.
///
/// ```
/// use interpix::models::{Filter, Preprocessing, Resize, Rounding};
/// let preprocessing = Preprocessing {
///     resize: Resize::Short(3),
///     filter: Filter::Bicubic,
///     crop: (3, 2),
///     rounding: Rounding::Even,
///     mean: [127.5; 3],
///     scale: [127.5; 3],
/// };
/// let gray = ndarray::Array3::from_elem((3, 4, 3), 255);
/// assert_eq!(preprocessing.apply(gray.view()).unwrap(), ndarray::Array3::from_elem((3, 3, 2), 1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessing {
    /// The size after the resize.
    pub resize: Resize,
    /// How it is resized.
    pub filter: Filter,
    /// Height and width of what is cut from the middle, at most what is left after the resize.
    pub crop: (usize, usize),
    /// Where that middle is.
    pub rounding: Rounding,
    /// Subtracted from the bytes of each channel.
    pub mean: [f32; CHANNELS],
    /// What the differences are divided by.
    pub scale: [f32; CHANNELS],
}

impl Preprocessing {
    /// What is expected, and what came instead, where no photo can be prepared so.
    pub(super) fn fault(&self) -> Option<(String, String)> {
        let (height, width) = self.crop;
        let sides = match self.resize {
            Resize::Short(side) => (side, side),
            Resize::Cover(tall, wide) | Resize::Exact(tall, wide) => (tall, wide),
        };
        let sane = |side: usize| (1..=MAX_SIDE).contains(&side);
        if ![height, width, sides.0, sides.1].into_iter().all(sane) {
            let expected = format!("sides of 1 to {MAX_SIDE} pixels");
            return Some((expected, format!("a crop of {height} x {width} from {} x {}", sides.0, sides.1)));
        }
        if height > sides.0 || width > sides.1 {
            let got = format!("{height} x {width} from {} x {}", sides.0, sides.1);
            return Some(("a crop that is not larger than the photo after its resize".to_owned(), got));
        }
        let divides = self.scale.iter().all(|scale| scale.is_finite() && *scale > 0.0);
        if divides && self.mean.iter().all(|mean| mean.is_finite()) {
            return None;
        }
        let got = format!("{:?} and {:?}", self.mean, self.scale);
        Some(("finite means, and positive numbers to divide by".to_owned(), got))
    }

    /// The part of `photo` (H, W, 3) that the network sees, (height, width, 3).
    ///
    /// # Errors
    /// [`Error::Argument`] if the photo is empty or has other than three channels, or if no photo can be prepared so;
    /// [`Error::Memory`] if the crop is too large.
    pub fn crop(&self, photo: ArrayView3<'_, u8>) -> Result<Array3<u8>> {
        check_photo(photo)?;
        if let Some((expected, got)) = self.fault() {
            return Err(Error::argument("preprocessing", expected, got, "choose other sizes and numbers"));
        }
        let (height, width, _) = photo.dim();
        let (tall, wide) = self.resized(height, width);
        let (rows, columns) =
            (middle(tall, self.crop.0, self.rounding), middle(wide, self.crop.1, self.rounding));
        // The picture in bytes and in numbers, and the rows of the photo at its width.
        let pixels = rows.len() * columns.len() * (1 + size_of::<f32>()) + height * columns.len();
        memory::require(CHANNELS * pixels, "image", "its resize", "use a model of smaller pictures")?;
        Ok(resize_window(photo, (tall, wide), self.filter, rows, columns))
    }

    /// The network's input (3, height, width) for `photo` (H, W, 3): `(byte - mean) / scale`.
    ///
    /// # Errors
    /// [`Error::Argument`] if the photo is empty or has other than three channels.
    pub fn apply(&self, photo: ArrayView3<'_, u8>) -> Result<Array3<f32>> {
        let crop = self.crop(photo)?;
        let (height, width, _) = crop.dim();
        Ok(Array3::from_shape_fn((CHANNELS, height, width), |(channel, row, column)| {
            (f32::from(crop[[row, column, channel]]) - self.mean[channel]) / self.scale[channel]
        }))
    }

    /// Height and width after the resize, as torchvision's `Resize` and timm's `ResizeKeepRatio` have them.
    fn resized(&self, height: usize, width: usize) -> (usize, usize) {
        match self.resize {
            Resize::Short(side) => {
                let short = height.min(width);
                (side * height / short, side * width / short)
            }
            Resize::Cover(tall, wide) => {
                let ratio = (height as f64 / tall as f64).min(width as f64 / wide as f64);
                let side = |length: usize| (length as f64 / ratio).round_ties_even() as usize;
                (side(height).max(self.crop.0), side(width).max(self.crop.1))
            }
            Resize::Exact(tall, wide) => (tall, wide),
        }
    }
}

/// The middle `part` of `length` pixels.
fn middle(length: usize, part: usize, rounding: Rounding) -> Range<usize> {
    let half = length.saturating_sub(part) as f64 / 2.0;
    let start = match rounding {
        Rounding::Even => half.round_ties_even(),
        Rounding::Down => half.floor(),
    } as usize;
    start..start + part.min(length)
}

/// `image` (H, W, 3) at another size, as Pillow's bicubic resize gives it, rows first.
///
/// ```
/// use interpix::models::resize_bicubic;
/// let gray = ndarray::Array3::from_elem((3, 4, 3), 128);
/// assert_eq!(resize_bicubic(gray.view(), 6, 2).unwrap(), ndarray::Array3::from_elem((6, 2, 3), 128));
/// ```
///
/// # Errors
/// [`Error::Argument`] if the image is empty or has other than three channels, or if a side of the result is 0.
pub fn resize_bicubic(image: ArrayView3<'_, u8>, height: usize, width: usize) -> Result<Array3<u8>> {
    check_photo(image)?;
    if height == 0 || width == 0 {
        let got = format!("{height} x {width}");
        return Err(Error::argument("size", "at least 1 x 1", got, "ask for a larger picture"));
    }
    Ok(resize_window(image, (height, width), Filter::Bicubic, 0..height, 0..width))
}

fn check_photo(photo: ArrayView3<'_, u8>) -> Result<()> {
    let (height, width, channels) = photo.dim();
    if height > 0 && width > 0 && channels == CHANNELS {
        return Ok(());
    }
    Err(Error::argument(
        "image",
        "an RGB photo (H, W, 3) with at least one pixel",
        format!("shape ({height}, {width}, {channels})"),
        "convert it, for instance with Pillow's `.convert(\"RGB\")`",
    ))
}

/// The window `rows` x `columns` of `image` resized to `size` (height, width).
fn resize_window(
    image: ArrayView3<'_, u8>,
    size: (usize, usize),
    filter: Filter,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Array3<u8> {
    let (height, width, _) = image.dim();
    let out = (rows.len(), columns.len());
    let across = taps((width, size.1), filter, columns);
    let down = taps((height, size.0), filter, rows);
    let (Some(first), Some(last)) = (down.first(), down.last()) else {
        return Array3::zeros((0, out.1, CHANNELS));
    };
    let (top, bottom) = (first.start, last.start + last.weights.len());

    let stride = out.1 * CHANNELS;
    let mut narrow = vec![0_u8; (bottom - top) * stride];
    let mut pixels = vec![0_u8; out.0 * stride];
    parallel::install(|| {
        narrow.par_chunks_mut(stride).enumerate().for_each(|(row, line)| {
            let source = image.index_axis(ndarray::Axis(0), top + row);
            let source = source.as_standard_layout();
            let source = source.as_slice().expect("standard layout");
            shrink_row(source, &across, line);
        });
        pixels.par_chunks_mut(stride).zip(&down).for_each(|(line, taps)| {
            blend_rows(&narrow[(taps.start - top) * stride..], stride, taps, line);
        });
    });
    Array3::from_shape_vec((out.0, out.1, CHANNELS), pixels).expect("the window's size")
}

/// One pixel's share of the source pixels `start..start + weights.len()`, in fixed point.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// The taps of the outputs `window`, when `from` pixels become `to`.
fn taps((from, to): (usize, usize), filter: Filter, window: Range<usize>) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let support = filter.support() * widening;
    let tap = |output: usize| {
        let center = (output as f64 + 0.5) * scale;
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> = (start..end)
            .map(|source| filter.weight((source as f64 - center + 0.5) * (1.0 / widening)))
            .collect();
        let total: f64 = weights.iter().sum();
        Taps { start, weights: weights.iter().map(|weight| fixed_point(weight / total)).collect() }
    };
    window.map(tap).collect()
}

impl Filter {
    /// How many samples the kernel reaches to each side.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => CUBIC_SUPPORT,
            Self::Lanczos => LANCZOS_SUPPORT,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => cubic(x),
            Self::Lanczos if x.abs() < LANCZOS_SUPPORT => sinc(x) * sinc(x / LANCZOS_SUPPORT),
            Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let angle = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { angle.sin() / angle }
}

/// Keys' cubic convolution kernel with `a = -1/2`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < CUBIC_SUPPORT {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn fixed_point(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION_BITS)).round() as i32
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Half of a byte's unit: sums start with it, so that cutting off the fraction rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn shrink_row(source: &[u8], across: &[Taps], line: &mut [u8]) {
    for (pixel, taps) in line.chunks_exact_mut(CHANNELS).zip(across) {
        let mut sums = [HALF; CHANNELS];
        for (rgb, &weight) in source[taps.start * CHANNELS..].chunks_exact(CHANNELS).zip(&taps.weights) {
            for (sum, &byte) in sums.iter_mut().zip(rgb) {
                *sum += i32::from(byte) * weight;
            }
        }
        for (byte, sum) in pixel.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    }
}

fn blend_rows(source: &[u8], stride: usize, taps: &Taps, line: &mut [u8]) {
    let mut sums = vec![HALF; stride];
    for (row, &weight) in source.chunks_exact(stride).zip(&taps.weights) {
        for (sum, &byte) in sums.iter_mut().zip(row) {
            *sum += i32::from(byte) * weight;
        }
    }
    for (byte, sum) in line.iter_mut().zip(sums) {
        *byte = to_byte(sum);
    }
}
