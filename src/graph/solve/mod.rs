//! V = R + discount * P V, to an error that is known.
//!
//! The certificate is one product in double precision with weights computed afresh: the residual
//! `r = R + discount P V - V` bounds the error, `max |V - V*| <= max |r| / (1 - discount)`, because P's rows sum to 1. When
//! it is not yet below the tolerance, the residual becomes the next right-hand side (iterative refinement), so single
//! precision inside does not limit what comes out.

mod chebyshev;
mod conjugate_gradients;
mod options;
mod progress;
mod propagate;
mod terms;
mod value_iteration;

pub use options::{Propagation, SolveOptions, Solver};
