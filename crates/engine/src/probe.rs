//! The health probe: does an engine answer, and is it the one we mean?

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A healthy engine on this machine answers in milliseconds; a busy machine gets some more.
const TIMEOUT: Duration = Duration::from_secs(2);
const BODY_BYTES_MAX: usize = 1 << 20;

/// Whether `GET /health` says that the model is loaded.
pub(crate) async fn is_healthy(address: SocketAddr) -> bool {
    matches!(get(address, "/health").await, Some((status, _)) if status == http::StatusCode::OK)
}

/// Whether the engine behind `address` serves `model`: a port of a dead engine may belong to anyone by now.
pub(crate) async fn serves(address: SocketAddr, model: &std::path::Path) -> bool {
    let Some((http::StatusCode::OK, body)) = get(address, "/props").await else { return false };
    let Ok(properties) = serde_json::from_slice::<serde_json::Value>(&body) else { return false };
    properties.get("model_path").and_then(|path| path.as_str()) == model.to_str()
}

async fn get(address: SocketAddr, path: &str) -> Option<(http::StatusCode, Bytes)> {
    tokio::time::timeout(TIMEOUT, async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let request = http::Request::get(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let exchange = async {
            let response = sender.send_request(request).await.ok()?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
            Some((status, body))
        };
        // The connection is driven here and ends with the exchange; no task is left behind.
        let mut exchange = std::pin::pin!(exchange);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            answer = &mut exchange => answer,
            _closed = &mut connection => exchange.await,
        }
    })
    .await
    .ok()
    .flatten()
}
