//! timm's `config.json`: `pretrained_cfg` tells how photos are prepared, `model_args` how the model is unlike its name's.

use serde_json::{Value, json};

use super::values::{CORRECT, Config, IN_TORCH};
use super::{COLORS, DEVIATIONS, Described, EPSILONS, checked};
use crate::error::Result;
use crate::models::architectures::{Architecture, IMAGENET, Photos};
use crate::models::inverted_residual::Plan;
use crate::models::nhwc::Padding;
use crate::models::preprocess::Filter;
use crate::models::vit::{Options, Part};

/// Of every architecture: what matters in training alone, and what the shapes of weights tell.
const ANY: [&str; 15] = [
    "num_classes",
    "drop_rate",
    "drop_path_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_block_rate",
    "weight_init",
    "fix_init",
    "zero_init_last",
    "bn_momentum",
    "global_pool",
    "in_chans",
    "pretrained",
];
/// The same of Vision Transformers, and what is read of them below.
const TRANSFORMERS: [&str; 15] = [
    "img_size",
    "patch_size",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "qkv_bias",
    "init_values",
    "class_token",
    "no_embed_class",
    "reg_tokens",
    "pre_norm",
    "fc_norm",
    "final_norm",
    "strict_img_size",
];
/// Of inverted residuals, what is read below.
const INVERTED_RESIDUALS: [&str; 2] = ["bn_eps", "pad_type"];

/// What may only be said as it is anyway.
fn usual(architecture: &Architecture) -> Vec<(&'static str, Value)> {
    match architecture {
        Architecture::Transformer(_) => vec![
            ("act_layer", json!("gelu")),
            ("qk_norm", json!(false)),
            ("scale_attn_norm", json!(false)),
            ("scale_mlp_norm", json!(false)),
            ("proj_bias", json!(true)),
            ("pos_embed", json!("learn")),
            ("pool_include_prefix", json!(false)),
            ("dynamic_img_size", json!(false)),
            ("dynamic_img_pad", json!(false)),
        ],
        Architecture::ResNet(_) => vec![
            ("output_stride", json!(32)),
            ("cardinality", json!(1)),
            ("base_width", json!(64)),
            ("stem_width", json!(64)),
            ("stem_type", json!("")),
            ("replace_stem_pool", json!(false)),
            ("block_reduce_first", json!(1)),
            ("down_kernel_size", json!(1)),
            ("avg_down", json!(false)),
            ("act_layer", json!("relu")),
            ("norm_layer", json!("batchnorm2d")),
        ],
        Architecture::MobileNetV2(_) | Architecture::EfficientNetLite(_) => {
            vec![
                ("output_stride", json!(32)),
                ("act_layer", json!("relu6")),
                ("norm_layer", json!("batchnorm2d")),
            ]
        }
    }
}

/// The model that `config` describes.
pub(super) fn read(config: &Config) -> Result<Described> {
    let named = match config.text("architecture")? {
        Some(name) => Some(name),
        None => config.text("pretrained_cfg.architecture")?,
    };
    let name =
        named.ok_or_else(|| config.expected("architecture", "the name of a timm architecture", CORRECT))?;
    // Newer files have what the weights were made with in a part of its own.
    let place = if config.at("pretrained_cfg")?.is_some() { "pretrained_cfg." } else { "" };
    let (mut architecture, photos) =
        Architecture::named(name).map_err(|error| config.fail(&error.to_string()))?;
    check_arguments(config, &architecture)?;
    let size = match config.size("model_args.img_size")? {
        Some(size) => Some(size),
        None => config.size(&format!("{place}input_size"))?,
    };
    let size = size.unwrap_or(photos.crop);
    match &mut architecture {
        Architecture::Transformer(options) => {
            options.image = size;
            transformer(config, place, options)?;
        }
        Architecture::ResNet(_) => only_mean(config, place)?,
        Architecture::MobileNetV2(plan) | Architecture::EfficientNetLite(plan) => {
            only_mean(config, place)?;
            inverted_residuals(config, plan)?;
        }
    }
    let class_names = match config.names("label_names")? {
        Some(names) => Some(names),
        None => config.names(&format!("{place}label_names"))?,
    };
    Ok(Described {
        name: name.to_owned(),
        architecture,
        preprocessing: checked(
            config,
            "`input_size`, `crop_pct`, `mean` and `std`",
            prepare(config, place, size)?.preprocessing(),
        )?,
        classes: match config.count("model_args.num_classes")? {
            Some(classes) => Some(classes),
            None => config.count("num_classes")?,
        },
        class_names,
        independent: false,
    })
}

