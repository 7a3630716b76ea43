//! Integration tests of the Rust interface, one module for each subject.
mod game;
#[cfg(feature = "models")]
mod models;
mod search;
