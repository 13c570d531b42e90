//! What is written down about each running engine, so that the next snug finds it: one small file per instance.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use types::{InstanceId, MemoryUse, ModelKey};

use crate::Spec;
use crate::process::Identity;

/// One running engine, as written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The instance.
    pub id: InstanceId,
    /// The model it serves.
    pub model: ModelKey,
    /// How it was started.
    pub spec: Spec,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it was estimated to hold.
    pub estimate: MemoryUse,
    /// The process; `None` between the decision to start it and its start.
    pub(crate) process: Option<Identity>,
    /// What the engine reported; empty until it was ready.
    pub(crate) memory: MemoryUse,
    /// Tokens of context per slot, as the engine set it up; 0 until then.
    pub(crate) context: u64,
    /// From spawn to ready.
    pub(crate) load_time: Option<Duration>,
}

/// The folder of records.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// Records in `folder`, which must exist.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// All that can be read. A damaged one is removed: what it told of cannot be found by it any more.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn all(&self) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match std::fs::read(&path).map(|bytes| serde_json::from_slice::<Record>(&bytes)) {
                Ok(Ok(record)) => records.push(record),
                Ok(Err(error)) => {
                    tracing::warn!(record.path = %path.display(), %error, "removing a damaged instance record");
                    let _gone = std::fs::remove_file(&path);
                }
                Err(error) => tracing::warn!(record.path = %path.display(), %error, "cannot read an instance record"),
            }
        }
        records.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(records)
    }

    /// Writes one down, whole or not at all. A full disk costs only the adoption after a crash, so it is not an error.
    pub(crate) fn write(&self, record: &Record) {
        let written = serde_json::to_vec_pretty(record).map_err(io::Error::from).and_then(|bytes| {
            let path = self.path(&record.id);
            let temporary = path.with_extension("tmp");
            // Arguments of an engine may hold secrets.
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            std::fs::rename(&temporary, path)
        });
        if let Err(error) = written {
            tracing::warn!(
                engine.id = %record.id, %error,
                "could not write the instance down: it will not be found again should snug be killed"
            );
        }
    }

    /// Forgets one.
    pub(crate) fn remove(&self, id: &InstanceId) {
        let path: &Path = &self.path(id);
        let _gone = std::fs::remove_file(path.with_extension("tmp"));
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(engine.id = %id, %error, "could not remove an instance record");
        }
    }

    fn path(&self, id: &InstanceId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}
