//! `/api/models…`: the model server's view of the node. Handlers only convert.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api::{
    AvailableModel, AvailableModels, ConsideredVariant, DeleteAnswer, DeviceUse, ErrorType, FlagAnswer, LoadAnswer,
    LoadedModel, LoadedModels, ModelAnswer, UnloadAnswer, VariantChoice,
};
use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::Stream;
use gateway::ApiError;
use http::header::ACCEPT;
use http::{HeaderMap, Method, StatusCode};
use node::{Handle, InstanceView, Loaded, Model, NotUnloaded, ReadyView, Unloaded, View};
use route::Unavailable;
use storage::{Begun, Error, Flag, RuntimeState, Storage};
use tokio_util::sync::CancellationToken;
use types::{ByteCount, DeviceName, InstanceState, MemoryUse, ModelKey};

use crate::model_path::{self, Matter};
use crate::refused::refused;
use crate::{downloads, json_body, query};

/// How often an SSE client that waits for a load is shown that we live.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Context of a model that nobody has read and whose config does not say: the contract's default.
const CONTEXT_UNSAID: u64 = 4096;

/// What these routes are made of.
#[derive(Clone)]
pub(crate) struct Models {
    pub(crate) node: Handle,
    pub(crate) storage: Storage,
    /// Cancelled for answers that have no end of their own.
    pub(crate) stopping: CancellationToken,
}

/// `GET /api/models`.
pub(crate) async fn available(State(Models { node, storage, .. }): State<Models>) -> Json<AvailableModels> {
    let (view, fetches) = (node.view().borrow().clone(), storage.fetches());
    let row = |model: &Arc<Model>| {
        let row = available_model(&view, model, storage.state_among(&model.key, &fetches));
        // What can be fetched is no problem for not being here.
        let problem = row.error.clone().filter(|_| model.present || !storage.has_source(&model.key));
        AvailableModel { error: problem, ..row }
    };
    let rows = view.library.models().map(row);
    Json(AvailableModels { models: rows.collect() })
}

/// `GET /api/models/loaded`.
pub(crate) async fn loaded(State(models): State<Models>) -> Json<LoadedModels> {
    Json(LoadedModels { models: models.loaded() })
}

/// `POST` below `/api/models/`; names may hold slashes, raw or encoded.
pub(crate) async fn act(
    State(Models { node, storage, stopping }): State<Models>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let (name, matter) = meant(&Method::POST, &path)?;
    let query = query.as_deref();
    match matter {
        Matter::Load => {
            let mut wish = LoadQuery::read(query)?;
            let headers = request.headers().clone();
            wish.read_body(request).await?;
            load(node, storage, stopping, name, wish, &headers).await
        }
        Matter::Unload => nothing_asked(query).map(|()| unload(&node, name))?.await,
        Matter::Pin | Matter::Unpin => {
            nothing_asked(query)?;
            pin(&storage, name, matter == Matter::Pin).await
        }
        Matter::Download => downloads::begin(&storage, name, variant(query)?.as_deref()).await,
        Matter::PauseDownload => downloads::pause(&storage, name, variant(query)?.as_deref()).await,
        Matter::HotReady { variant } => flag(&storage, name, variant, Flag::HotReady, true).await,
        Matter::Protected { variant } => flag(&storage, name, variant, Flag::Protected, true).await,
        Matter::Files => Err(not_allowed(&Method::POST, &path, matter)),
    }
}

/// `DELETE` below `/api/models/`.
pub(crate) async fn remove(
    State(Models { storage, .. }): State<Models>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (name, matter) = meant(&Method::DELETE, &path)?;
    match matter {
        Matter::Files => {
            let variant = variant_to_delete(query.as_deref())?;
            let freed = storage.delete(name, variant.as_deref()).await.map_err(refused)?;
            let (status, model) = ("deleted".to_owned(), name.to_owned());
            Ok(Json(DeleteAnswer { status, model, freed_bytes: freed.as_u64() }).into_response())
        }
        Matter::Download => downloads::cancel(&storage, name, variant(query.as_deref())?.as_deref()).await,
        Matter::HotReady { variant } => flag(&storage, name, variant, Flag::HotReady, false).await,
        Matter::Protected { variant } => flag(&storage, name, variant, Flag::Protected, false).await,
        _ => Err(not_allowed(&Method::DELETE, &path, matter)),
    }
}

