//! The health probe: does an engine answer, and is it the one we mean?

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use tokio::net::TcpStream;

use crate::{Adapter, loopback};

/// A healthy engine on this machine answers in milliseconds; a busy machine gets some more.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What an engine says of itself when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is well.
    Healthy,
    /// It answers, and is not well: it loads, or something is wrong.
    Unhealthy(StatusCode),
    /// Nobody listens there.
    Unreachable(String),
    /// It did not answer in time.
    Timeout,
    /// What it sent is no answer.
    Garbled,
}

/// Asks the engine at `address`, which has `patience` to answer.
pub async fn health(address: SocketAddr, adapter: &Adapter, patience: Duration) -> Health {
    tokio::time::timeout(patience, ask(address, adapter)).await.unwrap_or(Health::Timeout)
}

async fn ask(address: SocketAddr, adapter: &Adapter) -> Health {
    let mut last = Health::Garbled;
    for path in adapter.health_paths() {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => return Health::Unreachable(error.to_string()),
        };
        last = match loopback::get_on(stream, path).await {
            Some((StatusCode::OK, _)) => return Health::Healthy,
            Some((status, _)) => Health::Unhealthy(status),
            None => return Health::Garbled,
        };
        // Only one that does not know the question is asked another.
        if !matches!(last, Health::Unhealthy(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)) {
            return last;
        }
    }
    last
}

/// Whether it says that the model is loaded.
pub(crate) async fn is_healthy(address: SocketAddr, adapter: &Adapter) -> bool {
    health(address, adapter, TIMEOUT).await == Health::Healthy
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
