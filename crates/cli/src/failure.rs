//! Why a command did not do what it was asked, as a person, a program and a shell each want to know it.

use std::error::Error as _;
use std::io;

use api::{ErrorBody, ErrorObject, ErrorType, LoadDetails};

use crate::exit::Exit;

/// A command's end without success.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    body: Box<ErrorBody>,
    /// The innermost cause, if the message alone does not tell it.
    cause: Option<String>,
    /// Whether there is something to say at all.
    silent: bool,
}

impl Failure {
    /// A failure found here, not by the server.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        let kind = match exit {
            Exit::Usage => ErrorType::InvalidRequestError,
            Exit::NotFound => ErrorType::NotFoundError,
            _ => ErrorType::ServerError,
        };
        let code = Some(exit.code().to_owned());
        let error = ErrorObject { message: message.into(), kind, param: None, code, details: None };
        Self { exit, body: Box::new(ErrorBody { error, detail: None }), cause: None, silent: false }
    }

    /// Wrong arguments.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Stopped by Ctrl-C: who pressed it knows.
    pub(crate) fn interrupted() -> Self {
        Self { silent: true, ..Self::new(Exit::Interrupted, "interrupted") }
    }

    /// What the server says of a load that failed.
    pub(crate) fn load(body: ErrorBody) -> Self {
        let exit = if is_not_found(&body) { Exit::NotFound } else { Exit::LoadFailed };
        Self { body: Box::new(body), ..Self::new(exit, "") }
    }

    /// An error of the call that starts a load: whatever the server refuses is a load that failed.
    pub(crate) fn of_load(error: client::Error) -> Self {
        match error {
            client::Error::Api { body, .. } | client::Error::MidStream { body } => Self::load(*body),
            error => error.into(),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    pub(crate) fn body(&self) -> &ErrorBody {
        &self.body
    }

    /// For a person, over several lines if need be; `None` if there is nothing to say.
    pub(crate) fn text(&self) -> Option<String> {
        if self.silent {
            return None;
        }
        let mut text = self.body.error.message.clone();
        if let Some(cause) = self.cause.as_ref().filter(|cause| !text.contains(cause.as_str())) {
            text.push_str(&format!(" ({cause})"));
        }
        let details = self.body.error.details.clone().and_then(|value| serde_json::from_value(value).ok());
        if let Some(LoadDetails { suggestion, llama_log, .. }) = details {
            if !suggestion.is_empty() {
                text.push_str(&format!("\n  {suggestion}"));
            }
            if !llama_log.trim().is_empty() {
                text.push_str("\n  The engine said:");
                for line in llama_log.trim().lines() {
                    text.push_str(&format!("\n    {line}"));
                }
            }
        }
        Some(text)
    }
}

fn is_not_found(body: &ErrorBody) -> bool {
    body.error.code.as_deref() == Some("model_not_found")
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let exit = match &error {
            client::Error::Connect { .. } => Exit::Unreachable,
            client::Error::Address { .. } | client::Error::Token | client::Error::ModelName { .. } => Exit::Usage,
            client::Error::Api { body, .. } | client::Error::MidStream { body } => match body.error.code.as_deref() {
                Some("model_not_found") => Exit::NotFound,
                Some("model_load_error") => Exit::LoadFailed,
                _ => Exit::Failed,
            },
            _ => Exit::Failed,
        };
        let mut innermost = error.source();
        while let Some(deeper) = innermost.and_then(|cause| cause.source()) {
            innermost = Some(deeper);
        }
        let cause = innermost.map(ToString::to_string);
        let local = Self { cause, ..Self::new(exit, error.to_string()) };
        match error {
            client::Error::Api { body, .. } | client::Error::MidStream { body } => Self { body, ..local },
            _ => local,
        }
    }
}

impl From<io::Error> for Failure {
    /// A reader that went away (`snug models | head -1`) has what it wanted: that is no failure.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { silent: true, ..Self::new(Exit::Ok, "the reader went away") };
        }
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<config::Problems> for Failure {
    fn from(problems: config::Problems) -> Self {
        let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        let head =
            if lines.len() == 1 { "the configuration has a mistake:" } else { "the configuration has mistakes:" };
        let mut failure = Self::usage(format!("{head}\n  {}", lines.join("\n  ")));
        failure.body.error.code = Some("bad_configuration".to_owned());
        failure.body.error.details = Some(serde_json::json!({ "problems": lines }));
        failure
    }
}
