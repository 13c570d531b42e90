//! `/openapi.json`: every route there is, with its schemas.
//!
//! `docs/openapi.json` is the same, kept so by a test: a change of the API shows up in review.

use gateway::{Endpoint, Takes, Tongue};
use utoipa::OpenApi;
use utoipa::openapi::path::{HttpMethod, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::{self, Content, ObjectBuilder, RefOr, Required, Type};

use crate::{api_keys, backends_health, downloads, fit_api, ollama, stats, stored, usage};

/// The document, as JSON.
///
/// # Panics
/// Never: it is plain data.
pub fn document() -> String {
    let mut document = Document::openapi();
    add_inference(&mut document);
    document.to_pretty_json().expect("the document is plain data")
}

/// What the gateway answers: all of it as a chat is.
fn add_inference(document: &mut openapi::OpenApi) {
    let chat = Endpoint::ChatCompletions.path();
    let Some(model) = document.paths.get_path_operation(chat, HttpMethod::Post).cloned() else { return };
    for endpoint in Endpoint::ALL {
        for path in std::iter::once(endpoint.path()).chain(endpoint.also().iter().copied()) {
            let mut operation = model.clone();
            operation.operation_id = Some(path.trim_matches('/').replace(['/', '-'], "_"));
            operation.summary = Some(endpoint.about().to_owned());
            if endpoint.tongue() != Tongue::OpenAi {
                in_other_words(&mut operation.responses);
            }
            let method = match endpoint.takes() {
                Takes::Nothing => HttpMethod::Get,
                _ => HttpMethod::Post,
            };
            operation.request_body = match endpoint.takes() {
                Takes::JsonWithModel => operation.request_body,
                Takes::Json => Some(RefOr::T(any_object())),
                Takes::Form => Some(RefOr::T(form_with_model())),
                Takes::Nothing => None,
            };
            if endpoint.takes() == Takes::Nothing {
                operation.parameters = Some(vec![RefOr::T(model_in_query())]);
            }
            // What was there for the chat gives way to the same.
            document.paths.paths.entry(path.to_owned()).or_default();
            document.paths.add_path_operation(path, vec![method], operation);
        }
    }
}

/// Errors are in another form than ours there: any JSON.
fn in_other_words(responses: &mut openapi::Responses) {
    let Some(RefOr::T(any)) = responses.responses.get("200") else { return };
    let any = any.content.clone();
    for response in responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.content.clone_from(&any);
        }
    }
}

fn any_object() -> RequestBody {
    let schema = ObjectBuilder::new().build();
    RequestBodyBuilder::new()
        .description(Some("whatever the engine takes, and perhaps `model`"))
        .content("application/json", Content::new(Some(schema)))
        .build()
}

fn form_with_model() -> RequestBody {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let schema = ObjectBuilder::new().property("model", text).required("model").build();
    RequestBodyBuilder::new()
        .description(Some("`model`, a file, and whatever the engine takes"))
        .content("multipart/form-data", Content::new(Some(schema)))
        .required(Some(Required::True))
        .build()
}

