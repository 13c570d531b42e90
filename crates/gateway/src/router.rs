//! What the gateway is made of, and its table of contents.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use keys::Keys;
use route::{Activate, Directory, QueueBounds, Table};
use types::ByteCount;

use crate::endpoint::Endpoint;
use crate::forward::forward;
use crate::pool::Pool;
use crate::remote::Providers;
use crate::speaks::Natives;
use crate::spread::Spreads;
use crate::{ApiError, Finished, Metrics, RequestId, X_REQUEST_ID, models};

/// What the gateway refuses to exceed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body. Default 64 MiB.
    pub max_body: ByteCount,
    /// Longest pause while a client sends its body. Default 60 s.
    pub body_timeout: Duration,
    /// Longest time an engine may say nothing, before its answer and within it. Default 600 s.
    pub engine_idle_timeout: Duration,
    /// How many requests may wait for a place at one engine whose places are all taken. Default 1024, of one key 512.
    pub queue: QueueBounds,
    /// How long they wait for it. Default 120 s.
    pub queue_wait: Duration,
    /// How much of each body is told of when a request is over, bytes. Default 0: nothing.
    pub bodies_kept: usize,
}

/// The limits as they are now: they may change while requests are served. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LiveLimits(Arc<ArcSwap<Limits>>);

impl LiveLimits {
    /// These, until others are set.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(limits)))
    }

    /// Others, for requests that come from now on.
    pub fn set(&self, limits: Limits) {
        self.0.store(Arc::new(limits));
    }

    pub(crate) fn now(&self) -> Arc<Limits> {
        self.0.load_full()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: ByteCount::mib(64),
            body_timeout: Duration::from_secs(60),
            engine_idle_timeout: Duration::from_secs(600),
            queue: QueueBounds { waiting_max: 1024, per_caller_max: 512 },
            queue_wait: Duration::from_secs(120),
            bodies_kept: 0,
        }
    }
}

/// What the gateway is built from.
#[derive(Clone)]
pub struct Parts {
    /// Which models there are on this machine and which are ready.
    pub table: Table,
    /// What else names mean.
    pub directory: Directory,
    /// Makes ready what is not.
    pub activate: Arc<dyn Activate>,
    /// Who may ask.
    pub keys: Keys,
    /// What it refuses to exceed.
    pub limits: LiveLimits,
    /// Where it counts.
    pub metrics: Metrics,
    /// What all threads know together.
    pub shared: Shared,
    /// Called with each request that is over, by the thread that served it: it must not wait. What takes longer is queued
    /// by whoever is called; waking another thread for each request here cost a quarter of the throughput.
    pub finished: Arc<dyn Fn(Finished) + Send + Sync>,
}

/// What all routers of one gateway know together. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shared(Arc<Known>);

#[derive(Default)]
struct Known {
    spreads: Spreads,
    natives: Natives,
}

/// What every request needs.
pub(crate) struct Gateway {
    pub(crate) table: Table,
    pub(crate) directory: Directory,
    pub(crate) activate: Arc<dyn Activate>,
    pub(crate) keys: Keys,
    pub(crate) limits: LiveLimits,
    pub(crate) metrics: Metrics,
    pub(crate) finished: Arc<dyn Fn(Finished) + Send + Sync>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) providers: Providers,
    shared: Shared,
}

impl Gateway {
    /// Who fails, who has read what.
    pub(crate) fn spreads(&self) -> &Spreads {
        &self.shared.0.spreads
    }

    /// Which engines do not know which routes.
    pub(crate) fn natives(&self) -> &Natives {
        &self.shared.0.natives
    }
}

/// All that can be asked, each with and without a slash at the end.
///
/// Connections to engines are kept per router. Where a server has several runtimes, each should get a router of its
/// own, made of clones of the same parts, so that a connection stays on the runtime that made it.
pub fn router(parts: Parts) -> Router {
    let gateway = Arc::new(Gateway {
        table: parts.table,
        directory: parts.directory,
        activate: parts.activate,
        keys: parts.keys,
        limits: parts.limits,
        metrics: parts.metrics,
        finished: parts.finished,
        pool: Arc::new(Pool::new()),
        providers: Providers::default(),
        shared: parts.shared,
    });
    let mut router = Router::new();
    for (path, methods) in [
        ("/v1/models", only("GET, HEAD", get(models::list))),
        ("/v1/models/", only("GET, HEAD", get(models::list))),
        ("/v1/models/{*id}", only("GET, HEAD", get(models::one))),
    ] {
        router = router.route(path, methods);
    }
    for endpoint in Endpoint::ALL {
        for path in std::iter::once(endpoint.path()).chain(endpoint.also().iter().copied()) {
            let methods = forwarding(endpoint);
            router = router.route(path, methods.clone()).route(&format!("{path}/"), methods);
        }
    }
    router.with_state(gateway)
}

fn forwarding(endpoint: Endpoint) -> MethodRouter<Arc<Gateway>> {
    let handler = move |State(gateway): State<Arc<Gateway>>, request: Request| forward(gateway, endpoint, request);
    if endpoint.is_look() { only("GET, HEAD", get(handler)) } else { only("POST", post(handler)) }
}

/// Any other method is refused with the error object and the methods that would do.
fn only(allow: &'static str, methods: MethodRouter<Arc<Gateway>>) -> MethodRouter<Arc<Gateway>> {
    methods.fallback(async move |request: Request| -> Response {
        let id = RequestId::of(request.headers());
        let error = ApiError::method_not_allowed(request.method(), request.uri().path(), allow);
        ([(X_REQUEST_ID, id.into_header())], error).into_response()
    })
}
