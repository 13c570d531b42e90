//! Who may use the management API: this machine, or whoever has the admin token.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use config::Config;
use gateway::ApiError;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, StatusCode};

use crate::admin_token::{AdminToken, Found};
use crate::cors;
use crate::data_folder::DataFolder;

/// The other end of a connection, put on every request by the listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The rule for the management API.
#[derive(Clone)]
pub(crate) struct Access(Arc<Rule>);

struct Rule {
    token: AdminToken,
    insecure_lan: bool,
    /// Sites whose pages count as ours, by their origins. They follow the configuration.
    sites: ArcSwap<Vec<String>>,
}

impl Access {
    pub(crate) fn new(config: &Config, data_folder: &DataFolder) -> anyhow::Result<Self> {
        let Found { token, fresh } = AdminToken::find_or_make(data_folder.path())?;
        if let Some(text) = fresh {
            announce(&text);
        }
        let access =
            Self(Arc::new(Rule { token, insecure_lan: config.server.insecure_lan, sites: ArcSwap::default() }));
        access.trust(&config.server.cors_origins);
        Ok(access)
    }

    /// Lets pages of these sites manage models from now on, and of no others.
    pub(crate) fn trust(&self, origins: &[String]) {
        self.0.sites.store(Arc::new(cors::named(origins).collect()));
    }

    /// Said when other machines can reach us; models may need a key then.
    pub(crate) fn warn_about_open_doors(&self, needs_keys: bool) {
        if self.0.insecure_lan {
            tracing::warn!("--insecure-lan: everybody who can reach this port may load and unload models");
        } else if !needs_keys {
            tracing::warn!(
                "other machines can reach this port and use its models; loading and unloading from there needs the admin token (--host 127.0.0.1 keeps it to this machine)"
            );
        }
    }

    fn allows(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        self.0.insecure_lan
            || is_from_here(peer, headers, &self.0.sites.load())
            || bearer(headers).is_some_and(|token| self.0.token.is(token))
    }
}

/// Shown once, where a person looks and a log collector does not: standard error, not the log.
#[expect(clippy::print_stderr, reason = "a secret that must not get into log files by way of tracing")]
fn announce(token: &str) {
    eprintln!("admin token for managing snug from other machines (shown this once): {token}");
}

/// Lets management requests through or answers 401.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    if peer.is_some_and(|peer| access.allows(peer, request.headers())) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        api::ErrorType::AuthenticationError,
        "admin_token_required",
        "managing snug from another machine (or a web page of another site) needs the admin token: send it as \
         `Authorization: Bearer …`",
    )
    .into_response()
}

/// Whether a request was made on this machine by something other than a foreign web page: it came over loopback, no proxy
/// passed it on, it was addressed to loopback (a page that had its name resolve to 127.0.0.1 sends its own name), and
/// if a browser says which page it is from, that page is ours or of one of `sites`.
fn is_from_here(peer: SocketAddr, headers: &HeaderMap, sites: &[String]) -> bool {
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let our_page = match headers.get(ORIGIN).map(|origin| origin.to_str()) {
        None => true,
        Some(Ok(origin)) => {
            let same_origin = origin.split_once("://").map(|(_, from)| from) == host;
            same_origin || sites.iter().any(|site| site.eq_ignore_ascii_case(origin))
        }
        Some(Err(_)) => false,
    };
    peer.ip().to_canonical().is_loopback() && !passed_on && our_page && host.is_none_or(names_loopback)
}

fn names_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = authorization.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token.or_else(|| headers.get("x-api-key")?.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, headers: &[(&'static str, &'static str)], expected: bool) {
        let folder = tempfile::tempdir().unwrap();
        let Found { token, .. } = AdminToken::find_or_make(folder.path()).unwrap();
        let sites = vec!["https://chat.example".to_owned()];
        let access = Access(Arc::new(Rule { token, insecure_lan: false, sites: ArcSwap::from_pointee(sites) }));
        let headers = headers.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(access.allows(peer.parse().unwrap(), &headers), expected, "{peer} {headers:?}");
    }

    #[test]
    fn this_machine_may_others_need_the_token() {
        check("127.0.0.1:5", &[("host", "localhost:8787")], true);
        check("127.0.0.1:5", &[("host", "127.0.0.1:8787")], true);
        check("[::1]:5", &[("host", "[::1]:8787")], true);
        check("[::ffff:127.0.0.1]:5", &[], true);
        check("10.0.0.7:5", &[("host", "localhost:8787")], false);
        check("10.0.0.7:5", &[("authorization", "Bearer wrong")], false);
    }

    #[test]
    fn a_proxy_or_a_foreign_page_is_not_this_machine() {
        check("127.0.0.1:5", &[("host", "localhost"), ("x-forwarded-for", "10.0.0.7")], false);
        check("127.0.0.1:5", &[("host", "evil.example:8787")], false);
        check("127.0.0.1:5", &[("host", "localhost:8787"), ("origin", "http://evil.example")], false);
        check("127.0.0.1:5", &[("host", "localhost:8787"), ("origin", "null")], false);
        check("127.0.0.1:5", &[("host", "localhost:8787"), ("origin", "http://localhost:8787")], true);
    }

    #[test]
    fn a_page_of_a_named_site_is_this_machine_on_this_machine_only() {
        check("127.0.0.1:5", &[("host", "localhost:8787"), ("origin", "https://chat.example")], true);
        check("127.0.0.1:5", &[("host", "localhost:8787"), ("origin", "https://chat.example:444")], false);
        check("127.0.0.1:5", &[("host", "localhost:8787"), ("origin", "http://chat.example")], false);
        check("127.0.0.1:5", &[("host", "evil.example"), ("origin", "https://chat.example")], false);
        check("10.0.0.7:5", &[("host", "localhost:8787"), ("origin", "https://chat.example")], false);
    }

    #[test]
    fn the_token_opens_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let Found { token, fresh } = AdminToken::find_or_make(folder.path()).unwrap();
        let access = Access(Arc::new(Rule { token, insecure_lan: false, sites: ArcSwap::default() }));
        let value = format!("bearer {}", fresh.unwrap()).parse().unwrap();
        assert!(access.allows("10.0.0.7:5".parse().unwrap(), &[(AUTHORIZATION, value)].into_iter().collect()));
    }
}
