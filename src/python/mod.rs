//! The extension module `interpix._core`: the list of what it has.

mod error;
mod explore;
mod game;
mod graph;
mod interpolation;
mod levels;
#[cfg(feature = "models")]
mod models;
mod search;
mod windows;

/// The compiled half of interpix.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::explore::{Asked, Explored, Explorer, Group, Plan};
    #[pymodule_export]
    use super::game::{one_shot, shapley_interactions, shapley_values};
    #[pymodule_export]
    use super::graph::{PixelGraph, check_solve, default_radius, rgb_to_lab};
    #[pymodule_export]
    use super::interpolation::interpolate;
    #[pymodule_export]
    use super::levels::restore_levels;
    #[cfg(feature = "models")]
    #[pymodule_export]
    use super::models::{
        NativeModel, NativeTokens, architectures, check_architecture, convert_weights, prepare,
    };
    #[pymodule_export]
    use super::search::{Batch, Outcome, Round, Search};
    #[pymodule_export]
    use super::windows::{gather_windows, transform_products, transform_tiles};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Forgets the thread pool in the child of a fork.
    #[pyfunction]
    fn reset_threads() {
        crate::parallel::reset();
    }

    /// Sets the number of threads of parallel work; 0 means one for each core.
    #[pyfunction]
    fn set_threads(count: usize) {
        crate::parallel::set_threads(count);
    }

    /// The vector instructions that run here, of those that the kernels are compiled for.
    #[pyfunction]
    fn vector_instructions() -> &'static str {
        crate::vectors::instructions()
    }
}
