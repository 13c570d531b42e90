//! The contents page of the product: every route, who answers it, and who may ask.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use gateway::{ApiError, RequestId, X_REQUEST_ID};
use http::HeaderMap;
use prometheus_client::registry::Registry;
use storage::Storage;
use store::Store;
use tokio::sync::watch;

use crate::access::{Access, guard};
use crate::activation::Activation;
use crate::advice::Advice;
use crate::backends::Backends;
use crate::backends_health::Watched;
use crate::cors::{Readable, Readers};
use crate::first_model::FirstModel;
use crate::kept::Kept;
use crate::keyring::Keyring;
use crate::logs::Logs;
use crate::models::Models;
use crate::outlets::Outlets;
use crate::preload::Preloads;
use crate::stats::Stats;
use crate::{
    api_keys, backends_health, downloads, fit_api, health, logs, metrics, model_configs, models, ollama, openapi,
    stats, stored, usage,
};

/// What the routes are made of. Each serving thread has a router of its own, made from clones.
#[derive(Clone)]
pub(crate) struct Parts {
    gateway: gateway::Parts,
    node: node::Handle,
    storage: Storage,
    advice: Advice,
    telemetry: telemetry::Handle,
    keyring: Keyring,
    store: Store,
    access: Access,
    readers: Arc<ArcSwap<Readers>>,
    logs: Logs,
    metrics: metrics::Page,
    openapi: Kept,
    first: FirstModel,
    watched: Watched,
}

/// Those who own what the routes show and change.
pub(crate) struct Owners {
    pub(crate) table: route::Table,
    pub(crate) directory: route::Directory,
    pub(crate) node: node::Handle,
    pub(crate) storage: Storage,
    pub(crate) advice: Advice,
    pub(crate) telemetry: telemetry::Handle,
    pub(crate) keyring: Keyring,
    pub(crate) store: Store,
    pub(crate) access: Access,
    pub(crate) logs: Logs,
    pub(crate) first: FirstModel,
    pub(crate) backends: watch::Receiver<Arc<Backends>>,
    pub(crate) preloads: Preloads,
    /// What the gateway refuses to exceed, and who may read answers: both follow the configuration.
    pub(crate) limits: gateway::LiveLimits,
    pub(crate) readers: Arc<ArcSwap<Readers>>,
    pub(crate) outlets: Outlets,
}

impl Parts {
    /// `registry` has metrics of others already, or none.
    pub(crate) fn new(mut registry: Registry, owners: Owners) -> Self {
        let Owners { table, directory, node, storage, advice, telemetry, keyring, store, access, logs, first, .. } =
            owners;
        let (limits, readers, outlets) = (owners.limits, owners.readers, owners.outlets);
        let watched = Watched { node: node.clone(), backends: owners.backends, preloads: owners.preloads };
        let request_metrics = gateway::Metrics::register(&mut registry);
        registry.register_collector(Box::new(metrics::NodeCollector::new(node.view())));
        let (count, remember) = (metrics::counted_by(node.clone(), storage.clone()), telemetry.clone());
        let gateway = gateway::Parts {
            table,
            directory,
            activate: Arc::new(Activation::new(node.clone(), storage.clone())),
            keys: keyring.keys().clone(),
            limits,
            metrics: request_metrics,
            shared: gateway::Shared::default(),
            finished: Arc::new(move |finished| {
                outlets.finished(&finished);
                if let Some(answer) = stats::answer(&finished) {
                    count(&answer.model, &finished.usage);
                    remember.answered(answer);
                }
                if let Some(used) = usage::used(&finished) {
                    remember.used(used);
                }
            }),
        };
        let openapi = Kept::json(openapi::document());
        let metrics = metrics::Page::new(registry);
        Self {
            gateway,
            node,
            storage,
            advice,
            telemetry,
            keyring,
            store,
            access,
            readers,
            logs,
            metrics,
            openapi,
            first,
            watched,
        }
    }
}

