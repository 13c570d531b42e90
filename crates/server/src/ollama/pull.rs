//! `/api/pull`: a download, told as Ollama tells it.

use std::convert::Infallible;

use api::{OllamaProgress, OllamaPull};
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use gateway::ApiError;
use http::header::CONTENT_TYPE;
use protocol::ollama::STREAM_TYPE;
use route::Unavailable;
use storage::{Begun, Error, Fetch, Phase, Storage};
use tokio_util::sync::CancellationToken;
use types::{ByteCount, ModelKey};

use super::listed::digest_of;
use super::said;
use crate::json_body;
use crate::models::Models;
use crate::refused::refused;

/// Gets a model; it comes on though the client leaves.
#[utoipa::path(
    post, path = "/api/pull", tag = "ollama", request_body = OllamaPull,
    responses(
        (status = 200, description = "how far it is, a JSON object a line; without `stream` only the last", content(
            (OllamaProgress = "application/json"), (serde_json::Value = "application/x-ndjson"),
        )),
        (status = 400, body = api::OllamaError), (status = 401, body = api::OllamaError),
        (status = 404, body = api::OllamaError), (status = 413, body = api::OllamaError),
        (status = 500, body = api::OllamaError), (status = 502, body = api::OllamaError),
        (status = 503, body = api::OllamaError), (status = 507, body = api::OllamaError),
    ),
)]
pub(crate) async fn pull(State(models): State<Models>, request: Request) -> Result<Response, ApiError> {
    let OllamaPull { model, name, stream } = json_body::read(request).await?;
    let asked = super::one_of(model, name)?;
    let Models { storage, stopping, .. } = models;
    let coming = match storage.download(&protocol::ollama::name(&asked), None).await.map_err(not_to_be_had)? {
        Begun::Here(_) => None,
        Begun::Downloading(model) => Some(model),
    };
    if stream.unwrap_or(true) {
        let lines = lines(storage, stopping, coming).map(Ok::<_, Infallible>);
        return Ok(([(CONTENT_TYPE, STREAM_TYPE)], Body::from_stream(lines)).into_response());
    }
    if let Some(model) = coming {
        let arrived = stopping.run_until_cancelled(storage.arrival(&model)).await;
        arrived.ok_or(Unavailable::Stopping)?.map_err(refused)?;
    }
    Ok(Json(said("success")).into_response())
}

/// Says what would be had where this is not.
fn not_to_be_had(error: Error) -> ApiError {
    let is_unknown = matches!(error, Error::NotFound { .. } | Error::Hub { .. });
    let mut error = refused(error);
    if is_unknown {
        error.message += "; models come from the Hugging Face hub, not from Ollama's registry: name one as \
                          hf.co/OWNER/REPOSITORY or hf.co/OWNER/REPOSITORY:QUANTISATION";
    }
    error
}

/// Where a pull is.
enum Step {
    Begins,
    Comes { told: Option<OllamaProgress> },
    Ended,
    Over,
}

/// A line for each change, then `success` or an error.
fn lines(storage: Storage, stopping: CancellationToken, coming: Option<ModelKey>) -> impl Stream<Item = Bytes> {
    futures_util::stream::unfold(Step::Begins, move |step| {
        let (storage, stopping, coming) = (storage.clone(), stopping.clone(), coming.clone());
        let (mut changes, mut forgotten) = (storage.fetch_changes(), storage.fetches_over());
        async move {
            match (step, coming) {
                (Step::Begins, _) => Some((line(&said("pulling manifest")), Step::Comes { told: None })),
                (Step::Over, _) => None,
                (Step::Ended, _) | (Step::Comes { .. }, None) => Some((line(&said("success")), Step::Over)),
                (Step::Comes { told }, Some(model)) => loop {
                    changes.mark_unchanged();
                    forgotten.mark_unchanged();
                    let now = storage.fetches().into_iter().find(|fetch| fetch.model == model);
                    match now {
                        Some(Fetch { error: Some(reason), .. }) => return Some((failed(&reason), Step::Over)),
                        Some(fetch) => {
                            let now = Some(progress_of(&fetch));
                            if now != told {
                                return Some((line(&now), Step::Comes { told: now }));
                            }
                        }
                        None => {
                            return Some(match storage.arrival(&model).await {
                                Ok(()) => (line(&said("writing manifest")), Step::Ended),
                                Err(Error::NoDownload { .. }) => (failed("the download was cancelled"), Step::Over),
                                Err(error) => (failed(&refused(error).message), Step::Over),
                            });
                        }
                    }
                    // All only wait, and miss nothing when another is taken.
                    let stopped = tokio::select! {
                        changed = changes.changed() => changed.is_err(),
                        changed = forgotten.changed() => changed.is_err(),
                        () = stopping.cancelled() => true,
                    };
                    if stopped {
                        let why = "snug is stopping; the download goes on when it is started again";
                        return Some((failed(why), Step::Over));
                    }
                },
            }
        }
    })
}

fn progress_of(fetch: &Fetch) -> OllamaProgress {
    let digest = digest_of(&fetch.model, ByteCount::ZERO);
    let status = match fetch.phase {
        Phase::Verifying => "verifying sha256 digest".to_owned(),
        Phase::Paused => "paused".to_owned(),
        _ => format!("pulling {}", &digest[..12]),
    };
    let total = fetch.bytes_total.map(ByteCount::as_u64);
    let completed = Some(fetch.bytes_done.as_u64());
    OllamaProgress { status, digest: Some(format!("sha256:{digest}")), total, completed }
}

fn line(value: &impl serde::Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("progress is plain data");
    line.push(b'\n');
    line.into()
}

fn failed(message: &str) -> Bytes {
    [protocol::ollama::error(message), vec![b'\n']].concat().into()
}
