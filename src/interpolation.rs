//! An image from some of its pixels: piecewise-linear interpolation over a triangulation.
//!
//! The known pixels are triangulated once for all channels (Delaunay); a pixel inside of a triangle gets, in each channel,
//! the plane through the triangle's corners. Pixels outside of the known ones' convex hull show the fill color. This is the
//! "blur" of the performance information curves of Kapishnikov et al., *XRAI*, ICCV 2019.
//!
//! On a grid many pixels lie on a common circle, and then there is more than one Delaunay triangulation. Every one is
//! valid; the one taken depends on the positions alone, and another program's may differ. If all known pixels
//! lie on one line, there is no triangle, and the pixels between two known ones are interpolated along the line.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use delaunator::{Point, Triangulation};
use ndarray::{Array3, ArrayView1, ArrayView2, ArrayView3, Axis, Zip};

use crate::error::{Error, Result};
use crate::memory;
use crate::parallel::{Interrupted, stop_if};

/// Bytes that a known pixel takes: its position twice, two triangles and their neighbors, the sweep's hull and order.
const TRIANGULATION_BYTES: usize = 250;
/// Fewer are triangulated at once, which takes some milliseconds.
const POINTS_TO_WAIT_FOR: usize = 10_000;
/// Time between two calls of the interrupt hook while triangles are made.
const LOOK: Duration = Duration::from_millis(20);
/// Pixels between two calls while they are painted: some milliseconds.
const PIXELS_BETWEEN_LOOKS: i64 = 1_000_000;

/// A pixel's row and column.
type Pixel = [i64; 2];

/// Interpolates the pixels of `image` (height, width, channels) that are not `known`.
///
/// Known pixels stay as they are; `fill` (channels) is the color outside of their convex hull.
///
/// ```
/// use ndarray::array;
/// let image = array![[[0.0], [9.0], [9.0], [6.0]], [[9.0], [9.0], [9.0], [9.0]], [[4.0], [9.0], [9.0], [9.0]]];
/// let known = array![[true, false, false, true], [false; 4], [true, false, false, false]];
/// let blurred = interpix::interpolation::interpolate(image.view(), known.view(), array![-1.0].view(), &|| false)?;
/// let expected = [[0.0, 2.0, 4.0, 6.0], [2.0, 4.0, -1.0, -1.0], [4.0, -1.0, -1.0, -1.0]];
/// assert!(blurred.iter().zip(expected.as_flattened()).all(|(a, b)| a == b));
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if the shapes do not belong together; [`Error::Memory`]; [`Error::Interrupted`] when `interrupted`
/// says so.
pub fn interpolate(
    image: ArrayView3<'_, f32>,
    known: ArrayView2<'_, bool>,
    fill: ArrayView1<'_, f32>,
    interrupted: &Interrupted<'_>,
) -> Result<Array3<f32>> {
    let (height, width, channels) = image.dim();
    if known.dim() != (height, width) {
        let cure = "pass True for each pixel that is known";
        return Err(Error::argument(
            "known",
            format!("a mask of {height} x {width}"),
            format!("{:?}", known.dim()),
            cure,
        ));
    }
    if fill.len() != channels {
        return Err(Error::argument("fill", format!("{channels} channels"), fill.len(), "pass one color"));
    }
    let points = known.iter().filter(|is_known| **is_known).count();
    let bytes = size_of::<f32>() * image.len() + TRIANGULATION_BYTES * points;
    memory::require(bytes, "known", "the triangulation", "resize the image first")?;
    let mut answer = image.to_owned();
    Zip::from(answer.lanes_mut(Axis(2))).and(known).for_each(|mut pixel, &is_known| {
        if !is_known {
            pixel.assign(&fill);
        }
    });
    let pixels: Vec<Pixel> = known
        .indexed_iter()
        .filter(|(_, is_known)| **is_known)
        .map(|((row, column), _)| [row as i64, column as i64])
        .collect();
    let mesh = triangulate(&pixels, interrupted)?;
    let mut canvas = Canvas { image, known, answer: &mut answer };
    let mut looked_at = 0;
    for corners in mesh.triangles.chunks_exact(3) {
        looked_at += canvas.triangle([pixels[corners[0]], pixels[corners[1]], pixels[corners[2]]]);
        if looked_at > PIXELS_BETWEEN_LOOKS {
            stop_if(interrupted)?;
            looked_at = 0;
        }
    }
    if mesh.is_empty() {
        // All known pixels lie on a line: the hull lists them in its order.
        for ends in mesh.hull.windows(2) {
            canvas.segment([pixels[ends[0]], pixels[ends[1]]]);
        }
    }
    Ok(answer)
}

