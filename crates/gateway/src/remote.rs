//! Calls to providers: where they answer, who we are to them, and how long they may be silent.
//!
//! Must not know dialects beyond their paths and headers. A provider's key goes to that provider and nowhere else: no
//! redirect is followed, and what a client sent to us as its own key stays here.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use protocol::form;
use route::{Dialect, Provider, Remote};
use types::{InstanceId, ModelId, ModelKey, Secret, Variant};

use crate::request_id::RequestId;
use crate::source::By;
use crate::{X_REQUEST_ID, headers};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections are kept so long.
const LONGEST_IDLE: Duration = Duration::from_secs(60);

/// A list of models is waited for so long.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest list of models that is read: some providers have thousands, with prices and all.
const LIST_BYTES_MAX: usize = 16 << 20;
/// More models than that of one provider are not listed.
const LIST_MODELS_MAX: usize = 10_000;

/// What is shorter is no key, but a word that may stand in any answer.
const KEY_SHORTEST: usize = 8;

/// The version of Anthropic's API that is meant where a client names none.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The way to providers. One for each runtime: its connections live there. Made when first needed.
#[derive(Default)]
pub(crate) struct Providers {
    client: OnceLock<reqwest::Client>,
}

/// Why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection, or it broke before the answer's head had come.
    #[error("no answer from {name}")]
    Unreachable {
        name: String,
        #[source]
        source: reqwest::Error,
    },
    /// It said nothing for too long.
    #[error("{name} said nothing for {} s", waited.as_secs_f64())]
    Silent { name: String, waited: Duration },
    /// Nothing can be sent to it.
    #[error("{name} cannot be called: {reason}")]
    Unusable { name: String, reason: String },
}

impl Providers {
    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        provider: &Provider,
        path: &str,
        body: Bytes,
        sent: &HeaderMap,
        id: &RequestId,
    ) -> Result<http::Response<reqwest::Body>, CallError> {
        let unusable = |reason: String| CallError::Unusable { name: provider.name.clone(), reason };
        let client = self.client()?;
        // The base holds what stands before the endpoint's own path, for OpenAI's API its `/v1` too.
        let path = match provider.dialect {
            Dialect::OpenAi => path.strip_prefix("/v1").unwrap_or(path),
            Dialect::Anthropic => path,
        };
        let request = client
            .post(format!("{}{path}", provider.base))
            .headers(towards(provider, sent, id).map_err(unusable)?)
            .body(body);
        let answer = tokio::time::timeout(provider.idle_timeout, request.send()).await;
        match answer {
            Ok(Ok(response)) => Ok(response.into()),
            // The address may hold a key in its query; the error's own text would show it.
            Ok(Err(error)) => Err(CallError::Unreachable { name: provider.name.clone(), source: error.without_url() }),
            Err(_) => Err(CallError::Silent { name: provider.name.clone(), waited: provider.idle_timeout }),
        }
    }

    fn client(&self) -> Result<&reqwest::Client, CallError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(LONGEST_IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("snug/", env!("CARGO_PKG_VERSION")))
            .build();
        let client = client.map_err(|source| CallError::Unreachable { name: "TLS".to_owned(), source })?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// The ids of a provider's models, as it lists them now.
///
/// # Errors
/// It cannot be asked, or its answer is no such list; why, without its key.
pub async fn provider_models(provider: &Provider) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct List {
        data: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        id: String,
    }
    let providers = Providers::default();
    let client = providers.client().map_err(|error| error.to_string())?;
    let path = match provider.dialect {
        Dialect::OpenAi => "models",
        Dialect::Anthropic => "v1/models?limit=1000",
    };
    let headers = towards(provider, &HeaderMap::new(), &RequestId::of(&HeaderMap::new()))?;
    let asking = async {
        let request = client.get(format!("{}/{path}", provider.base)).headers(headers).timeout(LIST_TIMEOUT);
        let mut response = request.send().await?.error_for_status()?;
        let mut whole = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if whole.len() + piece.len() > LIST_BYTES_MAX {
                break;
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    };
    let whole = asking.await.map_err(|error: reqwest::Error| chain(&error.without_url()))?;
    let list: List = serde_json::from_slice(&whole).map_err(|error| format!("no list of models came: {error}"))?;
    Ok(list.data.into_iter().take(LIST_MODELS_MAX).map(|row| row.id).collect())
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What a provider is told besides the body.
fn towards(provider: &Provider, sent: &HeaderMap, id: &RequestId) -> Result<HeaderMap, String> {
    let mut headers = headers::towards_engine(sent);
    // What comes compressed could neither be metered nor put into another dialect.
    headers.remove(ACCEPT_ENCODING);
    if headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).and_then(form::boundary).is_none() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(X_REQUEST_ID, id.clone().into_header());
    if let Some(key) = &provider.key {
        let (name, text) = match provider.dialect {
            Dialect::OpenAi => (AUTHORIZATION, format!("Bearer {}", key.expose())),
            Dialect::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| "its key is no text for a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if provider.dialect == Dialect::Anthropic {
        headers.entry("anthropic-version").or_insert(ANTHROPIC_VERSION);
    }
    Ok(headers)
}

/// One request's place at a provider. Given back when dropped.
pub(crate) struct Place {
    remote: Remote,
    in_flight: Arc<AtomicU64>,
}

impl Place {
    /// A place beside those that are taken; `None` where the provider has as many as it is to have.
    pub(crate) fn take(remote: &Remote, in_flight: &Arc<AtomicU64>) -> Option<Self> {
        let limit = remote.provider.in_flight_max;
        in_flight.try_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < limit).then_some(taken + 1)).ok()?;
        Some(Self { remote: remote.clone(), in_flight: Arc::clone(in_flight) })
    }

    /// What a provider says of a failure, without our key: some say back what they were shown.
    pub(crate) fn without_key(&self, body: Bytes) -> Bytes {
        let Some(key) = self.remote.provider.key.as_ref().map(Secret::expose) else { return body };
        if key.len() < KEY_SHORTEST || memmem::find(&body, key.as_bytes()).is_none() {
            return body;
        }
        let mut rest = &body[..];
        let mut without = Vec::with_capacity(body.len());
        while let Some(at) = memmem::find(rest, key.as_bytes()) {
            without.extend_from_slice(&rest[..at]);
            without.extend_from_slice(b"***");
            rest = &rest[at + key.len()..];
        }
        without.extend_from_slice(rest);
        without.into()
    }

    /// Whose answer it is.
    pub(crate) fn by(&self) -> By {
        let id = format!("{}/{}", self.remote.provider.name, self.remote.model);
        By {
            instance: InstanceId::new(self.remote.provider.name.as_str()),
            model: ModelKey { id: ModelId::new(id), variant: Variant::new("") },
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
