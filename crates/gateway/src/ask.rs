//! A request as it came, read as far as routing needs it.

use std::borrow::Cow;

use axum::extract::Query;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request;
use keys::Caller;
use protocol::scan::Scan;
use protocol::{form, ollama};
use route::Rewrite;

use crate::endpoint::{Endpoint, Tongue};
use crate::rewrite::Edits;

use crate::speaks::{self, Form, Prepared, Speaks};
use crate::{ApiError, Limits, RequestId};

/// A request as it came.
pub(crate) struct Ask<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) head: &'a request::Parts,
    pub(crate) body: &'a Bytes,
    pub(crate) id: &'a RequestId,
    /// Who asks.
    pub(crate) caller: &'a Caller,
    /// What held when it came.
    pub(crate) limits: &'a Limits,
    /// What the model is called; empty where that is left open.
    pub(crate) name: Cow<'a, str>,
    content: Content<'a>,
}

/// What the body is.
enum Content<'a> {
    Json(Scan<'a>),
    /// A form with files, and where in it the model's name stands.
    Form(std::ops::Range<usize>),
    /// There is none: the query says it all.
    Nothing,
}

impl<'a> Ask<'a> {
    /// Reads head and body as far as routing needs it.
    pub(crate) fn read(
        endpoint: Endpoint,
        head: &'a request::Parts,
        body: &'a Bytes,
        id: &'a RequestId,
        caller: &'a Caller,
        limits: &'a Limits,
    ) -> Result<Self, ApiError> {
        let (name, content) = if endpoint.is_look() {
            (Cow::Owned(model_of_query(head)?.unwrap_or_default()), Content::Nothing)
        } else if let Some(boundary) =
            head.headers.get(CONTENT_TYPE).and_then(|kind| form::boundary(kind.to_str().ok()?))
        {
            let at = form::field(body, &boundary, "model")?.ok_or_else(ApiError::missing_model)?;
            let name = str::from_utf8(&body[at.clone()]).map_err(|_| {
                ApiError::bad_request("invalid_request", "`model` must be UTF-8 text").with_param("model")
            })?;
            (Cow::Borrowed(name), Content::Form(at))
        } else {
            let scan = Scan::of(body)?;
            let name = match scan.model()? {
                None if endpoint.may_leave_out_model() => Cow::Owned(model_of_query(head)?.unwrap_or_default()),
                None => return Err(ApiError::missing_model()),
                Some(name) => name,
            };
            (name, Content::Json(scan))
        };
        let name = match endpoint.tongue() {
            Tongue::Ollama => Cow::Owned(ollama::name(&name).into_owned()),
            Tongue::OpenAi | Tongue::Anthropic => name,
        };
        Ok(Self { endpoint, head, body, id, caller, limits, name, content })
    }

    /// What an Ollama client wants; `None` of any other.
    pub(crate) fn wish(&self) -> Result<Option<ollama::Wish>, ApiError> {
        speaks::wish(self.endpoint, self.body, self.id).transpose().map_err(ApiError::from)
    }

    /// What tells one conversation from another: what the engine reads first comes first.
    pub(crate) fn conversation(&self) -> balance::Prefix {
        let Content::Json(scan) = &self.content else { return balance::Prefix::of(&[]) };
        let spans = ["system", "instructions", "tools", "messages", "prompt", "input"]
            .map(|name| scan.field(name).map_or(&[][..], |field| field.value.as_bytes()));
        balance::Prefix::of(&spans)
    }

    /// The request in a form, for somebody who calls the model `model` if that is another name.
    pub(crate) fn prepare(
        &self,
        form: Form,
        speaks: Speaks,
        rewrites: &[&Rewrite],
        model: Option<&str>,
    ) -> Result<Prepared, ApiError> {
        match (form, &self.content) {
            (Form::Native, Content::Json(scan)) => {
                let mut edits = Edits::of(self.endpoint, scan, rewrites);
                if let Some(model) = model {
                    edits.model(scan, model);
                }
                Ok(Prepared::native(self.endpoint, edits.apply(self.body, scan)))
            }
            (Form::Native, Content::Form(at)) => {
                let body = match model {
                    None => self.body.clone(),
                    Some(model) => [&self.body[..at.start], model.as_bytes(), &self.body[at.end..]].concat().into(),
                };
                Ok(Prepared::native(self.endpoint, body))
            }
            (_, Content::Json(_)) => {
                let prepared = speaks::translated(form, speaks, self.endpoint, self.body, self.id)?;
                let endpoint = prepared.endpoint;
                let scan = Scan::of(&prepared.body)?;
                let mut edits = Edits::of(endpoint, &scan, rewrites);
                if let Some(model) = model {
                    edits.model(&scan, model);
                }
                let body = edits.apply(&prepared.body, &scan);
                Ok(Prepared { body, ..prepared })
            }
            (_, Content::Form(_) | Content::Nothing) => Ok(Prepared::native(self.endpoint, self.body.clone())),
        }
    }
}

/// `model` in the query, where llama.cpp's clients may put it.
fn model_of_query(head: &request::Parts) -> Result<Option<String>, ApiError> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&head.uri)
        .map_err(|_| ApiError::bad_request("invalid_query", "the query cannot be read"))?;
    Ok(pairs.into_iter().find(|(name, _)| name == "model").map(|(_, value)| value))
}
