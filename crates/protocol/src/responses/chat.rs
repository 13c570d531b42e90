//! What an engine answers in the dialect of chat completions: what is read of it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::logprobs::Logprob;

/// A whole answer, or one chunk of a stream.
#[derive(Deserialize)]
pub(super) struct Completion {
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Usage>,
    pub(super) service_tier: Option<String>,
    /// Where an engine fails in the midst of a stream.
    pub(super) error: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: u64,
    pub(super) finish_reason: Option<String>,
    /// Of a stream `delta`.
    #[serde(alias = "delta")]
    pub(super) message: Option<Said>,
    pub(super) logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
pub(super) struct Logprobs {
    pub(super) content: Option<Vec<Logprob>>,
}

/// What the model said, or one more piece of it.
#[derive(Default, Deserialize)]
pub(super) struct Said {
    /// Its thoughts, by the name that most engines use.
    pub(super) reasoning_content: Option<String>,
    /// And by the name that some do.
    pub(super) reasoning: Option<String>,
    pub(super) content: Option<Content>,
    pub(super) refusal: Option<String>,
    pub(super) tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
pub(super) struct Part {
    text: Option<String>,
}

impl Content {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Call {
    /// Which call of the answer this is a piece of.
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    pub(super) function: Option<Function>,
}

#[derive(Deserialize)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<Box<RawValue>>,
}

impl Function {
    /// The arguments: JSON as text. Some engines write it without the quotes.
    pub(super) fn arguments(&self) -> String {
        let Some(raw) = self.arguments.as_deref().map(RawValue::get).filter(|raw| *raw != "null") else {
            return String::new();
        };
        serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned())
    }
}

/// What the answer took.
#[derive(Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default)]
    pub(super) prompt_tokens: u64,
    #[serde(default)]
    pub(super) completion_tokens: u64,
    pub(super) total_tokens: Option<u64>,
    pub(super) prompt_tokens_details: Option<PromptTokens>,
    pub(super) completion_tokens_details: Option<CompletionTokens>,
}

#[derive(Deserialize)]
pub(super) struct PromptTokens {
    pub(super) cached_tokens: Option<u64>,
    pub(super) cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct CompletionTokens {
    pub(super) reasoning_tokens: Option<u64>,
}
