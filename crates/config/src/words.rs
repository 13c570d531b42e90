//! Settings that are one of a few words.

use std::time::Duration;

use types::{CacheType, Mode, Pooling};

use crate::document::Value;
use crate::setting::{Context, Setting, Word};

impl Word for CacheType {
    const ALL: &'static [(&'static str, Self)] = &[
        ("f32", Self::F32),
        ("f16", Self::F16),
        ("bf16", Self::Bf16),
        ("q8_0", Self::Q8_0),
        ("q4_0", Self::Q4_0),
        ("q4_1", Self::Q4_1),
        ("iq4_nl", Self::Iq4Nl),
        ("q5_0", Self::Q5_0),
        ("q5_1", Self::Q5_1),
    ];
}

impl Word for Pooling {
    const ALL: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("mean", Self::Mean), ("cls", Self::Cls), ("last", Self::Last), ("rank", Self::Rank)];
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Word for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Word for Mode {
    const ALL: &'static [(&'static str, Self)] =
        &[("chat", Self::Chat), ("embedding", Self::Embedding), ("rerank", Self::Rerank)];
}

/// When a model that nobody uses is unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleUnload {
    /// This long after its last request.
    After(Duration),
    /// Only when another needs its memory.
    Never,
}

impl Setting for IdleUnload {
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String> {
        match value {
            Value::Text(word) | Value::Word(word) if word == "never" => Ok(Self::Never),
            _ => Duration::read(value, context)
                .map(Self::After)
                .map_err(|error| error.replace(", is", ", or \"never\", is")),
        }
    }

    fn show(&self) -> Option<String> {
        match self {
            Self::After(duration) => duration.show(),
            Self::Never => Some("\"never\"".to_owned()),
        }
    }
}
