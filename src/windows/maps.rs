//! The maps of one layer for many candidates.

use ndarray::{ArrayView2, Axis};

use crate::error::{Error, Result};

/// The maps of one layer for many candidates: a base map, and of each candidate the window that can differ from it.
///
/// `T` is a channel's number, or a byte of it where pixels are only copied.
///
/// ```
/// use interpix::windows::{WindowMaps, gather};
/// use ndarray::{Array2, Array4, array};
///
/// // On a map of 2 x 2 with one channel, a candidate has the upper row, another one the lower left pixel.
/// let table = array![[1], [2], [3]];
/// let windows = array![[0, 1], [0, 0], [1, 1], [2, 1], [0, 2]]; // top, left, height, width, first row of the table
/// let maps = WindowMaps::new(table.view(), None, (2, 2), windows.view())?;
/// let mut whole = Array4::zeros((2, 2, 2, 1));
/// gather(&maps, array![9].view(), Array2::zeros((2, 2)).view(), whole.view_mut())?;
/// assert_eq!(whole.into_raw_vec_and_offset().0, [1, 2, 9, 9, 9, 9, 3, 9]);
/// assert!(WindowMaps::new(table.view(), None, (1, 2), windows.view()).is_err()); // the other is below this map
/// # Ok::<(), interpix::Error>(())
/// ```
pub struct WindowMaps<'a, T> {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) windows: Vec<Window>,
    table: &'a [T],
    base: Option<&'a [T]>,
}

/// What one candidate has of its own.
pub(super) struct Window {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// The table's row of its first pixel.
    first: usize,
}

impl<'a, T> WindowMaps<'a, T> {
    /// Borrows maps of `size` (height, width).
    ///
    /// `table` has the pixels (rows, C) of all windows, row by row; `windows` (5, candidates) has top, left, height, width
    /// and the first row of each. `base` has the base map (height * width, C), if there is one.
    ///
    /// # Errors
    /// [`Error::Argument`] if a window is not on the map or not in the table.
    pub fn new(
        table: ArrayView2<'a, T>,
        base: Option<ArrayView2<'a, T>>,
        size: (usize, usize),
        windows: ArrayView2<'_, i64>,
    ) -> Result<Self> {
        let ((height, width), (rows, channels)) = (size, table.dim());
        if let Some(base) = base.filter(|base| base.dim() != (height * width, channels)) {
            let expected = format!("{:?} numbers", (height * width, channels));
            return Err(Error::argument("base", expected, format!("{:?}", base.dim()), "give the whole map"));
        }
        if windows.nrows() != 5 {
            return Err(Error::argument(
                "windows",
                "five rows",
                windows.nrows(),
                "give top, left, height, width and first row",
            ));
        }
        let windows = windows.axis_iter(Axis(1)).map(|place| {
            let place: Option<Vec<usize>> = place.iter().map(|&value| value.try_into().ok()).collect();
            match place.as_deref() {
                Some(&[top, left, h, w, first])
                    if top + h <= height && left + w <= width && first + h * w <= rows =>
                {
                    Ok(Window { top, left, height: h, width: w, first })
                }
                _ => Err(Error::argument(
                    "windows",
                    format!("windows on a map of {height} x {width} with {rows} rows"),
                    format!("{place:?}"),
                    "clip them at the border",
                )),
            }
        });
        let base = base.map(|base| contiguous("base", base)).transpose()?;
        Ok(Self {
            height,
            width,
            channels,
            windows: windows.collect::<Result<_>>()?,
            table: contiguous("table", table)?,
            base,
        })
    }

    /// `count` pixels of the base map from (row, column) on; none if there is no base map.
    #[inline]
    pub(super) fn base(&self, row: usize, column: usize, count: usize) -> Option<&'a [T]> {
        let first = (row * self.width + column) * self.channels;
        self.base.map(|base| &base[first..first + count * self.channels])
    }

    /// `count` pixels of a window from (row, column) of the map on, which must be in it.
    #[inline]
    pub(super) fn own(&self, window: &Window, row: usize, column: usize, count: usize) -> &'a [T] {
        let place = window.first + (row - window.top) * window.width + column - window.left;
        &self.table[place * self.channels..(place + count) * self.channels]
    }
}

/// The numbers of an array whose rows follow each other.
fn contiguous<'a, T>(name: &'static str, values: ArrayView2<'a, T>) -> Result<&'a [T]> {
    values
        .to_slice()
        .ok_or_else(|| Error::argument(name, "rows that follow each other", "others", "make it contiguous"))
}

/// Tops and lefts (2, candidates) of areas of a map, which may begin outside of it.
///
/// # Errors
/// [`Error::Argument`] if there are not `count` of them.
pub(super) fn corners(origins: ArrayView2<'_, i64>, count: usize) -> Result<Vec<(i64, i64)>> {
    if origins.dim() != (2, count) {
        let got = format!("{:?}", origins.dim());
        return Err(Error::argument(
            "origins",
            format!("(2, {count}) numbers"),
            got,
            "give one for each window",
        ));
    }
    Ok(origins.axis_iter(Axis(1)).map(|corner| (corner[0], corner[1])).collect())
}
