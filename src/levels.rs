//! The picture that a model's input shows: its normalization undone.

use multiversion::multiversion;
use ndarray::{Array3, ArrayView3};

const WHITE: f32 = 255.0;
/// Pixels of a step: what is made of them stays in the first cache until it is in order.
const BLOCK: usize = 1024;

/// A picture, and whether it can be one.
///
/// ```
/// use interpix::levels::restore;
///
/// // Was an input of -1 and 1 made with mean and scale 127.5, or with mean 100 and scale 200?
/// let input = ndarray::array![[[-1.0_f32, 1.0]]];
/// let [right, wrong] = [(127.5, 127.5), (100.0, 200.0)]
///     .map(|(mean, scale)| restore(input.view(), &[mean], &[scale], &[0], 0.5));
/// assert_eq!((right.least, right.greatest, right.beyond), (0.0, 255.0, 0));
/// assert_eq!((wrong.least, wrong.greatest, wrong.beyond), (-100.0, 300.0, 2)); // no picture has such levels
/// assert_eq!(right.pixels, wrong.pixels); // which clipped pixels do not tell
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// The nearest levels (H, W, channels), computed in single precision.
    pub pixels: Array3<u8>,
    /// The least level before it was rounded.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// How many levels are further below black, or above white, than was allowed.
    pub beyond: usize,
    /// The least and the greatest value of the input itself.
    pub range: (f32, f32),
}

/// What becomes of a channel of the input.
struct Channel {
    mean: f32,
    scale: f32,
    /// Of the picture.
    place: usize,
    /// The keys of its range: see [`key_of`].
    least: i32,
    greatest: i32,
}

impl Channel {
    #[inline(always)]
    fn level(&self, value: f32) -> f32 {
        value * self.scale + self.mean
    }
}

/// Undoes `input = (level - mean) / scale` of a model's input (channels, H, W), for each channel.
///
/// `channel` says which of the picture's channels each of the input's is, and `slack` how many levels beyond black and
/// white still count as these.
///
/// ```
/// use interpix::levels::restore;
/// use ndarray::array;
///
/// let input = array![[[-1.0_f32, 0.0]], [[1.0, 4.0]]];
/// let found = restore(input.view(), &[100.0, 100.0], &[100.0, 100.0], &[1, 0], 0.5);
/// assert_eq!(found.pixels, array![[[200, 0], [255, 100]]]);
/// assert_eq!((found.least, found.greatest, found.beyond), (0.0, 500.0, 1));
/// ```
///
/// # Panics
/// The lists are not as long as the input has channels, or name a channel that it has not.
pub fn restore(
    input: ArrayView3<'_, f32>,
    mean: &[f64],
    scale: &[f64],
    channel: &[usize],
    slack: f64,
) -> Levels {
    let (count, height, width) = input.dim();
    let mut channels: Vec<_> = (0..count)
        .map(|from| Channel {
            mean: mean[from] as f32,
            scale: scale[from] as f32,
            place: channel[from],
            least: i32::MAX,
            greatest: i32::MIN,
        })
        .collect();
    let input = input.as_standard_layout();
    let planes = input.as_slice().expect("in standard layout");
    let mut pixels = Array3::zeros((height, width, count));
    let into = pixels.as_slice_mut().expect("in standard layout");
    let beyond = restore_all(planes, &mut channels, (-slack as f32, WHITE + slack as f32), into);
    let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut range = (f32::INFINITY, f32::NEG_INFINITY);
    for channel in channels.iter().filter(|_| height * width > 0) {
        let (low, high) = (value_of(channel.least), value_of(channel.greatest));
        range = (range.0.min(low), range.1.max(high));
        // A negative scale turns the order around.
        let (low, high) = (f64::from(channel.level(low)), f64::from(channel.level(high)));
        (least, greatest) = (least.min(low).min(high), greatest.max(low).max(high));
    }
    Levels { pixels, least, greatest, beyond, range }
}

