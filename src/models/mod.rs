//! Native classifiers on candle: from a photo's pixels to logits with no Python and no torch.
//!
//! ```text
//! uint8 photo ──preprocess──► f32 image ──masked──► batch of coalitions ──classifier──► logits ──► scores
//!                                                                            ▲
//!                                             checkpoint ◄── safetensors or torch's old pickle
//! ```

mod architectures;
mod checkpoint;
mod classifier;
mod config;
mod efficientnet_lite;
mod header;
mod inverted_residual;
mod kernels;
mod load;
mod masked;
mod mobilenet_v2;
mod network;
mod nhwc;
mod preprocess;
mod resnet;
mod steps;
mod tensors;
mod unpickle;
mod vit;
mod weights;

pub use architectures::{architectures, check_architecture, preprocessing};
pub use checkpoint::Checkpoint;
pub use classifier::{Classifier, imagenet_classes};
pub use load::{load, load_file};
pub use masked::{MaskedImages, log_odds, logits, predict, score};
pub use preprocess::{Filter, Preprocessing, Resize, Rounding, resize_bicubic};
pub use steps::{Candidate, Reward, Step};
pub use vit::{Tokens, VisionTransformer};