/// All routes, and `OPTIONS` for each.
pub(crate) fn router(parts: Parts) -> Readable {
    let Parts {
        gateway,
        node,
        storage,
        advice,
        telemetry,
        keyring,
        store,
        access,
        readers,
        logs,
        metrics,
        openapi,
        first,
        watched,
    } = parts;

    // Open to everybody who can reach the port.
    let open = slashed(Router::new(), "/health", only("GET, HEAD", get(health::health)));
    let open = open.route("/", only("GET, HEAD", get(ollama::greeting)));
    let open = slashed(open, "/healthz", only("GET, HEAD", get(health::health)));
    let open = slashed(open, "/v1/health", only("GET, HEAD", get(health::health)));
    let open = slashed(open, "/api/health", only("GET, HEAD", get(health::health)));
    let ready = get(health::ready).with_state((node.clone(), first, watched.preloads.clone()));
    let backends = get(backends_health::health).with_state(watched);
    let open = slashed(open, "/v1/backends/health", only("GET, HEAD", backends));
    let open = slashed(open, "/readyz", only("GET, HEAD", ready));
    let open = slashed(open, "/api/version", only("GET, HEAD", get(health::version)));
    let open = slashed(open, "/metrics", only("GET, HEAD", get(metrics::page).with_state(metrics)));
    let open = slashed(open, "/openapi.json", only("GET, HEAD", get(document).with_state(openapi)));

    // What happens and happened.
    let models = Models { node: node.clone(), storage: storage.clone(), stopping: logs.stopping.clone() };
    let stats_state = Stats { models: models.clone(), advice: advice.clone(), telemetry };
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

    // What changes state, or shows how snug is set up: this machine, or the admin token.
    let guarded = from_fn_with_state(access, guard);
    let model = post(models::act).delete(models::remove).route_layer(guarded.clone()).get(models::look);
    let of_models = Router::new().route("/api/models/{*matter}", model.fallback(models::method_not_allowed));
    let of_models = slashed(of_models, "/api/models", only("GET, HEAD", get(models::available)));
    let loaded = only("GET, HEAD", get(models::loaded));
    let of_models = slashed(of_models, "/api/models/loaded", loaded).with_state(models.clone());
    let kept = slashed(Router::new(), "/api/storage", only("GET, HEAD", get(stored::overview)));
    let kept = slashed(kept, "/api/storage/models", only("GET, HEAD", get(stored::models)));
    let kept = kept.route("/api/storage/models/{*name}", only("GET, HEAD", get(stored::named)));
    let limit = put(stored::set_limit).post(stored::set_limit);
    let kept = slashed(kept, "/api/storage/limit", only("PUT, POST", limit));
    let kept = slashed(kept, "/api/storage/cleanup/preview", only("GET, HEAD", get(stored::preview)));
    let kept = slashed(kept, "/api/storage/cleanup/run", only("POST", post(stored::run)));
    let policy = get(stored::policy).put(stored::set_policy);
    let kept = slashed(kept, "/api/storage/cleanup/config", only("GET, HEAD, PUT", policy));
    let configs = post(model_configs::add).put(model_configs::put);
    let kept = slashed(kept, "/api/models/config", only("POST, PUT", configs));
    let config = get(model_configs::one).delete(model_configs::remove);
    let kept = kept.route("/api/models/config/{*name}", only("GET, HEAD, DELETE", config)).route_layer(guarded.clone());
    let kept = slashed(kept, "/api/downloads", only("GET, HEAD", get(downloads::list))).with_state(storage);

    // Ollama's words; its errors have a form of their own. What is loaded and answers is the gateway's.
    let changing = slashed(Router::new(), "/api/pull", only("POST", post(ollama::pull::pull)));
    let changing = slashed(changing, "/api/delete", only("DELETE", delete(ollama::delete)));
    let changing = slashed(changing, "/api/copy", only("POST", post(ollama::copy)));
    let changing = slashed(changing, "/api/create", only("POST", post(ollama::create)));
    let changing = slashed(changing, "/api/push", only("POST", post(ollama::push)));
    let blobs = only("HEAD, POST", post(ollama::create).head(ollama::create));
    let changing = slashed(changing, "/api/blobs/{digest}", blobs).route_layer(guarded.clone());
    let of_ollama = slashed(changing, "/api/tags", only("GET, HEAD", get(ollama::listed::tags)));
    let of_ollama = slashed(of_ollama, "/api/ps", only("GET, HEAD", get(ollama::listed::running)));
    let of_ollama = slashed(of_ollama, "/api/show", only("POST", post(ollama::shown::show)));
    let of_ollama = of_ollama.with_state(models).layer(from_fn(ollama::in_ollamas_form));

    let logs = slashed(Router::new(), "/api/logs", only("GET, HEAD", get(logs::logs).with_state(logs)));
    let logs = logs.route_layer(guarded.clone());

    // Who may use the models, and what they used.
    let made = get(api_keys::list).post(api_keys::create);
    let keys = slashed(Router::new(), "/api/api-keys", only("GET, HEAD, POST", made));
    let one = patch(api_keys::change).delete(api_keys::delete);
    let keys = slashed(keys, "/api/api-keys/{key_id}", only("PATCH, DELETE", one)).with_state(keyring);
    let used = only("GET, HEAD", get(usage::usage).with_state(store));
    let keys = slashed(keys, "/api/usage", used).route_layer(guarded);

    let router = open
        .with_state(node)
        .merge(of_models)
        .merge(of_ollama)
        .merge(kept)
        .merge(logs)
        .merge(keys)
        .merge(stats)
        .merge(fit)
        .layer(from_fn(with_request_id))
        // The gateway answers for its own request ids and errors.
        .merge(gateway::router(gateway))
        .fallback(unknown_route);
    Readable { router, readers }
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
