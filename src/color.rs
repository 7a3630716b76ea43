//! sRGB to CIELAB, so that Euclidean distance is close to what the eye calls a difference.
//!
//! D65 white point and 2-degree observer, as `skimage.color.rgb2lab`, with the same constants: palette's differ in the
//! fifth digit of the white point and the matrix, which moves Lab by up to 6e-3.

use ndarray::{Array3, ArrayView3, Zip};

use crate::error::{Error, Result};

/// Linear sRGB to CIE XYZ (IEC 61966-2-1, the rounding that scikit-image uses).
const XYZ_FROM_RGB: [[f64; 3]; 3] =
    [[0.412_453, 0.357_580, 0.180_423], [0.212_671, 0.715_160, 0.072_169], [0.019_334, 0.119_193, 0.950_227]];
/// XYZ of the D65 white point for the 2-degree observer (ASTM E308).
const WHITE: [f64; 3] = [0.950_47, 1.0, 1.088_83];
/// Below this ratio to white, the cube root is replaced by a line (CIE 15, with scikit-image's rounding).
const LINEAR_BELOW: f64 = 0.008_856;

/// Converts an image of 8-bit sRGB values, shape (height, width, 3), to CIELAB planes, shape (3, height, width).
///
/// L is in 0..=100; a and b are about -128..=128.
///
/// ```
/// use ndarray::array;
/// let white_and_red = array![[[255_u8, 255, 255], [255, 0, 0]]];
/// let lab = interpix::color::lab_from_srgb(white_and_red.view())?;
/// assert_eq!(lab.dim(), (3, 1, 2));
/// assert!((lab[[0, 0, 0]] - 100.0).abs() < 1e-3 && lab[[1, 0, 0]].abs() < 0.01);
/// assert!((lab[[0, 0, 1]] - 53.24).abs() < 0.01 && (lab[[1, 0, 1]] - 80.09).abs() < 0.01);
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] when the image is empty or does not have three channels.
pub fn lab_from_srgb(image: ArrayView3<'_, u8>) -> Result<Array3<f32>> {
    let linear: Vec<f64> = (0..=255).map(|value| linearize(f64::from(value) / 255.0)).collect();
    convert(image, |value| linear[usize::from(value)])
}

/// [`lab_from_srgb`] for float sRGB values in 0..=1.
///
/// # Errors
/// [`Error::Argument`] when the image is empty, does not have three channels, or a value is outside of 0..=1.
pub fn lab_from_srgb_float(image: ArrayView3<'_, f32>) -> Result<Array3<f32>> {
    if let Some(value) = image.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(Error::argument(
            "image",
            "float sRGB values in 0..=1",
            value,
            "pass the picture before normalization, or as uint8",
        ));
    }
    convert(image, |value| linearize(f64::from(value)))
}

fn convert<T: Copy + Sync + Send>(
    image: ArrayView3<'_, T>,
    linear: impl Fn(T) -> f64 + Sync + Send,
) -> Result<Array3<f32>> {
    let (height, width, channels) = image.dim();
    if height == 0 || width == 0 || channels != 3 {
        return Err(Error::argument(
            "image",
            "shape (height, width, 3), not empty",
            format!("shape {:?}", image.shape()),
            "convert it to RGB first",
        ));
    }
    let mut lab = Array3::zeros((3, height, width));
    crate::parallel::install(|| {
        Zip::from(image.lanes(ndarray::Axis(2))).and(lab.lanes_mut(ndarray::Axis(0))).par_for_each(
            |rgb, mut out| {
                let pixel = lab_from_linear([linear(rgb[0]), linear(rgb[1]), linear(rgb[2])]);
                for (out, value) in out.iter_mut().zip(pixel) {
                    *out = value as f32;
                }
            },
        );
    });
    Ok(lab)
}

/// The sRGB transfer function's inverse (IEC 61966-2-1).
fn linearize(value: f64) -> f64 {
    if value > 0.04045 { ((value + 0.055) / 1.055).powf(2.4) } else { value / 12.92 }
}

fn lab_from_linear(rgb: [f64; 3]) -> [f64; 3] {
    let [x, y, z] = std::array::from_fn(|row| {
        let sum: f64 = XYZ_FROM_RGB[row].iter().zip(rgb).map(|(weight, value)| weight * value).sum();
        lightness(sum / WHITE[row])
    });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// CIE's f: the cube root with a linear toe.
fn lightness(ratio: f64) -> f64 {
    if ratio > LINEAR_BELOW { ratio.cbrt() } else { 7.787 * ratio + 16.0 / 116.0 }
}