/// `GET` below `/api/models/`.
pub(crate) async fn look(
    State(Models { storage, stopping, .. }): State<Models>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match meant(&Method::GET, &path)? {
        (name, Matter::Download) => {
            let variant = variant(query.as_deref())?;
            downloads::status(&storage, stopping, name, variant.as_deref(), &headers)
        }
        (_, matter) => Err(not_allowed(&Method::GET, &path, matter)),
    }
}

/// Any other method below `/api/models/`.
pub(crate) async fn method_not_allowed(Path(path): Path<String>, method: Method) -> ApiError {
    match meant(&method, &path) {
        Ok((_, matter)) => not_allowed(&method, &path, matter),
        Err(error) => error,
    }
}

/// What a path below `/api/models/` means.
fn meant<'a>(method: &Method, path: &'a str) -> Result<(&'a str, Matter<'a>), ApiError> {
    model_path::matter(path).ok_or_else(|| ApiError::route_not_found(method, &format!("/api/models/{path}")))
}

fn not_allowed(method: &Method, path: &str, matter: Matter<'_>) -> ApiError {
    ApiError::method_not_allowed(method, &format!("/api/models/{path}"), matter.allow())
}

fn variant(query: Option<&str>) -> Result<Option<String>, ApiError> {
    let pairs = query::pairs(query, &["variant"])?;
    Ok(query::value(&pairs, "variant").map(str::to_owned))
}

/// An empty variant is refused: a client that forgot to fill it in does not mean all of them.
fn variant_to_delete(query: Option<&str>) -> Result<Option<String>, ApiError> {
    let pairs = query::pairs(query, &["variant"])?;
    let variant = query::value(&pairs, "variant").map(str::to_owned);
    if variant.is_none() && !pairs.is_empty() {
        let message = "`variant` is empty; name one, or leave `variant` out to delete all of them";
        return Err(ApiError::bad_request("invalid_request", message).with_param("variant"));
    }
    Ok(variant)
}

fn nothing_asked(query: Option<&str>) -> Result<(), ApiError> {
    query::pairs(query, &[]).map(|_| ())
}

async fn load(
    node: Handle,
    storage: Storage,
    stopping: CancellationToken,
    name: &str,
    wish: LoadQuery,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let LoadQuery { variant, context } = wish;
    let begun = storage.ensure(name, variant.as_deref(), Some(storage::Load { context })).await;
    let coming = match begun {
        Ok(Begun::Downloading(model)) => Some(model),
        Ok(Begun::Here(_)) => None,
        // Without a place to get it from, the load itself says what is missing.
        Err(Error::NoSource { .. }) => None,
        Err(error @ (Error::NotFound { .. } | Error::VariantNotFound { .. })) => {
            let error = refused(error).with_param("model");
            let (status, kind) = (StatusCode::BAD_REQUEST, ErrorType::InvalidRequestError);
            return Err(ApiError { status, kind, code: "model_not_found", ..error });
        }
        Err(error) => return Err(refused(error)),
    };
    let name = match (&coming, &variant) {
        (Some(model), _) => model.to_string(),
        (None, Some(variant)) => format!("{name}:{variant}"),
        (None, None) => name.to_owned(),
    };
    let wants_events = headers.get(ACCEPT).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if wants_events {
        let events = Sse::new(load_events(node, storage, stopping, name, context, coming));
        return Ok(events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    if let Some(model) = coming {
        let variant = Some(model.variant.to_string()).filter(|variant| !variant.is_empty());
        let answer = ModelAnswer { status: "downloading".to_owned(), model: model.id.to_string(), variant };
        return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
    }
    let loaded = node.load(&name, context).await.map_err(load_error)?;
    Ok(Json(load_answer(&loaded)).into_response())
}

async fn unload(node: &Handle, name: &str) -> Result<Response, ApiError> {
    match node.unload(name).await {
        Ok(Unloaded { model, kept }) => {
            let state = if kept { RuntimeState::Ready } else { RuntimeState::Unloaded };
            let (status, model) = ("unloaded".to_owned(), model.id.to_string());
            Ok(Json(UnloadAnswer { status, model, state: state.to_string() }).into_response())
        }
        Err(error @ NotUnloaded::NotFound { .. }) => Err(unknown_model(error.to_string())),
        Err(NotUnloaded::Stopping) => Err(Unavailable::Stopping.into()),
    }
}

async fn pin(storage: &Storage, name: &str, pinned: bool) -> Result<Response, ApiError> {
    let model = storage.pin(name, pinned).await.map_err(refused)?;
    let status = if pinned { "pinned" } else { "unpinned" }.to_owned();
    Ok(Json(ModelAnswer { status, model: model.to_string(), variant: None }).into_response())
}

async fn flag(storage: &Storage, name: &str, variant: &str, flag: Flag, on: bool) -> Result<Response, ApiError> {
    let model = storage.set_flag(name, variant, flag, on).await.map_err(refused)?;
    let status = match (flag, on) {
        (Flag::HotReady, true) => "hot_ready_set",
        (Flag::HotReady, false) => "hot_ready_cleared",
        (Flag::Protected, true) => "protected_set",
        (Flag::Protected, false) => "protected_cleared",
    };
    let (model, variant) = (model.id.to_string(), model.variant.to_string());
    Ok(Json(FlagAnswer { status: status.to_owned(), model, variant }).into_response())
}

fn unknown_model(message: String) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, "model_not_found", message).with_param("model")
}

