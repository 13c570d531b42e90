//! The contents page of the product: every route, who answers it, and who may ask.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use config::Config;
use gateway::{ApiError, RequestId, X_REQUEST_ID};
use prometheus_client::registry::Registry;

use crate::access::{Access, guard};
use crate::{assembly, health, metrics, models};

/// What the routes are made of. Each serving thread has a router of its own, made from clones.
#[derive(Clone)]
pub(crate) struct Parts {
    gateway: gateway::Parts,
    node: node::Handle,
    access: Access,
    metrics: metrics::Page,
}

impl Parts {
    pub(crate) fn new(config: &Config, table: route::Table, node: node::Handle, access: Access) -> Self {
        let mut registry = Registry::default();
        let request_metrics = gateway::Metrics::register(&mut registry);
        registry.register_collector(Box::new(metrics::NodeCollector::new(node.view())));
        let gateway = gateway::Parts {
            table,
            activate: Arc::new(node.clone()),
            limits: assembly::gateway_limits(config),
            metrics: request_metrics,
            completed: Arc::new(metrics::speeds_to(node.clone())),
        };
        Self { gateway, node, access, metrics: metrics::Page::new(registry) }
    }
}

/// All routes.
pub(crate) fn router(parts: Parts) -> Router {
    let Parts { gateway, node, access, metrics } = parts;

    // Open to everybody who can reach the port.
    let open = Router::new()
        .route("/health", only("GET, HEAD", get(health::health)))
        .route("/healthz", only("GET, HEAD", get(health::health)))
        .route("/v1/health", only("GET, HEAD", get(health::health)))
        .route("/api/health", only("GET, HEAD", get(health::health)))
        .route("/readyz", only("GET, HEAD", get(health::ready)))
        .route("/api/version", only("GET, HEAD", get(health::version)))
        .route("/api/models", only("GET, HEAD", get(models::available)))
        .route("/api/models/", only("GET, HEAD", get(models::available)))
        .route("/api/models/loaded", only("GET, HEAD", get(models::loaded)))
        .route("/metrics", only("GET, HEAD", get(metrics::page).with_state(metrics)));

    // What changes state: this machine, or the admin token.
    let management = Router::new()
        .route("/api/models/{*action}", only("POST", post(models::act)))
        .route_layer(from_fn_with_state(access, guard));

    open.merge(management)
        .with_state(node)
        .layer(from_fn(with_request_id))
        // The gateway answers for its own request ids and errors.
        .merge(gateway::router(gateway))
        .fallback(unknown_route)
}

/// Any other method is refused with the error object and the methods that would do.
fn only<S: Clone + Send + Sync + 'static>(allow: &'static str, methods: MethodRouter<S>) -> MethodRouter<S> {
    methods.fallback(async move |request: Request| -> Response {
        ApiError::method_not_allowed(request.method(), request.uri().path(), allow).into_response()
    })
}

async fn unknown_route(request: Request) -> Response {
    let id = RequestId::of(request.headers());
    let error = ApiError::route_not_found(request.method(), request.uri().path());
    ([(X_REQUEST_ID, id.into_header())], error).into_response()
}

/// Every answer says which request it answers.
async fn with_request_id(request: Request, next: axum::middleware::Next) -> Response {
    let id = RequestId::of(request.headers());
    let mut response = next.run(request).await;
    response.headers_mut().insert(X_REQUEST_ID, id.into_header());
    response
}