fn model_in_query() -> Parameter {
    ParameterBuilder::new()
        .name("model")
        .parameter_in(ParameterIn::Query)
        .description(Some("which model; may be left out where one is loaded"))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .build()
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
        (name = "models", description = "Models on this machine: configure, load, unload, look"),
        (name = "storage", description = "Their files: get, guard, delete"),
        (name = "stats", description = "What the machine does and did lately"),
        (name = "keys", description = "Who may use the models, and what they used"),
        (name = "inference", description = "OpenAI's API"),
        (name = "ollama", description = "Ollama's API, as far as it is not inference"),
        (name = "health", description = "Whether snug is well"),
        (name = "logs", description = "What happens here"),
    ),
    paths(
        fit_api::system, fit_api::models, fit_api::top, fit_api::named, fit_api::plan, fit_api::plan_by_query,
        fit_api::concurrency, fit_api::runtimes, fit_api::installed,
        stats::snapshot, stats::history, stats::swaps, stats::hardware,
        routes::available, routes::loaded, routes::load, routes::unload, routes::pin, routes::unpin,
        routes::set_hot_ready, routes::clear_hot_ready, routes::set_protected, routes::clear_protected,
        routes::add_configs, routes::put_configs, routes::config, routes::remove_config,
        routes::begin_download, routes::download_status, routes::cancel_download, routes::pause_download,
        downloads::list, routes::delete_files,
        stored::overview, stored::models, routes::stored_model, routes::stored_variant,
        routes::stored_variant_in_short, routes::set_limit,
        routes::post_limit, stored::preview, stored::run, stored::policy, stored::set_policy,
        api_keys::list, api_keys::create, api_keys::change, api_keys::delete, usage::usage,
        ollama::listed::tags, ollama::listed::running, ollama::shown::show, ollama::pull::pull, ollama::delete,
        routes::copy, routes::create, routes::create_blob, routes::push,
        routes::list_models, routes::one_model, routes::chat_completions,
        routes::health, routes::healthz, routes::v1_health, routes::api_health, routes::ready, routes::version,
        routes::metrics, routes::openapi, routes::logs, backends_health::health,
    ),
)]
struct Document;

/// Routes whose handlers serve several paths, or stand in other crates.
#[expect(dead_code, reason = "only what stands above each function is read, by a macro")]
mod routes {
    use api::{
        AvailableModels, ConfigsAdded, ConfigsPut, DeleteAnswer, DownloadStatus, ErrorBody, FlagAnswer, GuardedBody,
        Health, LimitAnswer, LimitRequest, LoadAnswer, LoadedModels, LogLevel, Logs, Model, ModelAnswer, ModelList,
        OllamaError, Readiness, StoredModel, StoredVariant, UnloadAnswer, Version,
    };

    /// Every variant of every model found on this machine, and how it fits.
    #[utoipa::path(get, path = "/api/models", tag = "models", responses((status = 200, body = AvailableModels)))]
    pub(super) fn available() {}

    /// What is loaded.
    #[utoipa::path(get, path = "/api/models/loaded", tag = "models", responses((status = 200, body = LoadedModels)))]
    pub(super) fn loaded() {}

