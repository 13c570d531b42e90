//! What an engine is started with. Plain data; the adapter turns it into a command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use types::{CacheType, Mode, Pooling};

use crate::Adapter;

/// What an engine is started with. Everything is decided: no field is left to the engine's own defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spec {
    /// Which program it is.
    #[serde(default)]
    pub adapter: Adapter,
    /// The address and port it is to listen on; `None` for a free port on loopback.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The model file, or the first of a split set; for MLX a folder, or a Hugging Face id.
    pub model: PathBuf,
    /// A multimodal projector beside it.
    pub mmproj: Option<PathBuf>,
    /// The name the engine gives itself in answers.
    pub alias: String,
    /// Chat, embedding or rerank.
    pub mode: Mode,
    /// Tokens of context for each slot. 0 leaves it to an engine that knows better (MLX).
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
    /// What the chat template is given where a request does not say, as a JSON object.
    #[serde(default)]
    pub chat_template_kwargs: Option<String>,
    /// Whether attention is computed the fast way; `None` leaves it to the engine.
    #[serde(default)]
    pub flash_attn: Option<bool>,
    /// Arguments added at the end as they are.
    pub extra_args: Vec<String>,
}

impl Spec {
    /// The plainest start of this model: one slot, nothing on accelerators, the context yet to be decided.
    pub fn of(model: impl Into<PathBuf>) -> Self {
        Self {
            adapter: Adapter::default(),
            listen: None,
            model: model.into(),
            mmproj: None,
            alias: String::new(),
            mode: Mode::Chat,
            context: 0,
            slots: 1,
            gpu_layers: 0,
            cache_type_k: CacheType::F16,
            cache_type_v: CacheType::F16,
            embeddings: false,
            pooling: None,
            chat_template_file: None,
            chat_template_kwargs: None,
            flash_attn: None,
            extra_args: Vec::new(),
        }
    }
}
