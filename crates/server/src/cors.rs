//! Which web pages may read our answers (`cors_origins`).
//!
//! It opens nothing: a page of another site that may read answers still may not manage models; that is
//! [`crate::access`]'s, which lets the sites in that are named, and not `*`.

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use gateway::{RequestId, X_REQUEST_ID};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tower_service::Service;

/// All that our routes answer to.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
/// A browser asks again after so many seconds; a day.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");
const ALL: HeaderValue = HeaderValue::from_static("*");
const VARIES: HeaderValue = HeaderValue::from_static("origin");

/// The sites whose pages may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// None but ours: no answer says anything.
    Nobody,
    /// All.
    Everybody,
    /// These.
    Named(Arc<[HeaderValue]>),
}

impl Readers {
    /// From the origins that are configured.
    pub(crate) fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Self::Everybody;
        }
        let named: Arc<[HeaderValue]> = named(origins).filter_map(|origin| origin.parse().ok()).collect();
        if named.is_empty() { Self::Nobody } else { Self::Named(named) }
    }

    /// What an answer says of who may read it.
    fn marks(&self, origin: Option<&HeaderValue>) -> Marks {
        match self {
            Self::Nobody => Marks { allowed: None, varies: false },
            Self::Everybody => Marks { allowed: Some(ALL), varies: false },
            Self::Named(named) => {
                let allowed = origin.filter(|origin| named.iter().any(|name| is_same(name, origin))).cloned();
                Marks { allowed, varies: true }
            }
        }
    }
}

/// The sites that are configured by their names. Browsers send small letters, and no slash at the end.
pub(crate) fn named(origins: &[String]) -> impl Iterator<Item = String> {
    origins.iter().filter(|origin| *origin != "*").map(|origin| origin.to_ascii_lowercase())
}

fn is_same(name: &HeaderValue, origin: &HeaderValue) -> bool {
    name.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
}

/// A router whose answers say who may read them.
#[derive(Clone)]
pub(crate) struct Readable {
    pub(crate) router: Router,
    /// They follow the configuration.
    pub(crate) readers: Arc<ArcSwap<Readers>>,
}

impl Readable {
    /// Answers one request. `OPTIONS`, by which a browser asks before it sends what a plain form could not, is answered
    /// here for every path.
    pub(crate) async fn call(&mut self, request: Request<hyper::body::Incoming>) -> Result<Response, Infallible> {
        let readers = self.readers.load();
        let marks = readers.marks(request.headers().get(ORIGIN));
        let is_asked_before = **readers != Readers::Nobody && request.method() == Method::OPTIONS;
        drop(readers);
        let mut response =
            if is_asked_before { preflight(request.headers()) } else { self.router.call(request).await? };
        marks.put_on(response.headers_mut());
        Ok(response)
    }
}

/// What one answer says.
struct Marks {
    allowed: Option<HeaderValue>,
    /// Whether another site would be told otherwise, so that caches keep them apart.
    varies: bool,
}

impl Marks {
    fn put_on(self, headers: &mut HeaderMap) {
        if self.varies {
            headers.append(VARY, VARIES);
        }
        if let Some(allowed) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            // Pages may read our own headers too: which request it was, when to try again.
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ALL);
        }
    }
}

/// Everything that is asked for may be sent. It is repeated rather than answered with `*`, which browsers take to leave
/// out `Authorization`.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(ALL));
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.append(VARY, HeaderValue::from_name(ACCESS_CONTROL_REQUEST_HEADERS));
    headers.insert(X_REQUEST_ID, RequestId::of(asked).into_header());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an answer to a page of `origin` says: who may read it, and on what that depends.
    fn check(origins: &[&str], origin: &str, expected: (&str, &str)) {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let origin: Option<HeaderValue> = (!origin.is_empty()).then(|| origin.parse().unwrap());
        let mut headers = HeaderMap::new();
        Readers::new(&origins).marks(origin.as_ref()).put_on(&mut headers);
        let value = |name| headers.get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!((value(ACCESS_CONTROL_ALLOW_ORIGIN), value(VARY)), expected, "{origins:?} {origin:?}");
    }

    #[test]
    fn who_may_read() {
        check(&["*"], "", ("*", ""));
        check(&["*"], "https://a.example", ("*", ""));
        check(&["https://a.example", "*"], "https://b.example", ("*", ""));
        check(&[], "https://a.example", ("", ""));
        let named = ["https://A.example", "http://localhost:3000"];
        check(&named, "https://a.example", ("https://a.example", "origin"));
        check(&named, "http://localhost:3000", ("http://localhost:3000", "origin"));
        check(&named, "http://localhost:3001", ("", "origin"));
        check(&named, "null", ("", "origin"));
        check(&named, "", ("", "origin"));
    }
}
