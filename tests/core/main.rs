//! Integration tests of the Rust interface, one module for each subject.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::float_cmp, reason = "what must be equal to the last bit is compared so")]
#[cfg(feature = "models")]
mod checkpoint;
mod color;
mod explore;
mod game;
mod graph;
mod interpolation;
mod memory;
#[cfg(feature = "models")]
mod models;
mod search;
mod tables;
mod windows;
