//! One question to an engine on this machine, over HTTP, on a connection of its own.
//!
//! Knows nothing of what is asked, and sets no limit to how long it takes: whoever asks drops the future when it has
//! waited enough, and the connection goes with it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const BODY_BYTES_MAX: usize = 1 << 20;

/// `GET path`; `None` if there is no whole answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<(StatusCode, Bytes)> {
    exchange(address, Request::get(path).body(Full::default()).ok()?).await
}

/// `POST path` with a JSON body; `None` if there is no whole answer.
pub(crate) async fn post(address: SocketAddr, path: &str, json: String) -> Option<(StatusCode, Bytes)> {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    exchange(address, request.body(Full::from(json)).ok()?).await
}

fn told_whom(address: SocketAddr, mut request: Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
    let headers = request.headers_mut();
    headers.insert(HOST, address.to_string().try_into().ok()?);
    headers.insert(CONNECTION, http::HeaderValue::from_static("close"));
    Some(request)
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Option<(StatusCode, Bytes)> {
    let request = told_whom(address, request)?;
    exchange_on(TcpStream::connect(address).await.ok()?, request).await
}

/// `GET path` on a connection that is there already; `None` if there is no whole answer.
pub(crate) async fn get_on(stream: TcpStream, path: &str) -> Option<(StatusCode, Bytes)> {
    let address = stream.peer_addr().ok()?;
    exchange_on(stream, told_whom(address, Request::get(path).body(Full::default()).ok()?)?).await
}

async fn exchange_on(stream: TcpStream, request: Request<Full<Bytes>>) -> Option<(StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
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
}
