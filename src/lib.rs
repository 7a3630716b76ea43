//! Which pixels, *together*, made an image classifier say that?
//!
//! ```text
//! image ──► color ──► graph ──► solve ──► propagated attribution map      (IProp)
//!                                 ▲
//!                        any attribution map
//!                                 ▲
//! image ──► regions ─► search ◄──► model with absence ──► group           (MoXI)
//! ```
//!
//! [`windows`] has what a convolutional network needs to see only where candidates differ; its products are the caller's.
//!
//! Modules use those that stand before them here, never the other way, and inside of a module neither do files form a
//! circle: [`error`], `memory`, [`parallel`], [`vectors`]; [`color`]; [`graph`], in which the solvers use the graph; [`interpolation`]; [`levels`];
//! [`windows`]; [`search`], [`game`], [`explore`]; `models`, whose scores are those of [`search`]; and `python`, the border, which uses all
//! of them and which nothing uses.

pub mod color;
pub mod error;
pub mod explore;
pub mod game;
pub mod graph;
pub mod interpolation;
pub mod levels;
mod memory;
#[cfg(feature = "models")]
pub mod models;
pub mod parallel;
pub mod search;
pub mod vectors;
pub mod windows;

#[cfg(feature = "python")]
mod python;

pub use error::{Error, Result};
