//! Everything that can go wrong, with the numbers that a caller needs to act on it.

/// The result of a fallible operation of this crate.
///
/// ```
/// use interpix::color::lab_from_srgb;
/// use interpix::graph::{GraphOptions, PixelGraph};
/// use ndarray::{Array3, ArrayView3};
///
/// /// Whatever the steps have to say comes as one type.
/// fn radius(photo: ArrayView3<'_, u8>) -> interpix::Result<usize> {
///     let lab = lab_from_srgb(photo, &|| false)?;
///     Ok(PixelGraph::new(lab.view(), &GraphOptions::default(), &|| false)?.radius())
/// }
/// assert_eq!(radius(Array3::zeros((64, 20, 3)).view())?, 64 / 32);
/// assert!(radius(Array3::zeros((64, 20, 4)).view()).is_err()); // with an alpha channel
/// # Ok::<(), interpix::Error>(())
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
///
/// ```
/// use interpix::{Error, game::Table};
///
/// let Err(error) = Table::from_fn(20, |_| 0.0) else { panic!("2^20 rewards are too many") };
/// assert!(matches!(&error, Error::Argument { name: "players", got, .. } if got == "20"));
/// assert_eq!(
///     error.to_string(),
///     "`players`: expected at most 16 for an exact answer, got 20; sample the values, or take fewer, larger regions"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside of what the operation accepts.
    #[error("`{name}`: expected {expected}, got {got}; {cure}")]
    Argument {
        /// The argument's name in the public interface.
        name: &'static str,
        /// What is accepted.
        expected: String,
        /// What came.
        got: String,
        /// What the caller can do about it.
        cure: String,
    },
    /// A solver used up its iterations before it reached the tolerance.
    #[error(
        "{solver} did not converge to the tolerance {tolerance:.1e}: after {iterations} iterations the residual is \
         {residual:.3e} and the guaranteed relative error {error_bound:.3e}; raise `max_iterations` or `tolerance`"
    )]
    NotConverged {
        /// The solver's name.
        solver: &'static str,
        /// Iterations done.
        iterations: usize,
        /// `max |R + discount P V - V|` of the last iterate.
        residual: f64,
        /// The guaranteed relative maximum-norm error of the last iterate.
        error_bound: f64,
        /// What was asked for: a relative error, or the paper's mean squared difference.
        tolerance: f64,
    },
    /// The work takes more memory than there is.
    #[error(
        "`{name}`: {work} needs {bytes} bytes of memory, {}; {cure}",
        available.map_or("more than the system gives".to_owned(), |bytes| format!("{bytes} are available"))
    )]
    Memory {
        /// The argument that asked for the work.
        name: &'static str,
        /// What needs the memory.
        work: &'static str,
        /// The bytes that it needs.
        bytes: usize,
        /// The bytes that the system has, where it says so.
        available: Option<usize>,
        /// What needs less.
        cure: &'static str,
    },
    /// The caller's interrupt hook asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A native model or its weights failed.
    #[error("model `{model}`: {message}")]
    Model {
        /// The model's name.
        model: String,
        /// What happened.
        message: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// An [`Error::Argument`] from anything printable.
    pub(crate) fn argument(
        name: &'static str,
        expected: impl Into<String>,
        got: impl std::fmt::Display,
        cure: impl Into<String>,
    ) -> Self {
        Self::Argument { name, expected: expected.into(), got: got.to_string(), cure: cure.into() }
    }
}
