//! What networks are made of, on plain slices of numbers.

mod attention;
mod convolution;
mod functions;
mod norm;
mod products;

pub(super) use attention::{Attention, attend};
pub(super) use convolution::{Convolution, Maps, max_pool, mean_over_pixels};
pub(super) use norm::LayerNorm;
pub(super) use products::{After, Matrix, Rows, task_rows};
