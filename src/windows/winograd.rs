//! Which tiles there are, and where their inputs and outputs are.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut3, ArrayViewMut4, Axis, s};

use super::maps::{Window, WindowMaps, corners};
use super::transforms::{Number, Output, PLACES, READ, TILE, Tile};
use crate::error::{Error, Result};
use crate::parallel;

/// Tiles of one task.
const TASK: usize = 32;

/// Transforms the inputs of a 3 x 3 convolution: the difference of each candidate's map from the base map, or from zero
/// where there is none.
///
/// `origins` (2, candidates) has top and left of the first input of each candidate, which has `tiles` (down, across) of
/// 4 x 4 outputs. `out` (36, candidates * tiles, C) is the left factor of 36 matrix products, the right ones being the
/// transformed kernels.
///
/// ```
/// use interpix::windows::{PLACES, WindowMaps, transform_tiles};
/// use ndarray::{Array3, array};
///
/// // A map of one pixel, of which the candidate's is greater by 2. As a tile's first input it counts 4 * 4-fold at the
/// // first place, and nowhere else: the first column of B' is (4, 0, 0, 0, 0, 0).
/// let (base, own) = (array![[1.0_f32]], array![[3.0]]);
/// let windows = array![[0], [0], [1], [1], [0]];
/// let maps = WindowMaps::new(own.view(), Some(base.view()), (1, 1), windows.view())?;
/// let mut out = Array3::zeros((PLACES, 1, 1));
/// transform_tiles(&maps, array![[0], [0]].view(), (1, 1), out.view_mut())?;
/// assert_eq!((out[[0, 0, 0]], out.sum()), (32.0, 32.0));
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if the shapes do not belong together.
pub fn transform_tiles<T: Number>(
    maps: &WindowMaps<'_, T>,
    origins: ArrayView2<'_, i64>,
    (down, across): (usize, usize),
    mut out: ArrayViewMut3<'_, T>,
) -> Result<()> {
    let shape = (PLACES, maps.windows.len() * down * across, maps.channels);
    if out.dim() != shape || out.strides()[2] != 1 {
        return Err(mismatch("out", &shape, out.shape()));
    }
    let corners = corners(origins, maps.windows.len())?;
    let tasks = out.axis_chunks_iter_mut(Axis(1), TASK).enumerate();
    parallel::for_each(tasks.collect(), |(task, mut tiles)| {
        for (number, mut places) in (task * TASK..).zip(tiles.axis_iter_mut(Axis(1))) {
            let (candidate, row, column) =
                (number / (down * across), number / across % down, number % across);
            let (top, left) = corners[candidate];
            let corner = (top + (TILE * row) as i64, left + (TILE * column) as i64);
            let mut rows = places.outer_iter_mut().map(|row| row.into_slice().expect("contiguous channels"));
            let mut places = std::array::from_fn(|_| rows.next().expect("one row for each place"));
            T::transform_tile(&read(maps, &maps.windows[candidate], corner), &mut places);
        }
    });
    Ok(())
}

/// The inputs of a tile. Outside of the window there is no difference from the base map.
fn read<'a, T: Number>(maps: &WindowMaps<'a, T>, window: &Window, (top, left): (i64, i64)) -> Tile<'a, T> {
    let mut tile = [[None; READ]; READ];
    let inside = |first: i64, begin: usize, length: usize| {
        let at = |place: usize| (place as i64 - first).clamp(0, READ as i64) as usize;
        at(begin)..at(begin + length)
    };
    for row in inside(top, window.top, window.height) {
        for column in inside(left, window.left, window.width) {
            let (y, x) = ((top + row as i64) as usize, (left + column as i64) as usize);
            tile[row][column] = Some((maps.own(window, y, x, 1), maps.base(y, x, 1)));
        }
    }
    tile
}

