//! Answers that are made once and given often: with an `ETag`, compressed for those who want it.

use std::io::Write;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY,
};
use sha2::{Digest, Sha256};

/// Shorter answers are not worth compressing.
const GZIP_BYTES_MIN: usize = 1024;

/// A JSON answer that stays as it is.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Inner>);

struct Inner {
    body: Bytes,
    gzip: OnceLock<Bytes>,
    etag: HeaderValue,
}

impl Kept {
    /// Keeps `body`, which is JSON.
    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = Sha256::digest(&body);
        let tag: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        // Weak: the compressed answer has the same tag, and other bytes.
        let etag = HeaderValue::try_from(format!("W/\"{tag}\"")).expect("hexadecimal is a header's text");
        Self(Arc::new(Inner { body, gzip: OnceLock::new(), etag }))
    }

    /// The answer to a request with these headers: 304 to who has it already.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let has_it = headers.get_all(IF_NONE_MATCH).iter().any(|tags| names(tags, &self.0.etag));
        let compressed = !has_it && self.0.body.len() >= GZIP_BYTES_MIN && accepts_gzip(headers);
        let body = match (has_it, compressed) {
            (true, _) => Body::empty(),
            (false, true) => Body::from(self.0.gzip.get_or_init(|| gzip(&self.0.body)).clone()),
            (false, false) => Body::from(self.0.body.clone()),
        };
        let mut response = Response::new(body);
        if has_it {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let answered = response.headers_mut();
        answered.insert(ETAG, self.0.etag.clone());
        answered.insert(VARY, HeaderValue::from_static("accept-encoding"));
        answered.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if !has_it {
            answered.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if compressed {
            answered.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Whether a list of tags has this one, or `*`; weak comparison (RFC 9110, section 8.8.3.2).
fn names(tags: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(etag)) = (tags.to_str(), etag.to_str()) else { return false };
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.split(',').any(|tag| tag.trim() == "*" || strong(tag) == strong(etag))
}

/// Whether gzip is named, and not with a weight of zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused =
            parts.any(|weight| weight.strip_prefix("q=").and_then(|q| q.parse::<f64>().ok()).is_some_and(|q| q <= 0.0));
        name.eq_ignore_ascii_case("gzip") && !refused
    })
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes what is written").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_gets_it_no_more() {
        let kept = Kept::json("{}");
        let etag = kept.0.etag.to_str().unwrap().to_owned();
        let check = |tags: &str, status: StatusCode| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_str(tags).unwrap())]);
            assert_eq!(kept.answer(&headers).status(), status, "{tags}");
        };
        check(&etag, StatusCode::NOT_MODIFIED);
        check(etag.trim_start_matches("W/"), StatusCode::NOT_MODIFIED);
        check(&format!("\"other\", {etag}"), StatusCode::NOT_MODIFIED);
        check("*", StatusCode::NOT_MODIFIED);
        check("\"other\"", StatusCode::OK);
    }

    #[test]
    fn it_is_compressed_for_those_who_take_it() {
        let kept = Kept::json(format!("\"{}\"", "x".repeat(5000)));
        let check = |accepts: &str, compressed: bool| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(accepts).unwrap())]);
            assert_eq!(kept.answer(&headers).headers().contains_key(CONTENT_ENCODING), compressed, "{accepts}");
        };
        check("gzip", true);
        check("br;q=1.0, gzip;q=0.8", true);
        check("gzip;q=0", false);
        check("br", false);
        check("identity", false);
    }
}
