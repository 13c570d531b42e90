//! `/api/models…`: the model server's view of the node. Handlers only convert.

use std::convert::Infallible;
use std::time::Duration;

use api::{AvailableModel, AvailableModels, DeviceUse, ErrorType, LoadAnswer, LoadedModel, LoadedModels, UnloadAnswer};
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::Stream;
use gateway::ApiError;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use node::{Handle, InstanceView, Loaded, Model, NotUnloaded, View};
use route::Unavailable;
use types::{ByteCount, DeviceName, InstanceState, MemoryUse};

/// How often an SSE client that waits for a load is shown that we live.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What these routes are made of.
#[derive(Clone)]
pub(crate) struct Models {
    pub(crate) node: Handle,
}

impl Models {
    /// What is loaded.
    pub(crate) fn loaded(&self) -> Vec<LoadedModel> {
        let view = self.node.view().borrow().clone();
        view.instances.iter().map(|instance| loaded_model(&self.node, instance)).collect()
    }
}

/// `GET /api/models`.
pub(crate) async fn available(State(node): State<Handle>) -> Json<AvailableModels> {
    let view = node.view().borrow().clone();
    Json(AvailableModels { models: view.library.models().map(|model| available_model(&view, model)).collect() })
}

/// `GET /api/models/loaded`.
pub(crate) async fn loaded(State(node): State<Handle>) -> Json<LoadedModels> {
    Json(LoadedModels { models: Models { node }.loaded() })
}

/// `POST /api/models/{name}/load` and `/unload`; names may hold slashes, raw or encoded.
pub(crate) async fn act(
    State(node): State<Handle>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some((name, "load")) => load(node, name, query.as_deref(), &headers).await,
        Some((name, "unload")) => unload(&node, name).await,
        _ => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            ErrorType::NotFoundError,
            "route_not_found",
            format!("there is no route `POST /api/models/{path}`; a model is told to `/load` or `/unload`"),
        )),
    }
}

async fn load(node: Handle, name: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Response, ApiError> {
    let wish = LoadQuery::read(query)?;
    let name = match &wish.variant {
        Some(variant) => format!("{name}:{variant}"),
        None => name.to_owned(),
    };
    let wants_events = headers.get(ACCEPT).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if wants_events {
        let events = Sse::new(load_events(node, name, wish.context));
        return Ok(events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let loaded = node.load(&name, wish.context).await.map_err(load_error)?;
    Ok(Json(load_answer(&loaded)).into_response())
}

async fn unload(node: &Handle, name: &str) -> Result<Response, ApiError> {
    match node.unload(name).await {
        Ok(model) => {
            let answer = UnloadAnswer { status: "unloaded".to_owned(), model: model.id.as_str().to_owned() };
            Ok(Json(answer).into_response())
        }
        Err(error @ NotUnloaded::NotFound { .. }) => {
            Err(ApiError::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, "model_not_found", error.to_string()))
        }
        Err(NotUnloaded::Stopping) => Err(Unavailable::Stopping.into()),
    }
}

/// The query of a load.
#[derive(Default)]
struct LoadQuery {
    variant: Option<String>,
    context: Option<u64>,
}

impl LoadQuery {
    fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let mut wish = Self::default();
        let query: Vec<(String, String)> = serde_urlencoded(query.unwrap_or_default())?;
        for (name, value) in query {
            match name.as_str() {
                "variant" if value.is_empty() => {}
                "variant" => wish.variant = Some(value),
                "context" => {
                    let context = value.parse().ok().filter(|&tokens: &u64| tokens > 0);
                    let wrong = || {
                        ApiError::bad_request(
                            "invalid_request",
                            format!("`context` must be a number of tokens, is `{value}`"),
                        )
                        .with_param("context")
                    };
                    wish.context = Some(context.ok_or_else(wrong)?);
                }
                other => {
                    let message = format!("`{other}` is no parameter of a load; these are: variant, context");
                    return Err(ApiError::bad_request("invalid_request", message));
                }
            }
        }
        Ok(wish)
    }
}

fn serde_urlencoded(query: &str) -> Result<Vec<(String, String)>, ApiError> {
    let uri = format!("/?{query}").parse::<http::Uri>();
    let uri =
        uri.map_err(|error| ApiError::bad_request("invalid_request", format!("the query is not valid: {error}")))?;
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri)
        .map(|query| query.0)
        .map_err(|error| ApiError::bad_request("invalid_request", format!("the query is not valid: {error}")))
}

