//! The Python face of `crate::search`.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::search;
use crate::search::{Best, Direction, RunError, Score, SearchOptions, Stop, Task};

/// A score as Python sees it: reward, answer, predicted class or -1, whether it holds.
pub(super) type Row = (f64, f64, i64, bool);

// Not frozen: a state machine is its state.
#[pyclass(module = "interpix._core")]
pub(super) struct Search {
    inner: search::Search,
}

#[pymethods]
impl Search {
    #[new]
    #[pyo3(signature = (players, *, direction, stop, min_confidence = 0.0, min_players = 0, batch_size = 64, in_flight = 64,
                        full = None, empty = None))]
    // The constructor is the keyword form of `Task` and `SearchOptions`.
    #[allow(clippy::too_many_arguments)]
    fn new(
        players: Vec<usize>,
        direction: &str,
        stop: &Bound<'_, PyAny>,
        min_confidence: f64,
        min_players: usize,
        batch_size: usize,
        in_flight: usize,
        full: Option<Vec<Option<Row>>>,
        empty: Option<Vec<Option<Row>>>,
    ) -> Result<Self> {
        let tasks = tasks(players, full, empty)?;
        let (direction, stop) = (parse_direction(direction)?, parse_stop(stop, min_confidence, min_players)?);
        let options = SearchOptions { direction, stop, batch_size, in_flight };
        Ok(Self { inner: search::Search::new(tasks, options)? })
    }

    fn ask(&mut self) -> Option<Batch> {
        self.inner.ask().map(|inner| Batch { inner })
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

    #[pyo3(signature = (most = None))]
    fn ask_round(&mut self, most: Option<usize>) -> Option<Round> {
        self.inner.ask_round(most.unwrap_or(usize::MAX)).map(|inner| Round { inner })
    }

    // One column for each number of a `Best`.
    #[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
    fn tell_best(
        &mut self,
        ticket: usize,
        player: PyReadonlyArray1<'_, i64>,
        reward: PyReadonlyArray1<'_, f64>,
        answer: PyReadonlyArray1<'_, f64>,
        predicted: PyReadonlyArray1<'_, i64>,
        holds: PyReadonlyArray1<'_, bool>,
        gap: PyReadonlyArray1<'_, f64>,
    ) -> Result<()> {
        let (player, gap) = (player.as_array(), gap.as_array());
        let scores = scores(player.len(), &reward, &answer, &predicted, &holds)?;
        check_length("gap", gap.len(), player.len())?;
        let best = player.iter().zip(scores).zip(gap).map(|((&player, score), &gap)| {
            // No player has a negative number, nor this one.
            let player = usize::try_from(player).unwrap_or(usize::MAX);
            Best { player, score, gap }
        });
        self.inner.tell_best(ticket, &best.collect::<Vec<Best>>())
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.inner.outcomes().into_iter().map(|inner| Outcome { inner }).collect()
    }

    fn ended(&mut self) -> Vec<usize> {
        self.inner.ended()
    }

    fn outcome(&self, image: usize) -> Option<Outcome> {
        self.inner.outcome(image).map(|inner| Outcome { inner })
    }

    #[pyo3(signature = (image, players, *, full = None, empty = None))]
    fn replace(&mut self, image: usize, players: usize, full: Option<Row>, empty: Option<Row>) -> Result<()> {
        self.inner.replace(image, &Task { players, full: full.map(score), empty: empty.map(score) })
    }

    #[getter]
    fn done(&self) -> bool {
        self.inner.is_done()
    }

    #[getter]
    fn evaluations(&self) -> usize {
        self.inner.evaluations()
    }

    #[getter]
    fn steps(&self) -> Vec<usize> {
        self.inner.steps()
    }
}

#[pyclass(frozen, module = "interpix._core")]
pub(super) struct Batch {
    inner: search::Batch,
}

#[pymethods]
impl Batch {
    fn __len__(&self) -> usize {
        self.inner.len()
    }

    #[getter]
    fn size(&self) -> usize {
        self.inner.size()
    }

    #[getter]
    fn owner<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.owner().iter().map(|&image| image as i64))
    }

    #[getter]
    fn flip<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.flip().iter().map(|flip| flip.map_or(-1, |player| player as i64)))
    }

    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<bool>> {
        self.inner.bases().into_pyarray(py)
    }

    #[getter]
    fn row<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.base_of_rows().map(|number| number as i64))
    }

    #[pyo3(signature = (owner = None))]
    fn masks<'py>(&self, py: Python<'py>, owner: Option<usize>) -> Bound<'py, PyArray2<bool>> {
        owner.map_or_else(|| self.inner.masks(), |owner| self.inner.masks_of_owner(owner)).into_pyarray(py)
    }

    fn kept<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<i64>> {
        self.inner.kept().mapv(i64::from).into_pyarray(py)
    }
}

#[pyclass(frozen, module = "interpix._core")]
pub(super) struct Round {
    inner: search::Round,
}

#[pymethods]
impl Round {
    #[getter]
    fn ticket(&self) -> usize {
        self.inner.ticket()
    }

    #[getter]
    fn size(&self) -> usize {
        self.inner.size()
    }

