//! The Python face of `crate::windows`.

use ndarray::ArrayView2;
use numpy::{
    Element, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3, PyReadwriteArray3, PyReadwriteArray4,
};
use pyo3::prelude::*;

use super::error::detached;
use crate::windows::{self, Number, WindowMaps};

/// The table and the base map of [`WindowMaps`].
type Pixels<'py, T> = (PyReadonlyArray2<'py, T>, Option<PyReadonlyArray2<'py, T>>);

/// Areas of candidates' maps, into `out` (candidates, h, w, bytes of a pixel).
#[pyfunction]
#[pyo3(signature = (table, base, *, size, windows, fill, origins, out))]
#[allow(clippy::too_many_arguments, reason = "arrays of different types cannot be one argument")]
pub(super) fn gather_windows(
    py: Python<'_>,
    table: PyReadonlyArray2<'_, u8>,
    base: PyReadonlyArray2<'_, u8>,
    size: (usize, usize),
    windows: PyReadonlyArray2<'_, i64>,
    fill: PyReadonlyArray1<'_, u8>,
    origins: PyReadonlyArray2<'_, i64>,
    mut out: PyReadwriteArray4<'_, u8>,
) -> PyResult<()> {
    let maps = WindowMaps::new(table.as_array(), Some(base.as_array()), size, windows.as_array())?;
    let (fill, origins, out) = (fill.as_array(), origins.as_array(), out.as_array_mut());
    detached(py, |_| windows::gather(&maps, fill, origins, out))
}

/// Winograd's transform of inputs, into `out` (36, candidates * tiles, C); float32, or bfloat16 as uint16.
#[pyfunction]
#[pyo3(signature = (table, base, *, size, windows, origins, tiles, out))]
#[allow(clippy::too_many_arguments, reason = "arrays of different types cannot be one argument")]
pub(super) fn transform_tiles(
    py: Python<'_>,
    table: &Bound<'_, PyAny>,
    base: &Bound<'_, PyAny>,
    size: (usize, usize),
    windows: PyReadonlyArray2<'_, i64>,
    origins: PyReadonlyArray2<'_, i64>,
    tiles: (usize, usize),
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (sizes, places) = ([size, tiles], [windows.as_array(), origins.as_array()]);
    match table.extract() {
        Ok(table) => transform::<f32>(py, (table, base.extract()?), sizes, places, out.extract()?),
        Err(_) => transform::<u16>(py, (table.extract()?, base.extract()?), sizes, places, out.extract()?),
    }
}

/// [`transform_tiles`] for numbers of one type.
fn transform<T: Number + Element>(
    py: Python<'_>,
    (table, base): Pixels<'_, T>,
    [size, tiles]: [(usize, usize); 2],
    [windows, origins]: [ArrayView2<'_, i64>; 2],
    mut out: PyReadwriteArray3<'_, T>,
) -> PyResult<()> {
    let base = base.as_ref().map(PyReadonlyArray2::as_array);
    let maps = WindowMaps::new(table.as_array(), base, size, windows)?;
    let out = out.as_array_mut();
    detached(py, |_| windows::transform_tiles(&maps, origins, tiles, out))
}

/// Winograd's transform of products, added to `start`, into `out` (candidates, h, w, O).
#[pyfunction]
pub(super) fn transform_products(
    py: Python<'_>,
    products: &Bound<'_, PyAny>,
    start: PyReadonlyArray3<'_, f32>,
    origins: PyReadonlyArray2<'_, i64>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    match products.extract() {
        Ok(products) => transform_back::<f32>(py, products, (&start, &origins), out.extract()?),
        Err(_) => transform_back::<u16>(py, products.extract()?, (&start, &origins), out.extract()?),
    }
}

/// [`transform_products`] for numbers of one type.
fn transform_back<T: Number + Element>(
    py: Python<'_>,
    products: PyReadonlyArray3<'_, T>,
    (start, origins): (&PyReadonlyArray3<'_, f32>, &PyReadonlyArray2<'_, i64>),
    mut out: PyReadwriteArray4<'_, T>,
) -> PyResult<()> {
    let (products, start, origins) = (products.as_array(), start.as_array(), origins.as_array());
    let out = out.as_array_mut();
    detached(py, |_| windows::transform_products(products, start, origins, out))
}