/// Writes the pixels of planes that lie one after the other, and what each channel's range is; how many levels are
/// beyond what is allowed.
#[multiversion(targets(
    "x86_64+avx512f+avx512vl+avx512bw+avx512dq+avx2+fma",
    "x86_64+avx2+fma",
    "aarch64+neon"
))]
fn restore_all(planes: &[f32], channels: &mut [Channel], allowed: (f32, f32), pixels: &mut [u8]) -> usize {
    let count = channels.len().max(1);
    let size = pixels.len() / count;
    let mut bytes = vec![0; count * BLOCK];
    let mut beyond = 0;
    for (block, pixels) in pixels.chunks_mut(count * BLOCK).enumerate() {
        let length = pixels.len() / count;
        for (from, channel) in channels.iter_mut().enumerate() {
            let values = &planes[from * size + block * BLOCK..][..length];
            let bytes = &mut bytes[channel.place * BLOCK..][..length];
            let (mut least, mut greatest, mut outside) = (channel.least, channel.greatest, 0);
            for (to, &value) in bytes.iter_mut().zip(values) {
                let (key, level) = (key_of(value), channel.level(value));
                (least, greatest) = (least.min(key), greatest.max(key));
                outside += u32::from(level < allowed.0) + u32::from(level > allowed.1);
                *to = nearest(level);
            }
            (channel.least, channel.greatest) = (least, greatest);
            beyond += outside as usize;
        }
        interleave(&bytes, length, pixels);
    }
    beyond
}

/// Puts the channels of a block, each in its own part of `bytes`, side by side.
#[inline(always)]
fn interleave(bytes: &[u8], length: usize, pixels: &mut [u8]) {
    if pixels.len() == 3 * length {
        let [red, green, blue] = [0, 1, 2].map(|channel| &bytes[channel * BLOCK..][..length]);
        let (pixels, _) = pixels.as_chunks_mut::<3>();
        for (place, pixel) in pixels.iter_mut().enumerate() {
            *pixel = [red[place], green[place], blue[place]];
        }
    } else {
        let channels = pixels.len() / length;
        for (from, bytes) in bytes.chunks(BLOCK).enumerate() {
            pixels.iter_mut().skip(from).step_by(channels).zip(bytes).for_each(|(to, &value)| *to = value);
        }
    }
}

/// A whole number for each number, in the same order: floats are compared one by one, these many at once.
#[inline(always)]
fn key_of(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The number of a key.
fn value_of(key: i32) -> f32 {
    f32::from_bits((key ^ ((key >> 31) & i32::MAX)).cast_unsigned())
}

/// The level as a whole number, halves to the even one. Rounding by the sum with a great number needs no call where the
/// processor has no instruction for it.
#[inline(always)]
fn nearest(level: f32) -> u8 {
    /// From here on the spacing of floats is 1, and the last byte counts.
    const GREAT: f32 = 12_582_912.0;
    (level.clamp(0.0, WHITE) + GREAT).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::{WHITE, key_of, nearest, value_of};

    #[test]
    fn nearest_rounds_halves_to_even_and_clips() {
        for step in -40..=2600 {
            let level = step as f32 / 10.0;
            assert_eq!(nearest(level), level.round_ties_even().clamp(0.0, WHITE) as u8, "{level}");
        }
        assert_eq!([0.5, 1.5, 2.5, 254.5].map(nearest), [0, 2, 2, 254]);
    }

    #[test]
    fn keys_are_in_the_order_of_numbers() {
        let numbers = [f32::NEG_INFINITY, f32::MIN, -1.5, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 1.5, f32::MAX];
        let keys = numbers.map(key_of);
        assert!(keys.is_sorted() && keys.iter().zip(&keys[1..]).all(|(one, next)| one < next));
        assert_eq!(keys.map(|key| value_of(key).to_bits()), numbers.map(f32::to_bits));
    }
}