    #[getter]
    fn images<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.images().iter().map(|&image| image as i64))
    }

    #[getter]
    fn bases<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<bool>> {
        self.inner.presence().into_pyarray(py)
    }
}

#[pyclass(frozen, module = "interpix._core")]
pub(super) struct Outcome {
    inner: search::Outcome,
}

#[pymethods]
impl Outcome {
    #[getter]
    fn image(&self) -> usize {
        self.inner.image
    }

    #[getter]
    fn ranking<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.ranking.iter().map(|&player| player as i64))
    }

    #[getter]
    fn reward<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_iter(py, self.inner.scores.iter().map(|score| score.reward))
    }

    #[getter]
    fn answer<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_iter(py, self.inner.scores.iter().map(|score| score.answer))
    }

    #[getter]
    fn predicted<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        PyArray1::from_iter(py, self.inner.scores.iter().map(|score| class(score.predicted)))
    }

    #[getter]
    fn holds<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        PyArray1::from_iter(py, self.inner.scores.iter().map(|score| score.holds))
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
    fn stopped_at(&self) -> Option<usize> {
        self.inner.stopped_at
    }

    #[getter]
    fn gaps<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f64>> {
        PyArray1::from_slice(py, &self.inner.gaps)
    }

    #[getter]
    fn evaluations(&self) -> usize {
        self.inner.evaluations
    }
}

/// The callback's exception comes out as itself.
impl From<RunError<PyErr>> for PyErr {
    fn from(error: RunError<PyErr>) -> Self {
        match error {
            RunError::Callback(error) => error,
            RunError::Search(error) => error.into(),
        }
    }
}

pub(super) fn parse_direction(word: &str) -> Result<Direction> {
    match word {
        "insertion" => Ok(Direction::Insertion),
        "deletion" => Ok(Direction::Deletion),
        _ => {
            let (expected, cure) = (r#""insertion" or "deletion""#, "pass one of the two words");
            Err(Error::argument("direction", expected, format!("{word:?}"), cure))
        }
    }
}

pub(super) fn parse_stop(stop: &Bound<'_, PyAny>, min_confidence: f64, min_players: usize) -> Result<Stop> {
    let word = stop.extract::<String>();
    let stop = match (word.as_deref(), stop.extract::<usize>()) {
        (Ok("flip"), _) => return Ok(Stop::Flip { min_confidence, min_players }),
        (Ok("all"), _) => Stop::All,
        (_, Ok(steps)) => Stop::Steps(steps),
        _ => {
            let (expected, cure) = (r#""all", "flip" or a number of steps from 0 on"#, "pass one of them");
            return Err(Error::argument("stop", expected, format!("{stop:?}"), cure));
        }
    };
    let (expected, cure) = (r#"0 unless `stop` is "flip""#, r#"pass stop="flip", or leave it out"#);
    if min_players != 0 {
        return Err(Error::argument("min_players", expected, min_players, cure));
    }
    if min_confidence != 0.0 {
        return Err(Error::argument("min_confidence", expected, min_confidence, cure));
    }
    Ok(stop)
}

/// The images of a search, with what is known of their ends.
pub(super) fn tasks(
    players: Vec<usize>,
    full: Option<Vec<Option<Row>>>,
    empty: Option<Vec<Option<Row>>>,
) -> Result<Vec<Task>> {
    let (full, empty) = (ends("full", full, players.len())?, ends("empty", empty, players.len())?);
    let known = players.into_iter().zip(full.into_iter().zip(empty));
    Ok(known.map(|(players, (full, empty))| Task { players, full, empty }).collect())
}

fn ends(name: &'static str, ends: Option<Vec<Option<Row>>>, images: usize) -> Result<Vec<Option<Score>>> {
    let Some(ends) = ends else { return Ok(vec![None; images]) };
    check_length(name, ends.len(), images)?;
    Ok(ends.into_iter().map(|end| end.map(score)).collect())
}

fn check_length(name: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::argument(name, format!("{expected} entries"), got, "give all lists the same length"))
}

pub(super) fn scores(
    count: usize,
    reward: &PyReadonlyArray1<'_, f64>,
    answer: &PyReadonlyArray1<'_, f64>,
    predicted: &PyReadonlyArray1<'_, i64>,
    holds: &PyReadonlyArray1<'_, bool>,
) -> Result<Vec<Score>> {
    let (reward, answer, predicted, holds) =
        (reward.as_array(), answer.as_array(), predicted.as_array(), holds.as_array());
    check_length("reward", reward.len(), count)?;
    check_length("answer", answer.len(), count)?;
    check_length("predicted", predicted.len(), count)?;
    check_length("holds", holds.len(), count)?;
    let rows = reward.iter().zip(answer).zip(predicted).zip(holds);
    Ok(rows
        .map(|(((&reward, &answer), &predicted), &holds)| score((reward, answer, predicted, holds)))
        .collect())
}

fn score((reward, answer, predicted, holds): Row) -> Score {
    Score { reward, answer, predicted: usize::try_from(predicted).ok(), holds }
}

pub(super) fn row(score: Score) -> Row {
    (score.reward, score.answer, class(score.predicted), score.holds)
}

/// -1: none.
fn class(predicted: Option<usize>) -> i64 {
    predicted.map_or(-1, |class| class as i64)
}
