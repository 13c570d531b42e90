//! The one mapping from what went wrong to what HTTP says.

use std::borrow::Cow;
use std::time::Duration;

use api::{ErrorBody, ErrorObject, ErrorType, LoadDetails};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};
use keys::{Denied, Limited};
use protocol::form::FormError;
use protocol::scan::ScanError;
use protocol::{Refused, messages, ollama};
use route::Unavailable;
use serde_json::{Value, json};
use types::{ByteCount, LoadFailure, ModelKey};

use crate::endpoint::Tongue;

/// An error answer: OpenAI's error object, with the message again as `detail`.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The family of the error.
    pub kind: ErrorType,
    /// A stable word for programs.
    pub code: &'static str,
    /// For a person: what was wrong, with the value, and what would work.
    pub message: String,
    /// The request field at fault, if one is.
    pub param: Option<Cow<'static, str>>,
    /// Reasons a program can act on.
    pub details: Option<Box<Value>>,
    /// Fields beside the error object, where a contract wants them there. An object.
    pub beside: Option<Box<Value>>,
    /// Sent as `Retry-After`, in whole seconds, rounded up, at least 1.
    pub retry_after: Option<Duration>,
    /// Sent as `Allow`.
    pub allow: Option<&'static str>,
}

impl ApiError {
    /// An error without param, details and further headers.
    pub fn new(status: StatusCode, kind: ErrorType, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, code, message, param: None, details: None, beside: None, retry_after: None, allow: None }
    }

    /// 400: the request is at fault.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorType::InvalidRequestError, code, message)
    }

    /// 503: not now.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorType::ServerError, code, message)
    }

    /// 404 for a path that nothing answers.
    pub fn route_not_found(method: &Method, path: &str) -> Self {
        let message = format!("there is no route `{method} {}`", shortened(path));
        Self::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, "route_not_found", message)
    }

    /// 405 for a path that answers other methods: `allow` lists them, separated by commas.
    pub fn method_not_allowed(method: &Method, path: &str, allow: &'static str) -> Self {
        let message = format!("`{}` does not answer {method}; it answers {allow}", shortened(path));
        let kind = ErrorType::InvalidRequestError;
        let error = Self::new(StatusCode::METHOD_NOT_ALLOWED, kind, "method_not_allowed", message);
        Self { allow: Some(allow), ..error }
    }

    /// 400: no model was named.
    pub(crate) fn missing_model() -> Self {
        let message = "the request names no model: set `model` to an id that GET /v1/models lists";
        Self::bad_request("missing_model", message).with_param("model")
    }

    /// 403: a key is not for this.
    pub(crate) fn endpoint_not_allowed(path: &str) -> Self {
        let message = format!("this API key is not for {path}");
        Self::new(StatusCode::FORBIDDEN, ErrorType::PermissionError, "endpoint_not_allowed", message)
    }

    /// 507: no room on disk. The figures stand both where programs of ours look and beside the error object.
    pub fn storage_full(
        model: &ModelKey,
        available: ByteCount,
        required: ByteCount,
        limit: Option<ByteCount>,
        message: impl Into<String>,
    ) -> Self {
        let figures = json!({
            "available_bytes": available.as_u64(),
            "required_bytes": required.as_u64(),
            "storage_limit_bytes": limit.map_or(0, ByteCount::as_u64),
        });
        let mut details = figures.clone();
        details["model"] = model.to_string().into();
        let (status, kind) = (StatusCode::INSUFFICIENT_STORAGE, ErrorType::InsufficientStorage);
        Self::new(status, kind, "insufficient_storage", message).with_details(details).with_beside(figures)
    }

    /// With the request field at fault.
    #[must_use]
    pub fn with_param(self, param: impl Into<Cow<'static, str>>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// With reasons a program can act on.
    #[must_use]
    pub fn with_details(self, details: Value) -> Self {
        Self { details: Some(Box::new(details)), ..self }
    }

    /// With fields beside the error object.
    #[must_use]
    pub fn with_beside(self, fields: Value) -> Self {
        Self { beside: Some(Box::new(fields)), ..self }
    }

    /// With a time after which trying again is worth it.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The answer's body.
    pub fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorObject {
                message: self.message.clone(),
                kind: self.kind,
                param: self.param.as_deref().map(str::to_owned),
                code: Some(self.code.to_owned()),
                details: self.details.as_deref().cloned(),
            },
            detail: Some(self.message.clone()),
        }
    }
}

impl ApiError {
    /// The answer, in the words that a client expects.
    pub(crate) fn into_response_in(self, tongue: Tongue) -> Response {
        let body = match tongue {
            Tongue::OpenAi => return self.into_response(),
            Tongue::Anthropic => messages::error(self.status.as_u16(), &self.message),
            Tongue::Ollama => ollama::error(&self.message),
        };
        let mut response = self.into_response();
        *response.body_mut() = body.into();
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = serde_json::to_value(self.body()).expect("an error body is plain data");
        if let (Some(body), Some(Value::Object(beside))) = (body.as_object_mut(), self.beside.as_deref()) {
            body.extend(beside.clone());
        }
        let body = serde_json::to_vec(&body).expect("a value is plain data");
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorType::AuthenticationError, denied.code(), denied.to_string())
    }
}