/// The contract's words for a load that failed: 400 where the gateway would say 404 or 503, with the same details.
fn load_error(unavailable: Unavailable) -> ApiError {
    let by_contract =
        matches!(unavailable, Unavailable::NotFound { .. } | Unavailable::LoadFailed(_) | Unavailable::Resting { .. });
    let error = ApiError::from(unavailable);
    if by_contract {
        ApiError {
            status: StatusCode::BAD_REQUEST,
            kind: ErrorType::InvalidRequestError,
            param: Some("model"),
            ..error
        }
    } else {
        error
    }
}

fn load_answer(loaded: &Loaded) -> LoadAnswer {
    LoadAnswer {
        status: "loaded".to_owned(),
        model: loaded.model.id.as_str().to_owned(),
        variant: loaded.model.variant.as_str().to_owned(),
        context_size: loaded.context,
        load_ms: millis(loaded.load_time),
    }
}

/// Progress as it comes, then the outcome. Ends the load's wait, not the load, when the client leaves.
fn load_events(node: Handle, name: String, context: Option<u64>) -> impl Stream<Item = Result<Event, Infallible>> {
    struct Waiting {
        outcome: std::pin::Pin<Box<dyn Future<Output = Result<Loaded, Unavailable>> + Send>>,
        view: tokio::sync::watch::Receiver<std::sync::Arc<View>>,
        name: String,
        shown: Option<(String, u64)>,
    }
    let view = node.view();
    let asked = name.clone();
    let outcome = Box::pin(async move { node.load(&asked, context).await });
    let first = Some(Waiting { outcome, view, name, shown: None });
    futures_util::stream::unfold(first, async |waiting| {
        let mut waiting = waiting?;
        loop {
            tokio::select! {
                biased;
                outcome = &mut waiting.outcome => return Some((Ok(outcome_event(outcome)), None)),
                changed = waiting.view.changed() => {
                    let progress = progress(&waiting.view.borrow(), &waiting.name);
                    let Some((phase, share)) = progress.filter(|_| changed.is_ok()) else {
                        if changed.is_err() {
                            // The node is gone; the outcome says so.
                            let outcome = (&mut waiting.outcome).await;
                            return Some((Ok(outcome_event(outcome)), None));
                        }
                        continue;
                    };
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1")]
                    let step = Some((phase.clone(), (share * 1000.0) as u64));
                    if waiting.shown != step {
                        waiting.shown = step;
                        let data = serde_json::json!({ "phase": phase, "progress": share });
                        return Some((Ok(json_event("progress", &data)), Some(waiting)));
                    }
                }
            }
        }
    })
}

fn outcome_event(outcome: Result<Loaded, Unavailable>) -> Event {
    match outcome {
        Ok(loaded) => json_event("loaded", &load_answer(&loaded)),
        Err(error) => json_event("error", &load_error(error).body()),
    }
}

fn progress(view: &View, name: &str) -> Option<(String, f64)> {
    let model = view.meant_by(name)?;
    if view.waiting.iter().any(|waiting| waiting.model == model) {
        return Some(("waiting".to_owned(), 0.0));
    }
    let status = &view.instance_of(&model)?.status;
    Some((status.phase?.as_str().to_owned(), status.progress))
}

fn json_event(name: &str, data: &impl serde::Serialize) -> Event {
    let event = Event::default().event(name);
    event.json_data(data).unwrap_or_else(|_| Event::default().event(name))
}

