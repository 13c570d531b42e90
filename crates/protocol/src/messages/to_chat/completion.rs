//! An answer of chat completions, as it is read: whole, or a chunk of a stream.

use serde::de::{self, Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Fault;
use crate::messages::json::Text;

/// A whole answer (`message`), or a chunk (`delta`).
#[derive(serde::Deserialize)]
pub(super) struct Completion<'a> {
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    pub(super) usage: Option<Usage>,
    /// Some say what went wrong with a status of success.
    pub(super) error: Option<Value>,
}

#[derive(serde::Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow, alias = "delta")]
    pub(super) message: Option<Said<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Text<'a>>,
    /// vLLM's word for what it stopped at: the stop sequence, or a token's number.
    pub(super) stop_reason: Option<Value>,
}

#[derive(Default, serde::Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    /// The same, as OpenRouter and newer engines call it.
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(serde::Deserialize)]
pub(super) struct Call<'a> {
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
}

#[derive(Default, serde::Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) arguments: Option<Arguments<'a>>,
}

/// A tool's arguments: a text with JSON in it. Some engines send the JSON itself.
pub(super) struct Arguments<'a>(pub(super) Text<'a>);

/// What was read and written, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl<'a> Completion<'a> {
    /// Reads one.
    pub(super) fn read(text: &'a [u8]) -> Result<Self, Fault> {
        serde_json::from_slice(text).map_err(|error| Fault(format!("it is no chat completion: {error}")))
    }

    /// The one choice that was asked for.
    pub(super) fn choice(&mut self) -> Option<Choice<'a>> {
        self.choices.take()?.into_iter().next()
    }
}

impl<'a> Said<'a> {
    /// What the model thought.
    pub(super) fn thought(&mut self) -> Option<Text<'a>> {
        self.reasoning_content.take().or_else(|| self.reasoning.take()).filter(|text| !text.is_empty())
    }
}

impl Usage {
    /// The same in Anthropic's words, where what came from the cache counts apart.
    pub(super) fn to_messages(self) -> Value {
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0);
        serde_json::json!({
            "input_tokens": self.prompt_tokens.unwrap_or(0).saturating_sub(cached),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": self.completion_tokens.unwrap_or(0),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        if raw.starts_with('"') {
            return serde_json::from_str(raw).map(Self).map_err(de::Error::custom);
        }
        Ok(Self(Text(raw.into())))
    }
}

/// Why the answer ended, in Anthropic's words.
pub(super) fn stop_reason(finish_reason: Option<&str>, has_calls: bool, stopped_at: Option<&str>) -> &'static str {
    match finish_reason {
        Some("length") => "max_tokens",
        Some("content_filter") => "refusal",
        _ if has_calls => "tool_use",
        _ if stopped_at.is_some() => "stop_sequence",
        _ => "end_turn",
    }
}
