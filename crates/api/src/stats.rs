//! What the machine does and did lately: the model server's `/api/stats…` and `/api/hardware`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::LoadedModel;

/// `GET /api/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// The machine, as it was seen in the last seconds.
    pub hardware: Hardware,
    /// The rows of `/api/models/loaded`.
    pub models: Vec<LoadedModel>,
    /// Mean speed of the answers of the last five minutes, tokens/s, each by its engine's own measurement; those without
    /// tokens do not count. 0 if there were none.
    pub avg_tokens_per_second: f64,
    /// The same of the reading of prompts.
    pub avg_prompt_tokens_per_second: f64,
    /// The same of generation.
    pub avg_generation_tokens_per_second: f64,
    /// Requests that an engine is answering now.
    pub active_requests: u64,
    /// What was counted since snug started.
    pub totals: Totals,
}

/// What was counted since snug started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    /// Answers completed.
    pub inferences: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens generated for them.
    pub completion_tokens: u64,
    /// Times that one model made room for another.
    pub swaps: u64,
}

/// `GET /api/hardware`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hardware {
    /// System memory, as this process may use it, MiB.
    pub total_ram_mb: u64,
    /// What could be had of it without swapping, MiB.
    pub free_ram_mb: u64,
    /// Logical cores that this process may use.
    pub cpu_cores: u32,
    /// How busy the machine's cores were lately, 0 to 100; 0 until it is known.
    pub cpu_utilization_percent: f64,
    /// What computes besides the processor.
    pub gpus: Vec<Gpu>,
    /// The processor's name.
    pub cpu_name: String,
    /// Whether somebody made this machine up.
    pub simulated: bool,
}

/// One accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Gpu {
    /// Its number in this list.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// By which interface engines use it: `CUDA`, `ROCm`, `Metal`, `SYCL`, `Vulkan`, `Ascend`.
    pub backend: String,
    /// Its memory, or of one without its own the part of the system's that it may take, MiB.
    pub vram_total_mb: u64,
    /// What could be had of it, MiB; all of it where the driver does not say.
    pub vram_free_mb: u64,
    /// What its cores can do, by NVIDIA's count; of others null.
    pub compute_capability: Option<f64>,
    /// How busy it was lately, 0 to 100; null where the driver does not say.
    pub utilization_percent: Option<f64>,
    /// Who made it.
    pub vendor: String,
    /// What code for it is compiled for, such as `8.6` or `gfx1100`, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Whether it computes out of the system's memory.
    pub unified_memory: bool,
    /// Of the system's memory, what it may take, MiB; 0 for one with its own.
    pub gpu_accessible_ram_mb: u64,
    /// What could be had of that, MiB.
    pub gpu_accessible_ram_free_mb: u64,
    /// Whether its memory is what somebody said, not what was found.
    pub vram_overridden: bool,
}

/// One row of `GET /api/stats/history`: an answer that was completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Inference {
    /// The model's id.
    pub model: String,
    /// Its variant; empty if nameless.
    pub variant: String,
    /// Generation as the engine measured it, else the tokens over the whole time, tokens/s; 0 of an answer without tokens.
    pub tokens_per_second: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// From the request to the first token, milliseconds. Of an answer that came whole: to the begin of its generation.
    pub latency_ms: f64,
    /// From the request to the end of the answer, milliseconds.
    pub total_time_ms: f64,
    /// How fast the engine read the prompt, tokens/s; 0 where it does not say.
    pub prompt_tokens_per_second: f64,
    /// How fast it generated, tokens/s; 0 where it does not say.
    pub generation_tokens_per_second: f64,
    /// How long it read the prompt, milliseconds; 0 where it does not say.
    pub prompt_time_ms: f64,
    /// How long it generated, milliseconds; 0 where it does not say.
    pub generation_time_ms: f64,
    /// When the answer ended, milliseconds since 1970.
    pub epoch_ms: u64,
}

/// One row of `GET /api/stats/swaps`: a model that made room for another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Swap {
    /// The model that left.
    pub from: String,
    /// The model that came.
    pub to: String,
    /// From the wish until it was ready, milliseconds.
    pub time_ms: f64,
    /// The variant that left.
    pub from_variant: String,
    /// The variant that came.
    pub to_variant: String,
    /// When it was ready, milliseconds since 1970.
    pub epoch_ms: u64,
}
