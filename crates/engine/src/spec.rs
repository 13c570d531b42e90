//! What an engine is started with. Plain data; the adapter turns it into a command line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use types::{CacheType, Mode, Pooling};

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
