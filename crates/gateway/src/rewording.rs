//! What others say of a failure, in the words that the client's dialect has for it.

use http::StatusCode;
use protocol::messages;

use crate::ApiError;
use crate::endpoint::Tongue;
use protocol::scan::Scan;

/// An error's body as clients read it; `None` where it is so already.
///
/// OpenAI's clients expect a text as `code`, some engines write the status there as a number: it gets its quotes, all else
/// stays byte for byte. An answer without a word gets some.
pub(crate) fn of_error(tongue: Tongue, status: StatusCode, body: &[u8]) -> Option<Vec<u8>> {
    match tongue {
        Tongue::Anthropic => messages::error_of(status.as_u16(), body),
        Tongue::OpenAi | Tongue::Ollama if body.trim_ascii().is_empty() => Some(wordless(status)),
        Tongue::OpenAi => code_as_text(body),
        // Theirs is always in another dialect before.
        Tongue::Ollama => None,
    }
}

fn wordless(status: StatusCode) -> Vec<u8> {
    let kind = match status {
        status if status.is_server_error() => api::ErrorType::ServerError,
        _ => api::ErrorType::InvalidRequestError,
    };
    let message = format!("the answer was {status}, without a word why");
    serde_json::to_vec(&ApiError::new(status, kind, "engine_failed", message).body()).unwrap_or_default()
}

fn code_as_text(body: &[u8]) -> Option<Vec<u8>> {
    let top = Scan::of(body).ok()?;
    let error = top.field("error")?;
    let inner = Scan::of(error.value.as_bytes()).ok()?;
    let code = inner.field("code")?;
    let is_number = code.value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    is_number.then(|| {
        let (from, to) = (error.at.start + code.at.start, error.at.start + code.at.end);
        [&body[..from], b"\"", code.value.as_bytes(), b"\"", &body[to..]].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&str>) {
        let reworded = of_error(Tongue::OpenAi, StatusCode::BAD_REQUEST, body.as_bytes());
        assert_eq!(reworded.as_deref().map(|body| str::from_utf8(body).unwrap()), expected, "{body}");
    }

    #[test]
    fn a_code_gets_its_quotes_and_all_else_stays() {
        check(
            r#" {"a":1, "error" : {"code": 400,"message":"no \u00e9","n":1.50} }"#,
            Some(r#" {"a":1, "error" : {"code": "400","message":"no \u00e9","n":1.50} }"#),
        );
        check(r#"{"error":{"code":-1}}"#, Some(r#"{"error":{"code":"-1"}}"#));
        for body in [
            r#"{"error":{"code":"x"}}"#,
            r#"{"error":{"code":null}}"#,
            r#"{"error":"code"}"#,
            r#"{"code":400}"#,
            r#"{"detail":[]}"#,
            "<html>",
            "[]",
        ] {
            check(body, None);
        }
    }

    #[test]
    fn no_answer_is_without_a_word() {
        let body = of_error(Tongue::OpenAi, StatusCode::BAD_GATEWAY, b" ").unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "engine_failed");
        assert_eq!(body["error"]["type"], "server_error");
    }
}
