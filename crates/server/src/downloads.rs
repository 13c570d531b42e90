//! `/api/downloads` and `/api/models/{name}/download`: what is on its way here. Handlers only convert.

use std::convert::Infallible;
use std::time::Duration;

use api::{Download, DownloadStatus, Downloads, ModelAnswer};
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::Stream;
use gateway::ApiError;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};
use route::Unavailable;
use storage::{Begun, Error, Fetch, Phase, RuntimeState, Storage};
use tokio_util::sync::CancellationToken;
use types::{ByteCount, ModelKey};

use crate::query;
use crate::refused::refused;

/// How often an SSE client that waits for bytes is shown that we live.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Downloads that run, wait or rest; with those that failed if that is asked for.
#[utoipa::path(
    get, path = "/api/downloads", tag = "storage",
    params(("failed" = Option<bool>, Query, description = "whether those that failed are listed too; default no")),
    responses((status = 200, body = Downloads), (status = 400, body = api::ErrorBody)),
)]
pub(crate) async fn list(
    State(storage): State<Storage>,
    RawQuery(asked): RawQuery,
) -> Result<Json<Downloads>, ApiError> {
    let pairs = query::pairs(asked.as_deref(), &["failed"])?;
    let with_failed = match query::value(&pairs, "failed") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let other: String = other.chars().take(100).collect();
            let message = format!("`failed` must be true or false, is `{other}`");
            return Err(ApiError::bad_request("invalid_request", message).with_param("failed"));
        }
    };
    let fetches = storage.fetches();
    let shown = fetches.iter().filter(|fetch| with_failed || fetch.is_on_its_way());
    Ok(Json(Downloads { downloads: shown.map(|fetch| download(&storage, fetch)).collect() }))
}

/// `POST …/download`.
pub(crate) async fn begin(storage: &Storage, name: &str, variant: Option<&str>) -> Result<Response, ApiError> {
    let (status, word, model) = match storage.download(name, variant).await.map_err(refused)? {
        Begun::Here(model) => (StatusCode::OK, "already_available", model),
        Begun::Downloading(model) => (StatusCode::ACCEPTED, "downloading", model),
    };
    Ok((status, Json(answer(word, &model))).into_response())
}

/// `POST …/download/pause`.
pub(crate) async fn pause(storage: &Storage, name: &str, variant: Option<&str>) -> Result<Response, ApiError> {
    let model = storage.pause_download(name, variant).await.map_err(refused)?;
    Ok(Json(answer("paused", &model)).into_response())
}

/// `DELETE …/download`.
pub(crate) async fn cancel(storage: &Storage, name: &str, variant: Option<&str>) -> Result<Response, ApiError> {
    let model = storage.cancel_download(name, variant).await.map_err(refused)?;
    Ok(Json(answer("cancelled", &model)).into_response())
}

