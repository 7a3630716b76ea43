//! What `config.json` says of a model: timm's, or transformers' with `preprocessor_config.json` beside it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::architectures::{Architecture, cropped};
use super::mobilenet_v2;
use super::nhwc::Padding;
use super::preprocess::{Filter, Preprocessing, Resize};
use super::resnet::Shape;
use super::vit::Options;
use crate::error::{Error, Result};

/// Bytes of a configuration that is read; the names of 21,841 classes take 1.5 million.
const MAX_CONFIG: u64 = 16 << 20;

/// A model as its folder describes it.
pub(super) struct Described {
    pub(super) name: String,
    pub(super) architecture: Architecture,
    pub(super) preprocessing: Preprocessing,
    pub(super) class_names: Option<Vec<String>>,
}

/// A configuration and the file that it stands in.
struct Config {
    file: String,
    values: Value,
}

/// Reads the configuration in `folder`.
///
/// # Errors
/// [`Error::Io`] if it is not there, [`Error::Model`] if it is damaged or says what is not known here.
pub(super) fn read(folder: &Path) -> Result<Described> {
    let config = Config::read(&folder.join("config.json"))?;
    if config.values.get("model_type").is_some() {
        let prepared = folder.join("preprocessor_config.json");
        return transformers(&config, &Config::read(&prepared)?);
    }
    timm(&config)
}

impl Config {
    fn read(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = path.display().to_string();
        let size = fs::metadata(path).map_err(io)?.len();
        let this = |values| Self { file, values };
        if size > MAX_CONFIG {
            return Err(this(Value::Null)
                .fail(&format!("it has {size} bytes, more than the {MAX_CONFIG} that are read")));
        }
        match serde_json::from_slice::<Value>(&fs::read(path).map_err(io)?) {
            Ok(values) if values.is_object() => Ok(this(values)),
            Ok(_) => Err(this(Value::Null).fail("it is no JSON object")),
            Err(error) => Err(this(Value::Null).fail(&format!("it is no JSON ({error})"))),
        }
    }

    fn fail(&self, message: &str) -> Error {
        Error::Model { model: self.file.clone(), message: message.to_owned() }
    }

    fn expected(&self, field: &str, expected: &str) -> Error {
        let got = self.at(field).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let got: String = got.chars().take(80).collect();
        self.fail(&format!("`{field}`: expected {expected}, got {got}"))
    }

    /// The field of this path, as `pretrained_cfg.mean`; nothing if it is null.
    fn at(&self, field: &str) -> Option<&Value> {
        field
            .split('.')
            .try_fold(&self.values, |value, name| value.get(name))
            .filter(|value| !value.is_null())
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.at(field)?.as_str()
    }

    /// A number of pixels or parts.
    fn count(&self, field: &str) -> Result<Option<usize>> {
        let Some(value) = self.at(field) else { return Ok(None) };
        let count = value.as_u64().filter(|count| (1..=1 << 20).contains(count));
        count
            .map(|count| Some(count as usize))
            .ok_or_else(|| self.expected(field, "a number from 1 to 1048576"))
    }

    fn number(&self, field: &str, otherwise: f64) -> Result<f64> {
        let Some(value) = self.at(field) else { return Ok(otherwise) };
        value.as_f64().filter(|&number| number > 0.0).ok_or_else(|| self.expected(field, "a positive number"))
    }

    fn flag(&self, field: &str, otherwise: bool) -> bool {
        self.at(field).and_then(Value::as_bool).unwrap_or(otherwise)
    }

    fn colors(&self, field: &str, otherwise: [f32; 3]) -> Result<[f32; 3]> {
        let Some(value) = self.at(field) else { return Ok(otherwise) };
        let numbers: Option<Vec<f32>> = value
            .as_array()
            .and_then(|values| values.iter().map(|value| Some(value.as_f64()? as f32)).collect());
        let colors = numbers.and_then(|numbers| <[f32; 3]>::try_from(numbers).ok());
        colors.ok_or_else(|| self.expected(field, "three numbers"))
    }

    /// Height and width, from one number, two, or those that follow the channels.
    fn size(&self, field: &str) -> Result<Option<(usize, usize)>> {
        let Some(value) = self.at(field) else { return Ok(None) };
        let sides: Vec<usize> = match value {
            Value::Array(values) => {
                values.iter().filter_map(Value::as_u64).map(|side| side as usize).collect()
            }
            Value::Object(sides) => ["height", "width"]
                .iter()
                .filter_map(|name| Some(sides.get(*name)?.as_u64()? as usize))
                .collect(),
            one => one.as_u64().map(|side| side as usize).into_iter().collect(),
        };
        let size = match sides[..] {
            [side] => (side, side),
            [height, width] | [_, height, width] => (height, width),
            _ => (0, 0),
        };
        let sane = 1..=1 << 14;
        if sane.contains(&size.0) && sane.contains(&size.1) {
            return Ok(Some(size));
        }
        Err(self.expected(field, "height and width in pixels"))
    }