impl From<Limited> for ApiError {
    fn from(limited: Limited) -> Self {
        let details = json!({
            "limit": limited.what.as_str(),
            "value": limited.what.value(),
            "reset_after_s": limited.reset_after.as_secs_f64(),
        });
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorType::RateLimitError, Limited::CODE, limited.to_string())
            .with_details(details)
            .with_retry_after(limited.reset_after)
    }
}

impl From<ScanError> for ApiError {
    fn from(error: ScanError) -> Self {
        let message = error.to_string();
        match error {
            ScanError::Empty | ScanError::NotAnObject => Self::bad_request("invalid_json", message),
            ScanError::Syntax(syntax) => Self::bad_request("invalid_json", message)
                .with_details(json!({ "line": syntax.line(), "column": syntax.column() })),
            ScanError::TooManyFields => Self::bad_request("invalid_request", message),
            ScanError::ModelTwice | ScanError::ModelNoText => {
                Self::bad_request("invalid_request", message).with_param("model")
            }
        }
    }
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        Self::bad_request("invalid_form", error.to_string())
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let error = Self::bad_request("invalid_request", refused.message);
        match refused.param {
            None => error,
            Some(param) => error.with_param(param),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        let message = unavailable.to_string();
        match unavailable {
            Unavailable::NotFound { known, .. } => {
                Self::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, "model_not_found", message)
                    .with_param("model")
                    .with_details(json!({ "available": known }))
            }
            Unavailable::LoadFailed(failure) => {
                Self::unavailable("model_load_error", message).with_details(load_details(&failure))
            }
            Unavailable::Resting { failure, retry_after } => Self::unavailable("model_load_error", message)
                .with_details(load_details(&failure))
                .with_retry_after(retry_after),
            Unavailable::NoRoom { model, needed, free, blockers, retry_after } => {
                let blockers = blockers.iter().map(|blocker| {
                    json!({
                        "model": blocker.model.to_string(),
                        "reason": blocker.reason,
                        "in_flight": blocker.in_flight,
                        "holds": blocker.holds,
                    })
                });
                let blockers = blockers.collect::<Vec<_>>();
                Self::unavailable("insufficient_memory", message)
                    .with_details(
                        json!({ "model": model.to_string(), "needed": needed, "free": free, "blockers": blockers }),
                    )
                    .with_retry_after(retry_after)
            }
            Unavailable::QueueFull { waiting, limit, retry_after } => Self::unavailable("queue_full", message)
                .with_details(json!({ "waiting": waiting, "limit": limit }))
                .with_retry_after(retry_after),
            Unavailable::Busy { target } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorType::RateLimitError, "queue_full", message)
                    .with_details(json!({ "in_flight": target.load().in_flight, "limit": target.limit() }))
                    .with_retry_after(Duration::from_secs(1))
            }
            Unavailable::StillLoading { model, state, waited, retry_after } => {
                let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                Self::unavailable("model_loading", message)
                    .with_details(json!({ "model": model.to_string(), "state": state, "waited_ms": waited_ms }))
                    .with_retry_after(retry_after)
            }
            Unavailable::Downloading { model, percent, retry_after } => Self::unavailable("model_downloading", message)
                .with_details(
                    json!({ "model": model.to_string(), "state": "Downloading", "percent_complete": percent }),
                )
                .with_retry_after(retry_after),
            Unavailable::StorageFull { model, available, required, limit } => {
                Self::storage_full(&model, available, required, limit, message)
            }
            Unavailable::Unloaded { model } => Self::unavailable("model_unloaded", message)
                .with_details(json!({ "model": model.to_string() }))
                .with_retry_after(Duration::from_secs(1)),
            Unavailable::Stopping => {
                Self::unavailable("shutting_down", message).with_retry_after(Duration::from_secs(1))
            }
        }
    }
}

/// The model-server contract's `details` of a failed load.
fn load_details(failure: &LoadFailure) -> Value {
    let action = serde_json::to_value(failure.class.action()).ok();
    let details = LoadDetails {
        model: failure.model.id.to_string(),
        variant: failure.model.variant.to_string(),
        context_requested: failure.context_requested,
        error_code: "model_load_error".to_owned(),
        reason: failure.class.as_str().to_owned(),
        recoverable: failure.class.recoverable(),
        action: action.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
        suggestion: failure.class.suggestion().to_owned(),
        llama_log: failure.engine_log.clone(),
    };
    serde_json::to_value(details).expect("load details are plain data")
}

fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// What a client sent, short enough to be sent back.
pub(crate) fn shortened(text: &str) -> &str {
    const LONGEST: usize = 200;
    &text[..text.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_and_never_zero() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (30_000, 30)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
    }

    #[test]
    fn long_input_is_cut_at_a_character() {
        let text = "é".repeat(300);
        assert_eq!(shortened(&text).chars().count(), 100);
        assert_eq!(shortened("short"), "short");
    }
}
