//! One row of a file of measurements.

use serde::{Deserialize, Deserializer};

/// A published measurement. The columns of bandwidth are left unread on purpose; columns may come in any order, and of
/// those that are not in [`REQUIRED`] any may be missing.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Measurement {
    pub(super) hardware: String,
    #[serde(deserialize_with = "number")]
    pub(super) gpu_count: Option<f64>,
    pub(super) hw_class: String,
    /// GiB; now of one card, now of all.
    #[serde(deserialize_with = "number")]
    pub(super) vram_gb: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) ram_gb: Option<f64>,
    pub(super) runtime: String,
    pub(super) model_tag: String,
    /// The hub id of the base model, where somebody has found it.
    pub(super) catalog_model: String,
    #[serde(deserialize_with = "number")]
    pub(super) params_b: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) active_params_b: Option<f64>,
    #[serde(deserialize_with = "flag")]
    pub(super) moe: bool,
    pub(super) arch: String,
    pub(super) quant: String,
    #[serde(deserialize_with = "number")]
    pub(super) context: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) prompt_tokens: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) output_tokens: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) batch: Option<f64>,
    #[serde(deserialize_with = "flag")]
    pub(super) spec_decode: bool,
    pub(super) offload_tag: String,
    #[serde(deserialize_with = "number")]
    pub(super) measured_decode_tps: Option<f64>,
    #[serde(deserialize_with = "number")]
    pub(super) measured_prefill_tps: Option<f64>,
    #[serde(deserialize_with = "flag")]
    pub(super) in_anchor_set: bool,
    pub(super) source: String,
}

/// Columns without which nothing can be compared.
pub(super) const REQUIRED: [&str; 4] = ["hardware", "runtime", "model_tag", "measured_decode_tps"];

impl Measurement {
    /// Whether somebody ran a tool on their own machine, rather than a table of a benchmark site.
    pub(super) fn is_community(&self) -> bool {
        !self.source.starts_with("benchmark")
    }

    /// Whether it is output tokens over the time of a whole request: what the community tool reports of every engine
    /// but Ollama, which times its decoding itself.
    pub(super) fn is_whole_request(&self) -> bool {
        self.is_community() && self.runtime != "ollama"
    }

    /// Requests at once. llama.cpp's batch is that of its prompts (128 tokens and more), not of requests.
    pub(super) fn is_single_request(&self) -> bool {
        let batch = self.batch.unwrap_or(1.0);
        batch <= 1.0 || (batch >= 128.0 && self.runtime != "vllm" && self.runtime != "sglang")
    }

    /// Cards: at least one, and no more than any machine has.
    pub(super) fn cards(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 64")]
        let cards = self.gpu_count.unwrap_or(1.0).clamp(1.0, 64.0) as u32;
        cards
    }
}

/// A number that can be meant: not below zero, not endless. Whatever else stands there is as good as nothing.
fn number<'de, D: Deserializer<'de>>(field: D) -> Result<Option<f64>, D::Error> {
    let text = String::deserialize(field)?;
    Ok(text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0))
}

fn flag<'de, D: Deserializer<'de>>(field: D) -> Result<bool, D::Error> {
    let text = String::deserialize(field)?;
    Ok(matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "1.0" | "true" | "yes"))
}

/// A row that has these columns only.
#[cfg(test)]
pub(super) fn row(columns: &[(&str, &str)]) -> Measurement {
    let (names, fields): (Vec<&str>, Vec<&str>) = columns.iter().copied().unzip();
    csv::StringRecord::from(fields).deserialize(Some(&csv::StringRecord::from(names))).unwrap()
}
