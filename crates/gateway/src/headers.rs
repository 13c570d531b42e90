//! Which headers cross the gateway.
//!
//! Hop-by-hop headers (RFC 9110, 7.6.1) belong to one connection and never cross. Nor do the client's credentials for
//! us, nor what an engine says about itself and about origins: the listener in front of us answers for that.

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONNECTION};

/// The key that a client shows us: `Authorization: Bearer …`, or `x-api-key` as Anthropic's clients send it.
pub(crate) fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

/// What the engine gets. Without host, length and request id, which are set anew.
pub(crate) fn towards_engine(headers: &HeaderMap) -> HeaderMap {
    crossing(headers, |name| {
        matches!(name, "host" | "content-length" | "expect" | "x-request-id" | "authorization" | "x-api-key" | "cookie")
    })
}

/// What the client gets. The length crosses: the body does too, byte for byte.
pub(crate) fn towards_client(headers: &HeaderMap) -> HeaderMap {
    crossing(headers, |name| name == "server" || name.starts_with("access-control-"))
}

/// What the client gets of a provider's headers: what is about the answer, and how much more may be asked. The rest is about
/// the provider's site, or tells whose account it is.
pub(crate) fn of_provider(headers: &HeaderMap) -> HeaderMap {
    crossing(headers, |name| {
        let is_of_answer = matches!(
            name,
            "content-type"
                | "content-length"
                | "content-disposition"
                | "cache-control"
                | "retry-after"
                | "x-accel-buffering"
        );
        let is_of_limits = name.starts_with("x-ratelimit-") || name.starts_with("anthropic-ratelimit-");
        !is_of_answer && !is_of_limits
    })
}

fn crossing(headers: &HeaderMap, stays: impl Fn(&str) -> bool) -> HeaderMap {
    // Room for the few that are added afterwards.
    let mut crossing = HeaderMap::with_capacity(headers.len() + 3);
    let names_some = headers.contains_key(CONNECTION);
    for (name, value) in headers {
        let text = name.as_str();
        if is_hop_by_hop(text) || stays(text) || (names_some && named_by_connection(headers, text)) {
            continue;
        }
        crossing.append(name.clone(), value.clone());
    }
    crossing
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn named_by_connection(headers: &HeaderMap, name: &str) -> bool {
    let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

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
    fn of_a_provider_only_what_is_about_the_answer_crosses() {
        let sent = headers(&[
            ("content-type", "text/event-stream"),
            ("retry-after", "3"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("anthropic-ratelimit-requests-limit", "7"),
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("alt-svc", "h3"),
            ("openai-organization", "org"),
            ("x-request-id", "theirs"),
        ]);
        let crossed = of_provider(&sent);
        let expected =
            ["content-type", "retry-after", "x-ratelimit-remaining-tokens", "anthropic-ratelimit-requests-limit"];
        assert_eq!(names(&crossed), expected);
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
