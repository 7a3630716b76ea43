//! The Python face of `crate::levels`.

use numpy::{IntoPyArray, PyArray3, PyReadonlyArray3};
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::levels;

type Restored<'py> = (Bound<'py, PyArray3<u8>>, f64, f64, usize, (f32, f32));

/// The picture (H, W, C) of a model's input (C, H, W), its least and greatest level, how many are beyond, and the
/// input's own range.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn restore_levels<'py>(
    py: Python<'py>,
    tensor: PyReadonlyArray3<'py, f32>,
    mean: Vec<f64>,
    scale: Vec<f64>,
    channel: Vec<usize>,
    slack: f64,
) -> Result<Restored<'py>> {
    let input = tensor.as_array();
    let channels = input.dim().0;
    let lists = [mean.len(), scale.len(), channel.len()];
    if lists != [channels; 3] || channel.iter().any(|&one| one >= channels) {
        let got = format!("{lists:?}, channels {channel:?}");
        return Err(Error::argument(
            "channel",
            format!("{channels} of each list"),
            got,
            "one entry a channel",
        ));
    }
    let found = py.detach(|| levels::restore(input, &mean, &scale, &channel, slack));
    Ok((found.pixels.into_pyarray(py), found.least, found.greatest, found.beyond, found.range))
}
