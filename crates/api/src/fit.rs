//! The fit API, `/api/v1/*`: what this machine is, and which models it runs how well.
//!
//! Sizes in `_gb` are GiB with two decimals, as the contract's reference has them. Fields that the contract does not
//! name are additions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::NodeName;

/// `GET /api/v1/system`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SystemAnswer {
    /// This machine.
    pub node: NodeName,
    /// What it has.
    pub system: SystemInfo,
    /// What could not be read, and what to do about it.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a machine has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SystemInfo {
    /// System memory, or what a cgroup allows of it, GiB.
    pub total_ram_gb: f64,
    /// What could be had of it now, GiB.
    pub available_ram_gb: f64,
    /// Logical cores this program may use.
    pub cpu_cores: u32,
    /// The processor's name.
    pub cpu_name: String,
    /// Whether there is an accelerator.
    pub has_gpu: bool,
    /// Memory of all accelerators together, GiB.
    pub gpu_vram_gb: Option<f64>,
    /// Of it, what is free now, GiB.
    pub gpu_available_gb: Option<f64>,
    /// Name of the first accelerator.
    pub gpu_name: Option<String>,
    /// How many accelerators there are.
    pub gpu_count: u32,
    /// Whether accelerators use the system's memory.
    pub unified_memory: bool,
    /// `CUDA`, `Metal`, `ROCm`, `SYCL`, `Vulkan`, `Ascend`, `CPU (x86)`, `CPU (ARM)`.
    pub backend: String,
    /// Accelerators, equal ones in one row.
    pub gpus: Vec<GpuInfo>,
    /// What the processor reads from memory, GB/s; absent until measured.
    pub memory_bandwidth_gbps: Option<f64>,
    /// Whether the machine is made up.
    pub simulated: bool,
}

/// Accelerators of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GpuInfo {
    /// The driver's name for it.
    pub name: String,
    /// Memory of one, GiB.
    pub vram_gb: f64,
    /// How many of them.
    pub count: u32,
    /// Whether it uses the system's memory.
    pub unified_memory: bool,
    /// As in [`SystemInfo::backend`].
    pub backend: String,
    /// What is free on all of them together, GiB; absent where the driver does not tell.
    pub free_vram_gb: Option<f64>,
    /// What one reads from its memory, GB/s; absent where the part is not known.
    pub memory_bandwidth_gbps: Option<f64>,
}

/// `GET /api/v1/models`, `/api/v1/models/top`, `/api/v1/models/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FitList {
    /// This machine.
    pub node: NodeName,
    /// What it has.
    pub system: SystemInfo,
    /// Models that pass the filters.
    pub total_models: usize,
    /// Models in this answer.
    pub returned_models: usize,
    /// The filters as they were understood.
    pub filters: FitFilters,
    /// The models, best first.
    pub models: Vec<FitRow>,
}

/// Filters of a [`FitList`]; null where not set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FitFilters {
    /// Most rows in the answer.
    pub limit: Option<usize>,
    /// Rows left out at the start.
    pub offset: Option<usize>,
    /// Only models that fit perfectly.
    pub perfect: Option<bool>,
    /// `perfect`, `good`, `marginal`, `too_tight`.
    pub min_fit: Option<String>,
    /// `any`, `mlx`, `llamacpp`, `vllm`.
    pub runtime: Option<String>,
    /// `general`, `coding`, `reasoning`, `chat`, `multimodal`, `embedding`.
    pub use_case: Option<String>,
    /// A part of the provider's name.
    pub provider: Option<String>,
    /// Words that must all be found.
    pub search: Option<String>,
    /// `score`, `tps`, `params`, `mem`, `ctx`, `date`, `use_case`.
    pub sort: String,
    /// Whether models that do not run are wanted: what was asked, else the list's default. A `min_fit` that was named
    /// leaves them out unless this was, too; `perfect` always does.
    pub include_too_tight: bool,
    /// Largest context that is reckoned with, tokens.
    pub max_context: Option<u64>,
    /// Licences, separated by commas.
    pub license: Option<String>,
    /// System memory in place of this machine's, GiB.
    pub ram_gb: Option<f64>,
    /// Accelerator memory in place of this machine's, GiB.
    pub vram_gb: Option<f64>,
    /// Cores in place of this machine's.
    pub cpu_cores: Option<u32>,
    /// Whether this is the list of the top.
    pub top_only: bool,
}

