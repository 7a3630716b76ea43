//! The Vision Transformers that timm and torchvision have, by name: what the file of their weights does not tell.

use super::super::architectures::{CLIP, Colors, HALF, IMAGENET, Photos};
use super::super::preprocess::Filter;
use super::{Options, Part};

/// Width, depth and heads.
type Shape = (usize, usize, usize);
const BASE: Shape = (768, 12, 12);
const LARGE: Shape = (1024, 24, 16);
const HUGE: Shape = (1280, 32, 16);
/// torchvision's names, each with the side of the photo that is cut from, and how that is resized.
const TORCHVISION: [(&str, Shape, f64, Filter); 5] = [
    ("vit_b_16", BASE, 256.0, Filter::Bilinear),
    ("vit_b_32", BASE, 256.0, Filter::Bilinear),
    ("vit_l_16", LARGE, 242.0, Filter::Bilinear),
    ("vit_l_32", LARGE, 256.0, Filter::Bilinear),
    // Of the two that it has, those for pictures of this size.
    ("vit_h_14", HUGE, 224.0, Filter::Bicubic),
];

/// timm's names, each with the part of a photo that is cut out, and its colors: those of the weights that timm's
/// `create_model(name, pretrained=True)` has. The image's side is the last word.
const TIMM: [(&str, f64, Colors); 66] = [
    ("vit_tiny_patch16_224", 0.9, HALF),
    ("vit_tiny_patch16_384", 1.0, HALF),
    ("vit_small_patch8_224", 0.9, IMAGENET),
    ("vit_small_patch16_224", 0.9, HALF),
    ("vit_small_patch16_384", 1.0, HALF),
    ("vit_small_patch32_224", 0.9, HALF),
    ("vit_small_patch32_384", 1.0, HALF),
    ("vit_base_patch8_224", 0.9, HALF),
    ("vit_base_patch16_224", 0.9, HALF),
    ("vit_base_patch16_384", 1.0, HALF),
    ("vit_base_patch32_224", 0.9, HALF),
    ("vit_base_patch32_384", 1.0, HALF),
    ("vit_large_patch14_224", 0.9, HALF),
    ("vit_large_patch16_224", 0.9, HALF),
    ("vit_large_patch16_384", 1.0, HALF),
    ("vit_large_patch32_224", 0.9, HALF),
    ("vit_large_patch32_384", 1.0, HALF),
    ("vit_huge_patch14_224", 0.9, HALF),
    ("vit_giant_patch14_224", 0.9, HALF),
    ("vit_medium_patch16_clip_224", 0.9, CLIP),
    ("vit_medium_patch32_clip_224", 0.9, CLIP),
    ("vit_betwixt_patch32_clip_224", 0.9, CLIP),
    ("vit_base_patch16_clip_224", 0.95, CLIP),
    ("vit_base_patch16_clip_384", 1.0, CLIP),
    ("vit_base_patch32_clip_224", 0.9, CLIP),
    ("vit_base_patch32_clip_256", 1.0, CLIP),
    ("vit_base_patch32_clip_384", 1.0, CLIP),
    ("vit_base_patch32_clip_448", 1.0, CLIP),
    ("vit_large_patch14_clip_224", 1.0, HALF),
    ("vit_large_patch14_clip_336", 1.0, HALF),
    ("vit_huge_patch14_clip_224", 1.0, CLIP),
    ("vit_huge_patch14_clip_336", 1.0, CLIP),
    ("vit_huge_patch14_clip_378", 1.0, CLIP),
    ("vit_giant_patch14_clip_224", 1.0, CLIP),
    ("vit_medium_patch16_gap_240", 0.95, HALF),
    ("vit_medium_patch16_gap_256", 0.95, HALF),
    ("vit_medium_patch16_gap_384", 0.95, HALF),
    ("vit_betwixt_patch16_gap_256", 0.95, HALF),
    ("vit_base_patch16_gap_224", 0.9, HALF),
    ("vit_huge_patch14_gap_224", 0.9, IMAGENET),
    ("vit_huge_patch16_gap_448", 1.0, IMAGENET),
    ("vit_giant_patch16_gap_224", 0.9, IMAGENET),
    ("vit_little_patch16_reg1_gap_256", 0.95, HALF),
    ("vit_little_patch16_reg4_gap_256", 0.95, HALF),
    ("vit_medium_patch16_reg1_gap_256", 0.95, HALF),
    ("vit_medium_patch16_reg4_gap_256", 0.95, HALF),
    ("vit_betwixt_patch16_reg1_gap_256", 0.95, HALF),
    ("vit_betwixt_patch16_reg4_gap_256", 0.95, HALF),
    ("vit_betwixt_patch16_reg4_gap_384", 1.0, HALF),
    ("vit_base_patch16_reg4_gap_256", 0.9, HALF),
    ("deit_tiny_patch16_224", 0.9, IMAGENET),
    ("deit_small_patch16_224", 0.9, IMAGENET),
    ("deit_base_patch16_224", 0.9, IMAGENET),
    ("deit_base_patch16_384", 1.0, IMAGENET),
    ("deit_tiny_distilled_patch16_224", 0.9, IMAGENET),
    ("deit_small_distilled_patch16_224", 0.9, IMAGENET),
    ("deit_base_distilled_patch16_224", 0.9, IMAGENET),
    ("deit_base_distilled_patch16_384", 1.0, IMAGENET),
    ("deit3_small_patch16_224", 0.9, IMAGENET),
    ("deit3_small_patch16_384", 1.0, IMAGENET),
    ("deit3_medium_patch16_224", 0.9, IMAGENET),
    ("deit3_base_patch16_224", 0.9, IMAGENET),
    ("deit3_base_patch16_384", 1.0, IMAGENET),
    ("deit3_large_patch16_224", 0.9, IMAGENET),
    ("deit3_large_patch16_384", 1.0, IMAGENET),
    ("deit3_huge_patch14_224", 0.9, IMAGENET),
];
/// Of these, timm squashes the photo to a square.
const SQUASHED: [&str; 4] = [
    "vit_base_patch16_clip_384",
    "vit_large_patch14_clip_336",
    "vit_huge_patch14_clip_336",
    "vit_medium_patch16_gap_384",
];