/// Refuses arguments that are not followed.
fn check_arguments(config: &Config, architecture: &Architecture) -> Result<()> {
    let read: &[&str] = match architecture {
        Architecture::Transformer(_) => &TRANSFORMERS,
        Architecture::ResNet(_) => &[],
        Architecture::MobileNetV2(_) | Architecture::EfficientNetLite(_) => &INVERTED_RESIDUALS,
    };
    let usual = usual(architecture);
    for argument in config.fields("model_args")? {
        let field = format!("model_args.{argument}");
        if let Some((_, value)) = usual.iter().find(|(name, _)| *name == argument) {
            config.only(&field, value)?;
        } else if !ANY.contains(&argument) && !read.contains(&argument) {
            return Err(config.expected(&field, "nothing, as no native model follows it", IN_TORCH));
        }
    }
    config.only("model_args.in_chans", &json!(3))
}

/// What pools an answer: of the first place that says it.
fn pools<T: Copy>(config: &Config, place: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
    for field in
        ["model_args.global_pool".to_owned(), format!("{place}global_pool"), "global_pool".to_owned()]
    {
        if let Some(choice) = config.choice(&field, choices)? {
            return Ok(Some(choice));
        }
    }
    Ok(None)
}

fn only_mean(config: &Config, place: &str) -> Result<()> {
    pools(config, place, &[("avg", ())]).map(|_| ())
}

fn transformer(config: &Config, place: &str, options: &mut Options) -> Result<()> {
    let argument = |name: &str| format!("model_args.{name}");
    for (name, value) in
        [("embed_dim", &mut options.width), ("depth", &mut options.depth), ("num_heads", &mut options.heads)]
    {
        *value = config.count(&argument(name))?.unwrap_or(*value);
    }
    options.mean = pools(config, place, &[("token", false), ("avg", true)])?.unwrap_or(options.mean);
    if let Some(count) = config.count_or_none(&argument("reg_tokens"))? {
        options.registers = count;
    }
    if config.at(&argument("init_values"))?.is_some() {
        options.set(Part::Scales, config.number(&argument("init_values"), (1e-12, 1e3))?.is_some());
    }
    for (name, part) in [
        ("class_token", Part::ClassToken),
        ("qkv_bias", Part::QkvBias),
        ("pre_norm", Part::NormBefore),
        ("no_embed_class", Part::PatchPositionsOnly),
    ] {
        if let Some(there) = config.flag(&argument(name))? {
            options.set(part, there);
        }
    }
    if let Some(there) = config.flag(&argument("pre_norm"))? {
        options.set(Part::PatchBias, !there);
    }
    // Where the name does not say otherwise, the last norm comes after the mean.
    let after = config.flag(&argument("fc_norm"))?;
    let after = after.unwrap_or(options.mean && !options.has(Part::NormBeforeMean));
    let last = config.flag(&argument("final_norm"))?.unwrap_or(true);
    options.set(Part::NormOfMean, last && after);
    options.set(Part::Norm, last && !after);
    let read = if options.has(Part::DistillationToken) {
        options.has(Part::ClassToken) && !options.mean
    } else {
        options.has(Part::ClassToken) || options.mean
    };
    if read {
        return Ok(());
    }
    Err(config.fail(&format!(
        "`global_pool` and `class_token`: expected a class token, or the mean of an undistilled model, got neither; \
         {CORRECT}"
    )))
}

fn inverted_residuals(config: &Config, plan: &mut Plan) -> Result<()> {
    if let Some(epsilon) = config.number("model_args.bn_eps", EPSILONS)? {
        plan.epsilon = epsilon as f32;
    }
    let paddings = [("", Padding::Even), ("same", Padding::Same)];
    plan.padding = config.choice("model_args.pad_type", &paddings)?.unwrap_or(plan.padding);
    Ok(())
}

/// How timm prepares photos; what is not said is as in its `resolve_data_config`.
fn prepare(config: &Config, place: &str, crop: (usize, usize)) -> Result<Photos> {
    let field = |name: &str| format!("{place}{name}");
    let filters =
        [("bicubic", Filter::Bicubic), ("bilinear", Filter::Bilinear), ("lanczos", Filter::Lanczos)];
    let modes = [("center", false), ("squash", true)];
    Ok(Photos {
        crop,
        part: config.number(&field("crop_pct"), (1e-3, 1e3))?.unwrap_or(0.875),
        filter: config.choice(&field("interpolation"), &filters)?.unwrap_or(Filter::Bicubic),
        squash: config.choice(&field("crop_mode"), &modes)?.unwrap_or(false),
        colors: (
            config.colors(&field("mean"), COLORS)?.unwrap_or(IMAGENET.0),
            config.colors(&field("std"), DEVIATIONS)?.unwrap_or(IMAGENET.1),
        ),
    })
}
