//! What is wished for, and what is shown of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use types::ByteCount;

use super::Failure;

/// What a job is called; the caller chooses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

/// Files that belong together: a model's shards and its projector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What it is called.
    pub id: JobId,
    /// Its files. They are fetched one after another.
    pub files: Vec<FileWish>,
}

/// One file that is wished for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileWish {
    /// Where it comes from, and for an address where it goes.
    pub source: Source,
    /// Its sha256, 64 hexadecimal digits. Without it the hub's word counts; a plain address has then no check.
    pub sha256: Option<String>,
    /// How long it is, if that is known. Room is asked for by it.
    pub size: Option<ByteCount>,
}

/// Where a file comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file of a repository on the hub; it goes into the cache.
    Hub {
        /// `owner/name`.
        repository: String,
        /// A branch, a tag or a commit; `main` as a rule.
        revision: String,
        /// Its path in the repository, with `/`.
        path: String,
    },
    /// Any address, HTTP or HTTPS. It gets the hub's token only if it is the hub's own.
    Url {
        /// The address.
        url: String,
        /// The file it becomes; an absolute path. Folders on the way are made.
        to: PathBuf,
    },
}

/// What a job does.
#[derive(Clone, Debug)]
pub enum State {
    /// It waits for a place.
    Queued,
    /// It is being fetched.
    Running,
    /// It was told to wait.
    Paused,
    /// All bytes of a file are here and are being checked and put onto the disk.
    Verifying,
    /// It cannot be done.
    Failed(Arc<Failure>),
}

/// A job as it is shown.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Which.
    pub id: JobId,
    /// What it does.
    pub state: State,
    /// What is here of it, earlier runs with it.
    pub bytes_done: ByteCount,
    /// What it will be; `None` until all sizes are known.
    pub bytes_total: Option<ByteCount>,
    /// How fast it came over the last ten seconds; 0 unless it runs.
    pub bytes_per_second: u64,
    /// How long it will take at that speed; `None` unless it runs, and while that cannot be said.
    pub eta: Option<Duration>,
}

impl JobId {
    /// Wraps a name.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FileWish {
    /// A file whose size and hash nobody knows yet.
    pub fn new(source: Source) -> Self {
        Self { source, sha256: None, size: None }
    }
}
