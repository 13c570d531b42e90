//! `/api/models/config…`: model configs over the API. Handlers only convert.

use api::{ConfigsAdded, ConfigsPut, ModelAnswer};
use axum::Json;
use axum::extract::{Path, Request, State};
use gateway::ApiError;
use http::StatusCode;
use serde_json::Value;
use storage::{Error, Storage};

use crate::json_body;
use crate::refused::refused;

/// Adds one model, or many as `{"models": [...]}`: all or none.
pub(crate) async fn add(
    State(storage): State<Storage>,
    request: Request,
) -> Result<(StatusCode, Json<ConfigsAdded>), ApiError> {
    let body: Value = json_body::read(request).await?;
    let changed = storage.add_configs(body).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(ConfigsAdded { added: changed.added })))
}

/// Adds models or changes those that are there: all or none. What is not given stays as it is.
pub(crate) async fn put(State(storage): State<Storage>, request: Request) -> Result<Json<ConfigsPut>, ApiError> {
    let body: Value = json_body::read(request).await?;
    let changed = storage.put_configs(body).await.map_err(refused)?;
    Ok(Json(ConfigsPut { updated: changed.updated, added: changed.added }))
}

/// A model's config, with defaults filled in and secrets masked.
pub(crate) async fn one(State(storage): State<Storage>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let name = name.trim_end_matches('/');
    match storage.config(name) {
        Some(config) => Ok(Json(config.to_shown_json())),
        None => Err(refused(Error::NotFound { name: name.to_owned(), known: storage.config_names() })),
    }
}

/// Unloads a model and removes its config. Its files stay.
pub(crate) async fn remove(
    State(storage): State<Storage>,
    Path(name): Path<String>,
) -> Result<Json<ModelAnswer>, ApiError> {
    let name = name.trim_end_matches('/');
    storage.remove_config(name).await.map_err(refused)?;
    Ok(Json(ModelAnswer { status: "removed".to_owned(), model: name.to_owned(), variant: None }))
}
