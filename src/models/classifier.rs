//! What a native classifier can do, and the classes of ImageNet.

use ndarray::{Array2, Array3, ArrayView3, ArrayView4};

use super::preprocess::Preprocessing;
use super::vit::VisionTransformer;
use crate::error::Result;

/// An image classifier: preprocessing, class names and logits. What [`crate::models::load`] gives is one; so is any of one's own:
///
/// ```
/// use interpix::models::{Classifier, Preprocessing};
/// use ndarray::{Array2, Array4, ArrayView4};
///
/// struct Brightness(Preprocessing);
///
/// impl Classifier for Brightness {
///     fn name(&self) -> &str {
///         "brightness"
///     }
///     fn preprocessing(&self) -> &Preprocessing {
///         &self.0
///     }
///     fn classes(&self) -> usize {
///         2
///     }
///     fn class_names(&self) -> Option<&[String]> {
///         None
///     }
///     fn logits(&self, batch: ArrayView4<'_, f32>) -> interpix::Result<Array2<f32>> {
///         Ok(Array2::from_shape_fn((batch.dim().0, 2), |(row, class)| class as f32 * batch[[row, 0, 0, 0]]))
///     }
/// }
///
/// let model = Brightness(interpix::models::preprocessing("resnet18")?);
/// assert_eq!(model.input_size(), (224, 224));
/// assert_eq!(model.logits(Array4::from_elem((1, 3, 1, 1), 2.0).view())?, ndarray::array![[0.0, 2.0]]);
/// # Ok::<(), interpix::Error>(())
/// ```
pub trait Classifier: Send + Sync {
    /// The name, which is also that of the checkpoint.
    fn name(&self) -> &str;

    /// What is done to a photo before the network sees it.
    fn preprocessing(&self) -> &Preprocessing;

    /// The number of classes.
    fn classes(&self) -> usize;

    /// The name of each class, where they are known.
    fn class_names(&self) -> Option<&[String]>;

    /// Whether each class is a label of its own, there or not (a sigmoid), and not one of many (a softmax).
    fn independent(&self) -> bool {
        false
    }

    /// Logits (B, classes) of a preprocessed batch (B, 3, H, W).
    ///
    /// # Errors
    /// [`crate::Error::Argument`] for another shape, [`crate::Error::Model`] if the network fails.
    fn logits(&self, batch: ArrayView4<'_, f32>) -> Result<Array2<f32>>;

    /// Height and width of the image that the network sees.
    fn input_size(&self) -> (usize, usize) {
        self.preprocessing().crop
    }

    /// The same network as one that can be asked about some of its tokens, if it is a Vision Transformer.
    fn transformer(&self) -> Option<&VisionTransformer> {
        None
    }

    /// An RGB photo (H, W, 3) as the network's normalized input (3, h, w).
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the photo is empty or has other than three channels.
    fn preprocess(&self, photo: ArrayView3<'_, u8>) -> Result<Array3<f32>> {
        self.preprocessing().apply(photo)
    }

    /// The part of an RGB photo (H, W, 3) that the network sees, at the size at which it sees it: (h, w, 3).
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the photo is empty or has other than three channels.
    fn display(&self, photo: ArrayView3<'_, u8>) -> Result<Array3<u8>> {
        self.preprocessing().crop(photo)
    }
}

/// The names of ImageNet-1k's 1000 classes, in the usual order (sorted by `WordNet` id).
///
/// ```
/// assert_eq!(interpix::models::imagenet_classes()[967], "espresso");
/// ```
pub fn imagenet_classes() -> &'static [&'static str] {
    static NAMES: std::sync::LazyLock<Vec<&'static str>> =
        std::sync::LazyLock::new(|| include_str!("imagenet_classes.txt").lines().collect());
    &NAMES
}
