//! Areas of maps: of each candidate's window where it reaches, else of the base map, else padding.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut4};

use super::maps::{Window, WindowMaps, corners};
use crate::error::{Error, Result};
use crate::parallel;

/// Copies an area of each candidate's map to `out` (candidates, h, w, C); `origins` (2, candidates) has tops and lefts.
///
/// Outside of the map, and beside the windows where there is no base map, there is `fill` (C).
///
/// ```
/// use interpix::windows::{WindowMaps, gather};
/// use ndarray::array;
/// // A map of 2 x 3 with one channel, of which a candidate has the pixel in the middle of the lower row.
/// let (base, own) = (array![[1], [2], [3], [4], [5], [6]], array![[7]]);
/// let maps = WindowMaps::new(own.view(), Some(base.view()), (2, 3), array![[1], [1], [1], [1], [0]].view())?;
/// let mut area = ndarray::Array4::zeros((1, 2, 4, 1));
/// gather(&maps, array![0].view(), array![[1], [0]].view(), area.view_mut())?;
/// assert_eq!(area.into_raw_vec_and_offset().0, [4, 7, 6, 0, 0, 0, 0, 0]);
/// # Ok::<(), interpix::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if the shapes do not belong together.
pub fn gather<T: Copy + Send + Sync>(
    maps: &WindowMaps<'_, T>,
    fill: ArrayView1<'_, T>,
    origins: ArrayView2<'_, i64>,
    out: ArrayViewMut4<'_, T>,
) -> Result<()> {
    let (count, _, width, channels) = out.dim();
    let bad =
        |name, expected: String, got| Error::argument(name, expected, got, "give what belongs to the maps");
    if count != maps.windows.len() || channels != maps.channels {
        let expected = format!("{} areas of {} numbers a pixel", maps.windows.len(), maps.channels);
        return Err(bad("out", expected, format!("{:?}", out.dim())));
    }
    let corners = corners(origins, count)?;
    let Some(fill) = fill.to_slice().filter(|fill| fill.len() == channels) else {
        return Err(bad("fill", format!("{channels} numbers side by side"), "others".into()));
    };
    let Some(out) = out.into_slice() else {
        return Err(bad("out", "areas that follow each other".into(), "gaps".into()));
    };
    if out.is_empty() {
        return Ok(());
    }
    let areas = out.chunks_exact_mut(out.len() / count).zip(corners).zip(&maps.windows);
    parallel::for_each(areas.collect(), |((area, (top, left)), window)| {
        for (row, line) in (top..).zip(area.chunks_exact_mut(width * channels)) {
            copy_line(maps, window, fill, (row, left), line);
        }
    });
    Ok(())
}

/// One line of an area from (row, left) on: padding, base map, window, base map, padding.
fn copy_line<T: Copy>(
    maps: &WindowMaps<'_, T>,
    window: &Window,
    fill: &[T],
    (row, left): (i64, i64),
    line: &mut [T],
) {
    let width = (line.len() / maps.channels) as i64;
    // A column of the map as one of the line.
    let at = |column: usize| (column as i64 - left).clamp(0, width) as usize;
    let Some(row) = usize::try_from(row).ok().filter(|&row| row < maps.height) else {
        return pad(line, fill);
    };
    let (begin, end) = (at(0), at(maps.width));
    let (from, to) = if (window.top..window.top + window.height).contains(&row) {
        (at(window.left), at(window.left + window.width))
    } else {
        (end, end)
    };
    let (line, after) = line.split_at_mut(end * maps.channels);
    let (line, second) = line.split_at_mut(to * maps.channels);
    let (line, own) = line.split_at_mut(from * maps.channels);
    let (before, first) = line.split_at_mut(begin * maps.channels);
    pad(before, fill);
    pad(after, fill);
    let column = |place: usize| (place as i64 + left) as usize;
    for (part, place) in [(first, begin), (second, to)] {
        if !part.is_empty() {
            match maps.base(row, column(place), part.len() / maps.channels) {
                Some(base) => part.copy_from_slice(base),
                None => pad(part, fill),
            }
        }
    }
    if !own.is_empty() {
        own.copy_from_slice(maps.own(window, row, column(from), own.len() / maps.channels));
    }
}

fn pad<T: Copy>(pixels: &mut [T], fill: &[T]) {
    for pixel in pixels.chunks_exact_mut(fill.len()) {
        pixel.copy_from_slice(fill);
    }
}
