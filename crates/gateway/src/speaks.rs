//! In which form a request is put to whoever is to answer: as it came, or in another dialect.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use protocol::{Answer, Fault, Moment, Refused};
use route::Target;
use types::InstanceId;

use crate::endpoint::Endpoint;
use crate::{ApiError, RequestId};

/// Who answers, as far as dialects go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// An engine of this machine: OpenAI's API, and perhaps more.
    Engine,
    /// A provider with OpenAI's API.
    OpenAi,
    /// A provider with Anthropic's API.
    Anthropic,
    /// Nobody: chat completions, completions and embeddings.
    Mock,
}

/// The form of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it came.
    Native,
    /// As chat completions, or what else of OpenAI's API is nearest.
    AsOpenAi,
    /// As Anthropic's messages.
    AsMessages,
}

/// In which forms a request may be put to somebody, the best first; none if they do not offer it at all.
///
/// Engines differ in what they know natively; one that does not know a route is asked in the next form.
pub(crate) fn forms(endpoint: Endpoint, speaks: Speaks) -> &'static [Form] {
    use Endpoint::{
        ChatCompletions, Completions, CountTokens, Embeddings, Messages, OllamaChat, OllamaEmbed, OllamaEmbeddings,
        OllamaGenerate, Responses,
    };
    use Form::{AsMessages, AsOpenAi, Native};
    match (speaks, endpoint) {
        (Speaks::Anthropic, Messages | CountTokens) => &[Native],
        (Speaks::Anthropic, ChatCompletions | Responses | OllamaChat | OllamaGenerate) => &[AsMessages],
        (Speaks::Anthropic, _) => &[],
        (Speaks::Mock, ChatCompletions | Completions | Embeddings) => &[Native],
        (Speaks::Mock, Responses | Messages) => &[AsOpenAi],
        (_, OllamaChat | OllamaGenerate | OllamaEmbed | OllamaEmbeddings) => &[AsOpenAi],
        (Speaks::Mock, _) | (Speaks::OpenAi, CountTokens) => &[],
        (Speaks::Engine | Speaks::OpenAi, Responses) | (Speaks::Engine, Messages) => &[Native, AsOpenAi],
        (Speaks::OpenAi, Messages) => &[AsOpenAi],
        (Speaks::Engine | Speaks::OpenAi, _) => &[Native],
    }
}

/// A request as somebody gets it.
pub(crate) struct Prepared {
    /// What of theirs is asked.
    pub(crate) endpoint: Endpoint,
    pub(crate) body: Bytes,
    /// What makes their answer the client's dialect, if it is in another.
    pub(crate) answer: Option<Box<dyn Answer>>,
}

impl Prepared {
    /// One in the client's own dialect.
    pub(crate) fn native(endpoint: Endpoint, body: Bytes) -> Self {
        Self { endpoint, body, answer: None }
    }
}

/// A request in another form than the client's.
pub(crate) fn translated(_: Form, endpoint: Endpoint, _: &Bytes, _: &RequestId) -> Result<Prepared, ApiError> {
    Err(ApiError::bad_request("x", endpoint.path()))
}

pub(crate) fn ollama_name(name: Cow<'_, str>) -> Cow<'_, str> {
    name
}

pub(crate) fn anthropic_error(_: http::StatusCode, _: &str) -> Vec<u8> {
    Vec::new()
}

/// Which engines do not know which routes: what they said once is not asked again.
#[derive(Default)]
pub(crate) struct Natives(Mutex<HashSet<(InstanceId, Endpoint)>>);

/// More than there are engines; beyond that all are asked once more.
const NATIVES_MAX: usize = 1024;

impl Natives {
    pub(crate) fn lacks(&self, target: &Target, endpoint: Endpoint) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty() && known.contains(&(target.instance().clone(), endpoint))
    }

    pub(crate) fn note(&self, target: &Target, endpoint: Endpoint) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NATIVES_MAX {
            known.clear();
        }
        known.insert((target.instance().clone(), endpoint));
    }
}