/// How one model fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FitRow {
    /// Its id on the hub.
    pub name: String,
    /// Its maker.
    pub provider: String,
    /// For people: `7.6B`, `567M`.
    pub parameter_count: String,
    /// Billions of parameters.
    pub params_b: f64,
    /// Billions that a token uses.
    pub active_params_b: f64,
    /// Its own context, tokens.
    pub context_length: u64,
    /// The context that fits here, tokens.
    pub usable_context: u64,
    /// The context this row is reckoned with, tokens.
    pub effective_context_length: u64,
    /// What it is made for, in words.
    pub use_case: String,
    /// `General`, `Coding`, `Reasoning`, `Chat`, `Multimodal`, `Embedding`.
    pub category: String,
    /// `YYYY-MM-DD`.
    pub release_date: Option<String>,
    /// Whether it is a mixture of experts.
    pub is_moe: bool,
    /// `perfect`, `good`, `marginal`, `too_tight`.
    pub fit_level: String,
    /// The same for people.
    pub fit_label: String,
    /// `gpu`, `moe`, `cpu_offload`, `cpu_only`.
    pub run_mode: String,
    /// The same for people.
    pub run_mode_label: String,
    /// 0 to 100.
    pub score: f64,
    /// Its parts, 0 to 100 each.
    pub score_components: ScoreComponents,
    /// Tokens per second that one request is expected to see.
    pub estimated_tps: f64,
    /// The interval in which four of five measurements are expected, tok/s.
    pub estimated_tps_range: [f64; 2],
    /// Tokens of prompt per second.
    pub prefill_tps: Option<f64>,
    /// Time to the first token of a prompt as long as half the context reckoned with, at most 4,096 tokens; ms.
    pub ttft_ms: Option<f64>,
    /// `mlx`, `llamacpp`, `vllm`.
    pub runtime: String,
    /// The same for people.
    pub runtime_label: String,
    /// The quantisation that suits this machine best.
    pub best_quant: Option<String>,
    /// What it takes, GiB.
    pub memory_required_gb: f64,
    /// What models may have where it lies, GiB.
    pub memory_available_gb: f64,
    /// Of what it takes, what lies in system memory though there are accelerators, GiB.
    pub moe_offloaded_gb: Option<f64>,
    /// The one of the other, percent.
    pub utilization_pct: f64,
    /// Size of its files, GiB.
    pub disk_size_gb: f64,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Repositories with GGUF files.
    pub gguf_sources: Vec<GgufSource>,
    /// What it can do: `vision`, `tool_use` and the like.
    pub capabilities: Vec<String>,
    /// Its licence, as the hub calls it.
    pub license: Option<String>,
    /// Whether it is on this machine.
    pub installed: bool,
    /// How the numbers came about.
    pub estimate_basis: EstimateBasis,
    /// `measured` on this machine; else `calibrated`, `estimated` or `rough`: how much stands behind the estimate.
    pub estimate_confidence: String,
}

/// Parts of a score, 0 to 100 each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoreComponents {
    /// How good its answers are.
    pub quality: f64,
    /// How close it comes to the speed its use asks for.
    pub speed: f64,
    /// How much room it leaves.
    pub fit: f64,
    /// Whether its context is long enough.
    pub context: f64,
}

/// A repository with GGUF files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GgufSource {
    /// Who made it.
    pub provider: String,
    /// Its id on the hub.
    pub repo: String,
}

/// How a row's numbers came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EstimateBasis {
    /// `roofline` where computed, `measured` where this machine ran it.
    pub method: String,
    /// Weights, GiB.
    pub weights_gb: f64,
    /// KV cache and recurrent state at the context reckoned with, GiB.
    pub kv_cache_gb: f64,
    /// Compute buffers and what the engine takes for itself, GiB.
    pub overhead_gb: f64,
    /// Bandwidth of the accelerators reckoned with, GB/s.
    pub gpu_bandwidth_gbps: Option<f64>,
    /// Bandwidth of system memory reckoned with, GB/s.
    pub ram_bandwidth_gbps: Option<f64>,
    /// The share of the bandwidth that the engine is known to reach.
    pub efficiency: f64,
    /// Bytes that one token reads, GiB.
    pub read_per_token_gb: f64,
    /// What quality rests on: how many public evaluations; 0 for size and age alone.
    pub evaluations: usize,
}

/// An error of the fit API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FitError {
    /// What was wrong, with the values that would do.
    pub error: String,
}

/// Body of `POST /api/v1/plan`; its query for `GET`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The model's id on the hub, or the part of it that names one model.
    #[schema(min_length = 1)]
    pub model: String,
    /// Tokens of context. Default: the model's own, at most 8192.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub context: Option<u64>,
    /// A quantisation. Default: the one that suits best.
    #[serde(default)]
    pub quant: Option<String>,
    /// Type of the KV cache: `f16`, `q8_0`, `q4_0` and the like. Default: f16.
    #[serde(default)]
    pub kv_quant: Option<String>,
    /// Speed that is wanted, tok/s.
    #[serde(default)]
    #[schema(exclusive_minimum = 0)]
    pub target_tps: Option<f64>,
    /// Requests served at once. Default: 1.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 4096)]
    pub slots: Option<u32>,
    /// System memory in place of this machine's, GiB.
    #[serde(default)]
    #[schema(minimum = 0.001, maximum = 1_048_576)]
    pub ram_gb: Option<f64>,
    /// Accelerator memory in place of this machine's, GiB.
    #[serde(default)]
    #[schema(minimum = 0.001, maximum = 1_048_576)]
    pub vram_gb: Option<f64>,
    /// Cores in place of this machine's.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 65_536)]
    pub cpu_cores: Option<u32>,
}

