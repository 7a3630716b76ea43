//! IProp: information flows between similar neighboring pixels.
//!
//! Every pixel is a state of a Markov reward process. From pixel I one steps to a neighbor J (Chebyshev distance at
//! most the radius) with probability
//!
//! ```text
//! P[I, J] = exp(-d(I, J)) / sum over neighbors J' of exp(-d(I, J')),      d = distance in pixels + distance in CIELAB
//! ```
//!
//! The attribution map R is the reward; the propagated map is the value V = R + discount * P V of each pixel, so a
//! pixel counts for what it and the pixels like it around it were given.
//!
//! Source: IProp (CIKM 2024), equations 1-6 and Algorithm 1. Departures: the neighborhood is the square that the
//! formula says, not the disc that the text suggests; the series is summed by Chebyshev polynomials to a guaranteed
//! error instead of until two iterates look alike (the paper's rule is [`Solver::ValueIteration`]).

mod layout;
mod neighborhood;
mod packed;
mod pixel_graph;
mod probabilities;
mod solve;
mod stencil;
mod transition;
mod vector_math;

pub use neighborhood::default_radius;
pub use pixel_graph::{GraphOptions, PixelGraph};
pub use solve::{Propagation, SolveOptions, Solver};
