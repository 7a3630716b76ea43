//! Integration tests of the Rust interface, one module for each subject.
mod game;
mod graph;
mod search;
