//! The health probe: does an engine answer, and is it the one we mean?

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::loopback;

/// A healthy engine on this machine answers in milliseconds; a busy machine gets some more.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Whether `GET /health` says that the model is loaded.
pub(crate) async fn is_healthy(address: SocketAddr) -> bool {
    matches!(get(address, "/health").await, Some((StatusCode::OK, _)))
}

/// Whether the engine behind `address` serves `model`: a port of a dead engine may belong to anyone by now.
pub(crate) async fn serves(address: SocketAddr, model: &std::path::Path) -> bool {
    let Some((StatusCode::OK, body)) = get(address, "/props").await else { return false };
    let Ok(properties) = serde_json::from_slice::<serde_json::Value>(&body) else { return false };
    properties.get("model_path").and_then(|path| path.as_str()) == model.to_str()
}

async fn get(address: SocketAddr, path: &str) -> Option<(StatusCode, Bytes)> {
    tokio::time::timeout(TIMEOUT, loopback::get(address, path)).await.ok().flatten()
}
