//! Rust errors as Python exceptions, and the helpers that release the interpreter.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error::{Error, Result};
use crate::parallel::Interrupted;

/// Time between two looks at signals.
const LOOK: Duration = Duration::from_millis(20);

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

/// As [`detached`], for work that asks often and from any thread whether to stop: it runs on a thread of its own, and the
/// caller's looks at signals meanwhile. Starting it takes some 30 microseconds.
pub(super) fn watched<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Interrupted<'_>) -> Result<T> + Send,
) -> PyResult<T> {
    let stop = AtomicBool::new(false);
    let interrupted = || stop.load(Ordering::Relaxed);
    py.detach(|| {
        std::thread::scope(|scope| {
            let (ends, ended) = channel::<()>();
            let worker = std::thread::Builder::new().spawn_scoped(scope, || {
                // Dropped when the work ends, however it does.
                let _ends = ends;
                work(&interrupted)
            })?;
            let mut raised = None;
            while raised.is_none() && ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                #[allow(
                    clippy::redundant_closure_for_method_calls,
                    reason = "the method is not general over lifetimes"
                )]
                let signals = Python::attach(|py| py.check_signals());
                raised = signals.err();
            }
            stop.store(raised.is_some(), Ordering::Relaxed);
            let result = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match raised {
                Some(error) => Err(error),
                None => Ok(result?),
            }
        })
    })
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Argument { .. } => exception("ArgumentError", message),
            Error::NotConverged { .. } => exception("ConvergenceError", message),
            Error::Memory { .. } => PyMemoryError::new_err(message),
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
