//! What an entry of `models.yaml` says, field by field, in the router contract's words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::setting::Word;

/// A `models.yaml`, checked: its entries in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelsYaml {
    /// The file; empty where there is none.
    pub file: PathBuf,
    /// Its entries, the disabled ones too.
    pub backends: Vec<Backend>,
    /// What is odd about it and stops nothing: each names its entry and field.
    pub warnings: Vec<String>,
}

impl ModelsYaml {
    /// Where a path that an entry names may lie: beside the file, else one folder up, for the file's usual place is the
    /// folder `config` of a project. An absolute one lies where it says.
    pub fn places(&self, written: &str) -> Vec<PathBuf> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let beside = folder.join(written);
        if Path::new(written).is_absolute() {
            return vec![beside];
        }
        [Some(beside), folder.parent().map(|above| above.join(written))].into_iter().flatten().collect()
    }
}

/// One entry: a server for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The entry's own name in the file.
    pub role: String,
    /// What requests call the model. Several entries may have the same.
    pub id: String,
    /// Which program serves it.
    pub kind: BackendKind,
    /// Where that program listens.
    pub port: u16,
    /// The address it listens on, if the file says one.
    pub host: Option<String>,
    /// The model's file or folder, or a Hugging Face id, as written but for `~`.
    pub model_path: Option<String>,
    /// How long it may send nothing before a request is given up.
    pub default_timeout: Duration,
    /// Its quantisation, in the file's words.
    pub quantization: String,
    /// What it is for.
    pub model_type: ModelType,
    /// Tokens of context for each request.
    pub context_length: Option<u64>,
    /// How many requests it is given at once.
    pub max_concurrency: u32,
    /// Whether it is to run at all.
    pub enabled: bool,
    /// What is said of it in lists.
    pub supports_function_calling: bool,
    /// Whether it is started with snug and stays loaded, rather than when somebody asks for it. An addition of ours.
    pub preload: bool,
    /// Whether it shares its id with others on purpose: requests are spread over all of them. An addition of ours.
    pub replica: bool,
    /// What only `mlx-openai-server` is told.
    pub mlx: MlxFields,
    /// What only llama.cpp is told.
    pub llama_cpp: LlamaCppFields,
}

/// Which program serves an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// `mlx-openai-server`.
    Mlx,
    /// `llama-server`, or `python -m llama_cpp.server` where there is none.
    LlamaCpp,
}

impl BackendKind {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mlx => "mlx",
            Self::LlamaCpp => "llamacpp",
        }
    }
}

impl Word for BackendKind {
    const ALL: &'static [(&'static str, Self)] = &[("mlx", Self::Mlx), ("llamacpp", Self::LlamaCpp)];
}

/// What an entry's model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum ModelType {
    #[default]
    Lm,
    Multimodal,
    ImageGeneration,
    ImageEdit,
    Embeddings,
    Rerank,
    Whisper,
}

impl ModelType {
    /// The contract's word for it.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("lm", |(word, _)| word)
    }
}

impl Word for ModelType {
    const ALL: &'static [(&'static str, Self)] = &[
        ("lm", Self::Lm),
        ("multimodal", Self::Multimodal),
        ("image-generation", Self::ImageGeneration),
        ("image-edit", Self::ImageEdit),
        ("embeddings", Self::Embeddings),
        ("rerank", Self::Rerank),
        ("whisper", Self::Whisper),
    ];
}

/// What only `mlx-openai-server` is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MlxFields {
    /// Whether the model may choose tools by itself.
    pub enable_auto_tool_choice: bool,
    /// How calls of tools are read out of its answers.
    pub tool_call_parser: Option<String>,
    /// How its thoughts are read out of its answers; `None` for no thinking.
    pub reasoning_parser: Option<String>,
    /// The configuration of an image model.
    pub config_name: Option<String>,
}

/// What only llama.cpp is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LlamaCppFields {
    /// What the chat template is given; also for requests that bring none. Never empty.
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// A Jinja template in place of the model's own, as written but for `~`.
    pub chat_template_file: Option<String>,
    /// Sampling temperature.
    pub temp: Option<f64>,
    /// Top-p sampling.
    pub top_p: Option<f64>,
    /// Top-k sampling.
    pub top_k: Option<i64>,
    /// Min-p sampling.
    pub min_p: Option<f64>,
    /// How the KV cache stores keys.
    pub cache_type_k: Option<String>,
    /// How the KV cache stores values.
    pub cache_type_v: Option<String>,
    /// Whether attention is computed the fast way; `None` leaves it to the engine.
    pub flash_attn: Option<bool>,
    /// Whether requests share one KV cache.
    pub kv_unified: Option<bool>,
    /// Whether the engine may shrink what does not fit.
    pub fit: Option<bool>,
}
