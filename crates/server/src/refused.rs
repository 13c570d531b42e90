//! From what `storage` refuses to what HTTP says.

use std::time::Duration;

use api::ErrorType;
use gateway::ApiError;
use http::StatusCode;
use route::Unavailable;
use serde_json::json;
use storage::Error;

/// How long to wait for a hub that is too busy and does not say how long.
const HUB_BUSY: Duration = Duration::from_secs(60);

/// The answer to a wish that `storage` refused.
pub(crate) fn refused(error: Error) -> ApiError {
    let message = message(&error);
    let not_found = |code| ApiError::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, code, message.clone());
    let conflict = |code| ApiError::new(StatusCode::CONFLICT, ErrorType::InvalidRequestError, code, message.clone());
    match error {
        Error::NotFound { known, .. } => {
            not_found("model_not_found").with_param("model").with_details(json!({ "available": known }))
        }
        Error::VariantNotFound { known, .. } => {
            not_found("variant_not_found").with_param("variant").with_details(json!({ "available": known }))
        }
        Error::NoDownload { .. } => not_found("download_not_found"),
        Error::Exists { names } => conflict("model_exists").with_details(json!({ "models": names })),
        Error::Invalid(_) => ApiError::bad_request("invalid_request", message),
        Error::Guarded { hot_ready, protected, .. } => {
            let flags = json!({ "hot_ready": hot_ready, "protected": protected });
            conflict("variant_guarded").with_details(flags.clone()).with_beside(flags)
        }
        Error::PinnedByConfiguration { .. } => conflict("pinned_by_configuration"),
        Error::Stopping => ApiError::from(Unavailable::Stopping),
        Error::Foreign { .. } => conflict("file_not_ours"),
        Error::Downloading { .. } => conflict("download_in_progress"),
        Error::NoSource { .. } => ApiError::bad_request("no_download_source", message).with_param("model"),
        Error::Refused { .. } => ApiError::bad_request("download_refused", message).with_param("model"),
        Error::NoRoom { model, available, required, limit } => {
            ApiError::storage_full(&model, available, required, limit, message)
        }
        Error::Hub { source, .. } => of_hub(&source, message),
        Error::Delete { .. } | Error::Override { .. } | Error::Store(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot keep what was asked for");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorType::ServerError, "storage_failed", message)
        }
    }
}

/// Nobody here knows a name, and the hub does not help either.
fn of_hub(error: &hub::Error, message: String) -> ApiError {
    match error {
        hub::Error::NotFound { .. } | hub::Error::Id { .. } | hub::Error::Offline | hub::Error::Unreachable { .. } => {
            ApiError::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, "model_not_found", message)
                .with_param("model")
        }
        // A person has to do something there.
        hub::Error::Gated { .. } | hub::Error::Refused { .. } | hub::Error::Token | hub::Error::Endpoint { .. } => {
            ApiError::bad_request("hub_refused", message).with_param("model")
        }
        hub::Error::Busy { wait, .. } => {
            ApiError::unavailable("hub_busy", message).with_retry_after(wait.unwrap_or(HUB_BUSY))
        }
        _ => ApiError::new(StatusCode::BAD_GATEWAY, ErrorType::ServerError, "hub_unavailable", message),
    }
}

/// The error and what is behind it, in one line.
fn message(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
