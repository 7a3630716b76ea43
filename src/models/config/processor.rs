//! transformers' `preprocessor_config.json`: what its image processors do to a photo.

use serde_json::json;

use super::values::{CORRECT, Config, IN_TORCH};
use super::{COLORS, DEVIATIONS, checked};
use crate::error::Result;
use crate::models::preprocess::{Filter, MAX_SIDE, Preprocessing, Resize, Rounding};

/// Pictures with a shorter edge than this are cropped by `ConvNextImageProcessor`, others squashed.
const SQUASHED_FROM: usize = 384;
/// What is read, and what changes no photo.
const READ: [&str; 24] = [
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "_processor_class",
    "_valid_processor_keys",
    "do_resize",
    "size",
    "default_to_square",
    "resample",
    "do_center_crop",
    "crop_size",
    "crop_pct",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
    "do_convert_rgb",
    "do_pad",
    "do_reduce_labels",
    "data_format",
    "input_data_format",
    "device",
    "disable_grouping",
];

/// An image processor, and what it does where its file does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ViT,
    DeiT,
    ConvNext,
    MobileNetV2,
}

/// What the field `size` says.
enum Size {
    Sides(usize, usize),
    Shortest(usize),
}

impl Kind {
    /// The processor that `config` names, or that of the models `model_type`.
    fn of(config: &Config, model_type: &str) -> Result<Self> {
        let field = ["image_processor_type", "feature_extractor_type"];
        let mut named = None;
        for field in field {
            if let (None, Some(name)) = (named, config.text(field)?) {
                named = Some((field, name));
            }
        }
        let Some((field, name)) = named else {
            return Ok(match model_type {
                "resnet" => Self::ConvNext,
                "mobilenet_v2" => Self::MobileNetV2,
                "deit" => Self::DeiT,
                _ => Self::ViT,
            });
        };
        let of_class = ["ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor"];
        let kind = of_class.iter().find_map(|class| name.strip_suffix(class));
        match kind {
            Some("ViT") => Ok(Self::ViT),
            Some("DeiT") => Ok(Self::DeiT),
            Some("ConvNext") => Ok(Self::ConvNext),
            Some("MobileNetV2") => Ok(Self::MobileNetV2),
            _ => {
                let names = "the ImageProcessor of ViT, DeiT, ConvNext or MobileNetV2";
                Err(config.expected(field, names, IN_TORCH))
            }
        }
    }

    fn filter(self) -> Filter {
        match self {
            Self::ViT | Self::MobileNetV2 => Filter::Bilinear,
            Self::DeiT | Self::ConvNext => Filter::Bicubic,
        }
    }

    fn size(self) -> Size {
        match self {
            Self::ViT => Size::Sides(224, 224),
            Self::DeiT => Size::Sides(256, 256),
            Self::ConvNext => Size::Shortest(384),
            Self::MobileNetV2 => Size::Shortest(256),
        }
    }

    /// Whether a single number is both sides; else it is the shortest edge.
    fn square(self) -> bool {
        matches!(self, Self::ViT | Self::DeiT)
    }

    fn crops(self) -> bool {
        matches!(self, Self::DeiT | Self::MobileNetV2)
    }
}

/// What the image processor of `config`, which comes with models `model_type`, does.
pub(super) fn prepare(config: &Config, model_type: &str) -> Result<Preprocessing> {
    let kind = Kind::of(config, model_type)?;
    for field in config.fields("")? {
        if !READ.contains(&field) {
            return Err(config.expected(field, "nothing, as no native model follows it", IN_TORCH));
        }
    }
    for field in ["do_resize", "do_rescale", "do_normalize"] {
        config.only(field, &json!(true))?;
    }
    config.only("do_pad", &json!(false))?;
    config.only("data_format", &json!("channels_first"))?;
    let filter = match config.count_or_none("resample")? {
        None => kind.filter(),
        Some(1) => Filter::Lanczos,
        Some(2) => Filter::Bilinear,
        Some(3) => Filter::Bicubic,
        Some(_) => return Err(config.expected("resample", "1, 2 or 3", IN_TORCH)),
    };
    let (mean, deviation) = (config.colors("image_mean", COLORS)?, config.colors("image_std", DEVIATIONS)?);
    let units = config.number("rescale_factor", (1e-6, 1e6))?.unwrap_or(1.0 / 255.0) as f32;
    let (resize, crop) = geometry(config, kind)?;
    let preprocessing = Preprocessing {
        resize,
        filter,
        crop,
        rounding: Rounding::Down,
        mean: mean.unwrap_or([0.5; 3]).map(|mean| mean / units),
        scale: deviation.unwrap_or([0.5; 3]).map(|one| one / units),
    };
    checked(config, "`size`, `crop_size`, `crop_pct`, `image_mean` and `image_std`", preprocessing)
}

/// The resize and the crop.
fn geometry(config: &Config, kind: Kind) -> Result<(Resize, (usize, usize))> {
    let size = size(config, kind)?;
    if kind == Kind::ConvNext {
        config.only("do_center_crop", &json!(false))?;
        let Size::Shortest(side) = size else {
            return Err(config.expected("size", "the shortest edge", CORRECT));
        };
        // Small ones are cropped, large ones are squashed.
        let part = config.number("crop_pct", (1e-3, 1.0))?.unwrap_or(224.0 / 256.0);
        let small = side < SQUASHED_FROM;
        let resize =
            if small { Resize::Short((side as f64 / part) as usize) } else { Resize::Exact(side, side) };
        return Ok((resize, (side, side)));
    }
    if config.at("crop_pct")?.is_some() {
        return Err(config.expected("crop_pct", "nothing, but of ConvNext's processor", IN_TORCH));
    }
    let resize = match size {
        Size::Shortest(side) => Resize::Short(side),
        Size::Sides(height, width) => Resize::Exact(height, width),
    };
    let crop = if config.flag("do_center_crop")?.unwrap_or(kind.crops()) {
        Some(config.size("crop_size")?.unwrap_or((224, 224)))
    } else {
        None
    };
    match (crop, resize) {
        (Some(crop), _) => Ok((resize, crop)),
        (None, Resize::Exact(height, width)) => Ok((resize, (height, width))),
        _ => {
            Err(config.expected("do_center_crop", "true, as a shortest edge leaves one side open", IN_TORCH))
        }
    }
}

fn size(config: &Config, kind: Kind) -> Result<Size> {
    let Some(value) = config.at("size")? else { return Ok(kind.size()) };
    if value.is_object() {
        let mut keys = config.fields("size")?;
        keys.sort_unstable();
        return match keys[..] {
            ["shortest_edge"] => Ok(Size::Shortest(config.count("size.shortest_edge")?.unwrap_or(MAX_SIDE))),
            ["height", "width"] => sides(config),
            _ => Err(config.expected("size", "height and width, or the shortest edge", IN_TORCH)),
        };
    }
    let square = config.flag("default_to_square")?.unwrap_or(kind.square());
    match config.count("size") {
        Ok(Some(side)) if !square => Ok(Size::Shortest(side)),
        _ => sides(config),
    }
}

fn sides(config: &Config) -> Result<Size> {
    let (height, width) = config.size("size")?.expect("it was seen to be there");
    Ok(Size::Sides(height, width))
}
