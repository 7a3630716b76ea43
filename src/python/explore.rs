//! The Python face of `crate::explore`.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

use super::search::{Row, parse_stop, row, scores, tasks};
use crate::error::{Error, Result};
use crate::explore::{self, Aim, CatalogueOptions, Method};
use crate::search::Coalition;

#[pyclass(frozen, module = "interpix._core")]
#[derive(Clone)]
pub(super) struct Plan {
    inner: explore::Plan,
}

#[pymethods]
impl Plan {
    #[new]
    #[pyo3(signature = (direction, search, *, weight = 0.5, stop, min_confidence = 0.0, min_players = 0, minimal = false,
                        width = 4, pending = 8, count = 5, overlap = 0.5, exhaust = 1, tries = 20))]
    // The constructor is the keyword form of `explore::Plan`.
    #[allow(clippy::too_many_arguments)]
    fn new(
        direction: &str,
        search: &str,
        weight: f64,
        stop: &Bound<'_, PyAny>,
        min_confidence: f64,
        min_players: usize,
        minimal: bool,
        width: usize,
        pending: usize,
        count: usize,
        overlap: f64,
        exhaust: usize,
        tries: usize,
    ) -> Result<Self> {
        let aim = match direction {
            "insertion" => Aim::Insertion,
            "deletion" => Aim::Deletion,
            "both" => Aim::Both { weight },
            _ => {
                let (expected, cure) =
                    (r#""insertion", "deletion" or "both""#, "pass one of the three words");
                return Err(Error::argument("direction", expected, format!("{direction:?}"), cure));
            }
        };
        let method = match search {
            "greedy" => Method::Greedy,
            "beam" => Method::Beam { width },
            "bidirectional" => Method::Bidirectional { pending },
            "swap" => Method::Exchange,
            "catalogue" => Method::Catalogue(CatalogueOptions { count, overlap, width, exhaust, tries }),
            _ => {
                let expected = r#""greedy", "beam", "bidirectional", "swap" or "catalogue""#;
                return Err(Error::argument("search", expected, format!("{search:?}"), "pass one of them"));
            }
        };
        let stop = parse_stop(stop, min_confidence, min_players)?;
        Ok(Self { inner: explore::Plan { aim, method, stop, minimal } })
    }
}

// Not frozen: a state machine is its state.
#[pyclass(module = "interpix._core")]
pub(super) struct Explorer {
    inner: explore::Explorer,
}

#[pymethods]
impl Explorer {
    #[new]
    #[pyo3(signature = (players, plans, *, batch_size = 64, in_flight = 64, full = None, empty = None))]
    #[allow(clippy::needless_pass_by_value)]
    fn new(
        players: Vec<usize>,
        plans: Vec<PyRef<'_, Plan>>,
        batch_size: usize,
        in_flight: usize,
        full: Option<Vec<Option<Row>>>,
        empty: Option<Vec<Option<Row>>>,
    ) -> Result<Self> {
        let tasks = tasks(players, full, empty)?;
        let plans = plans.iter().map(|plan| plan.inner).collect();
        Ok(Self { inner: explore::Explorer::new(tasks, plans, batch_size, in_flight)? })
    }

    // One column for each number of a `Score`.
    #[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
    fn know(
        &mut self,
        image: usize,
        masks: PyReadonlyArray2<'_, bool>,
        reward: PyReadonlyArray1<'_, f64>,
        answer: PyReadonlyArray1<'_, f64>,
        predicted: PyReadonlyArray1<'_, i64>,
        holds: PyReadonlyArray1<'_, bool>,
    ) -> Result<()> {
        let masks = masks.as_array();
        let scores = scores(masks.nrows(), &reward, &answer, &predicted, &holds)?;
        let coalitions = masks.rows().into_iter().map(|row| {
            Coalition::of(
                row.len(),
                row.iter().enumerate().filter(|(_, present)| **present).map(|(player, _)| player),
            )
        });
        self.inner.know(image, coalitions.zip(scores))
    }

    fn give(&mut self, image: usize, order: Vec<usize>) -> Result<()> {
        self.inner.give(image, order)
    }

