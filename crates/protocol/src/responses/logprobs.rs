//! How likely each token was.

use serde::{Deserialize, Serialize};

/// A token of the answer.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(super) struct Logprob {
    token: String,
    /// The bytes of the token, which may be less than a character.
    #[serde(default, deserialize_with = "or_empty")]
    bytes: Vec<u8>,
    #[serde(default = "unlikely")]
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Top>,
}

/// A token that could have stood there.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Top {
    token: String,
    #[serde(default, deserialize_with = "or_empty")]
    bytes: Vec<u8>,
    #[serde(default = "unlikely")]
    logprob: f64,
}

/// What is said of a token while it streams: all but its bytes.
#[derive(Serialize)]
pub(super) struct Streamed<'a> {
    token: &'a str,
    logprob: f64,
    top_logprobs: Vec<StreamedTop<'a>>,
}

#[derive(Serialize)]
struct StreamedTop<'a> {
    token: &'a str,
    logprob: f64,
}

impl Logprob {
    /// What is said of each token while it streams.
    pub(super) fn streamed(all: &[Self]) -> Vec<Streamed<'_>> {
        let top = |top| -> Vec<_> {
            <[Top]>::iter(top).map(|Top { token, logprob, .. }| StreamedTop { token, logprob: *logprob }).collect()
        };
        all.iter()
            .map(|one| Streamed { token: &one.token, logprob: one.logprob, top_logprobs: top(&one.top_logprobs) })
            .collect()
    }

    /// About how many bytes it holds.
    pub(super) fn size(&self) -> usize {
        let of = |token: &str, bytes: &[u8]| token.len() + bytes.len() + size_of::<Top>();
        of(&self.token, &self.bytes) + self.top_logprobs.iter().map(|top| of(&top.token, &top.bytes)).sum::<usize>()
    }
}

/// As the dialect says "hardly ever".
fn unlikely() -> f64 {
    -9999.0
}

fn or_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
