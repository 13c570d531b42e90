//! Names of an instance and of the states it passes through. The transitions live in `engine::lifecycle`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::name;

name! {
    /// One engine process serving one model. Unique for the life of a data folder, never reused.
    InstanceId
}

/// Where in its load an engine is, as its own output tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadPhase {
    /// The process runs and has said nothing yet.
    Spawned,
    /// It reads the model's header.
    Metadata,
    /// It reads or maps the weights.
    Weights,
    /// It sets up the context: KV cache and compute buffers.
    Context,
    /// It runs once to warm up.
    WarmUp,
}

impl LoadPhase {
    /// The name used in API and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawned => "spawned",
            Self::Metadata => "metadata",
            Self::Weights => "weights",
            Self::Context => "context",
            Self::WarmUp => "warm_up",
        }
    }
}

/// The life of an instance as anyone outside its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// No process yet, or the process of an earlier attempt ended and the next waits for its turn.
    Starting,
    /// The process runs and loads the model.
    Loading,
    /// It answers requests.
    Ready,
    /// It was asked to end.
    Stopping,
    /// It ended by itself and will not be started again.
    Failed,
}

impl InstanceState {
    /// The name used in API and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
