//! What the gateway is made of, and its table of contents.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use route::{Activate, Table};
use types::ByteCount;

use crate::forward::forward;
use crate::metrics::Endpoint;
use crate::pool::Pool;
use crate::{ApiError, Completed, Metrics, RequestId, X_REQUEST_ID, models};

/// What the gateway refuses to exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body. Default 64 MiB.
    pub max_body: ByteCount,
    /// Longest pause while a client sends its body. Default 60 s.
    pub body_timeout: Duration,
    /// Longest time an engine may say nothing, before its answer and within it. Default 600 s.
    pub engine_idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: ByteCount::mib(64),
            body_timeout: Duration::from_secs(60),
            engine_idle_timeout: Duration::from_secs(600),
        }
    }
}

/// What the gateway is built from.
#[derive(Clone)]
pub struct Parts {
    /// Which models there are and which are ready.
    pub table: Table,
    /// Makes ready what is not.
    pub activate: Arc<dyn Activate>,
    /// What it refuses to exceed.
    pub limits: Limits,
    /// Where it counts.
    pub metrics: Metrics,
    /// Called with each answer an engine completed, by the thread that served it: it must not wait. What takes longer
    /// is queued by whoever is called; waking another thread for each request here cost a quarter of the throughput.
    pub completed: Arc<dyn Fn(Completed) + Send + Sync>,
}

/// What every request needs.
pub(crate) struct Gateway {
    pub(crate) table: Table,
    pub(crate) activate: Arc<dyn Activate>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) completed: Arc<dyn Fn(Completed) + Send + Sync>,
    pub(crate) pool: Arc<Pool>,
}

/// The routes of OpenAI's API, each with and without a slash at the end.
///
/// Connections to engines are kept per router. Where a server has several runtimes, each should get a router of its
/// own, made of clones of the same parts, so that a connection stays on the runtime that made it.
pub fn router(parts: Parts) -> Router {
    let gateway = Arc::new(Gateway {
        table: parts.table,
        activate: parts.activate,
        pool: Arc::new(Pool::new(parts.limits.engine_idle_timeout)),
        limits: parts.limits,
        metrics: parts.metrics,
        completed: parts.completed,
    });
    let mut router = Router::new();
    for (path, methods) in [
        ("/v1/models", only("GET, HEAD", get(models::list))),
        ("/v1/models/", only("GET, HEAD", get(models::list))),
        ("/v1/models/{*id}", only("GET, HEAD", get(models::one))),
        ("/v1/chat/completions", forwarding(Endpoint::ChatCompletions)),
        ("/v1/chat/completions/", forwarding(Endpoint::ChatCompletions)),
        ("/v1/completions", forwarding(Endpoint::Completions)),
        ("/v1/completions/", forwarding(Endpoint::Completions)),
        ("/v1/embeddings", forwarding(Endpoint::Embeddings)),
        ("/v1/embeddings/", forwarding(Endpoint::Embeddings)),
    ] {
        router = router.route(path, methods);
    }
    router.with_state(gateway)
}

fn forwarding(endpoint: Endpoint) -> MethodRouter<Arc<Gateway>> {
    let handler = move |State(gateway): State<Arc<Gateway>>, request: Request| forward(gateway, endpoint, request);
    only("POST", post(handler))
}

/// Any other method is refused with the error object and the methods that would do.
fn only(allow: &'static str, methods: MethodRouter<Arc<Gateway>>) -> MethodRouter<Arc<Gateway>> {
    methods.fallback(async move |request: Request| -> Response {
        let id = RequestId::of(request.headers());
        let error = ApiError::method_not_allowed(request.method(), request.uri().path(), allow);
        ([(X_REQUEST_ID, id.into_header())], error).into_response()
    })
}
