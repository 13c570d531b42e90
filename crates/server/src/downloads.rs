//! `/api/downloads` and `/api/models/{name}/download`: what is on its way here. Handlers only convert.

use api::{Download, DownloadStatus, Downloads, ModelAnswer};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gateway::ApiError;
use http::StatusCode;
use storage::{Begun, Error, Fetch, Phase, RuntimeState, Storage};
use types::{ByteCount, ModelKey};

use crate::refused::refused;

/// Downloads that run, wait, rest or failed.
#[utoipa::path(get, path = "/api/downloads", tag = "storage", responses((status = 200, body = Downloads)))]
pub(crate) async fn list(State(storage): State<Storage>) -> Json<Downloads> {
    Json(Downloads { downloads: storage.fetches().iter().map(|fetch| download(&storage, fetch)).collect() })
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

/// `GET …/download`.
pub(crate) fn status(storage: &Storage, name: &str, variant: Option<&str>) -> Result<Response, ApiError> {
    let status = match storage.fetch_of(name, variant) {
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
    };
    Ok(Json(status).into_response())
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
