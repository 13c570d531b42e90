//! One request: tries, waits, redirects, bounds. The token goes to the hub's own host and nowhere else.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};

use crate::error::Error;
use crate::settings::Retries;
use crate::tries::Tries;

/// Redirects of one request: the hub's own, then its storage's.
const REDIRECTS_MAX: usize = 5;

/// What the hub says in a redirect of the file that it leads to.
pub(crate) const ANNOUNCED: [&str; 3] = ["x-repo-commit", "x-linked-etag", "x-linked-size"];

/// How much of an error's text is kept.
const MESSAGE_BYTES_MAX: usize = 300;

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Whom to ask, as whom, and how patiently.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) http: reqwest::Client,
    pub(crate) endpoint: Url,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) retries: Retries,
}

/// Where a request goes first.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) url: Url,
    /// Whether no redirect has left the hub's host on the way to it: only then it gets the token.
    pub(crate) at_home: bool,
}

/// A response that is no redirect, or one that leads away from where the request may go.
pub(crate) struct Reached {
    pub(crate) response: Response,
    /// Who gave it.
    pub(crate) from: Start,
    /// What redirects on the hub's own host said of the file that they lead to.
    pub(crate) announced: HeaderMap,
}

/// Why there is no response.
pub(crate) enum Lost {
    /// No connection, or one that broke.
    Unreachable(Url, reqwest::Error),
    /// A redirect that leads nowhere.
    Astray(Error),
}

/// A try that came to nothing.
enum Trouble {
    Final(Error),
    /// Worth another try, after this wait if the hub asks for one.
    Passing(Error, Option<Duration>),
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unreachable(url, error) => Self::Passing(unreachable_host(&url, error), None),
            Lost::Astray(error) => Self::Final(error),
        }
    }
}

/// Waits for the next try, if there is to be one.
async fn bear(trouble: Trouble, tries: &mut Tries, url: &Url) -> Result<(), Error> {
    let (error, asked) = match trouble {
        Trouble::Final(error) => return Err(error),
        Trouble::Passing(error, asked) => (error, asked),
    };
    match tries.failed(asked) {
        Ok(pause) => {
            tracing::debug!(url = shown(url), wait_ms = pause.as_millis(), "the hub is asked again: {error}");
            tokio::time::sleep(pause).await;
            Ok(())
        }
        Err(attempts) => Err(match error {
            Error::Busy { status, .. } => Error::Busy { status, attempts, wait: asked },
            other => other,
        }),
    }
}

impl Asking {
    /// Gets `url`; an answer longer than `limit` bytes is an error. `what` is what a person calls it.
    pub(crate) async fn get(&self, url: Url, limit: usize, what: &str) -> Result<Answer, Error> {
        let mut tries = Tries::new(self.retries);
        loop {
            match self.get_once(&url, limit, what).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => bear(trouble, &mut tries, &url).await?,
            }
        }
    }

    /// What the hub says of a file, without the file: the headers of its own answer, and of its redirects on its own host
    /// what is said there only.
    pub(crate) async fn head(&self, url: Url, what: &str) -> Result<HeaderMap, Error> {
        let mut tries = Tries::new(self.retries);
        loop {
            match self.head_once(&url, what).await {
                Ok(headers) => return Ok(headers),
                Err(trouble) => bear(trouble, &mut tries, &url).await?,
            }
        }
    }

    pub(crate) fn start(&self, url: Url) -> Start {
        Start { at_home: same_origin(&url, &self.endpoint), url }
    }

    async fn get_once(&self, url: &Url, limit: usize, what: &str) -> Result<Answer, Trouble> {
        let reached = self.follow(&Method::GET, self.start(url.clone()), &HeaderMap::new(), true).await?;
        let (headers, from) = (reached.response.headers().clone(), reached.from.url);
        let response = self.successful(reached.response, &from, what)?;
        let body = whole(response, &from, limit).await?;
        Ok(Answer { headers, body })
    }

    async fn head_once(&self, url: &Url, what: &str) -> Result<HeaderMap, Trouble> {
        let plain = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let reached = self.follow(&Method::HEAD, self.start(url.clone()), &plain, false).await?;
        let mut headers = reached.announced;
        // A redirect away from the hub is its answer.
        let is_answer = reached.response.status().is_redirection();
        let response =
            if is_answer { reached.response } else { self.successful(reached.response, &reached.from.url, what)? };
        for (name, value) in response.headers() {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        Ok(headers)
    }

    /// Asks, and follows redirects: any, or with `may_leave` unset those on the same host only.
    pub(crate) async fn follow(
        &self,
        method: &Method,
        mut at: Start,
        headers: &HeaderMap,
        may_leave: bool,
    ) -> Result<Reached, Lost> {
        let mut announced = HeaderMap::new();
        for _ in 0..=REDIRECTS_MAX {
            // Once a redirect has left the hub's host, the token stays behind for good.
            at.at_home &= same_origin(&at.url, &self.endpoint);
            let mut request = self.http.request(method.clone(), at.url.clone()).headers(headers.clone());
            if let Some(authorization) = self.authorization.as_ref().filter(|_| at.at_home) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let response = request.send().await.map_err(|error| Lost::Unreachable(at.url.clone(), error))?;
            if !response.status().is_redirection() {
                return Ok(Reached { response, from: at, announced });
            }
            let next = next(&at.url, response.headers())
                .map_err(|problem| Lost::Astray(Error::Redirect { url: shown(&at.url), problem }))?;
            if !may_leave && !same_origin(&next, &at.url) {
                return Ok(Reached { response, from: at, announced });
            }
            for name in ANNOUNCED.into_iter().filter(|_| at.at_home) {
                if let Some(value) = response.headers().get(name) {
                    announced.entry(name).or_insert_with(|| value.clone());
                }
            }
            at.url = next;
        }
        Err(Lost::Astray(Error::Redirect { url: shown(&at.url), problem: "too often" }))
    }

    fn successful(&self, response: Response, url: &Url, what: &str) -> Result<Response, Trouble> {
        let (status, headers) = (response.status(), response.headers());
        if is_passing(status) {
            let wait = asked_wait(headers);
            return Err(Trouble::Passing(Error::Busy { status: status.as_u16(), attempts: 1, wait }, wait));
        }
        if status.is_success() { Ok(response) } else { Err(Trouble::Final(self.refusal(status, headers, url, what))) }
    }

    /// What a status that is no success means. The hub's own words are in headers
    /// (<https://huggingface.co/docs/huggingface_hub/package_reference/utilities#http-errors>).
    pub(crate) fn refusal(&self, status: StatusCode, headers: &HeaderMap, url: &Url, what: &str) -> Error {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let page = |path: &str| format!("{}/{path}", self.endpoint.as_str().trim_end_matches('/'));
        let code = header("x-error-code");
        match (status.as_u16(), code) {
            (401 | 403, "GatedRepo") => Error::Gated { id: what.to_owned(), page: page(what) },
            (404, _) | (_, "RepoNotFound" | "EntryNotFound" | "RevisionNotFound") => {
                Error::NotFound { what: what.to_owned() }
            }
            (status @ (401 | 403), _) if self.authorization.is_some() => {
                Error::Refused { status, page: page("settings/tokens") }
            }
            // Without a token the hub says 401 for what is private and for what is not there.
            (401 | 403, _) => Error::NotFound { what: what.to_owned() },
            (status, _) => {
                let message = header("x-error-message").chars().take(MESSAGE_BYTES_MAX).collect();
                Error::Status { url: shown(url), status, message }
            }
        }
    }
}

