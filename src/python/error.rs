//! Rust errors as Python exceptions, and the helper that releases the interpreter.

use pyo3::exceptions::{PyKeyboardInterrupt, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error::{Error, Result};

/// Runs `work` with the interpreter released and maps its error.
///
/// `work` gets an interrupt hook that is true once a signal handler raised (Ctrl-C); the exception that the handler
/// raised is the one that comes out. Signals are seen on Python's main thread only, so `work` calls the hook on the
/// thread that called it.
pub(super) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T> + Send,
) -> PyResult<T> {
    let (result, raised) = py.detach(|| {
        let raised = std::cell::RefCell::new(None);
        #[allow(
            clippy::redundant_closure_for_method_calls,
            reason = "the method is not general over lifetimes"
        )]
        let interrupted = || {
            Python::attach(|py| py.check_signals()).is_err_and(|error| {
                *raised.borrow_mut() = Some(error);
                true
            })
        };
        let result = work(&interrupted);
        (result, raised.into_inner())
    });
    match (result, raised) {
        (Err(Error::Interrupted), Some(error)) => Err(error),
        (result, _) => Ok(result?),
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Argument { .. } => exception("ArgumentError", message),
            Error::NotConverged { .. } => exception("ConvergenceError", message),
            Error::Interrupted => PyKeyboardInterrupt::new_err(()),
            Error::Model { .. } => exception("ModelError", message),
            Error::Io { .. } => PyOSError::new_err(message),
        }
    }
}

/// An exception of `interpix.errors` by name.
fn exception(name: &str, message: String) -> PyErr {
    Python::attach(|py| {
        let class = py
            .import("interpix.errors")
            .and_then(|module| module.getattr(name))
            .and_then(|class| Ok(class.cast_into::<PyType>()?));
        match class {
            Ok(class) => PyErr::from_type(class, message),
            Err(error) => error,
        }
    })
}
