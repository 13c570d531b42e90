//! Why an engine did not load a model, in the words of the model-server contract.
//!
//! The class is decided once, where the engine's output is read; everyone else carries it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ModelKey;

/// Why a load failed. Serialised as `details.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The model file is not where it should be.
    FileNotFound,
    /// The header is invalid, the magic is wrong, or the file ends early.
    FileCorrupt,
    /// Not enough accelerator memory for the model at the asked context.
    InsufficientVram,
    /// Not enough system memory.
    InsufficientRam,
    /// The asked context exceeds what the model or the machine can hold.
    ContextTooLarge,
    /// The engine does not know the model's architecture.
    UnsupportedArch,
    /// The engine failed for a reason of its own.
    BackendError,
    /// Nothing in the engine's output says why.
    Unknown,
}

/// What a caller can do about a failure. Serialised as `details.action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Get the file again.
    Redownload,
    /// Remove the damaged file, then get it again.
    DeleteAndRedownload,
    /// Try again with a smaller context.
    ReduceContext,
    /// Try a smaller quantisation.
    UseSmallerVariant,
    /// Use a newer engine.
    UpdateServer,
    /// Read the engine's own lines.
    CheckLogs,
}

impl FailureClass {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FileNotFound => "file_not_found",
            Self::FileCorrupt => "file_corrupt",
            Self::InsufficientVram => "insufficient_vram",
            Self::InsufficientRam => "insufficient_ram",
            Self::ContextTooLarge => "context_too_large",
            Self::UnsupportedArch => "unsupported_arch",
            Self::BackendError => "backend_error",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a caller can act on it without a person (model-server contract, "details.reason values").
    pub const fn recoverable(self) -> bool {
        !matches!(self, Self::UnsupportedArch | Self::BackendError | Self::Unknown)
    }

    /// Whether the same start may succeed without anything being changed, so that trying again is worth it.
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::BackendError | Self::Unknown)
    }

    /// What to do about it.
    pub const fn action(self) -> Action {
        match self {
            Self::FileNotFound => Action::Redownload,
            Self::FileCorrupt => Action::DeleteAndRedownload,
            Self::InsufficientVram | Self::InsufficientRam => Action::UseSmallerVariant,
            Self::ContextTooLarge => Action::ReduceContext,
            Self::UnsupportedArch => Action::UpdateServer,
            Self::BackendError | Self::Unknown => Action::CheckLogs,
        }
    }

    /// The same advice in a sentence.
    pub const fn suggestion(self) -> &'static str {
        match self {
            Self::FileNotFound => "Put the model file back where it was, or get it again.",
            Self::FileCorrupt => "Delete the file and get it again: it is damaged, cut short, or not a GGUF file.",
            Self::InsufficientVram => {
                "Ask for a smaller context or variant, unload another model, or keep fewer layers on the GPU."
            }
            Self::InsufficientRam => "Ask for a smaller context or variant, or unload another model.",
            Self::ContextTooLarge => "Ask for a smaller context.",
            Self::UnsupportedArch => "Use a newer llama-server that knows this architecture, or another model.",
            Self::BackendError | Self::Unknown => "Read the engine's own lines below and its log file.",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A load that failed, with all a caller needs to act on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadFailure {
    /// Which model was to be loaded.
    pub model: ModelKey,
    /// The context that was asked for, in tokens; `None` where the model's own was to be used.
    pub context_requested: Option<u64>,
    /// Why it failed.
    pub class: FailureClass,
    /// One line for a person: what was attempted, with which values, and what went wrong.
    pub message: String,
    /// The engine's own last lines, oldest first, newline-separated, at most 2,000 characters; may be empty.
    pub engine_log: String,
}

impl fmt::Display for LoadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not load ({}): {}", self.model, self.class, self.message)
    }
}

impl std::error::Error for LoadFailure {}
