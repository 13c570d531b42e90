//! In which form a request is put to whoever is to answer: as it came, or in another dialect.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use protocol::ollama::{self, What, Wish};
use protocol::{Answer, Moment, Refused, Request};
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
pub(crate) fn translated(form: Form, endpoint: Endpoint, body: &Bytes, id: &RequestId) -> Result<Prepared, ApiError> {
    let (endpoint, request) = as_openai(endpoint, body, id)?;
    let (endpoint, request) = match form {
        Form::Native | Form::AsOpenAi => (endpoint, request),
        Form::AsMessages => return Err(ApiError::bad_request("endpoint_not_offered", "it is not chat")),
    };
    Ok(Prepared { endpoint, body: request.body.into(), answer: Some(request.answer) })
}

/// A request as OpenAI's API has it, and at which endpoint.
fn as_openai(endpoint: Endpoint, body: &Bytes, id: &RequestId) -> Result<(Endpoint, Request), ApiError> {
    if let Some(wish) = wish(endpoint, body, id) {
        return match wish?.what {
            What::Ask { endpoint, request } => Ok((of_ollama(endpoint), request)),
            What::Load { .. } | What::Unload { .. } => {
                Err(ApiError::bad_request("invalid_request", "there is nothing to answer"))
            }
        };
    }
    Err(ApiError::bad_request("endpoint_not_offered", endpoint.path()))
}

/// What an Ollama client wants; `None` of any other.
pub(crate) fn wish(endpoint: Endpoint, body: &[u8], id: &RequestId) -> Option<Result<Wish, Refused>> {
    let wish = match endpoint {
        Endpoint::OllamaChat => ollama::chat,
        Endpoint::OllamaGenerate => ollama::generate,
        Endpoint::OllamaEmbed => ollama::embed,
        Endpoint::OllamaEmbeddings => ollama::embeddings,
        _ => return None,
    };
    Some(wish(body, moment(id)))
}

fn of_ollama(endpoint: ollama::Endpoint) -> Endpoint {
    match endpoint {
        ollama::Endpoint::ChatCompletions => Endpoint::ChatCompletions,
        ollama::Endpoint::Completions => Endpoint::Completions,
        ollama::Endpoint::Infill => Endpoint::Infill,
        ollama::Endpoint::Embeddings => Endpoint::Embeddings,
    }
}

/// What makes this answer unlike all others. Our own request ids are unique; one that a client chose may not be.
fn moment(id: &RequestId) -> Moment {
    let letters = id.as_str().chars().filter(char::is_ascii_alphanumeric);
    let salt = getrandom::u64().unwrap_or_default();
    let id = letters.chain(format!("{salt:016x}").chars()).collect();
    Moment { id, created: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()) }
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
