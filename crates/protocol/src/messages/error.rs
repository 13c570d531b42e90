//! What went wrong, in Anthropic's words and in OpenAI's.

use serde_json::{Value, json};

/// How much is kept of an answer that is no JSON, in bytes.
const TEXT_MAX: usize = 2 << 10;

/// An error in the Messages API's shape; `status` is the HTTP status that it is answered with.
#[must_use]
pub fn error(status: u16, message: &str) -> Vec<u8> {
    to_messages(kind(status), message).to_string().into_bytes()
}

/// The word for a status.
pub(super) fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The word for a code of ours, where there is no status any more: within a stream.
pub(super) fn kind_of_code(code: &str) -> &'static str {
    match code {
        "timeout" => "timeout_error",
        "overloaded_error" | "engine_busy" => "overloaded_error",
        "rate_limit_exceeded" | "rate_limit_error" => "rate_limit_error",
        "invalid_request" | "invalid_request_error" => "invalid_request_error",
        _ => "api_error",
    }
}

pub(super) fn to_messages(kind: &str, message: &str) -> Value {
    json!({ "type": "error", "error": { "type": kind, "message": message } })
}

/// OpenAI's error object; the word of the other side is its `code`.
pub(super) fn to_chat(kind: &str, code: Option<&str>, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}

/// The word that OpenAI's clients know for one of Anthropic's.
pub(super) fn openai_kind(anthropic: &str) -> &'static str {
    match anthropic {
        "invalid_request_error" | "request_too_large" | "billing_error" => "invalid_request_error",
        "authentication_error" => "authentication_error",
        "permission_error" => "permission_error",
        "not_found_error" => "not_found_error",
        "rate_limit_error" => "rate_limit_error",
        _ => "server_error",
    }
}

/// What an answer with a status of failure says, whoever made it.
pub(super) struct Told {
    pub(super) kind: Option<String>,
    pub(super) message: String,
}

impl Told {
    pub(super) fn read(status: u16, body: &[u8]) -> Self {
        if let Some(told) = serde_json::from_slice(body).ok().and_then(|value| Self::of(&value)) {
            return told;
        }
        let body = body.trim_ascii();
        let text = String::from_utf8_lossy(&body[..body.len().min(TEXT_MAX)]).into_owned();
        let message = if text.is_empty() { format!("the engine answered {status} without a word") } else { text };
        Self { kind: None, message }
    }

    /// What the value says, if it is of a shape that says something: `{"error": {"message"}}`, `{"error": "…"}`,
    /// `{"message"}`, `{"detail"}`.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let error = value.get("error").unwrap_or(value);
        let said = [Some(error), error.get("message"), error.get("detail"), value.get("message"), value.get("detail")];
        let message = said.into_iter().flatten().find_map(Value::as_str)?.to_owned();
        let kind = error.get("type").and_then(Value::as_str).map(str::to_owned);
        Some(Self { kind, message })
    }
}
