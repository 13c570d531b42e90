//! The parts beside the layers that wrappers describe: vision towers, audio encoders, and what joins them to the text.

use super::keys::Keys;
use crate::shape::{Part, PartKind};

/// What a wrapper's other sections describe; `hidden` is the width of the language model.
pub(super) fn parts(root: &Keys<'_>, hidden: u64) -> Vec<Part> {
    let thinker = root.section("thinker_config");
    let section =
        |name: &'static str| root.section(name).or_else(|| thinker.as_ref().and_then(|thinker| thinker.section(name)));
    let vision = section("vision_config").or_else(|| section("vision_tower_config"));
    let audio = section("audio_config").or_else(|| section("encoder_config")).or_else(|| section("audio_encoder"));
    let vision = vision.and_then(|keys| self::vision(root, &keys, hidden));
    let audio = audio.and_then(|keys| self::audio(&keys, hidden));
    vision.into_iter().chain(audio).collect()
}

/// A tower of the ViT kind, its patches and its projector.
fn vision(root: &Keys<'_>, keys: &Keys<'_>, text: u64) -> Option<Part> {
    let kind = keys.word("model_type").unwrap_or_default();
    if keys.word("architecture").is_some_and(|name| name.starts_with("mobilenetv5_300m")) {
        // Gemma 3n: a convolutional tower, called after its size.
        return Some(Part { parameters: 300_000_000, ..Part::of(PartKind::Vision) });
    }
    // Qwen2-VL calls the text's width `hidden_size` and its own `embed_dim`.
    let hidden = keys.number(&["embed_dim", "hidden_size", "vt_hidden_size", "width"])?;
    let layers = keys.number(&["num_hidden_layers", "depth", "vt_num_hidden_layers", "layers"])?;
    let feed_forward = keys.number(&["intermediate_size", "vt_intermediate_size"]).unwrap_or_else(|| {
        #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^52")]
        let width = hidden as f64 * keys.ratio("mlp_ratio").unwrap_or(4.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; casts saturate")]
        let width = width.round() as u64;
        width
    });
    let gated = ["qwen2_5_vl", "qwen2_5_omni_vision_encoder", "pixtral", "glm4v", "gemma4_vision", "glm4v_moe"];
    let patch = keys.number(&["patch_size", "spatial_patch_size"]).unwrap_or(14);
    let frames = keys.number(&["temporal_patch_size"]).unwrap_or(1);
    let patches = product(&[3, patch, patch, frames, hidden]);
    // Learned positions; towers with rotary ones have no fixed image size.
    let rotary = ["pixtral", "qwen2_vl", "qwen2_5_vl", "qwen2_5_omni_vision_encoder"].contains(&kind);
    let side = keys.number(&["image_size"]).and_then(|size| size.checked_div(patch)).filter(|_| !rotary).unwrap_or(0);
    let positions = keys.number(&["num_position_embeddings", "position_embedding_size"]);
    let positions = product(&[positions.unwrap_or(side.saturating_mul(side)), hidden]);

    let outer = |names: &[&'static str]| root.number(names);
    let merge = keys.number(&["spatial_merge_size"]).or_else(|| outer(&["spatial_merge_size", "scale_factor"]));
    let merge = merge.unwrap_or(if kind.starts_with("intern") { 2 } else { 1 });
    let merged = product(&[hidden, merge, merge]);
    let out = keys.number(&["out_hidden_size"]).or_else(|| (kind == "qwen2_vl").then_some(text));
    let projector = match (out, kind) {
        (Some(out), _) => {
            let taps = keys.numbers("deepstack_visual_indexes").map_or(0, |taps| taps.len() as u64);
            product(&[merged, merged.saturating_add(out), taps + 1])
        }
        (None, "pixtral") if merge > 1 => {
            product(&[merged, hidden]).saturating_add(product(&[hidden.saturating_add(text), text]))
        }
        // One matrix, as SigLIP towers of Gemma and Idefics have it.
        (None, "siglip_vision_model" | "gemma3_vision" | "gemma4_vision" | "idefics3_vision" | "smolvlm_vision") => {
            product(&[merged, text])
        }
        _ => product(&[merged.saturating_add(text), text]),
    };
    let parameters = patches.saturating_add(positions).saturating_add(projector);
    let gated = gated.contains(&kind);
    Some(Part { layers, hidden, feed_forward, gated, parameters, ..Part::of(PartKind::Vision) })
}

/// An encoder of the Whisper kind, or a conformer.
fn audio(keys: &Keys<'_>, text: u64) -> Option<Part> {
    let hidden = keys.number(&["d_model", "hidden_size", "hidden_dim"])?;
    let (layers, feed_forward, front) = if let Some(layers) = keys.number(&["conf_num_hidden_layers"]) {
        // Gemma's conformer: two feed-forward parts four times as wide, and a gated convolution beside the attention.
        (layers, hidden.saturating_mul(19) / 2, 0)
    } else {
        let layers = keys.number(&["encoder_layers", "num_hidden_layers", "num_layers", "n_layer"])?;
        let width = keys.number(&["encoder_ffn_dim", "intermediate_size"]).unwrap_or(hidden.saturating_mul(4));
        // Two convolutions over three frames each, and positions of 30 seconds (arXiv 2212.04356).
        let bins = keys.number(&["num_mel_bins"]).unwrap_or(128);
        (layers, width, product(&[hidden, bins.saturating_add(hidden).saturating_mul(3).saturating_add(1500)]))
    };
    let parameters = product(&[hidden, text]).saturating_add(front);
    Some(Part { layers, hidden, feed_forward, parameters, ..Part::of(PartKind::Audio) })
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |product: u64, factor| product.saturating_mul(*factor))
}