    fn names(&self, field: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = self.at(field) else { return Ok(None) };
        let names: Option<Vec<String>> = value
            .as_array()
            .and_then(|names| names.iter().map(|name| Some(name.as_str()?.to_owned())).collect());
        names.map(Some).ok_or_else(|| self.expected(field, "a list of names"))
    }
}

fn timm(config: &Config) -> Result<Described> {
    let named = config.text("architecture").or_else(|| config.text("pretrained_cfg.architecture"));
    let name = named.ok_or_else(|| config.expected("architecture", "the name of a timm architecture"))?;
    // Newer files have what the weights were made with in a part of its own.
    let place = if config.at("pretrained_cfg").is_some() { "pretrained_cfg." } else { "" };
    let field = |name: &str| format!("{place}{name}");
    let (mut architecture, usual) =
        Architecture::named(name).map_err(|error| config.fail(&error.to_string()))?;
    let size = match config.size("model_args.img_size")? {
        Some(size) => Some(size),
        None => config.size(&field("input_size"))?,
    };
    let size = size.unwrap_or(usual.crop);
    if let Architecture::Transformer(options) = &mut architecture {
        options.image = size;
        options.heads = config.count("model_args.num_heads")?.or(options.heads);
        let pool = config.text("model_args.global_pool").or_else(|| config.text("global_pool"));
        match pool {
            None => {}
            Some("token") => options.mean = false,
            Some("avg") => options.mean = true,
            Some(_) => return Err(config.expected("global_pool", r#""token" or "avg""#)),
        }
    }
    let filter = match config.text(&field("interpolation")) {
        None | Some("bicubic") => Filter::Bicubic,
        Some("bilinear") => Filter::Bilinear,
        Some("lanczos") => Filter::Lanczos,
        Some(_) => return Err(config.expected(&field("interpolation"), "bilinear, bicubic or lanczos")),
    };
    let colors = (
        config.colors(&field("mean"), usual.mean.map(|mean| mean / 255.0))?,
        config.colors(&field("std"), usual.scale.map(|scale| scale / 255.0))?,
    );
    let part = config.number(&field("crop_pct"), 0.875)?;
    let mut preprocessing = cropped(size, part, filter, colors);
    match config.text(&field("crop_mode")) {
        None | Some("center") => {}
        Some("squash") => {
            let side = |length: usize| (length as f64 / part).floor() as usize;
            preprocessing.resize = Resize::Exact(side(size.0), side(size.1));
        }
        Some(_) => return Err(config.expected(&field("crop_mode"), "center or squash")),
    }
    checked(config, &preprocessing)?;
    let class_names = match config.names("label_names")? {
        Some(names) => Some(names),
        None => config.names(&field("label_names"))?,
    };
    Ok(Described { name: name.to_owned(), architecture, preprocessing, class_names })
}

/// Refuses to cut out more than there is.
fn checked(config: &Config, preprocessing: &Preprocessing) -> Result<()> {
    let (height, width) = preprocessing.crop;
    let fits = match preprocessing.resize {
        Resize::Short(side) => height.max(width) <= side,
        Resize::Cover(tall, wide) | Resize::Exact(tall, wide) => height <= tall && width <= wide,
    };
    let positive = |scale: &f32| scale.is_finite() && *scale > 0.0;
    if !preprocessing.scale.iter().all(positive) || !preprocessing.mean.iter().all(|mean| mean.is_finite()) {
        return Err(config.fail("`std`: expected three positive numbers, to divide by"));
    }
    if fits {
        return Ok(());
    }
    Err(config.fail(&format!("a crop of {height} x {width} is larger than the photo after its resize")))
}

fn transformers(config: &Config, prepared: &Config) -> Result<Described> {
    let kind = config.text("model_type").unwrap_or_default();
    let preprocessing = prepare(prepared)?;
    let architecture = match kind {
        "vit" | "deit" => {
            for (field, expected) in [("hidden_act", "gelu"), ("pooler_act", "tanh")] {
                if config.text(field).is_some_and(|got| got != expected) {
                    return Err(config.expected(field, &format!("{expected:?}")));
                }
            }
            let heads = config.count("num_attention_heads")?.unwrap_or(12);
            let image = config.size("image_size")?.unwrap_or((224, 224));
            let epsilon = config.number("layer_norm_eps", 1e-12)? as f32;
            Architecture::Transformer(Options { image, heads: Some(heads), mean: false, epsilon })
        }
        "resnet" => {
            if config.text("hidden_act").is_some_and(|act| act != "relu") {
                return Err(config.expected("hidden_act", r#""relu""#));
            }
            for field in ["downsample_in_first_stage", "downsample_in_bottleneck"] {
                if config.flag(field, false) {
                    return Err(config.expected(field, "false"));
                }
            }
            let depths = config.at("depths").and_then(Value::as_array).map_or_else(
                || vec![3, 4, 6, 3],
                |depths| depths.iter().filter_map(Value::as_u64).map(|depth| depth as usize).collect(),
            );
            let depths = <[usize; 4]>::try_from(depths)
                .ok()
                .filter(|depths| depths.iter().all(|d| (1..100).contains(d)));
            let depths = depths.ok_or_else(|| config.expected("depths", "four numbers of blocks"))?;
            Architecture::ResNet(Shape::new(depths, config.text("layer_type") != Some("basic")))
        }
        "mobilenet_v2" => {
            if config.text("hidden_act").is_some_and(|act| act != "relu6") {
                return Err(config.expected("hidden_act", r#""relu6""#));
            }
            if config.number("output_stride", 32.0)? < 32.0 {
                return Err(config.expected("output_stride", "32"));
            }
            let mut plan = mobilenet_v2::plan();
            plan.epsilon = config.number("layer_norm_eps", 1e-3)? as f32;
            if config.flag("tf_padding", true) {
                plan.padding = Padding::Same;
            }
            Architecture::MobileNetV2(plan)
        }
        _ => return Err(config.expected("model_type", "vit, deit, resnet or mobilenet_v2")),
    };
    let name = config.text("_name_or_path").filter(|name| !name.is_empty()).unwrap_or(kind).to_owned();
    Ok(Described { name, architecture, preprocessing, class_names: labels(config)? })
}

/// What transformers' image processor does.
fn prepare(config: &Config) -> Result<Preprocessing> {
    for field in ["do_resize", "do_rescale", "do_normalize"] {
        if !config.flag(field, true) {
            return Err(config.expected(field, "true"));
        }
    }
    let kind = config.text("image_processor_type").or_else(|| config.text("feature_extractor_type"));
    let kind = kind.unwrap_or("ViTImageProcessor").trim_end_matches("Fast");
    let rescale = config.number("rescale_factor", 1.0 / 255.0)?;
    let filter = match config.at("resample").map(Value::as_u64) {
        None if kind.starts_with("DeiT") || kind.starts_with("ConvNext") => Filter::Bicubic,
        None | Some(Some(2)) => Filter::Bilinear,
        Some(Some(3)) => Filter::Bicubic,
        Some(Some(1)) => Filter::Lanczos,
        Some(_) => return Err(config.expected("resample", "1, 2 or 3")),
    };
    let (mean, deviation) = (config.colors("image_mean", [0.5; 3])?, config.colors("image_std", [0.5; 3])?);
    let short = config.count("size.shortest_edge")?;
    let (resize, crop) = if let (Some(side), "ConvNextImageProcessor" | "ConvNextFeatureExtractor") =
        (short, kind)
    {
        // Small ones are cropped, large ones are squashed.
        let part = config.number("crop_pct", 224.0 / 256.0)?;
        let resize =
            if side < 384 { Resize::Short((side as f64 / part) as usize) } else { Resize::Exact(side, side) };
        (resize, (side, side))
    } else {
        let resize = match short {
            Some(side) => Resize::Short(side),
            None => match config.size("size")? {
                Some((height, width)) => Resize::Exact(height, width),
                None => return Err(config.expected("size", "height and width, or the shortest edge")),
            },
        };
        let crop = if config.flag("do_center_crop", false) { config.size("crop_size")? } else { None };
        match (crop, resize) {
            (Some(crop), _) => (resize, crop),
            (None, Resize::Exact(height, width)) => (resize, (height, width)),
            _ => return Err(config.expected("crop_size", "height and width")),
        }
    };
    let units = rescale as f32;
    let preprocessing = Preprocessing {
        resize,
        filter,
        crop,
        mean: mean.map(|mean| mean / units),
        scale: deviation.map(|one| one / units),
    };
    checked(config, &preprocessing)?;
    Ok(preprocessing)
}

/// The names of classes 0, 1, 2, ...; nothing if they are placeholders.
fn labels(config: &Config) -> Result<Option<Vec<String>>> {
    let Some(labels) = config.at("id2label").and_then(Value::as_object) else { return Ok(None) };
    let names: Option<Vec<String>> =
        (0..labels.len()).map(|class| Some(labels.get(&class.to_string())?.as_str()?.to_owned())).collect();
    let names = names.ok_or_else(|| config.expected("id2label", "a name for each class from 0 on"))?;
    Ok(Some(names).filter(|names| names.first().is_none_or(|name| name != "LABEL_0")))
}