/// `GET …/download`; as it goes on for who accepts events.
pub(crate) fn status(
    storage: &Storage,
    stopping: CancellationToken,
    name: &str,
    variant: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let first = status_now(storage, name, variant)?;
    let wants_events = headers.get(ACCEPT).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if !wants_events {
        return Ok(Json(first).into_response());
    }
    let events = Sse::new(events(storage.clone(), stopping, name.to_owned(), variant.map(str::to_owned)));
    Ok(events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// `progress` whenever there is some, then `done` or `error`: each with the status as `GET` tells it. When snug stops, an
/// `error` that says so.
fn events(
    storage: Storage,
    stopping: CancellationToken,
    name: String,
    variant: Option<String>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let (progress, over) = (storage.fetch_changes(), storage.fetches_over());
    futures_util::stream::unfold(Some((progress, over, None)), move |watched| {
        let (storage, stopping, name, variant) = (storage.clone(), stopping.clone(), name.clone(), variant.clone());
        async move {
            let (mut progress, mut over, mut shown) = watched?;
            loop {
                over.mark_unchanged();
                let status = status_to_tell(&storage, &name, variant.as_deref());
                let (event, is_last) = match &status {
                    Ok(status) if status.error.is_some() => ("error", true),
                    Ok(status) if status.phase.is_some() => ("progress", false),
                    Ok(_) => ("done", true),
                    // Its model was forgotten meanwhile.
                    Err(error) => return Some((Ok(json_event("error", &error.body())), None)),
                };
                let status = status.ok();
                if is_last || status != shown {
                    let data = json_event(event, &status);
                    shown = status;
                    return Some((Ok(data), (!is_last).then_some((progress, over, shown))));
                }
                // All only wait, and miss nothing when another is taken.
                let stopped = tokio::select! {
                    changed = progress.changed() => changed.is_err(),
                    changed = over.changed() => changed.is_err(),
                    () = stopping.cancelled() => true,
                };
                if stopped {
                    let message = "snug is stopping; the download goes on when it is started again";
                    let error = ApiError { message: message.to_owned(), ..Unavailable::Stopping.into() };
                    return Some((Ok(json_event("error", &error.body())), None));
                }
            }
        }
    })
}

/// The status now. A download that is over without the files being here was cancelled, and is no success.
fn status_to_tell(storage: &Storage, name: &str, variant: Option<&str>) -> Result<DownloadStatus, ApiError> {
    let mut status = status_now(storage, name, variant)?;
    let asked = variant.map_or_else(|| name.to_owned(), |variant| format!("{name}:{variant}"));
    if status.phase.is_none() && storage.is_missing(&asked) {
        status.error = Some("it was cancelled".to_owned());
    }
    Ok(status)
}

fn json_event(name: &str, data: &impl serde::Serialize) -> Event {
    let event = Event::default().event(name);
    event.json_data(data).unwrap_or_else(|_| Event::default().event(name))
}

fn status_now(storage: &Storage, name: &str, variant: Option<&str>) -> Result<DownloadStatus, ApiError> {
    Ok(match storage.fetch_of(name, variant) {
        Ok(fetch) => {
            let Download {
                model,
                variant,
                state,
                phase,
                bytes_downloaded,
                total_bytes,
                percent_complete,
                speed_mbps,
                eta_seconds,
                error,
            } = download(storage, &fetch);
            DownloadStatus {
                model,
                state,
                variant: Some(variant),
                phase: Some(phase),
                bytes_downloaded: Some(bytes_downloaded),
                total_bytes: Some(total_bytes),
                percent_complete: Some(percent_complete),
                speed_mbps: Some(speed_mbps),
                eta_seconds: Some(eta_seconds),
                error,
            }
        }
        Err(Error::NoDownload { .. }) => {
            let (model, state) = storage.state_of(name, variant).map_err(refused)?;
            DownloadStatus {
                model: model.id.to_string(),
                state: state.to_string(),
                variant: None,
                phase: None,
                bytes_downloaded: None,
                total_bytes: None,
                percent_complete: None,
                speed_mbps: None,
                eta_seconds: None,
                error: None,
            }
        }
        Err(error) => return Err(refused(error)),
    })
}

fn download(storage: &Storage, fetch: &Fetch) -> Download {
    // What failed to come may still be here from before.
    let state = match fetch.phase {
        Phase::Failed => storage.state(&fetch.model),
        _ => RuntimeState::Downloading,
    };
    Download {
        model: fetch.model.id.to_string(),
        variant: fetch.model.variant.to_string(),
        state: state.to_string(),
        phase: fetch.phase.as_str().to_owned(),
        bytes_downloaded: fetch.bytes_done.as_u64(),
        total_bytes: fetch.bytes_total.map_or(0, ByteCount::as_u64),
        percent_complete: rounded(fetch.percent()),
        speed_mbps: rounded(mib(fetch.bytes_per_second)),
        eta_seconds: fetch.eta.map_or(0, |eta| eta.as_secs()),
        error: fetch.error.clone(),
    }
}

fn answer(status: &str, model: &ModelKey) -> ModelAnswer {
    let variant = Some(model.variant.to_string()).filter(|variant| !variant.is_empty());
    ModelAnswer { status: status.to_owned(), model: model.id.to_string(), variant }
}

#[expect(clippy::cast_precision_loss, reason = "for people to see")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// One decimal.
fn rounded(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}