    /// Loads a model; asked for with `Accept: text/event-stream`, tells its progress. If its files have to be fetched first,
    /// that is begun, and it is loaded when they are here.
    #[utoipa::path(
    post, path = "/api/models/{name}/load", tag = "models",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
        ("variant" = Option<String>, Query, description = "which of its variants"),
        ("context" = Option<u64>, Query, description = "tokens of context for each slot"),
    ),
    responses(
        (status = 200, body = LoadAnswer),
        (status = 202, body = ModelAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 500, body = ErrorBody),
        (status = 503, body = ErrorBody),
        (status = 507, body = ErrorBody),
    ),
)]
    pub(super) fn load() {}

    /// Unloads a model; requests in flight are cut after a while. The weights of a pinned one stay in RAM.
    #[utoipa::path(
    post, path = "/api/models/{name}/unload", tag = "models",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
    ),
    responses(
        (status = 200, body = UnloadAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
    pub(super) fn unload() {}

    /// Pins a model: it is not unloaded to make room. It need not be loaded.
    #[utoipa::path(
    post, path = "/api/models/{name}/pin", tag = "models",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
    ),
    responses(
        (status = 200, body = ModelAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody),
        (status = 500, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
    pub(super) fn pin() {}

    /// Unpins a model.
    #[utoipa::path(
    post, path = "/api/models/{name}/unpin", tag = "models",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
    ),
    responses(
        (status = 200, body = ModelAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody),
        (status = 500, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
    pub(super) fn unpin() {}

    /// Sets a flag that keeps the weights in RAM while the variant is not loaded.
    #[utoipa::path(
    post, path = "/api/models/{name}/variants/{variant}/hot-ready", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
        ("variant" = String, Path, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = FlagAnswer),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn set_hot_ready() {}

    /// Clears it.
    #[utoipa::path(
    delete, path = "/api/models/{name}/variants/{variant}/hot-ready", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
        ("variant" = String, Path, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = FlagAnswer),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn clear_hot_ready() {}

    /// Sets a flag that keeps the files from being deleted.
    #[utoipa::path(
    post, path = "/api/models/{name}/variants/{variant}/protected", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
        ("variant" = String, Path, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = FlagAnswer),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn set_protected() {}

    /// Clears it.
    #[utoipa::path(
    delete, path = "/api/models/{name}/variants/{variant}/protected", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
        ("variant" = String, Path, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = FlagAnswer),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn clear_protected() {}

    /// Adds one model config, or many as `{"models": [...]}`: all or none.
    #[utoipa::path(
    post, path = "/api/models/config", tag = "models",
    request_body = serde_json::Value,
    responses(
        (status = 201, body = ConfigsAdded),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn add_configs() {}

    /// Adds model configs or changes those that are there: all or none. What is not given stays; a `null` removes.
    #[utoipa::path(
    put, path = "/api/models/config", tag = "models",
    request_body = serde_json::Value,
    responses(
        (status = 200, body = ConfigsPut),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn put_configs() {}

    /// A model's config, with defaults filled in and secrets masked.
    #[utoipa::path(
    get, path = "/api/models/config/{name}", tag = "models",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
    ),
    responses(
        (status = 200, description = "the config", body = serde_json::Value),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
    pub(super) fn config() {}

    /// Unloads a model and removes its config. Its files stay.
    #[utoipa::path(
    delete, path = "/api/models/config/{name}", tag = "models",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
    ),
    responses(
        (status = 200, body = ModelAnswer),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn remove_config() {}

    /// Begins the download of a configured model, of one of the catalogue, or of a repository of the Hugging Face hub; lets one
    /// that rests go on.
    #[utoipa::path(
    post, path = "/api/models/{name}/download", tag = "storage",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
        ("variant" = Option<String>, Query, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = ModelAnswer),
        (status = 202, body = ModelAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
        (status = 502, body = ErrorBody),
        (status = 503, body = ErrorBody),
        (status = 507, body = ErrorBody),
    ),
)]
    pub(super) fn begin_download() {}

    /// How far a model's download is; asked for with `Accept: text/event-stream`, as it goes on.
    #[utoipa::path(
    get, path = "/api/models/{name}/download", tag = "storage",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
        ("variant" = Option<String>, Query, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = DownloadStatus),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
    pub(super) fn download_status() {}

    /// Ends a download and removes what came of it, or forgets one that failed.
    #[utoipa::path(
    delete, path = "/api/models/{name}/download", tag = "storage",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
        ("variant" = Option<String>, Query, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = ModelAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn cancel_download() {}

    /// Lets a download rest; begun again, it goes on where it was.
    #[utoipa::path(
    post, path = "/api/models/{name}/download/pause", tag = "storage",
    params(
        ("name" = String, Path, description = "the model, or model:variant"),
        ("variant" = Option<String>, Query, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = ModelAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn pause_download() {}

    /// Deletes the files of a variant, or of all variants of a model; it is unloaded first.
    #[utoipa::path(
    delete, path = "/api/models/{name}/files", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
        ("variant" = Option<String>, Query, description = "which of its variants", min_length = 1),
    ),
    responses(
        (status = 200, body = DeleteAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
        (status = 409, description = "guarded by a flag, or being downloaded", body = GuardedBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn delete_files() {}

    /// A model's variants that are here.
    #[utoipa::path(
    get, path = "/api/storage/models/{name}", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
    ),
    responses(
        (status = 200, body = StoredModel),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
    pub(super) fn stored_model() {}

    /// One of them.
    #[utoipa::path(
    get, path = "/api/storage/models/{name}/variants/{variant}", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
        ("variant" = String, Path, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = StoredVariant),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
    pub(super) fn stored_variant() {}

    /// The same.
    #[utoipa::path(
    get, path = "/api/storage/models/{name}/{variant}", tag = "storage",
    params(
        ("name" = String, Path, description = "the model; slashes may be raw"),
        ("variant" = String, Path, description = "which of its variants"),
    ),
    responses(
        (status = 200, body = StoredVariant),
        (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
    pub(super) fn stored_variant_in_short() {}

    /// Sets what model files may take. Nothing is deleted by it.
    #[utoipa::path(
    put, path = "/api/storage/limit", tag = "storage",
    request_body = LimitRequest,
    responses(
        (status = 200, body = LimitAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn set_limit() {}

    /// As `PUT`.
    #[utoipa::path(
    post, path = "/api/storage/limit", tag = "storage",
    request_body = LimitRequest,
    responses(
        (status = 200, body = LimitAnswer),
        (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 500, body = ErrorBody),
    ),
)]
    pub(super) fn post_limit() {}

    /// Not done here: answers what works instead.
    #[utoipa::path(
    post, path = "/api/copy", tag = "ollama",
    responses((status = 401, body = OllamaError), (status = 501, body = OllamaError)),
)]
    pub(super) fn copy() {}

    /// Not done here: answers what works instead.
    #[utoipa::path(
    post, path = "/api/create", tag = "ollama",
    responses((status = 401, body = OllamaError), (status = 501, body = OllamaError)),
)]
    pub(super) fn create() {}

    /// Not done here: answers what works instead.
    #[utoipa::path(
    post, path = "/api/push", tag = "ollama",
    responses((status = 401, body = OllamaError), (status = 501, body = OllamaError)),
)]
    pub(super) fn push() {}

    /// Not done here: answers what works instead.
    #[utoipa::path(
    post, path = "/api/blobs/{digest}", tag = "ollama",
    params(("digest" = String, Path, description = "of what Ollama would make a model of")),
    responses((status = 401, body = OllamaError), (status = 501, body = OllamaError)),
)]
    pub(super) fn create_blob() {}

    /// Models that requests can name.
    #[utoipa::path(
    get, path = "/v1/models", tag = "inference",
    params(("state" = inline(Option<Loaded>), Query, description = "only those that are")),
    responses(
        (status = 200, body = ModelList), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
    ),
)]
    pub(super) fn list_models() {}

    /// One of them.
    #[utoipa::path(
    get, path = "/v1/models/{id}", tag = "inference",
    params(("id" = String, Path, description = "its id; slashes may be raw")),
    responses(
        (status = 200, body = Model), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
    pub(super) fn one_model() {}

    /// A chat. OpenAI's request and answer, passed through to the model's engine; with `stream` as server-sent events.
    #[utoipa::path(
    post, path = "/v1/chat/completions", tag = "inference",
    request_body(content = Inference, description = "`model` and whatever the engine takes"),
    responses(
        (status = 200, description = "the engine's answer", body = serde_json::Value),
        (status = 400, description = "an error object, ours or the engine's own", body = serde_json::Value),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 408, body = ErrorBody), (status = 409, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 422, description = "an error object, the engine's own", body = serde_json::Value),
        (status = 429, body = ErrorBody), (status = 501, body = serde_json::Value),
        (status = 502, body = ErrorBody), (status = 503, body = ErrorBody), (status = 504, body = ErrorBody),
    ),
)]
    pub(super) fn chat_completions() {}

    /// What a request must have for the gateway; the rest is the engine's.
    #[derive(utoipa::ToSchema)]
    pub(super) struct Inference {
        /// Which model: its id, or `id:variant`.
        model: String,
        /// Whether the answer comes as server-sent events.
        #[schema(default = false)]
        stream: Option<bool>,
    }

    /// The only state that can be asked for.
    #[derive(utoipa::ToSchema)]
    #[schema(rename_all = "lowercase")]
    enum Loaded {
        Loaded,
    }

    /// The program lives; a sick engine never fails it.
    #[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
    pub(super) fn health() {}

    /// As `/health`.
    #[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
    pub(super) fn healthz() {}

    /// As `/health`.
    #[utoipa::path(get, path = "/v1/health", tag = "health", responses((status = 200, body = Health)))]
    pub(super) fn v1_health() {}

    /// As `/health`.
    #[utoipa::path(get, path = "/api/health", tag = "health", responses((status = 200, body = Health)))]
    pub(super) fn api_health() {}

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

    /// This document.
    #[utoipa::path(
    get, path = "/openapi.json", tag = "health",
    responses(
        (status = 200, description = "the document", body = serde_json::Value),
        (status = 304, description = "the document is the one of `If-None-Match`"),
    ),
)]
    pub(super) fn openapi() {}

    /// The last lines of the log, the oldest first; asked for with `Accept: text/event-stream`, goes on with lines as
    /// they come. Each is an event; who is too slow for them gets an event `missed` with their number.
    #[utoipa::path(
    get, path = "/api/logs", tag = "logs",
    params(
        ("count" = inline(Option<u64>), Query, description = "how many; more than 1000 are not kept", minimum = 1),
        ("level" = inline(Option<LogLevel>), Query, description = "the least level that is shown"),
    ),
    responses((status = 200, body = Logs), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody)),
)]
    pub(super) fn logs() {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The whole API for review, and for who makes a client of it: a change of a route or a schema shows there.
    #[test]
    fn the_document_is_the_one_in_docs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let (document, kept) = (document() + "\n", std::fs::read_to_string(path).unwrap_or_default());
        if std::env::var_os("SNUG_UPDATE_DOCS").is_some() {
            std::fs::write(path, document).unwrap();
            return;
        }
        let differing = document.lines().zip(kept.lines()).position(|(new, old)| new != old);
        assert!(
            document == kept,
            "docs/openapi.json is out of date from line {differing:?} on; `SNUG_UPDATE_DOCS=1 cargo test -p server openapi` writes it anew"
        );
    }

    /// Every path that the routers' sources name, as far as a person may ask for it.
    fn routed() -> BTreeSet<String> {
        let sources = [include_str!("router.rs"), include_str!("../../gateway/src/router.rs")];
        let literals = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
        let paths = literals.filter(|text| text.starts_with('/') && text.len() > 1);
        let documented = paths.flat_map(|path| match path.trim_end_matches('/') {
            // What is not there, in two forms.
            "/api/v1" | "/api/v1/{*unknown}" => vec![],
            "/api/models/{*matter}" => {
                let matters = "load unload pin unpin download download/pause files variants/{variant}/hot-ready \
                               variants/{variant}/protected";
                matters
                    .split(' ')
                    .filter(|matter| !matter.is_empty())
                    .map(|m| format!("/api/models/{{name}}/{m}"))
                    .collect()
            }
            path @ "/api/storage/models/{*name}" => {
                let name = path.replace("{*", "{");
                vec![format!("{name}/variants/{{variant}}"), format!("{name}/{{variant}}"), name]
            }
            path => vec![path.replace("{*", "{")],
        });
        let answered = |endpoint: Endpoint| std::iter::once(endpoint.path()).chain(endpoint.also().iter().copied());
        documented.chain(Endpoint::ALL.into_iter().flat_map(answered).map(str::to_owned)).collect()
    }

    #[test]
    fn every_route_is_in_it_and_nothing_else() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let documented: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(documented, routed());
    }

    #[test]
    fn the_three_lists_take_the_same() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let parameters = |path: &str| -> Vec<Value> {
            let all = document["paths"][path]["get"]["parameters"].as_array().unwrap();
            all.iter().filter(|parameter| parameter["in"] == "query").cloned().collect()
        };
        assert_eq!(parameters("/api/v1/models").len(), 15);
        for path in ["/api/v1/models/top", "/api/v1/models/{name}"] {
            assert_eq!(parameters(path), parameters("/api/v1/models"), "{path}");
        }
    }
}
