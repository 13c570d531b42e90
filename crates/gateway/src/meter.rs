//! Token counts out of an answer that passes through untouched.
//!
//! Engines say them near the end of an answer (or, for embeddings, at its start), so a few pieces are kept and searched
//! once it is over. Generated text cannot fool the search: within a JSON string every quote is escaped.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use types::{InstanceId, ModelKey};

/// An answer that an engine completed.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// The instance that answered.
    pub instance: InstanceId,
    /// The model it serves.
    pub model: ModelKey,
    /// Tokens of the prompt, those from the prompt cache included; 0 if the engine did not say.
    pub prompt_tokens: u64,
    /// Tokens generated; 0 if the engine did not say.
    pub completion_tokens: u64,
    /// Generation speed as the engine measured it.
    pub tokens_per_second: Option<f64>,
}

/// What an engine said about one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) tokens_per_second: Option<f64>,
}

/// How many of the last pieces are kept: usage, end and `[DONE]` may come in one each.
const LAST: usize = 4;

/// How much of them is searched.
const SEARCHED: usize = 8 << 10;

/// Sees the pieces of one answer go by.
#[derive(Default)]
pub(crate) struct Meter {
    first: Bytes,
    last: [Bytes; LAST],
    /// Where the next piece goes in `last`.
    next: usize,
}

impl Meter {
    /// One piece passed.
    pub(crate) fn pass(&mut self, piece: &Bytes) {
        if self.first.is_empty() {
            self.first = piece.clone();
        }
        self.last[self.next] = piece.clone();
        self.next = (self.next + 1) % LAST;
    }

    /// What the pieces say.
    pub(crate) fn usage(&self) -> Usage {
        let (older, newer) = (&self.last[self.next..], &self.last[..self.next]);
        let mut pieces = older.iter().chain(newer).filter(|piece| !piece.is_empty());
        match (pieces.next(), pieces.next()) {
            (None, _) => Usage::default(),
            (Some(only), None) => Usage::read(tail(only), &[]),
            (Some(_), Some(_)) => {
                // Joined, as a figure may be split between two pieces.
                let mut joined = Vec::with_capacity(SEARCHED);
                for piece in older.iter().chain(newer) {
                    joined.extend_from_slice(tail(piece));
                }
                Usage::read(tail(&joined), &self.first[..self.first.len().min(SEARCHED)])
            }
        }
    }
}

impl Usage {
    /// What the end of an answer says, or where it is silent the start.
    fn read(end: &[u8], start: &[u8]) -> Self {
        let figure = |key: &Key| last_figure(end, key).or_else(|| last_figure(start, key));
        let count = |key: &Key| figure(key).and_then(|text| text.parse::<u64>().ok());
        let prompt = || Some(count(&PROMPT_N)? + count(&CACHE_N).unwrap_or(0));
        Self {
            prompt_tokens: count(&PROMPT_TOKENS).or_else(prompt).unwrap_or(0),
            completion_tokens: count(&COMPLETION_TOKENS).or_else(|| count(&PREDICTED_N)).unwrap_or(0),
            tokens_per_second: figure(&PREDICTED_PER_SECOND)
                .and_then(|text| text.parse().ok())
                .filter(|speed: &f64| speed.is_finite() && *speed >= 0.0),
        }
    }
}

/// What to search for, prepared once.
type Key = LazyLock<Finder<'static>>;

static PROMPT_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"prompt_tokens\":"));
static COMPLETION_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"completion_tokens\":"));
static PROMPT_N: Key = LazyLock::new(|| Finder::new(b"\"prompt_n\":"));
static CACHE_N: Key = LazyLock::new(|| Finder::new(b"\"cache_n\":"));
static PREDICTED_N: Key = LazyLock::new(|| Finder::new(b"\"predicted_n\":"));
static PREDICTED_PER_SECOND: Key = LazyLock::new(|| Finder::new(b"\"predicted_per_second\":"));

fn tail(piece: &[u8]) -> &[u8] {
    &piece[piece.len().saturating_sub(SEARCHED)..]
}

/// The number after the last `key`.
fn last_figure<'a>(text: &'a [u8], key: &Finder<'_>) -> Option<&'a str> {
    // Forwards, which is the fast direction.
    let figures = key.find_iter(text).filter_map(|at| {
        if at > 0 && text[at - 1] == b'\\' {
            return None;
        }
        let rest = text[at + key.needle().len()..].trim_ascii_start();
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit() || b".eE+-".contains(byte)).count();
        // A number that ends with the text may go on in what was not kept.
        (1..rest.len()).contains(&length).then(|| str::from_utf8(&rest[..length]).ok())?
    });
    figures.last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage(pieces: &[&str]) -> Usage {
        let mut meter = Meter::default();
        for piece in pieces {
            meter.pass(&Bytes::copy_from_slice(piece.as_bytes()));
        }
        meter.usage()
    }

    fn check(pieces: &[&str], prompt_tokens: u64, completion_tokens: u64, tokens_per_second: Option<f64>) {
        assert_eq!(usage(pieces), Usage { prompt_tokens, completion_tokens, tokens_per_second }, "{pieces:?}");
    }

    const WHOLE: &str = r#"{"choices":[{"message":{"content":"x"}}],"usage":{"completion_tokens":4,"prompt_tokens":31,"total_tokens":35,"prompt_tokens_details":{"cached_tokens":0}},"timings":{"cache_n":0,"prompt_n":31,"predicted_n":4,"predicted_per_second":4.18}}"#;

    #[test]
    fn reads_usage_and_timings() {
        check(&[WHOLE], 31, 4, Some(4.18));
        check(
            &[
                r#"data: {"timings":{"cache_n":30,"prompt_n":1,"predicted_n":3,"predicted_per_second":1e2}}"#,
                "\n\ndata: [DONE]\n\n",
            ],
            31,
            3,
            Some(100.0),
        );
        check(
            &[r#"{"model":"e","usage":{"prompt_tokens": 7,"total_tokens":7},"data":["#, "1", "2", "3", "4", "5]}"],
            7,
            0,
            None,
        );
        check(&["not json at all"], 0, 0, None);
        check(&[], 0, 0, None);
    }

    #[test]
    fn a_split_anywhere_does_not_matter() {
        for at in 1..WHOLE.len() {
            let (one, two) = WHOLE.split_at(at);
            check(&[one, two], 31, 4, Some(4.18));
        }
    }

    #[test]
    fn generated_text_does_not_count() {
        let text =
            serde_json::json!({ "content": r#""prompt_tokens":999,"completion_tokens":999,"predicted_n":999}"# });
        check(&[&text.to_string()], 0, 0, None);
        check(&[r#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"#, &text.to_string(), "}"], 1, 2, None);
    }

    #[test]
    fn the_last_word_counts() {
        check(
            &[
                r#"{"usage":{"prompt_tokens":5,"completion_tokens":1} }"#,
                r#"{"usage":{"prompt_tokens":5,"completion_tokens":2} }"#,
            ],
            5,
            2,
            None,
        );
    }

    proptest! {
        #[test]
        fn any_text_in_a_string_is_ignored(text: String) {
            let body = serde_json::json!({ "content": text }).to_string();
            prop_assert_eq!(usage(&[&body]), Usage::default());
        }
    }
}
