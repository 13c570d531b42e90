//! A server of files to download, which can hold an answer back until the test has seen what it wants to see.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, RANGE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The server; it ends when dropped.
pub(crate) struct Files {
    address: SocketAddr,
    shelf: Arc<Shelf>,
    _serving: JoinSet<()>,
}

struct Shelf {
    files: BTreeMap<String, Bytes>,
    /// Whether bodies of these files stop in the middle for now.
    held: BTreeMap<String, watch::Sender<bool>>,
    /// How often the contents of a file were asked for.
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Files {
    /// Serves these files under their names on a port of the system's choice.
    pub(crate) async fn serve(files: impl IntoIterator<Item = (&str, Vec<u8>)>) -> Self {
        let files: BTreeMap<String, Bytes> =
            files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into())).collect();
        let held = files.keys().map(|name| (name.clone(), watch::Sender::new(false))).collect();
        let shelf = Arc::new(Shelf { files, held, asked: Mutex::default() });
        let router = Router::new().route("/{*name}", get(file)).with_state(Arc::clone(&shelf));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a port");
        let address = listener.local_addr().expect("it is bound");
        let mut serving = JoinSet::new();
        serving.spawn(async { drop(axum::serve(listener, router).await) });
        Self { address, shelf, _serving: serving }
    }

    /// Where a file is.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// The hash of a file, as configs give it.
    pub(crate) fn sha256(&self, name: &str) -> String {
        Sha256::digest(&self.shelf.files[name]).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The length of a file.
    pub(crate) fn size(&self, name: &str) -> u64 {
        self.shelf.files[name].len() as u64
    }

    /// From now on answers with this file stop in the middle.
    pub(crate) fn hold(&self, name: &str) {
        self.shelf.held[name].send_replace(true);
    }

    /// They go on.
    pub(crate) fn release(&self, name: &str) {
        self.shelf.held[name].send_replace(false);
    }

    /// How often the contents of a file, or of a part of it, were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.shelf.asked.lock().expect("nobody panics with it").get(name).copied().unwrap_or(0)
    }
}

async fn file(
    State(shelf): State<Arc<Shelf>>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(bytes) = shelf.files.get(&name).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{:x}\"", bytes.len());
    let whole = bytes.len();
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).and_then(|range| part(range, whole));
    let (status, bytes, content_range) = match range {
        None => (StatusCode::OK, bytes, None),
        Some((first, end)) if first < end => {
            (StatusCode::PARTIAL_CONTENT, bytes.slice(first..end), Some(format!("bytes {first}-{}/{whole}", end - 1)))
        }
        Some(_) => (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(format!("bytes */{whole}"))),
    };
    let length = bytes.len();
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        *shelf.asked.lock().expect("nobody panics with it").entry(name.clone()).or_default() += 1;
        held(bytes, shelf.held[&name].subscribe())
    };
    let mut response = (status, [(ACCEPT_RANGES, "bytes".to_owned()), (ETAG, etag)], body).into_response();
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    if let Some(range) = content_range {
        response.headers_mut().insert(CONTENT_RANGE, range.parse().expect("digits"));
    }
    response
}

/// The first half, and the second once nothing holds it.
fn held(bytes: Bytes, held: watch::Receiver<bool>) -> Body {
    let second = bytes.slice(bytes.len() / 2..);
    let first = bytes.slice(..bytes.len() / 2);
    let halves = [(first, None), (second, Some(held))];
    Body::from_stream(futures_util::stream::unfold(halves.into_iter(), async |mut halves| {
        let (half, held) = halves.next()?;
        if let Some(mut held) = held {
            held.wait_for(|held| !held).await.ok()?;
        }
        Some((Ok::<_, std::convert::Infallible>(half), halves))
    }))
}

/// `bytes=FIRST-LAST` of a file of this length, as first and end.
fn part(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let end = last.parse().map_or(length, |last: usize| last.saturating_add(1)).min(length);
    Some((first, end))
}
