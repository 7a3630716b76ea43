//! The Python face of `crate::graph`.

use numpy::{
    Element, IntoPyArray, PyArray1, PyArray2, PyArray3, PyArray4, PyReadonlyArray1, PyReadonlyArray3,
    PyUntypedArrayMethods,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::error::watched;
use crate::color;
use crate::graph::{self, GraphOptions, SolveOptions, Solver};

type Values<'py> = Bound<'py, PyArray4<f64>>;
type PerMap<'py> = Bound<'py, PyArray2<f64>>;
type Csr<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// The graph of one image.
#[pyclass(frozen, module = "interpix._core")]
pub(super) struct PixelGraph(graph::PixelGraph);

#[pymethods]
impl PixelGraph {
    #[new]
    #[pyo3(signature = (lab, *, radius=None, memory_budget=1_073_741_824))]
    fn new(
        py: Python<'_>,
        lab: PyReadonlyArray3<'_, f32>,
        radius: Option<usize>,
        memory_budget: usize,
    ) -> PyResult<Self> {
        let (lab, options) = (lab.as_array(), GraphOptions { radius, memory_budget });
        watched(py, |interrupted| graph::PixelGraph::new(lab, &options, interrupted)).map(Self)
    }

    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.0.height(), self.0.width())
    }

    #[getter]
    fn radius(&self) -> usize {
        self.0.radius()
    }

    #[getter]
    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }

    #[pyo3(signature = (maps, *, discounts, tolerance, solver, max_iterations))]
    fn propagate<'py>(
        &self,
        py: Python<'py>,
        maps: PyReadonlyArray3<'py, f64>,
        discounts: PyReadonlyArray1<'py, f64>,
        tolerance: f64,
        solver: &str,
        max_iterations: usize,
    ) -> PyResult<(Values<'py>, usize, PerMap<'py>, PerMap<'py>)> {
        let discounts = discounts.as_array().to_vec();
        let options = SolveOptions { discounts, solver: parse_solver(solver)?, tolerance, max_iterations };
        let maps = maps.as_array();
        let answer = watched(py, |interrupted| self.0.propagate(maps, &options, interrupted))?;
        Ok((
            answer.values.into_pyarray(py),
            answer.iterations,
            answer.residuals.into_pyarray(py),
            answer.error_bounds.into_pyarray(py),
        ))
    }

    /// Data, column indices and row starts of the transition matrix; indices are as narrow as scipy has them.
    fn transition_matrix<'py>(&self, py: Python<'py>) -> PyResult<Csr<'py>> {
        if i32::try_from(self.0.transitions()).is_ok() {
            self.rows(py, |index| index as i32)
        } else {
            self.rows(py, |index| index as i64)
        }
    }

    /// L, a and b of each pixel, (3, H, W).
    #[getter]
    fn colors<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray3<f32>> {
        self.0.colors().into_pyarray(py)
    }
}

impl PixelGraph {
    fn rows<'py, I: Element + Send + 'static>(
        &self,
        py: Python<'py>,
        index: fn(usize) -> I,
    ) -> PyResult<Csr<'py>> {
        let rows = watched(py, |interrupted| self.0.transition_rows(index, interrupted))?;
        let (columns, starts) = (rows.columns.into_pyarray(py), rows.starts.into_pyarray(py));
        Ok((rows.probabilities.into_pyarray(py), columns.into_any(), starts.into_any()))
    }
}

/// The paper's radius for an image of this size.
#[pyfunction]
pub(super) fn default_radius(height: usize, width: usize) -> usize {
    graph::default_radius(height, width)
}

/// Refuses options that no solver takes.
#[pyfunction]
#[pyo3(signature = (*, discounts, tolerance, solver, max_iterations))]
pub(super) fn check_solve(
    discounts: Vec<f64>,
    tolerance: f64,
    solver: &str,
    max_iterations: usize,
) -> PyResult<()> {
    Ok(SolveOptions { discounts, solver: parse_solver(solver)?, tolerance, max_iterations }.check()?)
}

/// sRGB (uint8, or float32 in 0..1), shape (height, width, 3), to CIELAB planes, shape (3, height, width).
#[pyfunction]
pub(super) fn rgb_to_lab<'py>(
    py: Python<'py>,
    image: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray3<f32>>> {
    let lab = if let Ok(image) = image.extract::<PyReadonlyArray3<'_, u8>>() {
        let image = image.as_array();
        watched(py, |interrupted| color::lab_from_srgb(image, interrupted))?
    } else {
        let image = image.extract::<PyReadonlyArray3<'_, f32>>()?;
        debug_assert_eq!(image.ndim(), 3);
        let image = image.as_array();
        watched(py, |interrupted| color::lab_from_srgb_float(image, interrupted))?
    };
    Ok(lab.into_pyarray(py))
}

fn parse_solver(name: &str) -> PyResult<Solver> {
    let known = [Solver::Chebyshev, Solver::ConjugateGradients, Solver::ValueIteration];
    known.into_iter().find(|solver| solver.name() == name).ok_or_else(|| {
        let names = known.map(Solver::name).join("', '");
        PyValueError::new_err(format!(
            "`solver`: expected 'auto', '{names}', got '{name}'; 'auto' is the fastest"
        ))
    })
}
