//! Lists of models: OpenAI's `/v1/models` and the model server's `/api/models` and `/api/models/loaded`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/models`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// Always `list`.
    pub object: String,
    /// One row per id.
    pub data: Vec<Model>,
}

/// One row of `/v1/models`: OpenAI's fields and the router contract's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// What goes into `model` of a request.
    pub id: String,
    /// Always `model`.
    pub object: String,
    /// When the file was last changed, seconds since 1970; stable between calls.
    pub created: u64,
    /// Who serves it: `snug`, the provider of a model config, or the name of a provider.
    pub owned_by: String,
    /// Always empty; some clients insist on it.
    pub permission: Vec<serde_json::Value>,
    /// What runs it: `llamacpp`, `mlx`, the kind of a provider, or `route` for a name that stands for others.
    pub backend: String,
    /// The port that `models.yaml` gives it, else the engine's while one runs.
    pub port: Option<u16>,
    /// `lm`, `embeddings`, `rerank`, or another type that `models.yaml` gives it.
    pub model_type: String,
    /// Tokens: of the running engine, else the configured one, else the model's own.
    pub context_length: Option<u64>,
    /// The variant that the bare id names, such as `Q4_K_M`.
    pub quantization: Option<String>,
    /// Every variant found, the one the bare id names first.
    pub variants: Vec<String>,
    /// Whether the chat template knows tools.
    pub supports_function_calling: bool,
    /// False where `models.yaml` switches it off.
    pub enabled: bool,
    /// The model server's word: `Unloaded`, `Loaded`, `Unloading`.
    pub state: String,
}

/// `GET /api/models`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AvailableModels {
    /// One row per variant.
    pub models: Vec<AvailableModel>,
}

/// One variant and how it fits this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AvailableModel {
    /// Its id.
    pub model: String,
    /// Its variant; empty if nameless.
    pub variant: String,
    /// Whether it would load with everything else unloaded.
    pub can_run: bool,
    /// Largest context that would, in tokens.
    pub max_context_size: u64,
    /// What limits it: `vram`, `ram`, or empty.
    pub limiting_factor: String,
    /// Estimate of accelerator memory, MiB.
    pub estimated_vram_mb: u64,
    /// Estimate of system memory, MiB.
    pub estimated_ram_mb: u64,
    /// Which accelerators it would use.
    pub gpu_indices: Vec<u32>,
    /// All its files together, bytes.
    pub file_size_bytes: u64,
    /// What it is started to do: `chat`, `embedding`, `rerank`.
    pub mode: String,
    /// Who runs it: `llama` for an engine of this machine.
    pub provider: String,
    /// The model server's word: `Unloaded`, `Downloading`, `Ready`, `Loaded`, `Unloading`.
    pub state: String,
    /// Whether its files are here.
    pub present: bool,
    /// Why it cannot be read, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `GET /api/models/loaded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadedModels {
    /// A row per instance, in the order they were started; then what others run, what is kept in RAM, what is coming.
    pub models: Vec<LoadedModel>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadedModel {
    /// Its model's id.
    pub model: String,
    /// Its variant.
    pub variant: String,
    /// The model server's word: `Loaded` (also while loading), `Unloading`, `Ready`, `Downloading`.
    pub state: String,
    /// Our own word: `starting`, `loading`, `ready`, `stopping`, `failed`; empty where no engine is concerned.
    pub instance_state: String,
    /// The phase of the load while it loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// 0 to 1 while it loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Accelerator memory the engine reported, MiB.
    pub vram_usage_mb: u64,
    /// System memory the engine reported, MiB.
    pub ram_usage_mb: u64,
    /// The estimate made before the load, MiB of accelerator memory.
    pub estimated_vram_mb: u64,
    /// Tokens of context per slot the engine runs with; 0 while unknown.
    pub context_size: u64,
    /// Which accelerators it uses.
    pub gpu_indices: Vec<u32>,
    /// Whether it is kept from eviction.
    pub pinned: bool,
    /// The engine, `llamacpp`, or whose service it is.
    pub backend: String,
    /// What it does: `chat`, `embedding`, `rerank`.
    pub mode: String,
    /// Its process id while it runs.
    pub pid: Option<u32>,
    /// Its port while it runs.
    pub port: Option<u16>,
    /// Requests in flight.
    pub active_requests: u64,
    /// Milliseconds since the last request ended; absent while one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Milliseconds from start of the process to ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<u64>,
    /// Generation speed it last reported, tokens per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// How often it was started again after a crash.
    pub restarts: u32,
    /// Whether it outlived an earlier snug and was found again.
    pub adopted: bool,
    /// What the engine reported per device.
    pub device_allocations: Vec<DeviceUse>,
    /// What a person may want to know of it: why weights in RAM are not locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What an instance holds on one device, MiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceUse {
    /// The engine's name for it: `CPU`, `CUDA0`.
    pub device: String,
    /// Weights.
    pub model_mb: u64,
    /// KV cache.
    pub kv_mb: u64,
    /// Compute and output buffers.
    pub compute_mb: u64,
    /// All of these.
    pub total_mb: u64,
}
