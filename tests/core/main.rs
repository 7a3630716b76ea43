//! Integration tests of the Rust interface, one module for each subject.
mod game;
mod graph;
#[cfg(feature = "models")]
mod models;
mod search;
