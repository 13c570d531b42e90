//! Liveness, readiness, version.

use api::{Health, NodeName, Readiness, Version};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::first_model::FirstModel;
use crate::preload::Preloads;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `GET /health`: the program lives. Never fails for a sick engine.
pub(crate) async fn health() -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        version: VERSION.to_owned(),
        node: NodeName { name: hardware::node_name(), os: std::env::consts::OS.to_owned() },
        router: "healthy".to_owned(),
    })
}

/// `GET /readyz`: models can be loaded; what is still missing shows by name.
pub(crate) async fn ready(
    State((node, first, preloads)): State<(node::Handle, FirstModel, Preloads)>,
) -> (StatusCode, Json<Readiness>) {
    let mut waiting_for: Vec<String> = node.view().borrow().not_ready.iter().map(|&name| name.to_owned()).collect();
    waiting_for.extend(first.is_awaited().then(|| "default_model".to_owned()));
    waiting_for.extend(preloads.are_awaited().then(|| "models_yaml".to_owned()));
    let status = if waiting_for.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: waiting_for.is_empty(), waiting_for }))
}

/// `GET /api/version`.
pub(crate) async fn version() -> Json<Version> {
    let number = |text: &str| text.parse().unwrap_or(0);
    Json(Version {
        version: VERSION.to_owned(),
        major: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    })
}
