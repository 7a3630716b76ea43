//! CIELAB against scikit-image's formula, written out with its constants.

use interpix::color::{lab_from_srgb, lab_from_srgb_float};
use ndarray::{Array3, array};
use proptest::prelude::*;

/// Where scikit-image and palette differ: the slope of CIELAB's linear toe, 7.787 and 841 / 108.
const TOE: f64 = 2e-4;
/// Elsewhere, single precision is all that is lost.
const ROUNDING: f64 = 1e-5;

/// `skimage.color.rgb2lab` of one color, and whether one of its X, Y and Z lies on the toe.
fn reference(rgb: [f64; 3]) -> ([f64; 3], bool) {
    let linear = rgb.map(|v| if v > 0.04045 { ((v + 0.055) / 1.055).powf(2.4) } else { v / 12.92 });
    let matrix = [
        [0.412_453, 0.357_580, 0.180_423],
        [0.212_671, 0.715_160, 0.072_169],
        [0.019_334, 0.119_193, 0.950_227],
    ];
    let white = [0.950_47, 1.0, 1.088_83];
    let mut on_toe = false;
    let [x, y, z] = std::array::from_fn(|row| {
        let ratio = (0..3).map(|column| matrix[row][column] * linear[column]).sum::<f64>() / white[row];
        on_toe |= ratio < 0.00886;
        if ratio > 0.008_856 { ratio.cbrt() } else { 7.787 * ratio + 16.0 / 116.0 }
    });
    ([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], on_toe)
}

fn check(lab: &Array3<f32>, colors: impl Iterator<Item = [f64; 3]>) {
    let (_, height, width) = lab.dim();
    for (index, rgb) in colors.enumerate() {
        let (expected, on_toe) = reference(rgb);
        for (channel, expected) in expected.into_iter().enumerate() {
            let got = f64::from(lab[[channel, index / width, index % width]]);
            let limit = if on_toe { TOE } else { ROUNDING };
            assert!((got - expected).abs() < limit, "{rgb:?}, channel {channel}: {got}, expected {expected}");
        }
        assert!(index < height * width);
    }
}

#[test]
fn bytes_give_what_scikit_image_gives() {
    // Every fifth level, and all of the darkest, where the formula has its branches.
    let levels: Vec<u8> = (0..16).chain((16..=255).step_by(5)).chain([255]).collect();
    let count = levels.len();
    let color = |index: usize| {
        [levels[index / (count * count)], levels[index / count % count], levels[index % count]]
    };
    let image =
        Array3::from_shape_fn((count * count, count, 3), |(r, c, channel)| color(r * count + c)[channel]);
    let lab = lab_from_srgb(image.view(), &|| false).unwrap();
    check(&lab, (0..count.pow(3)).map(|index| color(index).map(|level| f64::from(level) / 255.0)));
}

proptest! {
    #[test]
    fn floats_give_what_scikit_image_gives(rgb in [0.0_f32..=1.0, 0.0_f32..=1.0, 0.0_f32..=0.1]) {
        let image = Array3::from_shape_fn((2, 3, 3), |(_, _, channel)| rgb[channel]);
        check(&lab_from_srgb_float(image.view(), &|| false).unwrap(), std::iter::repeat_n(rgb.map(f64::from), 6));
    }
}

#[test]
fn bytes_and_their_floats_are_one_color() {
    let bytes = array![[[0_u8, 10, 11], [12, 128, 255]]];
    let floats = bytes.mapv(|level| f32::from(level) / 255.0);
    let (one, other) = (
        lab_from_srgb(bytes.view(), &|| false).unwrap(),
        lab_from_srgb_float(floats.view(), &|| false).unwrap(),
    );
    assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-4), "{one} {other}");
}