/// What running a model takes, here and elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanAnswer {
    /// The model.
    pub model: String,
    /// Tokens of context reckoned with.
    pub context: u64,
    /// The quantisation reckoned with.
    pub quant: String,
    /// The type of the KV cache.
    pub kv_quant: String,
    /// Requests served at once.
    pub slots: u32,
    /// The speed that is wanted, tok/s.
    pub target_tps: Option<f64>,
    /// Whether it runs here, at the speed that is wanted.
    pub feasible: bool,
    /// How it would run on this machine; absent if it would not.
    pub here: Option<PlanPath>,
    /// Every way of running it on this machine, and what each lacks.
    pub paths: Vec<PlanPath>,
    /// Models that are loaded here now and would have to leave for it, the first to go first.
    #[serde(default)]
    pub would_leave: Vec<String>,
    /// The least that runs it, and what suits it.
    pub hardware: PlanHardware,
    /// What would make room, or would make it faster: in words, the cheapest first.
    pub suggestions: Vec<String>,
}

/// One way of running a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanPath {
    /// `gpu`, `moe`, `cpu_offload`, `cpu_only`.
    pub run_mode: String,
    /// Whether it works here.
    pub feasible: bool,
    /// As in [`FitRow::fit_level`].
    pub fit_level: String,
    /// Accelerator memory it takes, GiB.
    pub vram_gb: f64,
    /// System memory it takes, GiB.
    pub ram_gb: f64,
    /// Expected speed, tok/s; absent where it does not run.
    pub estimated_tps: Option<f64>,
    /// Layers on each device.
    pub layers: Vec<PlanLayers>,
    /// Layers whose routed experts lie in system memory.
    pub expert_layers_in_ram: u32,
    /// What it lacks; absent where it runs.
    pub missing: Option<String>,
}

/// Layers on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanLayers {
    /// The engine's name for the device.
    pub device: String,
    /// How many.
    pub layers: u32,
    /// Memory they and what belongs to them take there, GiB.
    pub memory_gb: f64,
}

/// Hardware for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanHardware {
    /// Accelerator memory that holds all of it, GiB.
    pub vram_gb: f64,
    /// System memory that holds all of it without an accelerator, GiB.
    pub ram_gb: f64,
    /// Bandwidth that the wanted speed takes, GB/s; absent where no speed is wanted.
    pub bandwidth_gbps: Option<f64>,
    /// Accelerators known to be enough, the smallest first; `2x` where one is too small.
    pub accelerators: Vec<String>,
}

/// `GET /api/v1/runtimes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Runtimes {
    /// Engines that snug knows to use.
    pub runtimes: Vec<Runtime>,
    /// What is wrong with one of them.
    pub warnings: Vec<String>,
}

/// An engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Runtime {
    /// `llamacpp`, `mlx`, `vllm`.
    pub name: String,
    /// For people.
    pub label: String,
    /// Whether it is on this machine.
    pub installed: bool,
    /// Where.
    pub path: Option<String>,
}

/// `GET /api/v1/installed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Installed {
    /// Models on this machine.
    pub models: Vec<InstalledModel>,
    /// What is wrong with one of them.
    pub warnings: Vec<String>,
}

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InstalledModel {
    /// What requests call it.
    pub name: String,
    /// Its quantisation.
    pub variant: String,
    /// `llamacpp`.
    pub runtime: String,
    /// The catalogue's model it is, as far as its name tells.
    pub catalog_model: Option<String>,
    /// Size of its files, GiB.
    pub disk_size_gb: f64,
}

/// `GET /api/v1/concurrency`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Concurrency {
    /// The model.
    pub model: String,
    /// As in [`FitRow::run_mode`].
    pub run_mode: String,
    /// As in [`FitRow::fit_level`].
    pub fit_level: String,
    /// Requests at once that were asked about.
    pub target_users: Option<u64>,
    /// The longest context that so many may have, tokens.
    pub max_context_for_target: Option<u64>,
    /// The reckoning.
    pub estimate: ConcurrencyEstimate,
}

/// How many requests fit at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConcurrencyEstimate {
    /// What models may have where it lies, GiB.
    pub pool_gb: f64,
    /// What stays whatever the number of requests, GiB.
    pub weights_resident_gb: f64,
    /// What is left for caches, GiB.
    pub kv_budget_gb: f64,
    /// State of recurrent layers for each request, GiB.
    pub per_session_recurrent_gb: f64,
    /// The quantisation reckoned with.
    pub quant: String,
    /// The type of the KV cache.
    pub kv_quant: String,
    /// The model's own context, tokens.
    pub native_context: u64,
    /// By context: how many requests fit.
    pub ladder: Vec<ConcurrencyStep>,
}

/// Requests that fit at one context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConcurrencyStep {
    /// Tokens asked about.
    pub requested_context: u64,
    /// At most the model's own.
    pub effective_context: u64,
    /// Whether the model's own was less.
    pub clamped: bool,
    /// What one request keeps, GiB.
    pub per_session_kv_gb: f64,
    /// How many fit at once.
    pub max_sessions: u64,
}
