//! Loading and unloading: `POST /api/models/{name}/load` and `/unload`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ErrorBody;

/// 200 of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadAnswer {
    /// `loaded`.
    pub status: String,
    /// The model's id.
    pub model: String,
    /// Which variant was loaded.
    pub variant: String,
    /// Tokens of context per slot.
    pub context_size: u64,
    /// Milliseconds the load took; 0 if it was loaded already.
    pub load_ms: u64,
    /// Why this variant, where the request named none and there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<VariantChoice>,
}

/// Why a variant was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VariantChoice {
    /// In a few words.
    pub reason: String,
    /// All that could have been taken, the best quality first.
    pub considered: Vec<ConsideredVariant>,
}

/// A variant that could have been taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsideredVariant {
    /// Which.
    pub variant: String,
    /// Whether it fits now.
    pub fits: bool,
    /// Why, or why not, with the figures.
    pub why: String,
}

/// 200 of an unload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UnloadAnswer {
    /// `unloaded`.
    pub status: String,
    /// The model's id.
    pub model: String,
    /// `Ready` if its weights stay in RAM, else `Unloaded`.
    pub state: String,
}

/// One event of a load asked for with `Accept: text/event-stream`: the SSE event's name is the variant's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadEvent {
    /// How far it is.
    Progress {
        /// `waiting`, or a load phase.
        phase: String,
        /// 0 to 1.
        progress: f64,
    },
    /// It is loaded; nothing follows.
    Loaded(LoadAnswer),
    /// It failed; nothing follows.
    Error(ErrorBody),
}

/// `error.details` of a load that failed (model-server contract, section 3.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadDetails {
    /// The model's id.
    pub model: String,
    /// Which variant.
    pub variant: String,
    /// The context that was asked for; `null` where the model's own was to be used.
    pub context_requested: Option<u64>,
    /// Always `model_load_error`.
    pub error_code: String,
    /// The failure class.
    pub reason: String,
    /// Whether a program can act on it.
    pub recoverable: bool,
    /// What it can do.
    pub action: String,
    /// The same for a person.
    pub suggestion: String,
    /// The engine's own lines.
    pub llama_log: String,
}
