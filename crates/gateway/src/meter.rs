//! Token counts out of an answer that passes through untouched.
//!
//! Engines say them near the end of an answer (or, for embeddings, at its start), so a few pieces are kept and searched
//! once it is over. Generated text cannot fool the search: within a JSON string every quote is escaped.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::Deserialize;

/// What an engine said about one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt, those from the prompt cache included; 0 if the engine did not say.
    pub prompt_tokens: u64,
    /// Tokens generated; 0 if the engine did not say.
    pub completion_tokens: u64,
    /// Tokens of the prompt that came from the prompt cache.
    pub cached_tokens: Option<u64>,
    /// How long it read the rest of the prompt.
    pub prompt_time: Option<Duration>,
    /// How fast it read it.
    pub prompt_tokens_per_second: Option<f64>,
    /// How long it generated.
    pub generation_time: Option<Duration>,
    /// How fast it generated.
    pub tokens_per_second: Option<f64>,
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
    /// How many pieces there were.
    count: u64,
}

impl Meter {
    /// One piece passed.
    pub(crate) fn pass(&mut self, piece: &Bytes) {
        if self.first.is_empty() {
            self.first = piece.clone();
        }
        self.last[self.next] = piece.clone();
        self.count += 1;
        self.next = (self.next + 1) % LAST;
    }

    /// What the pieces of an answer say that did not come to its end. A stream that says nothing yet is counted by its
    /// pieces: engines send about one for each token.
    pub(crate) fn usage_so_far(&self, is_stream: bool) -> Usage {
        let said = self.usage();
        if is_stream && said.completion_tokens == 0 {
            return Usage { completion_tokens: self.count, ..said };
        }
        said
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
        let count = |key: &'static Key| last_count(end, key).or_else(|| last_count(start, key));
        // As the other dialects have it. A stream of messages tells of its prompt at its start.
        let of_cache =
            || [&CACHE_READ_TOKENS, &CACHE_WRITTEN_TOKENS].into_iter().filter_map(count).fold(0, u64::saturating_add);
        let input = || count(&INPUT_TOKENS).map(|tokens| tokens.saturating_add(of_cache()));
        let timings = Timings::last(end).or_else(|| Timings::last(start)).unwrap_or_default();
        let read = || Some(timings.prompt_n?.saturating_add(timings.cache_n.unwrap_or(0)));
        Self {
            prompt_tokens: count(&PROMPT_TOKENS).or_else(read).or_else(input).unwrap_or(0),
            completion_tokens: count(&COMPLETION_TOKENS)
                .or(timings.predicted_n)
                .or_else(|| count(&OUTPUT_TOKENS))
                .unwrap_or(0),
            cached_tokens: timings.cache_n.or_else(|| count(&CACHED_TOKENS)).or_else(|| count(&CACHE_READ_TOKENS)),
            prompt_time: timings.prompt_ms.and_then(millis),
            prompt_tokens_per_second: timings.prompt_per_second.filter(is_speed),
            generation_time: timings.predicted_ms.and_then(millis),
            tokens_per_second: timings.predicted_per_second.filter(is_speed),
        }
    }
}

/// What `llama-server` measures of each answer. It writes `null` where it divided by nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Timings {
    cache_n: Option<u64>,
    prompt_n: Option<u64>,
    prompt_ms: Option<f64>,
    prompt_per_second: Option<f64>,
    predicted_n: Option<u64>,
    predicted_ms: Option<f64>,
    predicted_per_second: Option<f64>,
}

impl Timings {
    /// The last ones in `text` that are whole.
    fn last(text: &[u8]) -> Option<Self> {
        let whole = |text| serde_json::Deserializer::from_slice(text).into_iter().next()?.ok();
        after_each(text, &TIMINGS).filter_map(whole).last()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "for `filter`")]
fn is_speed(speed: &f64) -> bool {
    speed.is_finite() && *speed >= 0.0
}

fn millis(millis: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(millis / 1000.0).ok()
}

/// What to search for, prepared once.
type Key = LazyLock<Finder<'static>>;