impl Models {
    /// What is loaded, or on its way to be, or kept in RAM.
    pub(crate) fn loaded(&self) -> Vec<LoadedModel> {
        let view = self.node.view().borrow().clone();
        let instances = view.instances.iter().map(|instance| loaded_model(&self.node, &view, instance));
        let provided = view.provided.iter().map(|model| provided_model(&view, model));
        let is_ready = |ready: &&ReadyView| self.storage.state(&ready.model) == RuntimeState::Ready;
        let ready = view.ready.iter().filter(is_ready).map(|ready| ready_model(&view, ready));
        let coming = self.storage.fetches().into_iter().filter(storage::Fetch::is_on_its_way);
        let coming = coming.map(|fetch| blank(&view, &fetch.model, RuntimeState::Downloading));
        instances.chain(provided).chain(ready).chain(coming).collect()
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
        let pairs = query::pairs(query, &["variant", "context"])?;
        let context = match query::value(&pairs, "context") {
            // The contract's word for "the model's own".
            None | Some("0") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let shown: String = text.chars().take(100).collect();
                let message = format!("`context` must be a number of tokens, is `{shown}`");
                ApiError::bad_request("invalid_request", message).with_param("context")
            })?),
        };
        Ok(Self { variant: query::value(&pairs, "variant").map(str::to_owned), context })
    }

    /// The same may stand in a JSON body, which goes before the query. No body is none.
    async fn read_body(&mut self, request: Request) -> Result<(), ApiError> {
        #[derive(serde::Deserialize)]
        struct Body {
            variant: Option<String>,
            #[serde(alias = "context_size")]
            context: Option<u64>,
        }
        let Some(body) = json_body::read_optional::<Body>(request).await? else { return Ok(()) };
        self.variant = body.variant.filter(|variant| !variant.is_empty()).or(self.variant.take());
        self.context = body.context.filter(|&tokens| tokens > 0).or(self.context);
        Ok(())
    }
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
            param: Some("model".into()),
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
        choice: loaded.choice.as_ref().map(|choice| VariantChoice {
            reason: choice.reason.clone(),
            considered: choice
                .considered
                .iter()
                .map(|one| ConsideredVariant { variant: one.variant.to_string(), fits: one.fits, why: one.why.clone() })
                .collect(),
        }),
    }
}

