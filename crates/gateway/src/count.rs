//! Counting the tokens of a request for an engine that does not: it makes the prompt of it, and the tokens of the prompt.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use protocol::messages;
use route::{Lease, Local};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ApiError;
use crate::ask::Ask;
use crate::attempt::{Failure, does_not_know, not_offered};
use crate::endpoint::Endpoint;
use crate::reply::Reply;
use crate::router::Gateway;
use crate::source::Source;

/// What an engine says to a question on the way.
enum Said {
    /// What was asked, and the lease back.
    Well(Bytes, Lease),
    /// Something else: that is the answer.
    Otherwise(Box<Reply>),
}

#[derive(Deserialize)]
struct Templated {
    prompt: String,
}

#[derive(Deserialize)]
struct Tokenized {
    tokens: Vec<IgnoredAny>,
}

impl Gateway {
    /// Counts the tokens of a request in the words of the Messages API.
    pub(crate) async fn counted(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        body: &[u8],
        local: &Local,
        lease: Lease,
    ) -> Result<Reply, Failure> {
        let by = lease.target().model().to_string();
        let unreadable = |error: serde_json::Error| {
            let message = format!("the engine of {by} does not say what it was asked: {error}");
            Failure::broken(ApiError::new(StatusCode::BAD_GATEWAY, api::ErrorType::ServerError, "bad_answer", message))
        };
        let chat = messages::count_tokens_to_chat(body).map_err(|refused| Failure::elsewhere(refused.into()))?;
        let (templated, lease) = match self.exchange(ask, Endpoint::ApplyTemplate, chat.into(), local, lease).await? {
            Said::Well(body, lease) => (body, lease),
            Said::Otherwise(reply) => return Ok(*reply),
        };
        let Templated { prompt } = serde_json::from_slice(&templated).map_err(&unreadable)?;
        // As the engine does with prompts: what looks like a special token is one.
        let question = serde_json::json!({ "content": prompt, "add_special": true, "parse_special": true });
        let question = question.to_string().into();
        let (tokenized, lease) = match self.exchange(ask, Endpoint::Tokenize, question, local, lease).await? {
            Said::Well(body, lease) => (body, lease),
            Said::Otherwise(reply) => return Ok(*reply),
        };
        let Tokenized { tokens } = serde_json::from_slice(&tokenized).map_err(&unreadable)?;
        let counted = messages::count_tokens_answer(u64::try_from(tokens.len()).unwrap_or(u64::MAX));
        let by = crate::By { instance: lease.target().instance().clone(), model: lease.target().model().clone() };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let source = Source::Whole { body: Some(counted.into()), by, usage: None };
        Ok(Reply::new(StatusCode::OK, headers, source, None))
    }

    async fn exchange(
        self: &Arc<Self>,
        ask: &Ask<'_>,
        endpoint: Endpoint,
        body: Bytes,
        local: &Local,
        lease: Lease,
    ) -> Result<Said, Failure> {
        let sent = self.send(ask, endpoint, &body, &lease, local).await;
        let reply = match sent {
            Ok((response, connection)) => Reply::of_engine(response, connection, lease, None),
            Err(error) => return Err(Failure::unanswered(&error, lease.target(), ask.id)),
        };
        if does_not_know(reply.status) {
            return Err(Failure::elsewhere(not_offered(ask.endpoint, &local.name)));
        }
        if !reply.status.is_success() {
            return Ok(Said::Otherwise(Box::new(reply)));
        }
        let mut source = reply.source;
        match source.collect(|_| {}).await {
            Ok(body) => match source.finish(&self.pool, Instant::now()) {
                Some(lease) => Ok(Said::Well(body, lease)),
                None => Err(Failure::elsewhere(not_offered(ask.endpoint, &local.name))),
            },
            Err(fault) => Err(Failure::broken(source.broke(&local.name, &fault))),
        }
    }
}