/// Transforms the 36 matrix products (36, candidates * tiles, O) back, into `out` (candidates, h, w, O).
///
/// They are added to `start` (H, W, O), the outputs for the base map, from `origins` (2, candidates) on. Tiles reach over
/// the lower and right end of an area whose size is no multiple of 4.
///
/// ```
/// use interpix::windows::{PLACES, WindowMaps, transform_products, transform_tiles};
/// use ndarray::{Array3, Array4, array};
///
/// // A kernel that doubles the pixel in its middle, and a bias of 10, make 12 of the base map. Where the only pixel is
/// // 3 and not 1, that is 4 more.
/// let middle = [0.0, -1.0 / 6.0, 1.0 / 6.0, 1.0 / 12.0, -1.0 / 12.0, 0.0_f32]; // G (0, 1, 0)
/// let (base, own, windows) = (array![[1.0_f32]], array![[3.0]], array![[0], [0], [1], [1], [0]]);
/// let maps = WindowMaps::new(own.view(), Some(base.view()), (1, 1), windows.view())?;
/// let mut places = Array3::zeros((PLACES, 1, 1));
/// transform_tiles(&maps, array![[-1], [-1]].view(), (1, 1), places.view_mut())?;
/// places.indexed_iter_mut().for_each(|((place, ..), value)| *value *= 2.0 * middle[place / 6] * middle[place % 6]);
/// let mut out = Array4::zeros((1, 1, 1, 1));
/// transform_products(places.view(), array![[[12.0]]].view(), array![[0], [0]].view(), out.view_mut())?;
/// assert!((out[[0, 0, 0, 0]] - 16.0_f32).abs() < 1e-5);
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if the shapes do not belong together.
pub fn transform_products<T: Number>(
    products: ArrayView3<'_, T>,
    start: ArrayView3<'_, f32>,
    origins: ArrayView2<'_, i64>,
    out: ArrayViewMut4<'_, T>,
) -> Result<()> {
    let (count, height, width, channels) = out.dim();
    let (down, across) = (height.div_ceil(TILE), width.div_ceil(TILE));
    let shape = (PLACES, count * down * across, channels);
    if products.dim() != shape || products.strides()[2] != 1 {
        return Err(mismatch("products", &shape, products.shape()));
    }
    let corners = corners(origins, count)?;
    let fits = |first: i64, length: usize, whole: usize| first >= 0 && first as usize + length <= whole;
    let all_fit = corners
        .iter()
        .all(|&(top, left)| fits(top, height, start.dim().0) && fits(left, width, start.dim().1));
    if !all_fit || start.dim().2 != channels || start.strides()[2] != 1 {
        return Err(mismatch("start", &"the base map's outputs", start.shape()));
    }
    if out.is_empty() {
        return Ok(());
    }
    let Some(out) = out.into_slice() else {
        return Err(mismatch("out", &"outputs that follow each other", &[count, height, width, channels]));
    };
    let areas = out.chunks_exact_mut(height * width * channels).zip(corners).enumerate();
    parallel::for_each(areas.collect(), |(candidate, (area, (top, left)))| {
        let start = start.slice(s![top as usize.., left as usize.., ..]);
        let products = products.slice(s![.., candidate * down * across..(candidate + 1) * down * across, ..]);
        for (row, lines) in area.chunks_mut(TILE * width * channels).enumerate() {
            let mut tiles = outputs(lines, width, start.slice(s![row * TILE.., .., ..]));
            for (column, outputs) in tiles.iter_mut().enumerate() {
                let tile = products.index_axis_move(Axis(1), row * across + column);
                let mut rows = tile.into_outer_iter().map(|row| row.to_slice().expect("contiguous channels"));
                let places = std::array::from_fn(|_| rows.next().expect("one row for each place"));
                T::transform_products(&places, outputs);
            }
        }
    });
    Ok(())
}

/// The outputs of each tile of up to four lines of pixels.
fn outputs<'a, T>(lines: &'a mut [T], width: usize, start: ArrayView3<'a, f32>) -> Vec<Vec<Output<'a, T>>> {
    let channels = start.dim().2;
    let mut tiles: Vec<_> = (0..width.div_ceil(TILE)).map(|_| Vec::with_capacity(TILE * TILE)).collect();
    for (number, pixel) in lines.chunks_exact_mut(channels).enumerate() {
        let (row, column) = (number / width, number % width);
        let start = start.slice_move(s![row, column, ..]).to_slice().expect("contiguous channels");
        tiles[column / TILE].push(Output { place: (row, column % TILE), start, pixel });
    }
    tiles
}

fn mismatch(name: &'static str, expected: &dyn std::fmt::Debug, got: &[usize]) -> Error {
    let cure = "give what belongs to the maps, with the channels of a pixel side by side";
    Error::argument(name, format!("{expected:?}"), format!("{got:?}"), cure)
}