    fn ask(&mut self, py: Python<'_>) -> Option<Asked> {
        // Searches look up many coalitions that are known.
        py.detach(|| self.inner.ask()).map(|inner| Asked { inner })
    }

    #[allow(clippy::needless_pass_by_value)]
    fn tell(
        &mut self,
        reward: PyReadonlyArray1<'_, f64>,
        answer: PyReadonlyArray1<'_, f64>,
        predicted: PyReadonlyArray1<'_, i64>,
        holds: PyReadonlyArray1<'_, bool>,
    ) -> Result<()> {
        let count = reward.as_array().len();
        self.inner.tell(&scores(count, &reward, &answer, &predicted, &holds)?)
    }

    fn outcome(&mut self, image: usize) -> Option<Explored> {
        self.inner.outcome(image).map(|inner| Explored { inner })
    }

    #[getter]
    fn done(&self) -> bool {
        self.inner.is_done()
    }

    #[getter]
    fn evaluations(&self) -> usize {
        self.inner.evaluations()
    }
}

#[pyclass(frozen, module = "interpix._core")]
pub(super) struct Asked {
    inner: explore::Asked,
}

#[pymethods]
impl Asked {
    fn __len__(&self) -> usize {
        self.inner.len()
    }

    #[getter]
    fn owner<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.owner().iter().map(|&image| image as i64))
    }

    #[getter]
    fn masks<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<bool>> {
        self.inner.masks().into_pyarray(py)
    }

    /// The sets, the set of each coalition, and the player flipped in it or -1.
    #[allow(clippy::type_complexity)]
    fn flips<'py>(
        &self,
        py: Python<'py>,
    ) -> (Bound<'py, PyArray2<bool>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>) {
        let flips = self.inner.flips();
        let row = PyArray1::from_iter(py, flips.row.iter().map(|&row| row as i64));
        let flip =
            PyArray1::from_iter(py, flips.flip.iter().map(|flip| flip.map_or(-1, |player| player as i64)));
        (explore::presence(&flips.bases).into_pyarray(py), row, flip)
    }
}

#[pyclass(frozen, module = "interpix._core")]
pub(super) struct Explored {
    inner: explore::Explored,
}

#[pymethods]
impl Explored {
    #[getter]
    fn groups(&self) -> Vec<Vec<Group>> {
        let of_plan =
            |groups: &Vec<explore::Group>| groups.iter().cloned().map(|inner| Group { inner }).collect();
        self.inner.groups.iter().map(of_plan).collect()
    }

    #[getter]
    fn full(&self) -> Row {
        row(self.inner.full)
    }

    #[getter]
    fn empty(&self) -> Row {
        row(self.inner.empty)
    }

    #[getter]
    fn evaluations(&self) -> usize {
        self.inner.evaluations
    }
}

#[pyclass(frozen, module = "interpix._core")]
pub(super) struct Group {
    inner: explore::Group,
}

#[pymethods]
impl Group {
    #[getter]
    fn ranking<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.order.iter().map(|&player| player as i64))
    }

    #[getter]
    fn alone(&self) -> Vec<Row> {
        self.inner.with.iter().copied().map(row).collect()
    }

    #[getter]
    fn without(&self) -> Vec<Row> {
        self.inner.without.iter().copied().map(row).collect()
    }

    #[getter]
    fn gaps<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, &self.inner.gaps)
    }

    #[getter]
    fn stopped_at(&self) -> Option<usize> {
        self.inner.stopped_at
    }

    /// The players that cannot be left out, and what is said to them alone and to all others.
    #[getter]
    fn minimal(&self) -> Option<(Vec<usize>, Option<Row>, Option<Row>)> {
        let minimal = self.inner.minimal.as_ref()?;
        Some((minimal.players.clone(), minimal.with.map(row), minimal.without.map(row)))
    }

    #[getter]
    fn none_up_to(&self) -> Option<usize> {
        self.inner.none_up_to
    }

    #[getter]
    fn all_parts_tried(&self) -> bool {
        self.inner.all_parts_tried
    }
}
