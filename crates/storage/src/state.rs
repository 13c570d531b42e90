//! A model's state in the five words of the model-server contract: a projection of what node and downloads say.

use std::fmt;

use node::{ReadyState, View};
use types::ModelKey;

/// Where a variant is; the one nearest to an answer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeState {
    /// An engine runs, or starts.
    Loaded,
    /// Its engine ends.
    Unloading,
    /// Its weights are kept in RAM, no engine runs.
    Ready,
    /// On its way to the disk.
    Downloading,
    /// On disk, or nowhere.
    Unloaded,
}

impl RuntimeState {
    /// The state of a variant, which is being `downloaded` or not.
    pub fn of(view: &View, model: &ModelKey, downloaded: bool) -> Self {
        if view.instance_of(model).is_some() || view.provided.iter().any(|provided| provided.key == *model) {
            Self::Loaded
        } else if view.instances.iter().any(|instance| instance.model.key == *model) {
            Self::Unloading
        } else if view.ready.iter().any(|ready| ready.model == *model && ready.state == ReadyState::Ready) {
            Self::Ready
        } else if downloaded {
            Self::Downloading
        } else {
            Self::Unloaded
        }
    }

    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unloaded => "Unloaded",
            Self::Downloading => "Downloading",
            Self::Ready => "Ready",
            Self::Loaded => "Loaded",
            Self::Unloading => "Unloading",
        }
    }
}

impl fmt::Display for RuntimeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
