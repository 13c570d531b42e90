//! The hub's API: lists of models, one model, a file of a repository.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderValue, LINK};
use reqwest::{Url, redirect};
use serde_json::Value;

use crate::cache;
use crate::error::Error;
use crate::model::{Model, Query, is_id};
use crate::repository::Listed;
use crate::request::{Asking, same_origin, shown};
use crate::settings::Settings;

/// How long a connection may take to be made.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an answer may take as a whole; none is longer than some megabytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);

/// The longest list in one page: a hundred models with their chat templates take one or two megabytes.
const LIST_BYTES_MAX: usize = 32 << 20;

/// The longest description of one model.
const MODEL_BYTES_MAX: usize = 8 << 20;

/// The longest `config.json`.
const CONFIG_BYTES_MAX: usize = 4 << 20;

/// Models in one page; the hub allows a thousand, but not with this much about each.
const PAGE: usize = 100;

/// What is asked about each model.
const EXPAND: [&str; 13] = [
    "author",
    "config",
    "createdAt",
    "disabled",
    "downloads",
    "gated",
    "gguf",
    "library_name",
    "likes",
    "pipeline_tag",
    "private",
    "safetensors",
    "tags",
];

/// What stays as it is in a query's value.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A hub and how to talk to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    asking: Asking,
    offline: bool,
}

