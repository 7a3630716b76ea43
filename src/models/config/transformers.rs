//! transformers' `config.json`.

use serde_json::json;

use super::processor::prepare;
use super::values::{CORRECT, Config};
use super::{Described, EPSILONS};
use crate::error::Result;
use crate::models::architectures::Architecture;
use crate::models::mobilenet_v2;
use crate::models::nhwc::Padding;
use crate::models::resnet::Shape;
use crate::models::vit::{Options, Part};

/// The model that `config` describes, and `prepared`, its image processor's.
pub(super) fn read(config: &Config, prepared: &Config) -> Result<Described> {
    let kinds = [("vit", "vit"), ("deit", "deit"), ("resnet", "resnet"), ("mobilenet_v2", "mobilenet_v2")];
    let kind = config.choice("model_type", &kinds)?.unwrap_or("vit");
    let architecture = match kind {
        "resnet" => resnet(config)?,
        "mobilenet_v2" => mobilenet_v2(config)?,
        _ => transformer(config, kind)?,
    };
    let (classes, class_names) = labels(config)?;
    let name = config.text("_name_or_path")?.filter(|name| !name.is_empty()).unwrap_or(kind).to_owned();
    let independent = independent(config)?;
    Ok(Described {
        name,
        architecture,
        preprocessing: prepare(prepared, kind)?,
        classes,
        class_names,
        independent,
    })
}

/// Whether each class is a label of its own.
fn independent(config: &Config) -> Result<bool> {
    if config.text("problem_type")? == Some("regression") {
        let cure =
            "load it as a torch model with an output that has a tolerance, in units of the model's answer";
        return Err(config.expected("problem_type", "a classification", cure));
    }
    let kinds = [("single_label_classification", false), ("multi_label_classification", true)];
    Ok(config.choice("problem_type", &kinds)?.unwrap_or(false))
}

fn transformer(config: &Config, kind: &str) -> Result<Architecture> {
    config.only("hidden_act", &json!("gelu"))?;
    let count = |field: &str, usual: usize| Ok::<_, crate::Error>(config.count(field)?.unwrap_or(usual));
    let shape =
        (count("hidden_size", 768)?, count("num_hidden_layers", 12)?, count("num_attention_heads", 12)?);
    let mut options = Options::new(config.size("image_size")?.unwrap_or((224, 224)), shape);
    options.epsilon = config.number("layer_norm_eps", EPSILONS)?.unwrap_or(1e-12) as f32;
    options.set(Part::QkvBias, config.flag("qkv_bias")?.unwrap_or(true));
    options.set(Part::DistillationToken, kind == "deit");
    Ok(Architecture::Transformer(options))
}

fn resnet(config: &Config) -> Result<Architecture> {
    config.only("hidden_act", &json!("relu"))?;
    config.only("downsample_in_first_stage", &json!(false))?;
    config.only("downsample_in_bottleneck", &json!(false))?;
    let depths = config.four_counts("depths")?.unwrap_or([3, 4, 6, 3]);
    let bottleneck = config.choice("layer_type", &[("bottleneck", true), ("basic", false)])?.unwrap_or(true);
    Ok(Architecture::ResNet(Shape::new(depths, bottleneck)))
}

fn mobilenet_v2(config: &Config) -> Result<Architecture> {
    config.only("hidden_act", &json!("relu6"))?;
    config.only("output_stride", &json!(32))?;
    let mut plan = mobilenet_v2::plan();
    plan.epsilon = config.number("layer_norm_eps", EPSILONS)?.unwrap_or(1e-3) as f32;
    if config.flag("tf_padding")?.unwrap_or(true) {
        plan.padding = Padding::Same;
    }
    Ok(Architecture::MobileNetV2(plan))
}

/// The number of classes 0, 1, 2, ..., and their names; no names if they are placeholders.
fn labels(config: &Config) -> Result<(Option<usize>, Option<Vec<String>>)> {
    let Some(labels) = config.at("id2label")? else { return Ok((None, None)) };
    let name = |class: usize| Some(labels.get(class.to_string())?.as_str()?.to_owned());
    let count = labels.as_object().map_or(0, serde_json::Map::len);
    let names: Option<Vec<String>> = (0..count).map(name).collect();
    let names = names.filter(|_| labels.is_object());
    let names =
        names.ok_or_else(|| config.expected("id2label", "a name for each class from 0 on", CORRECT))?;
    Ok((Some(count), Some(names).filter(|names| names.first().is_none_or(|name| name != "LABEL_0"))))
}
