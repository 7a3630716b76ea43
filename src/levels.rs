//! The picture that a model's input shows: its normalization undone.

use ndarray::{Array3, ArrayView3, Axis};

const WHITE: f32 = 255.0;

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
    let (channels, height, width) = input.dim();
    let size = height * width;
    // Channel by channel first, which a processor computes several values at once of.
    let mut planes = vec![0; channels * size];
    let (mut least, mut greatest, mut beyond) = (f64::INFINITY, f64::NEG_INFINITY, 0);
    for (from, plane) in input.axis_iter(Axis(0)).enumerate() {
        let (mean, scale) = (mean[from] as f32, scale[from] as f32);
        let plane = plane.as_standard_layout();
        let values = plane.as_slice().expect("in standard layout");
        let level = |value: f32| value * scale + mean;
        let (low, high) = range(values);
        // A negative scale turns the order around.
        let (low, high) = (level(low).min(level(high)), level(low).max(level(high)));
        (least, greatest) = (least.min(f64::from(low)), greatest.max(f64::from(high)));
        let (black, white) = (-slack as f32, WHITE + slack as f32);
        if low < black || high > white {
            beyond += values.iter().filter(|&&value| level(value) < black || level(value) > white).count();
        }
        let first = channel[from] * size;
        for (to, &value) in planes[first..first + size].iter_mut().zip(values) {
            *to = nearest(level(value));
        }
    }
    let pixels = interleaved(planes, (height, width, channels));
    Levels { pixels, least, greatest, beyond }
}

/// Planes, one after the other, as pixels (height, width, channels).
fn interleaved(planes: Vec<u8>, shape: (usize, usize, usize)) -> Array3<u8> {
    let size = shape.0 * shape.1;
    let mut pixels = vec![0; planes.len()];
    if let [red, green, blue] = planes.chunks(size.max(1)).collect::<Vec<_>>()[..] {
        let colors = red.iter().zip(green).zip(blue);
        for (pixel, ((&red, &green), &blue)) in pixels.chunks_exact_mut(3).zip(colors) {
            pixel.copy_from_slice(&[red, green, blue]);
        }
    } else {
        for (from, plane) in planes.chunks(size.max(1)).enumerate() {
            pixels.iter_mut().skip(from).step_by(shape.2).zip(plane).for_each(|(to, &value)| *to = value);
        }
    }
    Array3::from_shape_vec(shape, pixels).expect("as many as there are")
}

/// The least and the greatest of some values, in eight strands, which a processor computes at once.
#[inline]
fn range(values: &[f32]) -> (f32, f32) {
    let (mut least, mut greatest) = ([f32::INFINITY; 8], [f32::NEG_INFINITY; 8]);
    let (strands, rest) = values.as_chunks::<8>();
    for values in strands {
        for (place, &value) in values.iter().enumerate() {
            least[place] = if value < least[place] { value } else { least[place] };
            greatest[place] = if value > greatest[place] { value } else { greatest[place] };
        }
    }
    let least = least.iter().chain(rest).fold(f32::INFINITY, |a, &b| a.min(b));
    let greatest = greatest.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    (least, greatest)
}

/// The level as a whole number, halves to the even one. Rounding by the sum with a great number needs no call where the
/// processor has no instruction for it.
#[inline]
fn nearest(level: f32) -> u8 {
    /// From here on the spacing of floats is 1, and the last byte counts.
    const GREAT: f32 = 12_582_912.0;
    (level.clamp(0.0, WHITE) + GREAT).to_bits() as u8
}

#[cfg(test)]
mod tests {
    use super::{WHITE, nearest};

    #[test]
    fn nearest_rounds_halves_to_even_and_clips() {
        for step in -40..=2600 {
            let level = step as f32 / 10.0;
            assert_eq!(nearest(level), level.round_ties_even().clamp(0.0, WHITE) as u8, "{level}");
        }
        assert_eq!([0.5, 1.5, 2.5, 254.5].map(nearest), [0, 2, 2, 254]);
    }
}