impl Client {
    /// A client of the hub that the settings name. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::Endpoint`], [`Error::Token`] or [`Error::Tls`].
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Endpoint { endpoint: settings.endpoint.clone(), reason: reason.to_owned() };
        let written = format!("{}/", settings.endpoint.trim_end_matches('/'));
        let endpoint = Url::parse(&written).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err(wrong("an http or https address is meant"));
        }
        let authorization = match &settings.token {
            Some(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {}", token.secret()));
                let mut value = value.map_err(|_| Error::Token)?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let http = reqwest::Client::builder()
            .user_agent(concat!("snug/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // Ours are followed by hand, so that the token stays with the hub.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|source| Error::Tls { source })?;
        Ok(Self {
            asking: Asking { http, endpoint, authorization, retries: settings.retries },
            offline: settings.offline,
        })
    }

    /// Models that a query finds, in the hub's order, page after page until there are `limit` or no more. Rows of the
    /// answer that are not as documented are passed over.
    ///
    /// # Errors
    /// [`Error::Offline`], or if a page cannot be had.
    pub async fn models(&self, query: &Query<'_>, limit: usize) -> Result<Vec<Model>, Error> {
        let mut models = Vec::new();
        let mut url = self.url("api/models", &query.parameters(limit.min(PAGE)))?;
        // A hub that pages in circles, or with empty pages, is not followed for ever.
        for _ in 0..=limit.div_ceil(PAGE).saturating_mul(2) {
            let answer = self.asking.get(url.clone(), LIST_BYTES_MAX, "list of models").await?;
            let form = |source| Error::Form { url: shown(&url), source };
            let rows: Vec<Value> = serde_json::from_slice(&answer.body).map_err(form)?;
            for row in rows {
                match Model::read(row) {
                    Ok(model) => models.push(model),
                    Err(error) => tracing::warn!("a row of the hub's list is passed over: {error}"),
                }
            }
            match next_page(&answer.headers, &url) {
                Some(next) if models.len() < limit => url = next,
                _ => break,
            }
        }
        models.truncate(limit);
        Ok(models)
    }

    /// What the hub says about one model.
    ///
    /// # Errors
    /// [`Error::Offline`], [`Error::Id`], [`Error::NotFound`], or if the answer cannot be had.
    pub async fn model(&self, id: &str) -> Result<Model, Error> {
        let url = self.url(&format!("api/models/{}", checked(id)?), &expand())?;
        let answer = self.asking.get(url.clone(), MODEL_BYTES_MAX, id).await?;
        let form = |source| Error::Form { url: shown(&url), source };
        Model::read(serde_json::from_slice(&answer.body).map_err(form)?).map_err(form)
    }

    /// A model's `config.json`, as it is on the main branch.
    ///
    /// # Errors
    /// [`Error::Offline`], [`Error::Id`], [`Error::Gated`], [`Error::NotFound`] if it has none, or if it cannot be had.
    pub async fn config(&self, id: &str) -> Result<Vec<u8>, Error> {
        let url = self.url(&format!("{}/resolve/main/config.json", checked(id)?), &[])?;
        Ok(self.asking.get(url, CONFIG_BYTES_MAX, id).await?.body)
    }

    /// What the hub says of a repository at one revision, with all its files.
    pub(crate) async fn of_revision(&self, id: &str, revision: &str) -> Result<Listed, Error> {
        if !cache::is_revision(revision) {
            return Err(Error::Revision { revision: revision.chars().take(100).collect() });
        }
        let revision = utf8_percent_encode(revision, IN_QUERY);
        let blobs = ("blobs".to_owned(), "true".to_owned());
        let url = self.url(&format!("api/models/{}/revision/{revision}", checked(id)?), &[blobs])?;
        let answer = self.asking.get(url.clone(), MODEL_BYTES_MAX, id).await?;
        serde_json::from_slice(&answer.body).map_err(|source| Error::Form { url: shown(&url), source })
    }

    /// What the hub says of a file of a repository; all three must be checked to be names.
    ///
    /// # Errors
    /// [`Error::Offline`], [`Error::Gated`], [`Error::NotFound`], [`Error::Lacks`], or if it cannot be had.
    pub(crate) async fn remote(&self, repository: &str, revision: &str, path: &str) -> Result<Remote, Error> {
        let url = self.resolve(repository, revision, path)?;
        let what = format!("{path} of {repository}");
        let headers = self.asking.head(url.clone(), repository).await.map_err(|error| match error {
            Error::NotFound { .. } => Error::NotFound { what },
            other => other,
        })?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let lacks = |header| Error::Lacks { url: shown(&url), header };
        let commit = text("x-repo-commit").filter(|commit| cache::is_commit(commit));
        let etag = text("x-linked-etag").or(text("etag")).map(plain_etag).filter(|etag| cache::is_etag(etag));
        let size = text("x-linked-size").or(text("content-length")).and_then(|size| size.parse().ok());
        Ok(Remote {
            commit: commit.ok_or_else(|| lacks("X-Repo-Commit"))?.to_owned(),
            etag: etag.ok_or_else(|| lacks("ETag"))?.to_owned(),
            size: size.ok_or_else(|| lacks("Content-Length"))?,
        })
    }

    /// The address of a file of a repository.
    pub(crate) fn resolve(&self, repository: &str, revision: &str, path: &str) -> Result<Url, Error> {
        let encode = |text: &str| utf8_percent_encode(text, IN_QUERY).to_string();
        let path: Vec<String> = path.split('/').map(encode).collect();
        self.url(&format!("{}/resolve/{}/{}", checked(repository)?, encode(revision), path.join("/")), &[])
    }

    /// The same hub, asked by another HTTP client.
    pub(crate) fn asking_with(&self, http: reqwest::Client) -> Asking {
        Asking { http, ..self.asking.clone() }
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    fn url(&self, path: &str, parameters: &[(String, String)]) -> Result<Url, Error> {
        if self.offline {
            return Err(Error::Offline);
        }
        let encode = |text: &str| utf8_percent_encode(text, IN_QUERY).to_string();
        let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let wrong = |reason: String| Error::Endpoint { endpoint: self.asking.endpoint.to_string(), reason };
        let mut url = self.asking.endpoint.join(path).map_err(|error| wrong(error.to_string()))?;
        url.set_query((!query.is_empty()).then(|| query.join("&")).as_deref());
        Ok(url)
    }
}

/// What the hub says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// The commit that the revision is.
    pub(crate) commit: String,
    /// The name of its blob: the sha256 of a large file, git's sha1 of a small one.
    pub(crate) etag: String,
    /// How long it is.
    pub(crate) size: u64,
}

/// An `ETag` without its quotes and its mark of weakness.
pub(crate) fn plain_etag(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

/// The parameters that ask for all that a [`Model`] holds.
pub(crate) fn expand() -> Vec<(String, String)> {
    EXPAND.iter().map(|name| ("expand[]".to_owned(), (*name).to_owned())).collect()
}

pub(crate) fn checked(id: &str) -> Result<&str, Error> {
    if is_id(id) { Ok(id) } else { Err(Error::Id { id: id.chars().take(100).collect() }) }
}

/// The next page of a list: `Link: <…>; rel="next"` (RFC 8288). One on another host is not followed.
fn next_page(headers: &HeaderMap, from: &Url) -> Option<Url> {
    let links = headers.get_all(LINK).into_iter().filter_map(|value| value.to_str().ok());
    let next = links.flat_map(|links| links.split(',')).find_map(|link| {
        let (address, relation) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = relation.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then_some(address)
    })?;
    from.join(next).ok().filter(|next| same_origin(next, from) && next != from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_followed_on_the_same_host() {
        let check = |link: &'static str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
            let next = next_page(&headers, &"https://hub/api/models?x=1".parse().unwrap());
            assert_eq!(next.as_ref().map(Url::as_str), expected, "{link}");
        };
        check("<https://hub/api/models?cursor=a>; rel=\"next\"", Some("https://hub/api/models?cursor=a"));
        check("</api/models?cursor=b>; rel=next", Some("https://hub/api/models?cursor=b"));
        check("<https://hub/1>; rel=\"prev\", <https://hub/2>; rel=\"next\"", Some("https://hub/2"));
        check("<https://elsewhere/api/models>; rel=\"next\"", None);
        check("<https://hub/api/models?x=1>; rel=\"next\"", None);
        check("nonsense", None);
    }
}