/// All names.
pub(in crate::models) fn names() -> impl Iterator<Item = &'static str> {
    TIMM.into_iter().map(|(name, ..)| name).chain(TORCHVISION.into_iter().map(|(name, ..)| name))
}

/// The Vision Transformer that timm or torchvision calls `name`, and how its photos are prepared.
pub(in crate::models) fn named(name: &str) -> Option<(Options, Photos)> {
    if let Some(&(_, shape, side, filter)) = TORCHVISION.iter().find(|(known, ..)| *known == name) {
        let photos = Photos { filter, ..Photos::of((224, 224), 224.0 / side, IMAGENET) };
        return Some((Options { epsilon: 1e-6, ..Options::new((224, 224), shape) }, photos));
    }
    let &(name, part, colors) = TIMM.iter().find(|(known, ..)| *known == name)?;
    let options = timm(name);
    let photos = Photos { squash: SQUASHED.contains(&name), ..Photos::of(options.image, part, colors) };
    Some((options, photos))
}

/// What timm's functions in `vision_transformer.py` and `deit.py` say of `name`.
fn timm(name: &'static str) -> Options {
    let words: Vec<&str> = name.split('_').collect();
    let has = |word: &str| words.contains(&word);
    let side = words.last().and_then(|side| side.parse().ok()).expect("the last word is a number of pixels");
    let size = words[1];
    let shape = match size {
        "tiny" => (192, 12, 3),
        "little" => (320, 14, 5),
        "small" => (384, 12, 6),
        "medium" => (512, 12, 8),
        "betwixt" => (640, 12, 10),
        // It has more heads than others of its width.
        "base" if name == "vit_base_patch16_gap_224" => (768, 12, 16),
        "base" => BASE,
        "large" => LARGE,
        "huge" => HUGE,
        _ => (1408, 40, 16),
    };
    let registers = words.iter().find_map(|word| word.strip_prefix("reg")?.parse().ok()).unwrap_or(0);
    let mut options =
        Options { registers, mean: has("gap"), epsilon: 1e-6, ..Options::new((side, side), shape) };
    options.set(Part::DistillationToken, has("distilled"));
    options.set(Part::SecondHead, has("distilled"));
    options.set(Part::PatchPositionsOnly, has("deit3") || registers > 0);
    // CLIP's towers; their layer norm has torch's own epsilon.
    if has("clip") {
        options.epsilon = 1e-5;
        options.set(Part::NormBefore, true);
        options.set(Part::PatchBias, false);
    }
    let middling = ["little", "medium", "betwixt"].contains(&size);
    options.set(Part::Scales, has("deit3") || has("gap") && middling);
    if has("gap") {
        options.set(Part::ClassToken, false);
        options.set(Part::QkvBias, !middling || registers > 0);
        // With registers, the last norm comes after the mean.
        options.set(Part::NormBeforeMean, registers == 0);
        options.set(Part::Norm, registers == 0);
        options.set(Part::NormOfMean, registers > 0);
    }
    options
}
