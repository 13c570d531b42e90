//! The JSON body of a management request, within bounds.

use axum::extract::Request;
use bytes::Bytes;
use gateway::ApiError;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

/// No such body is longer: a thousand model configs take less.
const BODY_BYTES_MAX: usize = 4 << 20;

/// The body as a `T`. What it is labelled as does not matter.
///
/// # Errors
/// 413 if it is too long, 400 if it is not JSON or not a `T`; the message says what is wrong and where.
pub(crate) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let empty = || ApiError::bad_request("invalid_json", "the request's body is empty; send a JSON object");
    read_optional(request).await?.ok_or_else(empty)
}

/// The same where a body may be left out.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_optional<T: DeserializeOwned>(request: Request) -> Result<Option<T>, ApiError> {
    let body = bytes(request).await?;
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    // `null` is how some clients say "nothing".
    serde_json::from_slice::<Option<T>>(&body).map_err(|error| {
        let code = if error.is_data() { "invalid_request" } else { "invalid_json" };
        ApiError::bad_request(code, format!("the request's body is not what it should be: {error}"))
    })
}

async fn bytes(request: Request) -> Result<Bytes, ApiError> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let whole = body.collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                api::ErrorType::InvalidRequestError,
                "request_too_large",
                format!("the request's body is longer than {BODY_BYTES_MAX} bytes"),
            )
        } else {
            ApiError::bad_request("invalid_request", format!("the request's body broke off: {error}"))
        }
    })?;
    Ok(whole.to_bytes())
}
