//! In which form a request is put to whoever is to answer: as it came, or in another dialect.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use protocol::ollama::{self, What, Wish};
use protocol::{Answer, Fault, Moment, Refused, Request, messages, responses};
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
pub(crate) fn translated(
    form: Form,
    speaks: Speaks,
    endpoint: Endpoint,
    body: &[u8],
    id: &RequestId,
) -> Result<Prepared, ApiError> {
    let (endpoint, request) = as_openai(speaks, endpoint, body, id)?;
    let (endpoint, request) = match form {
        Form::Native | Form::AsOpenAi => (endpoint, request),
        Form::AsMessages => (Endpoint::Messages, as_messages(endpoint, request, id)?),
    };
    Ok(Prepared { endpoint, body: request.body.into(), answer: Some(request.answer) })
}

/// A request as OpenAI's API has it, and at which endpoint.
fn as_openai(speaks: Speaks, endpoint: Endpoint, body: &[u8], id: &RequestId) -> Result<(Endpoint, Request), ApiError> {
    let chat = |request: Result<Request, Refused>| Ok((Endpoint::ChatCompletions, request?));
    match endpoint {
        Endpoint::Responses => chat(responses::to_chat(body, moment(id))),
        Endpoint::Messages if speaks == Speaks::OpenAi => chat(messages::to_openai(body, moment(id))),
        Endpoint::Messages => chat(messages::to_chat(body, moment(id))),
        Endpoint::ChatCompletions => Ok((endpoint, Request { body: body.to_owned(), answer: Box::new(AsItIs) })),
        endpoint => match wish(endpoint, body, id).transpose()?.map(|wish| wish.what) {
            Some(What::Ask { endpoint, request }) => Ok((of_ollama(endpoint), request)),
            Some(What::Load { .. } | What::Unload { .. }) | None => {
                let message = format!("{} has no counterpart there", endpoint.path());
                Err(ApiError::bad_request("endpoint_not_offered", message))
            }
        },
    }
}

/// A chat request as Anthropic's API has it, with both ways back in one.
fn as_messages(endpoint: Endpoint, chat: Request, id: &RequestId) -> Result<Request, ApiError> {
    if endpoint != Endpoint::ChatCompletions {
        let message = "who speaks Anthropic's API answers chat only";
        return Err(ApiError::bad_request("endpoint_not_offered", message).with_param("model"));
    }
    let inner = messages::from_chat(&chat.body, moment(id), MAX_TOKENS)?;
    Ok(Request { body: inner.body, answer: Box::new(Through { inner: inner.answer, outer: chat.answer }) })
}

/// Tokens of an answer where a client of OpenAI's API names no limit and Anthropic's asks for one: as much as every model
/// there gives.
const MAX_TOKENS: u32 = 4096;

/// An answer that is in the client's dialect already.
struct AsItIs;

impl Answer for AsItIs {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(body.to_owned())
    }

    fn error(&mut self, _: u16, body: &[u8]) -> Vec<u8> {
        body.to_owned()
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(bytes.to_owned())
    }

    fn end(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn broken(&mut self, code: &str, message: &str) -> Vec<u8> {
        let error = serde_json::json!({
            "error": { "message": message, "type": "server_error", "param": null, "code": code }
        });
        format!("data: {error}\n\n").into_bytes()
    }
}

/// One way back after the other.
struct Through {
    /// From the provider's dialect.
    inner: Box<dyn Answer>,
    /// To the client's.
    outer: Box<dyn Answer>,
}

impl Answer for Through {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        self.outer.whole(&self.inner.whole(body)?)
    }

    fn error(&mut self, status: u16, body: &[u8]) -> Vec<u8> {
        let error = self.inner.error(status, body);
        self.outer.error(status, &error)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        self.outer.piece(&self.inner.piece(bytes)?)
    }

    fn end(&mut self) -> Vec<u8> {
        let last = self.inner.end();
        match self.outer.piece(&last) {
            Ok(mut last) => {
                last.extend(self.outer.end());
                last
            }
            Err(fault) => self.outer.broken("bad_answer", &fault.to_string()),
        }
    }

    fn broken(&mut self, code: &str, message: &str) -> Vec<u8> {
        self.outer.broken(code, message)
    }

    fn stream_type(&self) -> &'static str {
        self.outer.stream_type()
    }
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
