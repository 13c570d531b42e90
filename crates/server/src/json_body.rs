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
/// 413 if it is too long, 400 if it is not JSON or not a `T`; the message says which field is wrong, and how.
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
    parse(&body)
}

/// `null` is how some clients say "nothing".
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, ApiError> {
    let wrong = |field: &str, error: &serde_json::Error| {
        let code = if error.is_data() { "invalid_request" } else { "invalid_json" };
        ApiError::bad_request(code, format!("the request's body is not what it should be: {field}{error}"))
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // The whole body has no name, and where the text breaks off nothing has.
        let is_named = path != "." && error.inner().is_data();
        let field = if is_named { format!("`{path}`: ") } else { String::new() };
        wrong(&field, error.inner())
    })?;
    deserializer.end().map_err(|error| wrong("", &error))?;
    Ok(value)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shelf {
        books: Vec<Book>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Book {
        pages: u64,
    }

    #[track_caller]
    fn check(body: &str, expected: Result<Option<Shelf>, (&str, &str)>) {
        let parsed = parse::<Shelf>(body.as_bytes());
        let parsed = parsed.map_err(|error| (error.code, error.message));
        let start = "the request's body is not what it should be: ";
        let expected = expected.map_err(|(code, message)| (code, format!("{start}{message}")));
        assert_eq!(parsed, expected, "{body}");
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        check(r#"{ "books": [{ "pages": 1 }] }"#, Ok(Some(Shelf { books: vec![Book { pages: 1 }] })));
        check("null", Ok(None));
        let message = "`books[1].pages`: invalid type: string \"2\", expected u64 at line 1 column 42";
        check(r#"{ "books": [{ "pages": 1 }, { "pages": "2" }] }"#, Err(("invalid_request", message)));
        let message = "invalid type: integer `7`, expected struct Shelf at line 1 column 1";
        check("7", Err(("invalid_request", message)));
        check("{", Err(("invalid_json", "EOF while parsing an object at line 1 column 1")));
        check("{\"books\": []} x", Err(("invalid_json", "trailing characters at line 1 column 15")));
    }
}