/// Progress as it comes, then the outcome. Ends the load's wait, not the load, when the client leaves.
fn load_events(
    node: Handle,
    storage: Storage,
    stopping: CancellationToken,
    name: String,
    context: Option<u64>,
    coming: Option<ModelKey>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    struct Waiting {
        outcome: std::pin::Pin<Box<dyn Future<Output = Result<Loaded, ApiError>> + Send>>,
        view: tokio::sync::watch::Receiver<Arc<View>>,
        storage: Storage,
        coming: tokio::sync::watch::Receiver<Arc<[hub::download::JobView]>>,
        name: String,
        shown: Option<(String, u64)>,
    }
    let view = node.view();
    let asked = name.clone();
    let (arriving, progressing) = (storage.clone(), storage.fetch_changes());
    let outcome = Box::pin(async move {
        if let Some(model) = coming {
            let arrived = stopping.run_until_cancelled(arriving.arrival(&model)).await;
            arrived.ok_or(Unavailable::Stopping)?.map_err(refused)?;
        }
        node.load(&asked, context).await.map_err(load_error)
    });
    let first = Some(Waiting { outcome, view, storage, coming: progressing, name, shown: None });
    futures_util::stream::unfold(first, async |waiting| {
        let mut waiting = waiting?;
        loop {
            tokio::select! {
                biased;
                outcome = &mut waiting.outcome => return Some((Ok(outcome_event(outcome)), None)),
                // Both only tell that something has changed; what it is, is looked at anew.
                Ok(()) = waiting.coming.changed() => {
                    let Some(fetch) = waiting.storage.fetch_of(&waiting.name, None).ok() else { continue };
                    let data = serde_json::json!({ "phase": "downloading", "progress": fetch.percent() / 100.0 });
                    return Some((Ok(json_event("progress", &data)), Some(waiting)));
                }
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

fn outcome_event(outcome: Result<Loaded, ApiError>) -> Event {
    match outcome {
        Ok(loaded) => json_event("loaded", &load_answer(&loaded)),
        Err(error) => json_event("error", &error.body()),
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

/// How a variant fits the machine with nothing else loaded.
fn available_model(view: &View, model: &Model, state: RuntimeState) -> AvailableModel {
    let fit = fit_of(view, model);
    let need = &fit.memory;
    AvailableModel {
        model: model.key.id.to_string(),
        variant: model.key.variant.to_string(),
        can_run: fit.can_run,
        max_context_size: fit.max_context,
        limiting_factor: fit.limiting_factor.to_owned(),
        estimated_vram_mb: need.on_accelerators().as_mib_ceil(),
        estimated_ram_mb: need.on(&DeviceName::cpu()).as_mib_ceil(),
        gpu_indices: gpu_indices(view, need),
        file_size_bytes: if model.present { model.size } else { model.declared.file_size.unwrap_or_default() }.as_u64(),
        mode: model.mode.as_str().to_owned(),
        provider: model.provider.to_string(),
        state: state.to_string(),
        present: model.present,
        error: model.problem.clone(),
    }
}

/// How a variant fits, in the contract's words.
struct Fit {
    can_run: bool,
    max_context: u64,
    limiting_factor: &'static str,
    memory: MemoryUse,
}

fn fit_of(view: &View, model: &Model) -> Fit {
    let none = MemoryUse::default();
    if !model.provider.is_local() {
        return Fit { can_run: true, max_context: 0, limiting_factor: "", memory: none };
    }
    let Some(facts) = &model.facts else { return fit_of_declared(view, model) };
    let wish = node::wish(model, None, None);
    match fit::plan(facts, &wish, &view.capacity) {
        Err(misfit) => {
            Fit { can_run: false, max_context: 0, limiting_factor: limiting_factor(misfit.limit), memory: none }
        }
        Ok(plan) => {
            let own = model.context_native.unwrap_or(plan.setting.context);
            let max_context =
                fit::largest_context(facts, &wish, &view.capacity, own).max(plan.setting.context.min(own));
            let offloaded = plan.memory.on_accelerators() > ByteCount::ZERO;
            let limiting_factor = match (max_context < own, offloaded) {
                (false, _) => "",
                (true, true) => "vram",
                (true, false) => "ram",
            };
            Fit { can_run: true, max_context, limiting_factor, memory: plan.memory }
        }
    }
}

/// Of files that nobody has read, what their config says of them counts.
fn fit_of_declared(view: &View, model: &Model) -> Fit {
    let need = model.declared.memory.or(model.declared.file_size).unwrap_or_default();
    let accelerators = view.capacity.keys().filter(|device| !device.is_cpu());
    let room = |device: &DeviceName| view.capacity.get(device).copied().unwrap_or_default();
    let mut largest: Vec<&DeviceName> = accelerators.collect();
    largest.sort_by_key(|device| std::cmp::Reverse(room(device)));
    let mut memory = MemoryUse::default();
    let mut left = need;
    for device in largest {
        let part = left.min(room(device));
        memory.entry(device.clone()).model = part;
        left = left.saturating_sub(part);
    }
    let context = model.context_window.unwrap_or(CONTEXT_UNSAID);
    if left == ByteCount::ZERO {
        return Fit { can_run: true, max_context: context, limiting_factor: "", memory };
    }
    let cpu = DeviceName::cpu();
    let mut memory = MemoryUse::default();
    memory.entry(cpu.clone()).model = need;
    let can_run = need <= room(&cpu);
    let has_accelerators = view.capacity.keys().any(|device| !device.is_cpu());
    let limiting_factor = match (can_run, has_accelerators) {
        (false, _) => "ram",
        (true, true) => "vram",
        (true, false) => "",
    };
    Fit { can_run, max_context: if can_run { context } else { 0 }, limiting_factor, memory }
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

/// A row about a variant of which no more than this is to be said.
fn blank(view: &View, model: &ModelKey, state: RuntimeState) -> LoadedModel {
    let known = view.library.find(&model.to_string());
    let pinned = known.as_ref().is_some_and(|known| view.is_pinned(known));
    let mode = known.as_ref().map(|known| known.mode).unwrap_or_default();
    LoadedModel {
        model: model.id.to_string(),
        variant: model.variant.to_string(),
        state: state.to_string(),
        instance_state: String::new(),
        phase: None,
        progress: None,
        vram_usage_mb: 0,
        ram_usage_mb: 0,
        estimated_vram_mb: 0,
        context_size: 0,
        gpu_indices: vec![],
        pinned,
        backend: known.as_ref().map_or("llamacpp", |known| known.backend()).to_owned(),
        mode: mode.as_str().to_owned(),
        pid: None,
        port: None,
        active_requests: 0,
        idle_ms: None,
        load_ms: None,
        tokens_per_second: None,
        restarts: 0,
        adopted: false,
        device_allocations: vec![],
        note: None,
    }
}

/// A model that somebody else runs.
fn provided_model(view: &View, model: &Model) -> LoadedModel {
    let context_size = model.context_window.unwrap_or(0);
    LoadedModel { context_size, ..blank(view, &model.key, RuntimeState::Loaded) }
}

/// A model whose weights are kept in RAM.
fn ready_model(view: &View, ready: &ReadyView) -> LoadedModel {
    LoadedModel {
        ram_usage_mb: ready.bytes.as_mib_ceil(),
        idle_ms: Some(millis(ready.unused_for)),
        note: ready.note.clone(),
        ..blank(view, &ready.model, RuntimeState::Ready)
    }
}

fn loaded_model(node: &Handle, view: &View, instance: &InstanceView) -> LoadedModel {
    let InstanceView { model, status, .. } = instance;
    let load = instance.target.as_ref().map(|target| target.load());
    let loading = status.state == InstanceState::Loading;
    let memory = &status.memory;
    let state = if instance.leaving { RuntimeState::Unloading } else { RuntimeState::Loaded };
    LoadedModel {
        instance_state: if instance.leaving { InstanceState::Stopping } else { status.state }.as_str().to_owned(),
        phase: status.phase.map(|phase| phase.as_str().to_owned()),
        progress: loading.then_some(status.progress),
        vram_usage_mb: memory.on_accelerators().as_mib_ceil(),
        ram_usage_mb: memory.on(&DeviceName::cpu()).as_mib_ceil(),
        estimated_vram_mb: instance.estimate.on_accelerators().as_mib_ceil(),
        context_size: status.context,
        gpu_indices: gpu_indices(view, &instance.holds()),
        pinned: instance.pinned,
        pid: status.pid,
        port: status.address.map(|address| address.port()),
        active_requests: load.map_or(0, |load| load.in_flight),
        idle_ms: load.filter(|load| load.in_flight == 0).map(|load| millis(load.unused_for)),
        load_ms: status.load_time.map(millis),
        tokens_per_second: node.speed_of(&model.key),
        restarts: status.restarts,
        adopted: status.adopted,
        device_allocations: memory.0.iter().map(|(device, held)| device_use(device, held)).collect(),
        mode: model.mode.as_str().to_owned(),
        ..blank(view, &model.key, state)
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