/// Delaunay's triangles, on a thread that is left to itself when the caller stops: nothing can interrupt it.
fn triangulate(pixels: &[Pixel], interrupted: &Interrupted<'_>) -> Result<Triangulation> {
    let points: Vec<Point> =
        pixels.iter().map(|&[row, column]| Point { x: column as f64, y: row as f64 }).collect();
    if points.len() < POINTS_TO_WAIT_FOR {
        return Ok(delaunator::triangulate(&points));
    }
    let (mesh, ended) = channel();
    // The caller may be gone.
    let worker = std::thread::spawn(move || drop(mesh.send(delaunator::triangulate(&points))));
    loop {
        match ended.recv_timeout(LOOK) {
            Ok(mesh) => return Ok(mesh),
            Err(RecvTimeoutError::Timeout) => stop_if(interrupted)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let panic = worker.join().expect_err("it sends the mesh unless it panics");
    std::panic::resume_unwind(panic)
}

/// Where triangles are painted; what is known is never painted over.
struct Canvas<'a> {
    image: ArrayView3<'a, f32>,
    known: ArrayView2<'a, bool>,
    answer: &'a mut Array3<f32>,
}

impl Canvas<'_> {
    /// The plane through three corners, on the triangle and its border; returns how many pixels it looked at.
    fn triangle(&mut self, corners: [Pixel; 3]) -> i64 {
        let [a, b, c] = corners;
        // Twice the area, with the sign of the order of the corners.
        let area = twice_area(a, b, c);
        let sign = area.signum();
        let (top, bottom) = extent(corners.map(|corner| corner[0]));
        let (left, right) = extent(corners.map(|corner| corner[1]));
        for row in top..=bottom {
            for column in left..=right {
                if self.known[[row as usize, column as usize]] {
                    continue;
                }
                let pixel = [row, column];
                let parts = [twice_area(pixel, b, c), twice_area(a, pixel, c), twice_area(a, b, pixel)];
                if parts.iter().all(|part| part * sign >= 0) {
                    self.blend(pixel, &corners, &parts, area);
                }
            }
        }
        (bottom - top + 1) * (right - left + 1)
    }

    /// The pixels on the line between two, in proportion to their distances.
    fn segment(&mut self, ends: [Pixel; 2]) {
        let [[row, column], end] = ends;
        let (down, across) = (end[0] - row, end[1] - column);
        let count = greatest_common_divisor(down.unsigned_abs(), across.unsigned_abs()) as i64;
        for step in 1..count {
            let pixel = [row + down / count * step, column + across / count * step];
            self.blend(pixel, &ends, &[count - step, step], count);
        }
    }

    /// The average of the corners' colors, weighted by `parts` of `whole`.
    ///
    /// Weights are whole numbers, so for byte values the sum is exact, and neighboring triangles agree on their border.
    fn blend(&mut self, [row, column]: Pixel, corners: &[Pixel], parts: &[i64], whole: i64) {
        for channel in 0..self.image.len_of(Axis(2)) {
            let sum: f64 = (corners.iter().zip(parts))
                .map(|(&[r, c], &part)| {
                    part as f64 * f64::from(self.image[[r as usize, c as usize, channel]])
                })
                .sum();
            self.answer[[row as usize, column as usize, channel]] = (sum / whole as f64) as f32;
        }
    }
}

fn twice_area(a: Pixel, b: Pixel, c: Pixel) -> i64 {
    (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
}

fn extent(values: [i64; 3]) -> (i64, i64) {
    let [a, b, c] = values;
    (a.min(b).min(c), a.max(b).max(c))
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
