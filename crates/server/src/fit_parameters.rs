//! The fit API's parameters as `/openapi.json` shows them. What reads them is [`advisor::Query`], which also takes the
//! words that people use instead (`n`, `memory`, `throughput`); here stands what is promised.

#![expect(dead_code, reason = "only the shapes are read, by macros")]

use utoipa::{IntoParams, ToSchema};

/// Filters, order and part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParameters {
    /// Most rows of the answer; also `n`. Default: all of them, of `/api/v1/models/top` 5.
    #[param(minimum = 0)]
    limit: Option<u64>,
    /// Rows left out at the start.
    #[param(minimum = 0)]
    offset: Option<u64>,
    /// Only models that fit perfectly, whatever `min_fit` says.
    perfect: Option<bool>,
    /// The lowest level shown. Default: marginal.
    #[param(inline)]
    min_fit: Option<FitLevel>,
    /// The only engine reckoned with. Default: any.
    #[param(inline)]
    runtime: Option<Runtime>,
    /// What models are made for.
    #[param(inline)]
    use_case: Option<UseCase>,
    /// A part of the maker's name.
    provider: Option<String>,
    /// Words that must all be found in name, maker, size, use or category.
    search: Option<String>,
    /// Licences of which one must be the model's, separated by commas.
    license: Option<String>,
    /// The order: the best, largest or newest first, uses by name; what does not run comes last. Default: score.
    #[param(inline)]
    sort: Option<Sort>,
    /// Whether models that do not run are shown. Default: true, of `/api/v1/models/top` false; false where `min_fit` is
    /// named and this is not.
    include_too_tight: Option<bool>,
    /// Largest context reckoned with, tokens. Default: the server's, else 8192.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    max_context: Option<u64>,
}

/// Another machine than this one.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MachineParameters {
    /// System memory in place of this machine's, GiB.
    #[param(minimum = 0.001, maximum = 1_048_576)]
    ram_gb: Option<f64>,
    /// Memory of each accelerator in place of this machine's, GiB; a machine without any has one then.
    #[param(minimum = 0.001, maximum = 1_048_576)]
    vram_gb: Option<f64>,
    /// Cores in place of this machine's.
    #[param(minimum = 1, maximum = 65_536)]
    cpu_cores: Option<u32>,
}

/// A model, and how it is to be run.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ModelParameters {
    /// The model's id on the hub, or the part of it that names one model.
    #[param(min_length = 1)]
    model: String,
    /// Tokens of context, at most the model's own. Default: the model's own, at most 8192.
    #[param(minimum = 1)]
    context: Option<u64>,
    /// A quantisation, such as `Q4_K_M`. Default: the one that suits best.
    quant: Option<String>,
    /// Type of the KV cache. Default: f16.
    #[param(inline)]
    kv_quant: Option<CacheType>,
}

/// What a plan is for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlanParameters {
    /// Speed that is wanted, tok/s.
    #[param(exclusive_minimum = 0)]
    target_tps: Option<f64>,
    /// Requests served at once. Default: 1.
    #[param(minimum = 1, maximum = 4096)]
    slots: Option<u32>,
}

/// How many are to be served.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsersParameter {
    /// Requests at once that are wanted.
    #[param(minimum = 1)]
    users: Option<u64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum FitLevel {
    Perfect,
    Good,
    Marginal,
    TooTight,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Runtime {
    Any,
    Mlx,
    LlamaCpp,
    Vllm,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum UseCase {
    General,
    Coding,
    Reasoning,
    Chat,
    Multimodal,
    Embedding,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Sort {
    Score,
    Tps,
    Params,
    Mem,
    Ctx,
    Date,
    UseCase,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum CacheType {
    F32,
    F16,
    Bf16,
    #[schema(rename = "q8_0")]
    Q8,
    #[schema(rename = "q5_1")]
    Q51,
    #[schema(rename = "q5_0")]
    Q50,
    #[schema(rename = "q4_1")]
    Q41,
    #[schema(rename = "q4_0")]
    Q40,
    #[schema(rename = "iq4_nl")]
    Iq4Nl,
}
