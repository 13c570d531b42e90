//! `/openapi.json`: every route there is, with its schemas.
//!
//! The document is a snapshot in the tests: a change of the API shows up in review.

use utoipa::OpenApi;

use crate::fit_api;

/// The document, as JSON.
///
/// # Panics
/// Never: it is plain data.
pub fn document() -> String {
    Document::openapi().to_pretty_json().expect("the document is plain data")
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "snug",
        description = "Models that fit: which run on this machine, and running them.",
        license(name = "Apache-2.0 OR MIT"),
    ),
    tags(
        (name = "fit", description = "What this machine is, and which models it runs how well"),
        (name = "models", description = "Models on this machine: load, unload, look"),
        (name = "inference", description = "OpenAI's API"),
        (name = "health", description = "Whether snug is well"),
    ),
    paths(
        fit_api::system, fit_api::models, fit_api::top, fit_api::named, fit_api::plan, fit_api::plan_by_query,
        fit_api::concurrency, fit_api::runtimes, fit_api::installed,
        routes::available, routes::loaded, routes::load, routes::unload,
        routes::list_models, routes::one_model, routes::chat_completions, routes::completions, routes::embeddings,
        routes::health, routes::ready, routes::version, routes::metrics,
    ),
)]
struct Document;

/// Routes whose handlers serve several paths, or stand in other crates.
#[expect(dead_code, reason = "only what stands above each function is read, by a macro")]
mod routes {
    use api::{
        AvailableModels, ErrorBody, Health, LoadAnswer, LoadedModels, Model, ModelList, Readiness, UnloadAnswer,
        Version,
    };

    /// Every variant of every model found on this machine, and how it fits.
    #[utoipa::path(get, path = "/api/models", tag = "models", responses((status = 200, body = AvailableModels)))]
    pub(super) fn available() {}

    /// What is loaded.
    #[utoipa::path(get, path = "/api/models/loaded", tag = "models", responses((status = 200, body = LoadedModels)))]
    pub(super) fn loaded() {}

    /// Loads a model; asked for with `Accept: text/event-stream`, tells its progress.
    #[utoipa::path(
    post, path = "/api/models/{name}/load", tag = "models",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
        ("variant" = Option<String>, Query, description = "which of its variants"),
        ("context" = Option<u64>, Query, description = "tokens of context for each slot"),
    ),
    responses(
        (status = 200, body = LoadAnswer), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
    pub(super) fn load() {}

    /// Unloads a model; requests in flight are cut after a while.
    #[utoipa::path(
    post, path = "/api/models/{name}/unload", tag = "models",
    params(("name" = String, Path, description = "the model, or model:variant")),
    responses(
        (status = 200, body = UnloadAnswer), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
    pub(super) fn unload() {}

    /// Models that requests can name.
    #[utoipa::path(
    get, path = "/v1/models", tag = "inference",
    params(("state" = Option<String>, Query, description = "`loaded` for those that are")),
    responses((status = 200, body = ModelList), (status = 400, body = ErrorBody)),
)]
    pub(super) fn list_models() {}

    /// One of them.
    #[utoipa::path(
    get, path = "/v1/models/{id}", tag = "inference",
    params(("id" = String, Path, description = "its id; slashes may be raw")),
    responses((status = 200, body = Model), (status = 404, body = ErrorBody)),
)]
    pub(super) fn one_model() {}

    /// A chat. OpenAI's request and answer, passed through to the model's engine; with `stream` as server-sent events.
    #[utoipa::path(
    post, path = "/v1/chat/completions", tag = "inference",
    request_body(content = Inference, description = "`model` and whatever the engine takes"),
    responses(
        (status = 200, description = "the engine's answer", body = serde_json::Value), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 502, body = ErrorBody), (status = 503, body = ErrorBody), (status = 504, body = ErrorBody),
    ),
)]
    pub(super) fn chat_completions() {}

    /// A text to be gone on with; as `/v1/chat/completions`.
    #[utoipa::path(
    post, path = "/v1/completions", tag = "inference",
    request_body(content = Inference, description = "`model` and whatever the engine takes"),
    responses(
        (status = 200, description = "the engine's answer", body = serde_json::Value), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 502, body = ErrorBody), (status = 503, body = ErrorBody), (status = 504, body = ErrorBody),
    ),
)]
    pub(super) fn completions() {}

    /// Vectors of texts; as `/v1/chat/completions`.
    #[utoipa::path(
    post, path = "/v1/embeddings", tag = "inference",
    request_body(content = Inference, description = "`model` and whatever the engine takes"),
    responses(
        (status = 200, description = "the engine's answer", body = serde_json::Value), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 502, body = ErrorBody), (status = 503, body = ErrorBody), (status = 504, body = ErrorBody),
    ),
)]
    pub(super) fn embeddings() {}

    /// What a request must have for the gateway; the rest is the engine's.
    #[derive(utoipa::ToSchema)]
    pub(super) struct Inference {
        /// Which model: its id, or `id:variant`.
        model: String,
        /// Whether the answer comes as server-sent events.
        #[schema(default = false)]
        stream: Option<bool>,
    }

    /// The program lives; a sick engine never fails it.
    #[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
    pub(super) fn health() {}

    /// Whether models can be loaded; what is missing shows by name.
    #[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)),
)]
    pub(super) fn ready() {}

    /// Which version this is.
    #[utoipa::path(get, path = "/api/version", tag = "health", responses((status = 200, body = Version)))]
    pub(super) fn version() {}

    /// Counters and gauges, in the form of OpenMetrics.
    #[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text")),
)]
    pub(super) fn metrics() {}
}
