//! Settings that are one of a few words.

use std::time::Duration;

use types::{Backend, ByteCount, CacheType, Mode, Pooling};

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

impl Word for Backend {
    const ALL: &'static [(&'static str, Self)] = &[
        ("cuda", Self::Cuda),
        ("rocm", Self::Rocm),
        ("hip", Self::Rocm),
        ("metal", Self::Metal),
        ("vulkan", Self::Vulkan),
        ("sycl", Self::Sycl),
        ("ascend", Self::Ascend),
        ("cpu", Self::of_this_cpu()),
    ];
}

/// What is logged: a level, or levels by part, in the words of `tracing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// As a filter of `tracing` reads it: `info,gateway=debug`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl Setting for LogFilter {
    /// A directive is a level, `part=level`, or has a span in brackets. A bare word would silently be taken for a part,
    /// so that `inof` logged everything there is; it is a mistake.
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String> {
        let written = String::read(value, context)?;
        let mut directives = Vec::new();
        for directive in written.split(',').map(str::trim) {
            let (part, level) = match directive.rsplit_once('=') {
                Some((part, level)) => (Some(part), level),
                None => (None, directive),
            };
            let known = LEVELS.iter().find(|(word, _)| word.eq_ignore_ascii_case(level.trim()));
            directives.push(match (known, part) {
                (Some((_, level)), Some(part)) => format!("{part}={level}"),
                (Some((_, level)), None) => (*level).to_owned(),
                (None, _) if directive.contains('[') => directive.to_owned(),
                (None, _) => {
                    return Err(format!(
                        "must be error, warn, info, debug, trace or off, alone or as `part=level`; \"{directive}\" is \
                         neither"
                    ));
                }
            });
        }
        Ok(Self(directives.join(",")))
    }

    fn show(&self) -> Option<String> {
        self.0.show()
    }
}

/// Words for levels, ours and those of the model server's contract, each with what it means to `tracing`.
const LEVELS: [(&str, &str); 8] = [
    ("off", "off"),
    ("critical", "error"),
    ("error", "error"),
    ("warn", "warn"),
    ("warning", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

/// What all model files together may take of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageLimit {
    /// All there is.
    None,
    /// So much; more than nothing.
    Of(ByteCount),
}

impl StorageLimit {
    /// The limit, if there is one.
    pub const fn bytes(self) -> Option<ByteCount> {
        match self {
            Self::None => None,
            Self::Of(bytes) => Some(bytes),
        }
    }
}

impl Setting for StorageLimit {
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String> {
        let bytes = Option::<ByteCount>::read(value, context)
            .map_err(|error| error.replace(", is", ", or \"0\" for no limit, is"))?;
        Ok(bytes.filter(|bytes| *bytes > ByteCount::ZERO).map_or(Self::None, Self::Of))
    }

    fn show(&self) -> Option<String> {
        match self {
            Self::None => Some("\"0\"".to_owned()),
            Self::Of(bytes) => bytes.show(),
        }
    }
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

/// What a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's API.
    #[default]
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Word for Dialect {
    const ALL: &'static [(&'static str, Self)] = &[("openai", Self::OpenAi), ("anthropic", Self::Anthropic)];
}

/// What a route does with its models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spread {
    /// The next is tried where one fails.
    #[default]
    Fallback,
    /// Requests are shared among them.
    Replicas,
}

impl Word for Spread {
    const ALL: &'static [(&'static str, Self)] = &[("fallback", Self::Fallback), ("replicas", Self::Replicas)];
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
