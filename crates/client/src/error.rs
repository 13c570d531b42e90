//! What can go wrong between a client and the server.

use api::{ErrorBody, ErrorObject, ErrorType};

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be used.
    #[error("cannot use `{url}` as the server's address: {reason}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token cannot stand in a header.
    #[error("the token contains characters that cannot be sent")]
    Token,
    /// No model can have this name.
    #[error("`{name}` cannot be the name of a model")]
    ModelName {
        /// As it was given.
        name: String,
    },
    /// Nobody answers at the address.
    #[error("cannot reach snug at {url}; is `snug serve` running there?")]
    Connect {
        /// The server's address.
        url: String,
        /// What the system says.
        #[source]
        source: reqwest::Error,
    },
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    Timeout {
        /// What was waited for.
        #[source]
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("{}", body.error.message)]
    Api {
        /// The HTTP status.
        status: u16,
        /// What it says.
        body: Box<ErrorBody>,
    },
    /// The server reported an error within an answer that had begun well.
    #[error("{}", body.error.message)]
    MidStream {
        /// What it says.
        body: Box<ErrorBody>,
    },
    /// The connection ended before the answer did.
    #[error("the connection to the server broke")]
    Broken {
        /// What the system says.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is not what snug answers; perhaps another program listens there, or another version.
    #[error("{reason}")]
    Protocol {
        /// What was wrong with it.
        reason: String,
    },
}

impl Error {
    /// What the server said, if it was the server who refused.
    pub fn body(&self) -> Option<&ErrorBody> {
        match self {
            Self::Api { body, .. } | Self::MidStream { body } => Some(body),
            _ => None,
        }
    }

    pub(crate) fn sending(url: &str, source: reqwest::Error) -> Self {
        // A connection that takes too long is as unreachable as a refused one.
        if source.is_connect() { Self::Connect { url: url.to_owned(), source } } else { Self::reading(source) }
    }

    pub(crate) fn reading(source: reqwest::Error) -> Self {
        if source.is_timeout() { Self::Timeout { source } } else { Self::Broken { source } }
    }
}

/// Reads an error answer. Ours have one shape; what stands between may say anything, and is quoted.
pub(crate) fn error_body(bytes: &[u8], status: u16) -> ErrorBody {
    if let Ok(body) = serde_json::from_slice(bytes) {
        return body;
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let message = value.pointer("/error/message").or_else(|| value.get("error")).or_else(|| value.get("detail"));
    let message = match message.and_then(serde_json::Value::as_str) {
        Some(message) => message.to_owned(),
        None => {
            let text: String = String::from_utf8_lossy(bytes).trim().chars().take(200).collect();
            if text.is_empty() {
                format!("the server answered {status}")
            } else {
                format!("the server answered {status}: {text}")
            }
        }
    };
    let code = value.pointer("/error/code").and_then(serde_json::Value::as_str).map(str::to_owned);
    let kind = match status {
        404 => ErrorType::NotFoundError,
        400..=499 => ErrorType::InvalidRequestError,
        _ => ErrorType::ServerError,
    };
    ErrorBody { error: ErrorObject { message, kind, param: None, code, details: None }, detail: None }
}
