//! The name of one request, in and out.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken over from a client, in characters.
const LONGEST: usize = 128;

/// The name of one request: the client's own, or a fresh one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id in `headers` if it is 1 to 128 visible ASCII characters, else a fresh one.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(id) if is_sound(id.as_bytes()) => Self(id.clone()),
            _ => Self::fresh(),
        }
    }

    /// As a header's value.
    pub fn into_header(self) -> HeaderValue {
        self.0
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        // Always text: it was checked, or made here, when the id was made.
        self.0.to_str().unwrap_or_default()
    }

    /// Random for the process, counted within it: unique without asking the system for randomness each time.
    fn fresh() -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Without a source of randomness ids are still unique within the process.
        let process = PROCESS.get_or_init(|| getrandom::u64().unwrap_or_default());
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let text = format!("req-{process:016x}-{next:x}");
        Self(HeaderValue::try_from(text).expect("letters, digits and dashes"))
    }
}

fn is_sound(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: &[u8], kept: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(sent).unwrap());
        assert_eq!(RequestId::of(&headers).as_str().as_bytes() == sent, kept, "{sent:?}");
    }

    #[test]
    fn keeps_sound_ids_and_replaces_others() {
        check(b"abc-123", true);
        check(&[b'x'; 128], true);
        check(&[b'x'; 129], false);
        check(b"", false);
        check(b"two words", false);
        check(b"caf\xc3\xa9", false);
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
