//! sRGB to CIELAB, so that Euclidean distance is close to what the eye calls a difference.
//!
//! D65 white point and 2-degree observer, as `skimage.color.rgb2lab`. The crate palette converts, in an RGB space of ours
//! whose matrix is scikit-image's; with palette's own, Lab moves by up to 5e-3. What is left is below 2e-4: CIELAB's linear
//! toe has the slope 841 / 108 here, which scikit-image rounds to 7.787.

use ndarray::{Array3, ArrayView3, Axis, Zip};
use palette::convert::FromColorUnclamped;
use palette::encoding::{IntoLinear, Linear, Srgb};
use palette::rgb::{Rgb, RgbSpace};
use palette::white_point::D65;
use palette::{Lab, Mat3};

use crate::error::{Error, Result};
use crate::memory;
use crate::parallel::{self, Interrupted};

/// The RGB space of sRGB, with its matrix rounded as in scikit-image.
struct RoundedSrgb;

impl RgbSpace for RoundedSrgb {
    type Primaries = Srgb;
    type WhitePoint = D65;

    /// Linear sRGB to CIE XYZ (IEC 61966-2-1).
    #[rustfmt::skip]
    #[inline]
    fn rgb_to_xyz_matrix() -> Option<Mat3<f64>> {
        Some([
            0.412_453, 0.357_580, 0.180_423,
            0.212_671, 0.715_160, 0.072_169,
            0.019_334, 0.119_193, 0.950_227,
        ])
    }
}

/// Converts an image of 8-bit sRGB values, shape (height, width, 3), to CIELAB planes, shape (3, height, width).
///
/// L is in 0..=100; a and b are about -128..=128.
///
/// ```
/// use ndarray::array;
/// let white_and_red = array![[[255_u8, 255, 255], [255, 0, 0]]];
/// let lab = interpix::color::lab_from_srgb(white_and_red.view(), &|| false)?;
/// assert_eq!(lab.dim(), (3, 1, 2));
/// assert!((lab[[0, 0, 0]] - 100.0).abs() < 1e-3 && lab[[1, 0, 0]].abs() < 0.01);
/// assert!((lab[[0, 0, 1]] - 53.24).abs() < 0.01 && (lab[[1, 0, 1]] - 80.09).abs() < 0.01);
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] when the image is empty or does not have three channels; [`Error::Memory`]; [`Error::Interrupted`]
/// when `interrupted` says so.
pub fn lab_from_srgb(image: ArrayView3<'_, u8>, interrupted: &Interrupted<'_>) -> Result<Array3<f32>> {
    // A table of our own: palette's for bytes has a relative error of 7e-7.
    let linear: Vec<f64> = (0..=255).map(|value| Srgb::into_linear(f64::from(value) / 255.0)).collect();
    convert(image, interrupted, |value| linear[usize::from(value)])
}

/// [`lab_from_srgb`] for float sRGB values in 0..=1.
///
/// ```
/// use interpix::color::{lab_from_srgb, lab_from_srgb_float};
/// use ndarray::array;
///
/// let lab = lab_from_srgb_float(array![[[1.0_f32, 0.0, 0.0]]].view(), &|| false)?;
/// assert_eq!(lab, lab_from_srgb(array![[[255_u8, 0, 0]]].view(), &|| false)?);
/// // A picture that was normalized is no picture.
/// assert!(lab_from_srgb_float(array![[[2.2_f32, -2.0, -1.8]]].view(), &|| false).is_err());
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// As [`lab_from_srgb`], and [`Error::Argument`] when a value is outside of 0..=1.
pub fn lab_from_srgb_float(image: ArrayView3<'_, f32>, interrupted: &Interrupted<'_>) -> Result<Array3<f32>> {
    if let Some(value) = image.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(Error::argument(
            "image",
            "float sRGB values in 0..=1",
            value,
            "pass the picture before normalization, or as uint8",
        ));
    }
    convert(image, interrupted, |value| Srgb::into_linear(f64::from(value)))
}

fn convert<T: Copy + Sync + Send>(
    image: ArrayView3<'_, T>,
    interrupted: &Interrupted<'_>,
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
    memory::require(12 * height * width, "image", "converting its colors", "resize it first")?;
    let mut lab = Array3::zeros((3, height, width));
    let interrupted = &parallel::lasting(interrupted);
    parallel::install(|| {
        Zip::from(image.outer_iter()).and(lab.axis_iter_mut(Axis(1))).par_for_each(|row, mut out| {
            if interrupted() {
                return;
            }
            Zip::from(row.lanes(Axis(1))).and(out.lanes_mut(Axis(0))).for_each(|rgb, mut out| {
                let rgb =
                    Rgb::<Linear<RoundedSrgb>, f64>::new(linear(rgb[0]), linear(rgb[1]), linear(rgb[2]));
                let lab = Lab::<D65, f64>::from_color_unclamped(rgb);
                for (out, value) in out.iter_mut().zip([lab.l, lab.a, lab.b]) {
                    *out = value as f32;
                }
            });
        });
    });
    parallel::stop_if(interrupted)?;
    Ok(lab)
}
