//! Typed HTTP client of our own API, for the command line and for tests.
//!
//! Owns addresses, time limits and the decoding of answers; the shapes are [`api`]'s. It knows nothing of terminals and
//! starts nothing.

mod chat;
mod download;
mod error;
mod events;
mod fit;
mod keys;
mod load;
mod sse;

use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

pub use chat::{Chat, ChatEvent, ChatRequest, Message, Role, Usage};
pub use download::{DownloadEvent, DownloadEvents};
pub use error::Error;
pub use load::LoadEvents;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer that is one piece may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an unload may take: the engine is given time to end by itself first.
const UNLOAD_TIMEOUT: Duration = Duration::from_secs(180);

/// How long it may take to find out at the hub what there is to download.
const HUB_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a stream may be silent. Longer than the server waits for a load or an engine, so that it is the server who
/// says what is wrong.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Largest answer in one piece: a list of some ten thousand models.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What stays as it is in a model's name within a URL: unreserved characters, the slash of `org/model`, the colon of
/// `model:variant`.
const NAME_IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// A secret that shows who is asking. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A server's address and how to talk to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Without a slash at the end.
    base: String,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// A client of the server at `base_url`, such as `http://127.0.0.1:8787` (`http://` may be left out). Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// [`Error::Address`] if that is not an `http` address, [`Error::Token`] if the token cannot stand in a header.
    pub fn new(base_url: &str, token: Option<&Token>) -> Result<Self, Error> {
        let address = |reason: &str| Error::Address { url: base_url.to_owned(), reason: reason.to_owned() };
        let full = if base_url.contains("://") { base_url.to_owned() } else { format!("http://{base_url}") };
        let url = Url::parse(&full).map_err(|error| address(&error.to_string()))?;
        match url.scheme() {
            "http" => {}
            "https" => return Err(address("TLS is not supported; use http, on a network you trust")),
            scheme => return Err(address(&format!("`{scheme}` is not http"))),
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(address("it must be host, port and at most a path"));
        }
        let authorization = token.map(|Token(secret)| -> Result<HeaderValue, Error> {
            let mut value = HeaderValue::from_str(&format!("Bearer {secret}")).map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            // The server is on this machine or the next; a proxy meant for the web only hides it.
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|error| address(&error.to_string()))?;
        Ok(Self {
            http,
            base: url.as_str().trim_end_matches('/').to_owned(),
            authorization: authorization.transpose()?,
        })
    }

    /// The server's address, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// `GET /health`.
    ///
    /// # Errors
    /// As every call: [`Error::Connect`], [`Error::Timeout`], [`Error::Api`], [`Error::Protocol`].
    pub async fn health(&self) -> Result<api::Health, Error> {
        self.get("/health").await
    }

    /// `GET /api/version`.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn version(&self) -> Result<api::Version, Error> {
        self.get("/api/version").await
    }

    /// `GET /v1/models`: every model, one row per id.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn models(&self) -> Result<api::ModelList, Error> {
        self.get("/v1/models").await
    }

    /// `GET /api/models`: every variant and how it fits.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn available(&self) -> Result<api::AvailableModels, Error> {
        self.get("/api/models").await
    }

    /// `GET /api/models/loaded`: every instance.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn loaded(&self) -> Result<api::LoadedModels, Error> {
        self.get("/api/models/loaded").await
    }

    /// `POST /api/models/{name}/load`, with its progress. `context` is in tokens per slot.
    ///
    /// # Errors
    /// As [`Client::health`] for what is refused at once, and [`Error::ModelName`]; a load that fails later is an event.
    pub async fn load(&self, name: &str, variant: Option<&str>, context: Option<u64>) -> Result<LoadEvents, Error> {
        let variant = variant.map(|variant| format!("variant={}", utf8_percent_encode(variant, NAME_IN_PATH)));
        let context = context.map(|context| format!("context={context}"));
        let query: Vec<String> = variant.into_iter().chain(context).collect();
        let path = match query.is_empty() {
            true => model_path(name, "load")?,
            false => format!("{}?{}", model_path(name, "load")?, query.join("&")),
        };
        let request = self.request(Method::POST, &path).header("accept", "text/event-stream");
        LoadEvents::of(self.send(request).await?).await
    }

    /// `POST /api/models/{name}/unload`.
    ///
    /// # Errors
    /// As [`Client::health`], and [`Error::ModelName`].
    pub async fn unload(&self, name: &str) -> Result<api::UnloadAnswer, Error> {
        let request = self.request(Method::POST, &model_path(name, "unload")?).timeout(UNLOAD_TIMEOUT);
        decode(self.send(request).await?).await
    }

    /// `POST /api/models/{name}/pin` or `/unpin`.
    ///
    /// # Errors
    /// As [`Client::health`], and [`Error::ModelName`].
    pub async fn pin(&self, name: &str, pinned: bool) -> Result<api::ModelAnswer, Error> {
        let path = model_path(name, if pinned { "pin" } else { "unpin" })?;
        decode(self.send(self.request(Method::POST, &path).timeout(ANSWER_TIMEOUT)).await?).await
    }

    /// `POST /api/models/{name}/download`: begins one, or lets one that rests go on. The answer names what is fetched.
    ///
    /// # Errors
    /// As [`Client::health`], and [`Error::ModelName`].
    pub async fn download(&self, name: &str) -> Result<api::ModelAnswer, Error> {
        let request = self.request(Method::POST, &model_path(name, "download")?).timeout(HUB_TIMEOUT);
        decode(self.send(request).await?).await
    }

    /// `GET /api/models/{name}/download`, as it goes on.
    ///
    /// # Errors
    /// As [`Client::health`], and [`Error::ModelName`].
    pub async fn download_events(&self, name: &str) -> Result<DownloadEvents, Error> {
        let request = self.request(Method::GET, &model_path(name, "download")?).header("accept", "text/event-stream");
        Ok(DownloadEvents::of(self.send(request).await?))
    }

    /// `POST /api/models/{name}/download/pause`: what is here stays, and it goes on when it is begun again.
    ///
    /// # Errors
    /// As [`Client::health`], and [`Error::ModelName`].
    pub async fn pause_download(&self, name: &str) -> Result<api::ModelAnswer, Error> {
        let request = self.request(Method::POST, &model_path(name, "download/pause")?).timeout(ANSWER_TIMEOUT);
        decode(self.send(request).await?).await
    }

    /// `DELETE /api/models/{name}/files`, of one variant or of all.
    ///
    /// # Errors
    /// As [`Client::health`], and [`Error::ModelName`].
    pub async fn delete_files(&self, name: &str, variant: Option<&str>) -> Result<api::DeleteAnswer, Error> {
        let query = variant.map(|variant| format!("?variant={}", utf8_percent_encode(variant, NAME_IN_PATH)));
        let path = format!("{}{}", model_path(name, "files")?, query.unwrap_or_default());
        decode(self.send(self.request(Method::DELETE, &path).timeout(UNLOAD_TIMEOUT)).await?).await
    }

    /// `GET /api/storage/models`: every variant that is on disk.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn stored(&self) -> Result<api::StoredModels, Error> {
        self.get("/api/storage/models").await
    }

    /// `POST /v1/chat/completions`, streamed. Dropping the [`Chat`] stops the generation.
    ///
    /// # Errors
    /// As [`Client::health`] for what is refused before the first byte.
    pub async fn chat(&self, request: &ChatRequest) -> Result<Chat, Error> {
        let request = self.request(Method::POST, "/v1/chat/completions").json(&chat::wire(request));
        Chat::of(self.send(request).await?)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        decode(self.send(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT)).await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.authorization {
            Some(value) => request.header("authorization", value.clone()),
            None => request,
        }
    }

    /// Sends, and turns every answer that is not a success into an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| Error::sending(&self.base, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        // What the error says is worth having even if it cannot be read to its end.
        let body = read_bounded(response).await.unwrap_or_default();
        Err(Error::Api { status: status.as_u16(), body: Box::new(error::error_body(&body, status.as_u16())) })
    }
}

fn model_path(name: &str, verb: &str) -> Result<String, Error> {
    // Dotted parts would be folded by the URL rules into another path.
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::ModelName { name: name.to_owned() });
    }
    Ok(format!("/api/models/{}/{verb}", utf8_percent_encode(name, NAME_IN_PATH)))
}

async fn decode<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let path = response.url().path().to_owned();
    let body = read_bounded(response).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Error::Protocol { reason: format!("the answer of {path} is not what it should be: {error}") })
}

async fn read_bounded(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::reading)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::Protocol { reason: format!("the answer is larger than {ANSWER_BYTES_MAX} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
