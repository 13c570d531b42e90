//! One row of a file of measurements.

use serde::Deserialize;

/// A published measurement. The columns of bandwidth are left unread on purpose.
#[derive(Deserialize)]
pub(super) struct Measurement {
    pub(super) hardware: String,
    pub(super) gpu_count: u32,
    pub(super) hw_class: String,
    /// GiB; now of one card, now of all.
    pub(super) vram_gb: Option<f64>,
    pub(super) ram_gb: Option<f64>,
    pub(super) runtime: String,
    pub(super) model_tag: String,
    pub(super) params_b: Option<f64>,
    pub(super) active_params_b: Option<f64>,
    pub(super) moe: String,
    pub(super) arch: String,
    pub(super) quant: String,
    pub(super) context: Option<f64>,
    pub(super) prompt_tokens: Option<f64>,
    pub(super) output_tokens: Option<f64>,
    pub(super) batch: Option<f64>,
    pub(super) spec_decode: String,
    pub(super) offload_tag: String,
    pub(super) measured_decode_tps: Option<f64>,
    pub(super) measured_prefill_tps: Option<f64>,
    pub(super) in_anchor_set: u8,
    pub(super) source: String,
}

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
}
