//! Native classifiers on candle: from a photo's pixels to logits with no Python and no torch.
//!
//! ```text
//! uint8 photo ──preprocess──► f32 image ──masked──► batch of coalitions ──classifier──► logits ──► scores
//!                                                                            ▲
//!                                             checkpoint ◄── safetensors or torch's old pickle
//! ```

mod checkpoint;
mod classifier;
mod efficientnet_lite;
mod kernels;
mod load;
mod masked;
mod nhwc;
mod preprocess;
mod tensors;
mod unpickle;

pub use checkpoint::Checkpoint;
pub use classifier::{Classifier, imagenet_classes};
pub use efficientnet_lite::EfficientNetLite0;
pub use load::{NAMES, load};
pub use masked::{MaskedImages, log_odds, logits};
pub use preprocess::{Preprocessing, resize_bicubic};
