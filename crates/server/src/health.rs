//! Liveness, readiness, version.

use api::{Health, NodeName, Readiness, Version};
use axum::Json;
use axum::extract::State;
use http::StatusCode;

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
pub(crate) async fn ready(State(node): State<node::Handle>) -> (StatusCode, Json<Readiness>) {
    let waiting_for: Vec<String> = node.view().borrow().not_ready.iter().map(|&name| name.to_owned()).collect();
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
