//! Which headers cross the gateway.
//!
//! Hop-by-hop headers (RFC 9110, 7.6.1) belong to one connection and never cross. Nor do the client's credentials for
//! us, nor what an engine says about itself and about origins: the listener in front of us answers for that.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CONNECTION,
    CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::X_REQUEST_ID;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the engine gets. Without host, length and request id, which are set anew.
pub(crate) fn towards_engine(headers: &HeaderMap) -> HeaderMap {
    let set_anew = [HOST, CONTENT_LENGTH, EXPECT, X_REQUEST_ID];
    let ours = [AUTHORIZATION, X_API_KEY, COOKIE];
    crossing(headers, |name| set_anew.contains(name) || ours.contains(name))
}

/// What the client gets. The length crosses: the body does too, byte for byte.
pub(crate) fn towards_client(headers: &HeaderMap) -> HeaderMap {
    let cors = [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ];
    crossing(headers, |name| *name == SERVER || cors.contains(name))
}

fn crossing(headers: &HeaderMap, stays: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    // Room for the few that are added afterwards.
    let mut crossing = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        if !is_hop_by_hop(name) && !stays(name) && !named_by_connection(headers, name) {
            crossing.append(name.clone(), value.clone());
        }
    }
    crossing
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ]
    .contains(name)
}

fn named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    let values = headers.get_all(CONNECTION).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn hop_by_hop_headers_and_our_credentials_stay() {
        let sent = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer secret"),
            ("x-api-key", "secret"),
            ("cookie", "session=secret"),
            ("host", "snug"),
            ("content-length", "3"),
            ("content-type", "application/json"),
            ("accept", "text/event-stream"),
            ("traceparent", "00-1-2-01"),
        ]);
        assert_eq!(names(&towards_engine(&sent)), ["content-type", "accept", "traceparent"]);
    }

    #[test]
    fn what_an_engine_says_of_itself_stays() {
        let sent = headers(&[
            ("server", "llama.cpp"),
            ("access-control-allow-origin", "*"),
            ("keep-alive", "timeout=5, max=100"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/event-stream"),
            ("x-accel-buffering", "no"),
        ]);
        assert_eq!(names(&towards_client(&sent)), ["content-type", "x-accel-buffering"]);
    }
}
