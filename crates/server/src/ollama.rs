//! Ollama's API, as far as it is not inference: which models there are, what runs, getting and deleting them. Handlers
//! only convert.
//!
//! They answer errors as all others do; a layer puts those into Ollama's form, `{"error": "…"}`, and what the guard says
//! too. What Ollama makes of models (Modelfiles, blobs, its registry) has no counterpart here, and says so.

pub(crate) mod listed;
pub(crate) mod pull;
pub(crate) mod shown;

use std::sync::Arc;

use api::OllamaProgress;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use gateway::ApiError;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use node::{Model, View};
use storage::Error;

use crate::json_body;
use crate::models::Models;
use crate::refused::refused;

/// No error of ours is longer.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// `GET /`: what programs look for that ask whether Ollama is there.
pub(crate) async fn greeting() -> &'static str {
    concat!("snug ", env!("CARGO_PKG_VERSION"), " answers here, and for its clients: Ollama is running\n")
}

/// Deletes the files of a model.
#[utoipa::path(
    delete, path = "/api/delete", tag = "ollama", request_body = api::OllamaNamed,
    responses(
        (status = 200, body = api::OllamaProgress), (status = 400, body = api::OllamaError),
        (status = 401, body = api::OllamaError), (status = 404, body = api::OllamaError),
        (status = 409, description = "guarded by a flag, being downloaded, or one of several variants", body = api::OllamaError),
        (status = 413, body = api::OllamaError), (status = 500, body = api::OllamaError),
    ),
)]
pub(crate) async fn delete(State(models): State<Models>, request: Request) -> Result<Json<OllamaProgress>, ApiError> {
    let api::OllamaNamed { model, name } = json_body::read(request).await?;
    let asked = one_of(model, name)?;
    let view = models.node.view().borrow().clone();
    let key = meant(&view, &asked)?.key.clone();
    let variants = view.library.variants_of(&key.id);
    // A bare name is one model to Ollama's clients; of several nobody knows which they mean.
    if variants.len() > 1 && !protocol::ollama::name(&asked).ends_with(key.variant.as_str()) {
        let names: Vec<String> = variants.iter().map(|variant| format!("{}:{variant}", key.id)).collect();
        let message = format!("`{}` has several variants: say which ({})", key.id, names.join(", "));
        let kind = api::ErrorType::InvalidRequestError;
        return Err(ApiError::new(StatusCode::CONFLICT, kind, "model_ambiguous", message).with_param("model"));
    }
    models.storage.delete(key.id.as_str(), Some(key.variant.as_str())).await.map_err(refused)?;
    Ok(Json(said("success")))
}

/// `POST /api/copy`.
pub(crate) async fn copy() -> ApiError {
    not_here("models have no second names that are given while snug runs; a `[[routes]]` entry in snug.toml gives one")
}

/// `POST /api/create`, and the blobs that it is made of.
pub(crate) async fn create() -> ApiError {
    not_here(
        "models are not made here from a Modelfile; put a .gguf file into the models folder, or say how one is started in a \
         `[[models]]` entry of snug.toml or by POST /api/models/config",
    )
}

/// `POST /api/push`.
pub(crate) async fn push() -> ApiError {
    not_here("models are not sent anywhere from here; upload them to the Hugging Face hub by its own tools")
}

fn not_here(message: &'static str) -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, api::ErrorType::InvalidRequestError, "not_supported", message)
}

/// Puts errors into Ollama's form.
pub(crate) async fn in_ollamas_form(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if response.status().is_success() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, ERROR_BYTES_MAX).await.unwrap_or_default();
    let told = match serde_json::from_slice::<api::ErrorBody>(&body) {
        Ok(told) => protocol::ollama::error(&told.error.message),
        Err(_) => body.to_vec(),
    };
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(told))
}

/// Progress that is only a word.
fn said(status: &str) -> OllamaProgress {
    OllamaProgress { status: status.to_owned(), ..OllamaProgress::default() }
}

/// The name in a request, which clients say in one of two fields.
fn one_of(model: Option<String>, name: Option<String>) -> Result<String, ApiError> {
    let named = [model, name].into_iter().flatten().find(|name| !name.trim().is_empty());
    named.ok_or_else(|| ApiError::bad_request("missing_model", "`model` is missing: say which").with_param("model"))
}

/// The model that a client's name means.
fn meant(view: &View, asked: &str) -> Result<Arc<Model>, ApiError> {
    let name = protocol::ollama::name(asked);
    let key = view.meant_by(&name).and_then(|key| view.library.get(&key));
    key.ok_or_else(|| refused(Error::NotFound { name: name.into_owned(), known: view.library.some_names() }))
}
