//! The Python face of `crate::interpolation`.

use numpy::{IntoPyArray, PyArray3, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;

use super::error::watched;
use crate::interpolation;

/// An image (H, W, C) from its `known` pixels (H, W); `fill` (C) is the color outside of their convex hull.
#[pyfunction]
pub(super) fn interpolate<'py>(
    py: Python<'py>,
    image: PyReadonlyArray3<'py, f32>,
    known: PyReadonlyArray2<'py, bool>,
    fill: PyReadonlyArray1<'py, f32>,
) -> PyResult<Bound<'py, PyArray3<f32>>> {
    let (image, known, fill) = (image.as_array(), known.as_array(), fill.as_array());
    Ok(watched(py, |interrupted| interpolation::interpolate(image, known, fill, interrupted))?
        .into_pyarray(py))
}
