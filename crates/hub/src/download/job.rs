//! What is wished for, and what is shown of it.

use std::fmt;
use std::path::{Component, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use types::ByteCount;

use super::Failure;
use crate::cache;
use crate::model::is_id;

/// Files of one job; the largest models have some two hundred.
const FILES_MAX: usize = 1000;

/// What a job is called; the caller chooses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

/// One job of all that had the same id. Later ones are greater; the numbers begin anew when snug is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub(super) u64);

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

impl JobView {
    /// Whether both show the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let state = |view: &Self| std::mem::discriminant(&view.state);
        let figures = |view: &Self| (view.bytes_done, view.bytes_total, view.bytes_per_second, view.eta);
        self.id == other.id && state(self) == state(other) && figures(self) == figures(other)
    }
}

impl Job {
    /// Whether it can be done at all: each name and address is one, and none leads out of its folder.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.files.is_empty() || self.files.len() > FILES_MAX {
            return Err(format!("a download has 1 to {FILES_MAX} files, not {}", self.files.len()));
        }
        self.files.iter().try_for_each(FileWish::check)
    }
}

impl FileWish {
    /// A file whose size and hash nobody knows yet.
    pub fn new(source: Source) -> Self {
        Self { source, sha256: None, size: None }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(sha256) = self.sha256.as_ref().filter(|text| text.len() != 64 || !cache::is_hex(text)) {
            return Err(format!("{sha256:?} is no sha256: 64 digits of 0-9 and a-f are meant"));
        }
        match &self.source {
            Source::Hub { repository, revision, path } => {
                let wrong = |what: &str, text: &str| Err(format!("{text:?} is no {what} of a repository on the hub"));
                match () {
                    () if !is_id(repository) => {
                        Err(format!("{repository:?} is not the id of a repository: OWNER/NAME is meant"))
                    }
                    () if !cache::is_revision(revision) => wrong("revision", revision),
                    () if !cache::is_path(path) => wrong("file", path),
                    () => Ok(()),
                }
            }
            Source::Url { url, to } => {
                let is_address = reqwest::Url::parse(url)
                    .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
                if !is_address {
                    return Err(format!("{url:?} is not an http or https address"));
                }
                let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_) | Component::Prefix(_));
                if !to.is_absolute() || !to.components().all(is_plain) || to.file_name().is_none() {
                    return Err(format!("{} is not the whole path of a file", to.display()));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_wish() {
        let hub = |repository: &str, revision: &str, path: &str| Source::Hub {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            path: path.to_owned(),
        };
        let url = |url: &str, to: &str| Source::Url { url: url.to_owned(), to: to.into() };
        let check = |source: Source, expected: &str| {
            let shown = format!("{source:?}");
            let job = Job { id: JobId::new("x"), files: vec![FileWish::new(source)] };
            let reason = job.check().err().unwrap_or_default();
            assert!(
                if expected.is_empty() { reason.is_empty() } else { reason.contains(expected) },
                "{shown}: {reason}"
            );
        };
        check(hub("a/b", "main", "c/d.gguf"), "");
        check(hub("a/b", "refs/pr/1", "d.gguf"), "");
        check(hub("../b", "main", "d"), "OWNER/NAME is meant");
        check(hub("a/b", "../..", "d"), "no revision");
        check(hub("a/b", "main", "../../x"), "no file");
        check(hub("a/b", "main", "/etc/passwd"), "no file");
        check(url("https://h/x", "/m/x.gguf"), "");
        check(url("ftp://h/x", "/m/x.gguf"), "http or https");
        check(url("x.gguf", "/m/x.gguf"), "http or https");
        check(url("https://h/x", "x.gguf"), "whole path");
        check(url("https://h/x", "/m/../x.gguf"), "whole path");
        check(url("https://h/x", "/"), "whole path");
        assert!(Job { id: JobId::new("x"), files: vec![] }.check().is_err());
        let wish = FileWish { sha256: Some("abc".to_owned()), ..FileWish::new(hub("a/b", "main", "d")) };
        assert!(Job { id: JobId::new("x"), files: vec![wish] }.check().unwrap_err().contains("no sha256"));
    }
}
