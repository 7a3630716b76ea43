//! What timm, torchvision and transformers call the same weights.

use super::super::weights::{Naming, Weights};

/// `weights`, whichever library named them, under timm's names, and whether they are those of transformers' model with a
/// teacher, whose class and distillation tokens are both read.
pub(super) fn in_own_names(weights: Weights) -> (Weights, bool) {
    if weights.contains("conv_proj.weight") {
        return (weights.named(Box::new(|name| vec![torchvision_name(name)])), false);
    }
    for model in ["vit", "deit"] {
        if weights.contains(&format!("{model}.embeddings.cls_token")) {
            let teacher = weights.contains("cls_classifier.weight");
            return (weights.named(transformers_names(model, teacher)), teacher);
        }
    }
    (weights, false)
}

/// The number of a block, and what of it is meant.
fn in_block(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("blocks.")?.split_once('.')
}

fn torchvision_name(name: &str) -> String {
    const PARTS: [(&str, &str); 10] = [
        ("norm1.", "ln_1."),
        ("attn.qkv.weight", "self_attention.in_proj_weight"),
        ("attn.qkv.bias", "self_attention.in_proj_bias"),
        ("attn.proj.", "self_attention.out_proj."),
        ("norm2.", "ln_2."),
        ("mlp.fc1.", "mlp.0."),
        ("mlp.fc2.", "mlp.3."),
        ("patch_embed.proj.", "conv_proj."),
        ("pre_logits.fc.", "heads.pre_logits."),
        ("head.", "heads.head."),
    ];
    let rename = |name: &str| {
        let found = PARTS.iter().find_map(|(ours, theirs)| Some((theirs, name.strip_prefix(ours)?)));
        found.map_or_else(|| name.to_owned(), |(theirs, rest)| format!("{theirs}{rest}"))
    };
    match (name, in_block(name)) {
        (_, Some((block, part))) => format!("encoder.layers.encoder_layer_{block}.{}", rename(part)),
        ("cls_token", _) => "class_token".to_owned(),
        ("pos_embed", _) => "encoder.pos_embedding".to_owned(),
        _ => name.strip_prefix("norm.").map_or_else(|| rename(name), |rest| format!("encoder.ln.{rest}")),
    }
}

/// The names that transformers gives the parts of `model`; `teacher`: the model reads its distillation token.
fn transformers_names(model: &'static str, teacher: bool) -> Naming {
    const PARTS: [(&str, &str); 5] = [
        ("norm1.", "layernorm_before."),
        ("attn.proj.", "attention.output.dense."),
        ("norm2.", "layernorm_after."),
        ("mlp.fc1.", "intermediate.dense."),
        ("mlp.fc2.", "output.dense."),
    ];
    Box::new(move |name| {
        if let Some((block, part)) = in_block(name) {
            let path = format!("{model}.encoder.layer.{block}");
            if let Some(last) = part.strip_prefix("attn.qkv.") {
                let one = |which| format!("{path}.attention.attention.{which}.{last}");
                return ["query", "key", "value"].map(one).to_vec();
            }
            let found = PARTS.iter().find_map(|(ours, theirs)| Some((theirs, part.strip_prefix(ours)?)));
            return vec![found.map_or_else(
                || format!("{path}.{part}"),
                |(theirs, rest)| format!("{path}.{theirs}{rest}"),
            )];
        }
        let embeddings = format!("{model}.embeddings");
        vec![match name {
            "cls_token" => format!("{embeddings}.cls_token"),
            "dist_token" => format!("{embeddings}.distillation_token"),
            "pos_embed" => format!("{embeddings}.position_embeddings"),
            _ => match name.split_once('.') {
                Some(("patch_embed", rest)) => {
                    format!("{embeddings}.patch_embeddings.{}", rest.replacen("proj", "projection", 1))
                }
                Some(("norm", rest)) => format!("{model}.layernorm.{rest}"),
                Some(("head", rest)) if teacher => format!("cls_classifier.{rest}"),
                Some(("head", rest)) => format!("classifier.{rest}"),
                Some(("head_dist", rest)) => format!("distillation_classifier.{rest}"),
                _ => name.to_owned(),
            },
        }]
    })
}
