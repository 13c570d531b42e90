//! What engines reported, kept in the data folder: bytes per device and kind, load time, speed.
//!
//! A measurement replaces the estimate for the same file started in the same way; all of them are there for the estimator
//! to learn from.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// How often they were given to be saved.
    saves: u64,
    /// Which of these saves was written last; held while one is written.
    saved: Arc<Mutex<u64>>,
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
        Self { path, all, saves: 0, saved: Arc::default() }
    }

    /// What the same start held the last time.
    pub(crate) fn memory(&self, model: &ModelKey, start: &Start) -> Option<&MemoryUse> {
        self.all.iter().rev().find(|one| one.model == *model && one.start == *start).map(|one| &one.memory)
    }

    /// Keeps a fresh load in place of an earlier one of the same start. A report that could not be read (an engine
    /// without a log) is none: taken at its word, the model would need no memory.
    pub(crate) fn loaded(&mut self, model: ModelKey, start: Start, memory: MemoryUse, load_time: Duration) {
        if memory.0.is_empty() {
            return;
        }
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

    /// Writes them down, whole or not at all, in a blocking thread. Saves that overtake each other are written in order
    /// or not at all.
    pub(crate) fn save(&mut self) -> tokio::task::JoinHandle<()> {
        self.saves += 1;
        let (path, all, number, saved) = (self.path.clone(), self.all.clone(), self.saves, Arc::clone(&self.saved));
        tokio::task::spawn_blocking(move || {
            let mut last = saved.lock().unwrap_or_else(PoisonError::into_inner);
            if *last > number {
                return;
            }
            *last = number;
            if let Err(error) = write(&path, &all) {
                tracing::warn!(path = %path.display(), %error, "could not keep the engine's measurements");
            }
        })
    }
}

fn write(path: &Path, all: &[Measurement]) -> std::io::Result<()> {
    let bytes = serde_json::to_vec_pretty(all)?;
    let temporary = path.with_extension("tmp");
    // For this user only: an engine's arguments may hold secrets.
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&bytes)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use types::{DeviceName, ModelId, Variant};

    fn key() -> ModelKey {
        ModelKey { id: ModelId::new("m"), variant: Variant::new("Q4_0") }
    }

    fn start(context: u64) -> Start {
        let spec = engine::Spec {
            alias: "m".into(),
            context,
            extra_args: vec!["--api-key".into(), "secret".into()],
            ..engine::Spec::of("/m.gguf")
        };
        Start { file_size: ByteCount::mib(1), spec }
    }

    fn memory() -> MemoryUse {
        let mut memory = MemoryUse::default();
        memory.entry(DeviceName::cpu()).model = ByteCount::mib(92);
        memory
    }

    #[tokio::test]
    async fn saves_at_once_leave_the_last_state_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("measurements.json");
        let mut measurements = Measurements::open(path.clone());
        let mut saves = Vec::new();
        for context in 0..50 {
            measurements.loaded(key(), start(context), memory(), Duration::from_secs(1));
            saves.push(measurements.save());
        }
        for save in saves {
            save.await.unwrap();
        }
        let again = Measurements::open(path.clone());
        assert_eq!(again.all.len(), 50);
        assert_eq!(again.memory(&key(), &start(49)), Some(&memory()));
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o077, 0);
    }

    #[test]
    fn a_report_that_could_not_be_read_is_no_measurement() {
        let mut measurements = Measurements::open("/nowhere/measurements.json".into());
        measurements.loaded(key(), start(1), MemoryUse::default(), Duration::from_secs(1));
        assert_eq!(measurements.memory(&key(), &start(1)), None);
    }
}
