//! The contents page of the product: every route, who answers it, and who may ask.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use config::Config;
use gateway::{ApiError, RequestId, X_REQUEST_ID};
use http::HeaderMap;
use prometheus_client::registry::Registry;

use crate::access::{Access, guard};
use crate::advice::Advice;
use crate::kept::Kept;
use crate::models::Models;
use crate::stats::Stats;
use crate::{assembly, fit_api, health, metrics, models, openapi, stats};

/// What the routes are made of. Each serving thread has a router of its own, made from clones.
#[derive(Clone)]
pub(crate) struct Parts {
    gateway: gateway::Parts,
    node: node::Handle,
    advice: Advice,
    telemetry: telemetry::Handle,
    access: Access,
    metrics: metrics::Page,
    openapi: Kept,
}

impl Parts {
    pub(crate) fn new(
        config: &Config,
        table: route::Table,
        node: node::Handle,
        advice: Advice,
        telemetry: telemetry::Handle,
        access: Access,
    ) -> Self {
        let mut registry = Registry::default();
        let request_metrics = gateway::Metrics::register(&mut registry);
        registry.register_collector(Box::new(metrics::NodeCollector::new(node.view())));
        let (tell_node, remember) = (metrics::speeds_to(node.clone()), telemetry.clone());
        let gateway = gateway::Parts {
            table,
            activate: Arc::new(node.clone()),
            limits: assembly::gateway_limits(config),
            metrics: request_metrics,
            completed: Arc::new(move |completed| {
                tell_node(&completed);
                remember.answered(stats::answer(completed));
            }),
        };
        let openapi = Kept::json(openapi::document());
        Self { gateway, node, advice, telemetry, access, metrics: metrics::Page::new(registry), openapi }
    }
}

/// All routes.
pub(crate) fn router(parts: Parts) -> Router {
    let Parts { gateway, node, advice, telemetry, access, metrics, openapi } = parts;

    // Open to everybody who can reach the port.
    let open = slashed(Router::new(), "/health", only("GET, HEAD", get(health::health)));
    let open = slashed(open, "/healthz", only("GET, HEAD", get(health::health)));
    let open = slashed(open, "/v1/health", only("GET, HEAD", get(health::health)));
    let open = slashed(open, "/api/health", only("GET, HEAD", get(health::health)));
    let open = slashed(open, "/readyz", only("GET, HEAD", get(health::ready)));
    let open = slashed(open, "/api/version", only("GET, HEAD", get(health::version)));
    let open = slashed(open, "/api/models", only("GET, HEAD", get(models::available)));
    let open = slashed(open, "/api/models/loaded", only("GET, HEAD", get(models::loaded)));
    let open = slashed(open, "/metrics", only("GET, HEAD", get(metrics::page).with_state(metrics)));
    let open = slashed(open, "/openapi.json", only("GET, HEAD", get(document).with_state(openapi)));

    // What happens and happened.
    let stats_state = Stats { models: Models { node: node.clone() }, advice: advice.clone(), telemetry };
    let stats = slashed(Router::new(), "/api/stats", only("GET, HEAD", get(stats::snapshot)));
    let stats = slashed(stats, "/api/stats/history", only("GET, HEAD", get(stats::history)));
    let stats = slashed(stats, "/api/stats/swaps", only("GET, HEAD", get(stats::swaps)));
    let stats = slashed(stats, "/api/hardware", only("GET, HEAD", get(stats::hardware))).with_state(stats_state);

    // What fits; its errors have a form of their own.
    let fit = slashed(Router::new(), "/api/v1/system", fits("GET, HEAD", get(fit_api::system)));
    let fit = slashed(fit, "/api/v1/models", fits("GET, HEAD", get(fit_api::models)));
    let fit = slashed(fit, "/api/v1/models/top", fits("GET, HEAD", get(fit_api::top)));
    let fit = fit.route("/api/v1/models/{*name}", fits("GET, HEAD", get(fit_api::named)));
    let plan = get(fit_api::plan_by_query).post(fit_api::plan);
    let fit = slashed(fit, "/api/v1/plan", fits("GET, HEAD, POST", plan));
    let fit = slashed(fit, "/api/v1/concurrency", fits("GET, HEAD", get(fit_api::concurrency)));
    let fit = slashed(fit, "/api/v1/runtimes", fits("GET, HEAD", get(fit_api::runtimes)));
    let fit = slashed(fit, "/api/v1/installed", fits("GET, HEAD", get(fit_api::installed)));
    let fit = slashed(fit, "/api/v1", any(fit_api::unknown));
    let fit = fit.route("/api/v1/{*unknown}", any(fit_api::unknown)).with_state(advice);

    // What changes state: this machine, or the admin token.
    let management = Router::new()
        .route("/api/models/{*action}", only("POST", post(models::act)))
        .route_layer(from_fn_with_state(access, guard));

    open.merge(management)
        .with_state(node)
        .merge(stats)
        .merge(fit)
        .layer(from_fn(with_request_id))
        // The gateway answers for its own request ids and errors.
        .merge(gateway::router(gateway))
        .fallback(unknown_route)
}

/// With and without a slash at the end.
fn slashed<S: Clone + Send + Sync + 'static>(router: Router<S>, path: &str, methods: MethodRouter<S>) -> Router<S> {
    router.route(path, methods.clone()).route(&format!("{path}/"), methods)
}

/// Any other method is refused with the error object and the methods that would do.
fn only<S: Clone + Send + Sync + 'static>(allow: &'static str, methods: MethodRouter<S>) -> MethodRouter<S> {
    methods.fallback(async move |request: Request| -> Response {
        ApiError::method_not_allowed(request.method(), request.uri().path(), allow).into_response()
    })
}

/// The same in the fit API's form.
fn fits<S: Clone + Send + Sync + 'static>(allow: &'static str, methods: MethodRouter<S>) -> MethodRouter<S> {
    methods.fallback(async move |request: Request| fit_api::method_not_allowed(&request, allow))
}

async fn document(State(openapi): State<Kept>, headers: HeaderMap) -> Response {
    openapi.answer(&headers)
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
