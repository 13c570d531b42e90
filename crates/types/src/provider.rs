//! Who runs a configured model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who runs a configured model: an engine of this machine, somebody's service, or nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// llama.cpp on this machine.
    #[default]
    Llama,
    /// OpenAI's API, or what speaks it.
    OpenAi,
    /// Anthropic's API.
    Anthropic,
    /// DeepSeek's API.
    DeepSeek,
    /// OpenRouter's API.
    OpenRouter,
    /// Nobody: canned answers, for demos and tests.
    Mock,
}

/// What is no provider, with those that are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("provider `{0}` is not known; these are: openai, anthropic, deepseek, openrouter, llama, mock")]
pub struct UnknownProvider(pub String);

impl Provider {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::OpenAi, Self::Anthropic, Self::DeepSeek, Self::OpenRouter, Self::Llama, Self::Mock];

    /// The word of the model-server contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::DeepSeek => "deepseek",
            Self::OpenRouter => "openrouter",
            Self::Mock => "mock",
        }
    }

    /// Whether its models run on this machine, in its memory.
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Llama)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        let found = Self::ALL.into_iter().find(|provider| provider.as_str() == text);
        found.ok_or_else(|| UnknownProvider(text.chars().take(100).collect()))
    }
}
