//! Interpolation against barycentric coordinates over every triple of known pixels.

use interpix::Error;
use interpix::interpolation::interpolate;
use ndarray::{Array1, Array2, Array3, array};
use proptest::prelude::*;

const FILL: f32 = -7.0;

fn fill(channels: usize) -> Array1<f32> {
    Array1::from_elem(channels, FILL)
}

fn plane(height: usize, width: usize) -> Array3<f32> {
    Array3::from_shape_fn((height, width, 2), |(r, c, k)| 5.0 + 2.0 * r as f32 - (k as f32 + 1.0) * c as f32)
}

/// Whether `pixel` is in the triangle or on its border, by barycentric coordinates in floating point.
fn inside(pixel: (usize, usize), [a, b, c]: [(usize, usize); 3]) -> Option<[f64; 3]> {
    let at = |(row, column): (usize, usize)| (row as f64, column as f64);
    let ((py, px), (ay, ax), (by, bx), (cy, cx)) = (at(pixel), at(a), at(b), at(c));
    let whole = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy);
    if whole == 0.0 {
        return None;
    }
    let first = ((by - cy) * (px - cx) + (cx - bx) * (py - cy)) / whole;
    let second = ((cy - ay) * (px - cx) + (ax - cx) * (py - cy)) / whole;
    let weights = [first, second, 1.0 - first - second];
    weights.iter().all(|&weight| weight >= -1e-12).then_some(weights)
}

/// The circle through three pixels holds no known pixel in its inside.
fn is_delaunay([a, b, c]: [(usize, usize); 3], known: &[(usize, usize)]) -> bool {
    let of = |(r, c): (usize, usize)| (r as i64, c as i64);
    let (a, b, c) = (of(a), of(b), of(c));
    let area = (b.0 - a.0) * (c.1 - a.1) - (b.1 - a.1) * (c.0 - a.0);
    known.iter().all(|&d| {
        let row = |p: (i64, i64)| {
            let (y, x) = (p.0 - d.0 as i64, p.1 - d.1 as i64);
            [y, x, y * y + x * x]
        };
        let [p, q, r] = [row(a), row(b), row(c)];
        let determinant = p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0])
            + p[2] * (q[0] * r[1] - q[1] * r[0]);
        determinant * area.signum() <= 0
    })
}

/// What a pixel may be: one value for each Delaunay triangle that holds it, nothing outside of the hull.
fn candidates(image: &Array3<f32>, known: &[(usize, usize)], pixel: (usize, usize)) -> Vec<f64> {
    let mut values = Vec::new();
    for (i, &a) in known.iter().enumerate() {
        for (j, &b) in known.iter().enumerate().skip(i + 1) {
            for &c in &known[j + 1..] {
                if let Some(weights) = inside(pixel, [a, b, c])
                    && is_delaunay([a, b, c], known)
                {
                    let colors = [a, b, c].map(|(r, c)| f64::from(image[[r, c, 0]]));
                    values.push(weights.iter().zip(colors).map(|(w, v)| w * v).sum());
                }
            }
        }
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_pixel_is_on_the_plane_of_a_delaunay_triangle_around_it(
        height in 2_usize..7, width in 2_usize..9, seed in any::<u64>(), density in 1_u64..12,
    ) {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 40
        };
        let known = Array2::from_shape_simple_fn((height, width), || draw() % 12 < density);
        let image = Array3::from_shape_simple_fn((height, width, 1), || (draw() % 256) as f32);
        let blurred = interpolate(image.view(), known.view(), fill(1).view(), &|| false).unwrap();
        let positions: Vec<_> = known.indexed_iter().filter(|(_, k)| **k).map(|(at, _)| at).collect();
        let flat = positions.iter().all(|&p| inside(p, [positions[0], *positions.last().unwrap(), p]).is_none());
        prop_assume!(!flat);
        for ((row, column), &is_known) in known.indexed_iter() {
            let got = f64::from(blurred[[row, column, 0]]);
            if is_known {
                prop_assert_eq!(got, f64::from(image[[row, column, 0]]));
                continue;
            }
            let allowed = candidates(&image, &positions, (row, column));
            if allowed.is_empty() {
                prop_assert_eq!(got, f64::from(FILL));
            } else {
                prop_assert!(allowed.iter().any(|value| (value - got).abs() < 1e-4), "{got} is not in {allowed:?}");
            }
        }
    }

    #[test]
    fn a_plane_comes_back_whole_when_its_corners_are_known(
        height in 2_usize..40, width in 2_usize..50, chosen in prop::collection::vec(any::<(usize, usize)>(), 0..60),
    ) {
        let mut known = Array2::from_elem((height, width), false);
        for (row, column) in [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)] {
            known[[row, column]] = true;
        }
        for (row, column) in chosen {
            known[[row % height, column % width]] = true;
        }
        let image = plane(height, width);
        let blurred = interpolate(image.view(), known.view(), fill(2).view(), &|| false).unwrap();
        for (got, expected) in blurred.iter().zip(&image) {
            prop_assert!((got - expected).abs() < 1e-4);
        }
    }
}

#[test]
fn known_pixels_on_a_line_are_interpolated_along_it() {
    let image = Array3::from_shape_fn((5, 9, 1), |(row, column, _)| (10 * row + column) as f32);
    let mut known = Array2::from_elem((5, 9), false);
    (known[[0, 0]], known[[4, 8]]) = (true, true);
    let blurred = interpolate(image.view(), known.view(), fill(1).view(), &|| false).unwrap();
    for ((row, column, _), &got) in blurred.indexed_iter() {
        let expected = if column == 2 * row { (12 * row) as f32 } else { FILL };
        assert_eq!(got, expected, "{row}, {column}");
    }
}

#[test]
fn one_row_is_linear_between_its_known_pixels() {
    let image = array![[[0.0], [9.0], [9.0], [9.0], [8.0], [9.0], [4.0], [9.0]]];
    let known = array![[true, false, false, false, true, false, true, false]];
    let blurred = interpolate(image.view(), known.view(), fill(1).view(), &|| false).unwrap();
    assert_eq!(blurred.into_raw_vec_and_offset().0, [0.0, 2.0, 4.0, 6.0, 8.0, 6.0, 4.0, FILL]);
}

#[test]
fn with_one_pixel_or_none_the_rest_is_filled() {
    let image = plane(3, 4);
    let mut known = Array2::from_elem((3, 4), false);
    let nothing = interpolate(image.view(), known.view(), fill(2).view(), &|| false).unwrap();
    assert!(nothing.iter().all(|&value| value == FILL));
    known[[1, 2]] = true;
    let one = interpolate(image.view(), known.view(), fill(2).view(), &|| false).unwrap();
    assert_eq!(one.iter().filter(|&&value| value != FILL).count(), 2);
    assert_eq!(one[[1, 2, 0]], image[[1, 2, 0]]);
}

#[test]
fn shapes_that_do_not_belong_together_are_refused() {
    let image = plane(3, 4);
    let refused = |known: Array2<bool>, channels| match interpolate(
        image.view(),
        known.view(),
        fill(channels).view(),
        &|| false,
    ) {
        Err(Error::Argument { name, .. }) => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Array2::from_elem((4, 3), true), 2), "known");
    assert_eq!(refused(Array2::from_elem((3, 4), true), 3), "fill");
}
