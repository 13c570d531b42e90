//! One request: tries, waits, redirects, bounds. The token goes to the hub's own host and nowhere else.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};

use crate::error::Error;
use crate::settings::Retries;

/// Redirects of one request: the hub's own, then its storage's.
const REDIRECTS_MAX: usize = 5;

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

/// What one try came to.
enum Try {
    Done(Answer),
    Failed(Error),
    /// Worth another try, after this wait if the hub asks for one.
    Again(Error, Option<Duration>),
}

impl Asking {
    /// Gets `url`; an answer longer than `limit` bytes is an error. `what` is what a person calls it.
    pub(crate) async fn get(&self, url: Url, limit: usize, what: &str) -> Result<Answer, Error> {
        let mut wait = self.retries.first_wait;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.once(url.clone(), limit, what).await {
                Try::Done(answer) => return Ok(answer),
                Try::Failed(error) => return Err(error),
                Try::Again(error, asked) => {
                    let pause = asked.unwrap_or(wait);
                    if attempt >= self.retries.attempts || pause > self.retries.longest_wait {
                        return Err(match error {
                            Error::Busy { status, .. } => Error::Busy { status, attempts: attempt, wait: asked },
                            other => other,
                        });
                    }
                    tracing::debug!(url = %url, attempt, wait_ms = pause.as_millis(), "the hub is asked again: {error}");
                    tokio::time::sleep(pause).await;
                    wait = wait.saturating_mul(2);
                }
            }
        }
    }

    async fn once(&self, mut url: Url, limit: usize, what: &str) -> Try {
        // Once a redirect has left the hub's host, the token stays behind for good.
        let mut at_home = true;
        for _ in 0..=REDIRECTS_MAX {
            at_home &= same_origin(&url, &self.endpoint);
            let mut request = self.http.get(url.clone());
            if let Some(authorization) = self.authorization.as_ref().filter(|_| at_home) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return Try::Again(unreachable_host(&url, error), None),
            };
            if !response.status().is_redirection() {
                return self.finish(response, &url, limit, what).await;
            }
            url = match next(&url, response.headers()) {
                Ok(next) => next,
                Err(problem) => return Try::Failed(Error::Redirect { url: shown(&url), problem }),
            };
        }
        Try::Failed(Error::Redirect { url: shown(&url), problem: "too often" })
    }

    async fn finish(&self, response: Response, url: &Url, limit: usize, what: &str) -> Try {
        let (status, headers) = (response.status(), response.headers().clone());
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let wait = asked_wait(&headers);
            return Try::Again(Error::Busy { status: status.as_u16(), attempts: 1, wait }, wait);
        }
        if !status.is_success() {
            return Try::Failed(self.refusal(status, &headers, url, what));
        }
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) if body.len() + chunk.len() > limit => {
                    return Try::Failed(Error::TooLong { url: shown(url), limit });
                }
                Ok(chunk) => body.extend_from_slice(&chunk),
                // It ended early: another try may get the rest.
                Err(error) => return Try::Again(unreachable_host(url, error), None),
            }
        }
        Try::Done(Answer { headers, body })
    }

    /// What a status that is no success means. The hub's own words are in headers
    /// (<https://huggingface.co/docs/huggingface_hub/package_reference/utilities#http-errors>).
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, url: &Url, what: &str) -> Error {
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

/// How long the hub asks not to be asked: `Retry-After` in seconds, or the `t` of its `RateLimit` header
/// (<https://huggingface.co/docs/hub/rate-limits>).
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
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
