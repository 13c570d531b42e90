//! Ollama's API, as far as it is not inference: which models there are, what runs, and getting and deleting them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/tags`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaTags {
    /// Each variant of each model that is here.
    pub models: Vec<OllamaModel>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaModel {
    /// Its name with a tag, which is its variant.
    pub name: String,
    /// The same.
    pub model: String,
    /// When its file was changed, RFC 3339.
    pub modified_at: String,
    /// Its files together, bytes.
    pub size: u64,
    /// What tells it from others: 64 hexadecimal digits, its file's sha256 where that is known.
    pub digest: String,
    /// What it is.
    pub details: OllamaDetails,
}

/// What a model is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaDetails {
    /// The model that it was made of; never said.
    pub parent_model: String,
    /// `gguf`; empty for a model that others run.
    pub format: String,
    /// Its architecture, such as `llama`.
    pub family: String,
    /// The same, as a list.
    pub families: Vec<String>,
    /// How many parameters it has, such as `8.0B`.
    pub parameter_size: String,
    /// Its quantisation, such as `Q4_K_M`.
    pub quantization_level: String,
}

/// `POST /api/show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaShow {
    /// Which model.
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1)]
    pub model: Option<String>,
    /// The same, as earlier versions said it.
    #[serde(default)]
    #[schema(ignore)]
    pub name: Option<String>,
    /// Whether more is to be told than people read; there is no more.
    #[serde(default)]
    pub verbose: Option<bool>,
}

/// What it answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OllamaShown {
    /// What Ollama would make it of.
    pub modelfile: String,
    /// How it is started, a word and a value a line.
    pub parameters: String,
    /// Its chat template, in Jinja.
    pub template: String,
    /// Its licence, as its file says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What it is.
    pub details: OllamaDetails,
    /// What its file's header says.
    #[schema(value_type = Object)]
    pub model_info: serde_json::Value,
    /// What it can do: `completion`, `embedding`, `tools`, `vision`, `thinking`, `insert`.
    pub capabilities: Vec<String>,
    /// When its file was changed, RFC 3339.
    pub modified_at: String,
}

/// `GET /api/ps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaRunning {
    /// Each model that is loaded.
    pub models: Vec<OllamaInstance>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaInstance {
    /// Its name with a tag, which is its variant.
    pub name: String,
    /// The same.
    pub model: String,
    /// Memory that it holds, bytes.
    pub size: u64,
    /// Of that on accelerators, bytes.
    pub size_vram: u64,
    /// What tells it from others: 64 hexadecimal digits.
    pub digest: String,
    /// What it is.
    pub details: OllamaDetails,
    /// When it is unloaded if nobody uses it, RFC 3339; a hundred years from now for never.
    pub expires_at: String,
    /// Tokens of context for each slot.
    pub context_length: u64,
}

/// `DELETE /api/delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaNamed {
    /// Which model.
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1)]
    pub model: Option<String>,
    /// The same, as earlier versions said it.
    #[serde(default)]
    #[schema(ignore)]
    pub name: Option<String>,
}

/// `POST /api/pull`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaPull {
    /// Which model: `hf.co/OWNER/REPOSITORY:QUANTISATION`, or the name of a model of the catalogue.
    #[serde(default)]
    #[schema(value_type = String, required = true, min_length = 1)]
    pub model: Option<String>,
    /// The same, as earlier versions said it.
    #[serde(default)]
    #[schema(ignore)]
    pub name: Option<String>,
    /// Whether progress is told, a line of JSON each; default yes.
    #[serde(default)]
    pub stream: Option<bool>,
}

/// How far a pull is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaProgress {
    /// In words; the last is `success`.
    pub status: String,
    /// What tells what is pulled from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it will be, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is here, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<u64>,
}

/// An error, as Ollama's clients read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OllamaError {
    /// What was wrong, and what would work.
    pub error: String,
}
