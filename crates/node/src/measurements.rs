//! What engines reported, kept in the data folder: bytes per device and kind, load time, speed.
//!
//! A measurement replaces the estimate for the same file started in the same way; all of them are there for the estimator
//! to learn from.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use types::{ByteCount, MemoryUse, ModelKey};

/// More than anyone has models; the oldest go first.
const MEASUREMENTS_MAX: usize = 1000;

/// One start of one model, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Which model.
    pub(crate) model: ModelKey,
    /// How it was started and from which file.
    pub(crate) start: Start,
    /// What the engine reported.
    pub(crate) memory: MemoryUse,
    /// From spawn to ready, milliseconds.
    pub(crate) load_ms: u64,
    /// Generation, tokens per second, as last reported by the engine.
    pub(crate) tokens_per_second: Option<f64>,
}

/// What has to be the same for a measurement to hold again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Size of the model's files together.
    pub(crate) file_size: ByteCount,
    /// How the engine was started.
    pub(crate) spec: engine::Spec,
}

/// All measurements, oldest first.
#[derive(Debug)]
pub(crate) struct Measurements {
    path: PathBuf,
    all: Vec<Measurement>,
}

impl Measurements {
    /// Those kept at `path`; none if there are none or they cannot be read.
    pub(crate) fn open(path: PathBuf) -> Self {
        let all = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "starting over with measurements: cannot read those kept");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Self { path, all }
    }

    /// What the same start held the last time.
    pub(crate) fn memory(&self, model: &ModelKey, start: &Start) -> Option<&MemoryUse> {
        self.all.iter().rev().find(|one| one.model == *model && one.start == *start).map(|one| &one.memory)
    }

    /// Keeps a fresh load in place of an earlier one of the same start.
    pub(crate) fn loaded(&mut self, model: ModelKey, start: Start, memory: MemoryUse, load_time: Duration) {
        let load_ms = u64::try_from(load_time.as_millis()).unwrap_or(u64::MAX);
        let before = self.all.iter().position(|one| one.model == model && one.start == start);
        let tokens_per_second = before.and_then(|index| self.all.remove(index).tokens_per_second);
        if self.all.len() >= MEASUREMENTS_MAX {
            self.all.remove(0);
        }
        self.all.push(Measurement { model, start, memory, load_ms, tokens_per_second });
    }

    /// Keeps the speed of a model that ran.
    pub(crate) fn ran(&mut self, model: &ModelKey, start: &Start, tokens_per_second: f64) {
        if let Some(one) = self.all.iter_mut().rev().find(|one| one.model == *model && one.start == *start) {
            one.tokens_per_second = Some(tokens_per_second);
        }
    }

    /// Writes them down, whole or not at all, in a blocking thread.
    pub(crate) fn save(&self) -> tokio::task::JoinHandle<()> {
        let (path, all) = (self.path.clone(), self.all.clone());
        tokio::task::spawn_blocking(move || {
            let temporary = path.with_extension("tmp");
            let written = serde_json::to_vec_pretty(&all)
                .map_err(std::io::Error::from)
                .and_then(|bytes| std::fs::write(&temporary, bytes))
                .and_then(|()| std::fs::rename(&temporary, &path));
            if let Err(error) = written {
                tracing::warn!(path = %path.display(), %error, "could not keep the engine's measurements");
            }
        })
    }
}