static PROMPT_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"prompt_tokens\":"));
static COMPLETION_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"completion_tokens\":"));
static INPUT_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"input_tokens\":"));
static OUTPUT_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"output_tokens\":"));
static CACHED_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"cached_tokens\":"));
static CACHE_READ_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"cache_read_input_tokens\":"));
static CACHE_WRITTEN_TOKENS: Key = LazyLock::new(|| Finder::new(b"\"cache_creation_input_tokens\":"));
static TIMINGS: Key = LazyLock::new(|| Finder::new(b"\"timings\":"));

fn tail(piece: &[u8]) -> &[u8] {
    &piece[piece.len().saturating_sub(SEARCHED)..]
}

/// The texts after each `key` that is one, and not text that was generated.
fn after_each<'a>(text: &'a [u8], key: &'a Finder<'static>) -> impl Iterator<Item = &'a [u8]> {
    // Forwards, which is the fast direction.
    let is_key = move |&at: &usize| at == 0 || text[at - 1] != b'\\';
    key.find_iter(text).filter(is_key).map(move |at| &text[at + key.needle().len()..])
}

/// The number after the last `key`.
fn last_count(text: &[u8], key: &'static Key) -> Option<u64> {
    let counts = after_each(text, key).filter_map(|rest| {
        let rest = rest.trim_ascii_start();
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // A number that ends with the text may go on in what was not kept.
        (1..rest.len()).contains(&length).then(|| str::from_utf8(&rest[..length]).ok()?.parse().ok())?
    });
    counts.last()
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
        let usage = usage(pieces);
        let told = (usage.prompt_tokens, usage.completion_tokens, usage.tokens_per_second);
        assert_eq!(told, (prompt_tokens, completion_tokens, tokens_per_second), "{pieces:?}");
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

    /// As `llama-server` writes it.
    const TIMED: &str = r#"{"usage":{"completion_tokens":24,"prompt_tokens":41},"timings":{"cache_n":30,"prompt_n":11,"prompt_ms":55.5,"prompt_per_token_ms":5.045,"prompt_per_second":198.2,"predicted_n":24,"predicted_ms":480.0,"predicted_per_token_ms":20.0,"predicted_per_second":50.0,"draft_n":2}}"#;

    #[test]
    fn reads_all_the_engine_measured() {
        let expected = Usage {
            prompt_tokens: 41,
            completion_tokens: 24,
            cached_tokens: Some(30),
            prompt_time: Some(Duration::from_micros(55_500)),
            prompt_tokens_per_second: Some(198.2),
            generation_time: Some(Duration::from_millis(480)),
            tokens_per_second: Some(50.0),
        };
        assert_eq!(usage(&[TIMED]), expected);
        for at in 1..TIMED.len() {
            let (one, two) = TIMED.split_at(at);
            assert_eq!(usage(&["data: ", one, two, "\n\ndata: [DONE]\n\n"]), expected);
        }
    }

    #[test]
    fn other_dialects_are_read_too() {
        check(
            &[
                r#"{"usage":{"input_tokens":3,"cache_creation_input_tokens":100,"cache_read_input_tokens":7,"output_tokens":5} }"#,
            ],
            110,
            5,
            None,
        );
        let most = u64::MAX;
        check(
            &[&format!(r#"{{"usage":{{"input_tokens":{most},"cache_read_input_tokens":{most},"output_tokens":1}} }}"#)],
            most,
            1,
            None,
        );
    }

    #[test]
    fn what_cannot_be_is_not_told() {
        let told = usage(&[r#"{"timings":{"prompt_n":1,"prompt_ms":-1.0,"prompt_per_second":null,"predicted_n":1,
            "predicted_ms":1e300,"predicted_per_second":-0.5}} "#]);
        assert_eq!(told, Usage { prompt_tokens: 1, completion_tokens: 1, ..Usage::default() });
        check(&[r#"{"timings":{"prompt_n":1,"predicted_n":2,"predicted_per_second":"fast"}} "#], 0, 0, None);
        check(&[r#"{"timings":null} "#], 0, 0, None);
        check(&[r#"{"timings":{"prompt_n":1,"predicted_n":2}}, {"timings":{"prompt_n":3,"#], 1, 2, None);
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
