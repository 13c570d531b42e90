//! What an engine is started with. Plain data; the adapter turns it into a command line.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use types::Mode;

/// What an engine is started with. Everything is decided: no field is left to the engine's own defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spec {
    /// The model file, or the first of a split set.
    pub model: PathBuf,
    /// A multimodal projector beside it.
    pub mmproj: Option<PathBuf>,
    /// The name the engine gives itself in answers.
    pub alias: String,
    /// Chat, embedding or rerank.
    pub mode: Mode,
    /// Tokens of context for each slot.
    pub context: u64,
    /// Requests served at once.
    pub slots: u32,
    /// Layers kept on accelerators; 0 keeps all in RAM.
    pub gpu_layers: u32,
    /// Type of the keys in the KV cache.
    pub cache_type_k: CacheType,
    /// Type of the values in the KV cache.
    pub cache_type_v: CacheType,
    /// Whether a chat engine answers `/v1/embeddings` too.
    pub embeddings: bool,
    /// How token vectors become one; `None` leaves it to the model.
    pub pooling: Option<Pooling>,
    /// A Jinja chat template that replaces the model's own.
    pub chat_template_file: Option<PathBuf>,
    /// Arguments added at the end as they are.
    pub extra_args: Vec<String>,
}

/// Element type of a KV cache, by llama.cpp's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are llama.cpp's own and say all there is")]
pub enum CacheType {
    F32,
    #[default]
    F16,
    Bf16,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_0")]
    Q4_0,
    #[serde(rename = "q4_1")]
    Q4_1,
    Iq4Nl,
    #[serde(rename = "q5_0")]
    Q5_0,
    #[serde(rename = "q5_1")]
    Q5_1,
}

impl CacheType {
    const ALL: [Self; 9] =
        [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Iq4Nl, Self::Q5_0, Self::Q5_1];

    /// llama.cpp's name for it, as its command line wants it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Iq4Nl => "iq4_nl",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How the vectors of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are llama.cpp's own")]
pub enum Pooling {
    None,
    Mean,
    Cls,
    Last,
    Rank,
}

impl Pooling {
    /// llama.cpp's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }

    /// The pooling of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Mean, Self::Cls, Self::Last, Self::Rank].into_iter().find(|kind| kind.as_str() == name)
    }
}