/// Reads a body; one that ended early may come whole with another try.
async fn whole(response: Response, url: &Url, limit: usize) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Trouble::Passing(unreachable_host(url, error), None))?;
        if body.len() + chunk.len() > limit {
            return Err(Trouble::Final(Error::TooLong { url: shown(url), limit }));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether a status may be another one soon.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// How long the hub asks not to be asked: `Retry-After` in seconds, or the `t` of its `RateLimit` header
/// (<https://huggingface.co/docs/hub/rate-limits>).
pub(crate) fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let retry = text(RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
    let reset = || {
        let parts = text("ratelimit")?.split([';', ',']);
        parts.filter_map(|part| part.trim().strip_prefix("t=")).find_map(|seconds| seconds.trim().parse().ok())
    };
    retry.or_else(reset).map(Duration::from_secs)
}

fn next(from: &Url, headers: &HeaderMap) -> Result<Url, &'static str> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).ok_or("without saying where to")?;
    let next = from.join(location).map_err(|_| "to what is no address")?;
    match (from.scheme(), next.scheme()) {
        ("https", "http") => Err("from https to http"),
        (_, "https" | "http") => Ok(next),
        _ => Err("to what is not HTTP"),
    }
}

pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

fn unreachable_host(url: &Url, error: reqwest::Error) -> Error {
    // Addresses of storage hosts carry signatures: only the host is told.
    Error::Unreachable { host: url.host_str().unwrap_or_default().to_owned(), source: error.without_url() }
}

/// An address without what may be secret in it.
pub(crate) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_says_how_long_to_wait() {
        let check = |name: &'static str, value: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
            assert_eq!(asked_wait(&headers), expected.map(Duration::from_secs), "{name}: {value}");
        };
        check("retry-after", "30", Some(30));
        check("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT", None);
        check("ratelimit", "\"api\";r=0;t=55", Some(55));
        check("ratelimit", "\"api\";r=0", None);
        check("x-other", "5", None);
    }

    #[test]
    fn redirects_lead_to_http_and_never_to_less_safety() {
        let check = |from: &str, to: &'static str, expected: Result<&str, &str>| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(to))]);
            let next = next(&from.parse().unwrap(), &headers);
            assert_eq!(next.as_ref().map(Url::as_str).map_err(|problem| *problem), expected);
        };
        check("https://a/x", "/y", Ok("https://a/y"));
        check("https://a/x", "https://b/y?s=1", Ok("https://b/y?s=1"));
        check("https://a/x", "http://a/y", Err("from https to http"));
        check("https://a/x", "file:///etc/passwd", Err("to what is not HTTP"));
    }
}
