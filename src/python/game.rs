//! The Python face of `crate::game`.

use ndarray::Array2;
use numpy::{AllowTypeChange, IntoPyArray, PyArray1, PyArray2, PyArrayLike1};
use pyo3::prelude::*;

use super::search::parse_direction;
use crate::error::{Error, Result};
use crate::game::{self, SampleOptions, Sampler, Table};
use crate::search::Coalition;

type Floats<'py> = Bound<'py, PyArray1<f64>>;

#[pyfunction]
#[pyo3(signature = (players, evaluate, *, sampler = "exact", rounds = 200, seed = 0, batch_size = 64))]
pub(super) fn shapley_values<'py>(
    players: usize,
    evaluate: &Bound<'py, PyAny>,
    sampler: &str,
    rounds: usize,
    seed: u64,
    batch_size: usize,
) -> PyResult<(Floats<'py>, Floats<'py>, usize)> {
    let py = evaluate.py();
    let (values, errors, evaluations) = match parse_sampler(sampler)? {
        None => {
            let values = Table::evaluate(players, batch_size, |sets| call(evaluate, sets))?.shapley_values();
            (values, vec![0.0; players], 1 << players)
        }
        Some(sampler) => {
            let options = SampleOptions { sampler, rounds, seed, batch_size };
            let sampled = game::sampled_shapley_values(players, &options, |sets| call(evaluate, sets))?;
            (sampled.values, sampled.standard_errors, sampled.evaluations)
        }
    };
    Ok((values.into_pyarray(py), errors.into_pyarray(py), evaluations))
}

#[pyfunction]
#[pyo3(signature = (players, evaluate, *, batch_size = 64))]
pub(super) fn shapley_interactions<'py>(
    players: usize,
    evaluate: &Bound<'py, PyAny>,
    batch_size: usize,
) -> PyResult<Bound<'py, PyArray2<f64>>> {
    let table = Table::evaluate(players, batch_size, |sets| call(evaluate, sets))?;
    Ok(table.shapley_interactions().into_pyarray(evaluate.py()))
}

#[pyfunction]
#[pyo3(signature = (players, evaluate, *, direction, batch_size = 64))]
pub(super) fn one_shot<'py>(
    players: usize,
    evaluate: &Bound<'py, PyAny>,
    direction: &str,
    batch_size: usize,
) -> PyResult<(Bound<'py, PyArray1<i64>>, Floats<'py>)> {
    let found = game::one_shot(players, parse_direction(direction)?, batch_size, |sets| call(evaluate, sets))?;
    let ranking = PyArray1::from_iter(evaluate.py(), found.ranking.iter().map(|&player| player as i64));
    Ok((ranking, found.values.into_pyarray(evaluate.py())))
}

/// Calls a Python function with presence (rows, players) for its rewards (rows,).
fn call(evaluate: &Bound<'_, PyAny>, sets: &[Coalition]) -> PyResult<Vec<f64>> {
    let players = sets.first().map_or(0, Coalition::players);
    let masks = Array2::from_shape_fn((sets.len(), players), |(row, player)| sets[row].contains(player));
    let rewards = evaluate.call1((masks.into_pyarray(evaluate.py()),))?;
    let array = rewards.extract::<PyArrayLike1<'_, f64, AllowTypeChange>>();
    array.map(|array| array.as_array().to_vec()).map_err(|cause| {
        let (expected, got) = ("a function that returns numbers, (rows,)", rewards.get_type());
        let cure = "return a one-dimensional array or list with one number for each row of the masks";
        let error = PyErr::from(Error::argument("evaluate", expected, got, cure));
        error.set_cause(evaluate.py(), Some(cause));
        error
    })
}

fn parse_sampler(word: &str) -> Result<Option<Sampler>> {
    match word {
        "exact" => Ok(None),
        "moxi" => Ok(Some(Sampler::Moxi)),
        "permutation" => Ok(Some(Sampler::Permutation)),
        _ => {
            let expected = r#""exact", "moxi" or "permutation""#;
            Err(Error::argument("sampler", expected, format!("{word:?}"), "pass one of the words"))
        }
    }
}