fn available_model(view: &View, model: &Model) -> AvailableModel {
    let plan = model.facts.as_ref().map(|facts| fit::plan(facts, &node::wish(model, None, None), &view.capacity));
    let (can_run, max_context, limit, memory) = match &plan {
        Some(Ok(plan)) => (true, model.context_native.unwrap_or(plan.setting.context), "", plan.memory.clone()),
        Some(Err(misfit)) => (false, 0, limiting_factor(misfit.limit), MemoryUse::default()),
        None => (false, 0, "", MemoryUse::default()),
    };
    AvailableModel {
        model: model.key.id.as_str().to_owned(),
        variant: model.key.variant.as_str().to_owned(),
        can_run,
        max_context_size: max_context,
        limiting_factor: limit.to_owned(),
        estimated_vram_mb: memory.on_accelerators().as_mib_ceil(),
        estimated_ram_mb: memory.on(&DeviceName::cpu()).as_mib_ceil(),
        gpu_indices: gpu_indices(view, &memory),
        file_size_bytes: model.size.as_u64(),
        mode: model.mode.as_str().to_owned(),
        error: model.problem.clone(),
    }
}

const fn limiting_factor(limit: fit::Limit) -> &'static str {
    match limit {
        fit::Limit::Vram => "vram",
        fit::Limit::Ram => "ram",
        fit::Limit::Context => "context",
    }
}

/// Accelerators are numbered in the order in which the engine lists them.
fn gpu_indices(view: &View, memory: &MemoryUse) -> Vec<u32> {
    let accelerators = view.capacity.keys().filter(|device| !device.is_cpu());
    (0..).zip(accelerators).filter(|(_, device)| memory.on(device) > ByteCount::ZERO).map(|(index, _)| index).collect()
}

fn loaded_model(node: &Handle, instance: &InstanceView) -> LoadedModel {
    let InstanceView { model, status, .. } = instance;
    let load = instance.target.as_ref().map(|target| target.load());
    let loading = status.state == InstanceState::Loading;
    let memory = &status.memory;
    LoadedModel {
        model: model.key.id.as_str().to_owned(),
        variant: model.key.variant.as_str().to_owned(),
        state: if instance.leaving { "Unloading" } else { "Loaded" }.to_owned(),
        instance_state: if instance.leaving { InstanceState::Stopping } else { status.state }.as_str().to_owned(),
        phase: status.phase.map(|phase| phase.as_str().to_owned()),
        progress: loading.then_some(status.progress),
        vram_usage_mb: memory.on_accelerators().as_mib_ceil(),
        ram_usage_mb: memory.on(&DeviceName::cpu()).as_mib_ceil(),
        estimated_vram_mb: instance.estimate.on_accelerators().as_mib_ceil(),
        context_size: status.context,
        gpu_indices: (0..).zip(memory.0.keys().filter(|device| !device.is_cpu())).map(|(index, _)| index).collect(),
        pinned: model.settings.pinned,
        backend: "llamacpp".to_owned(),
        mode: model.mode.as_str().to_owned(),
        pid: status.pid,
        port: status.address.map(|address| address.port()),
        active_requests: load.map_or(0, |load| load.in_flight),
        idle_ms: load.filter(|load| load.in_flight == 0).map(|load| millis(load.unused_for)),
        load_ms: status.load_time.map(millis),
        tokens_per_second: node.speed_of(&model.key),
        restarts: status.restarts,
        adopted: status.adopted,
        device_allocations: memory.0.iter().map(|(device, held)| device_use(device, held)).collect(),
    }
}

fn device_use(device: &DeviceName, held: &types::DeviceMemory) -> DeviceUse {
    DeviceUse {
        device: device.as_str().to_owned(),
        model_mb: held.model.as_mib_ceil(),
        kv_mb: held.kv.as_mib_ceil(),
        compute_mb: held.compute.as_mib_ceil(),
        total_mb: held.total().as_mib_ceil(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
