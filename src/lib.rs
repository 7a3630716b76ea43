//! Which pixels, *together*, made an image classifier say that?
//!
//! ```text
//! image ──► color ──► graph ──► propagated attribution map      (IProp)
//!                       ▲
//!              any attribution map
//!                       ▲
//! image ──► regions ─► search ◄──► model with absence ──► group  (MoXI)
//! ```
//!
//! [`windows`] has what a convolutional network needs to see only where candidates differ; its products are the caller's.

pub mod color;
pub mod error;
pub mod game;
pub mod graph;
pub mod interpolation;
#[cfg(feature = "models")]
pub mod models;
pub mod parallel;
pub mod search;
pub mod windows;

#[cfg(feature = "python")]
mod python;

pub use error::{Error, Result};
