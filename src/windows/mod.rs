//! Convolutional networks in windows: what torch lacks, or does slowly, for candidates that differ from a base picture
//! in one small region each.
//!
//! The maps of a layer are one table with a row, the channels of a pixel, for each pixel: those of the base map, and those
//! of the window of each candidate that can differ from it ([`WindowMaps`]). From these come
//!
//! * [`gather`]: the inputs of any layer, put together from window, base map and padding;
//! * [`transform_tiles`] and [`transform_products`]: what comes before and after the matrix products of a 3 x 3 convolution
//!   by Winograd's F(4 x 4, 3 x 3). With the 6 x 6 inputs `d` of a tile, the kernel `g` and `*` for each place on its own,
//!   summed over the input channels,
//!
//! ```text
//! y = base's y + A' ((G g G') * (B' (d - base's d) B)) A
//! ```
//!
//! which has 36 products for 16 outputs instead of 144.
//!
//! Source: Lavin and Gray, *Fast Algorithms for Convolutional Neural Networks*, CVPR 2016, section 4, points 0, 1, -1, 2
//! and -2. Departure: only the difference from the base map is transformed. It is zero outside of the window, so padding
//! and base map need not be gathered; and rounding, which this transform amplifies, is relative to the difference, so
//! that bfloat16 does.

mod gather;
mod maps;
mod transforms;
mod winograd;

pub use gather::gather;
pub use maps::WindowMaps;
pub use transforms::{Number, PLACES};
pub use winograd::{transform_products, transform_tiles};
