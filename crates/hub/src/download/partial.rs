//! A file that is not whole yet: its first bytes, in order, under another name. How long it is is all that must be known
//! to go on, so a crash at any moment costs what was in memory and no more.
//!
//! It is hashed by reading it again right behind the writing, so that what is checked is what the disk holds, an earlier
//! run's bytes are hashed while the rest comes, and neither waits for the other.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::digest::{Expected, Hasher};
use super::failure::Failure;

/// What is gathered before it is written.
const WRITE: usize = 1 << 20;

/// What is read at once for hashing, and after how much another task may have the thread.
const READ: usize = 1 << 20;
const READ_TURN: u64 = 16 << 20;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: Arc<File>,
    /// What is written.
    length: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    hashing: Option<Hashing>,
    /// `length`, for those who look on.
    shown: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Hashing {
    expected: Expected,
    written: watch::Sender<Written>,
    task: JoinSet<io::Result<String>>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    length: u64,
    is_all: bool,
}

impl Partial {
    /// Goes on with `file`, which is open for reading and writing. `shown` is told its length whenever that changes.
    pub(super) fn new(path: &Path, file: File, shown: Arc<AtomicU64>) -> Result<Self, Failure> {
        let length = file.metadata().map_err(|error| Failure::of_disk(path, error))?.len();
        shown.store(length, Ordering::Relaxed);
        let (path, file) = (path.to_owned(), Arc::new(file));
        Ok(Self { path, file, length, gathered: vec![], gathered_bytes: 0, hashing: None, shown })
    }

    /// What is there, with what is gathered.
    pub(super) fn length(&self) -> u64 {
        self.length + self.gathered_bytes as u64
    }

    /// Begins to hash it.
    pub(super) fn expect(&mut self, expected: Expected) {
        if self.hashing.as_ref().is_none_or(|hashing| hashing.expected != expected) {
            let (written, watched) = watch::channel(Written { length: self.length, is_all: false });
            let mut task = JoinSet::new();
            task.spawn(hash(self.file.clone(), expected.hasher(), watched));
            self.hashing = Some(Hashing { expected, written, task });
        }
    }

    /// Begins to hash it, unless something else was expected before.
    pub(super) fn expect_if_unknown(&mut self, expected: &Expected) {
        if self.hashing.is_none() {
            self.expect(expected.clone());
        }
    }

    /// Puts bytes behind those that are there.
    pub(super) async fn append(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= WRITE { self.flush().await } else { Ok(()) }
    }

    /// Hands what is gathered to the system, which keeps it though this process may die.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let (gathered, mut at) = (std::mem::take(&mut self.gathered), self.length);
        self.gathered_bytes = 0;
        self.on_disk(move |file| {
            for bytes in gathered {
                file.write_all_at(&bytes, at)?;
                at += bytes.len() as u64;
            }
            Ok(at)
        })
        .await
        .map(|length| self.reached(length))
    }

    /// Drops all that is there.
    pub(super) async fn clear(&mut self) -> Result<(), Failure> {
        self.gathered.clear();
        self.gathered_bytes = 0;
        if self.length > 0 {
            self.on_disk(|file| file.set_len(0)).await?;
            self.reached(0);
        }
        if let Some(hashing) = self.hashing.take() {
            self.expect(hashing.expected);
        }
        Ok(())
    }

    /// All is there: waits until the disk has it, and gives what it should hash to and what it does, where that is known.
    pub(super) async fn finish(mut self) -> Result<Option<(Expected, String)>, Failure> {
        self.flush().await?;
        self.on_disk(|file| file.sync_all()).await?;
        let Some(mut hashing) = self.hashing.take() else { return Ok(None) };
        hashing.written.send_replace(Written { length: self.length, is_all: true });
        let lost = || Err(io::Error::other("the hashing ended early"));
        let hashed = hashing.task.join_next().await.and_then(Result::ok).unwrap_or_else(lost);
        let value = hashed.map_err(|error| Failure::of_disk(&self.path, error))?;
        Ok(Some((hashing.expected, value)))
    }

    fn reached(&mut self, length: u64) {
        self.length = length;
        self.shown.store(length, Ordering::Relaxed);
        if let Some(hashing) = &self.hashing {
            hashing.written.send_replace(Written { length, is_all: false });
        }
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let file = self.file.clone();
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        let done = done.unwrap_or_else(|_| Err(io::Error::other("snug is stopping")));
        done.map_err(|error| Failure::of_disk(&self.path, error))
    }
}

/// Hashes a file while it grows, until all is there.
async fn hash(file: Arc<File>, mut hasher: Hasher, mut written: watch::Receiver<Written>) -> io::Result<String> {
    let mut hashed = 0;
    let mut buffer = vec![0; READ];
    loop {
        let Written { length, is_all } = *written.borrow_and_update();
        if hashed < length {
            let (from, to, file) = (hashed, length.min(hashed + READ_TURN), file.clone());
            let turn = tokio::task::spawn_blocking(move || {
                let mut at = from;
                while at < to {
                    let want = usize::try_from(to - at).unwrap_or(READ).min(READ);
                    file.read_exact_at(&mut buffer[..want], at)?;
                    hasher.update(&buffer[..want]);
                    at += want as u64;
                }
                Ok::<_, io::Error>((hasher, buffer))
            });
            (hasher, buffer) = turn.await.map_err(io::Error::other)??;
            hashed = to;
        } else if is_all {
            return Ok(hasher.finish());
        } else if written.changed().await.is_err() {
            return Err(io::Error::new(ErrorKind::Interrupted, "the file was given up"));
        }
    }
}

/// Opens `path` for a download, with the folders on the way to it.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_there_is_hashed_with_what_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/x.partial");
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let sha256 = {
            let mut hasher = Expected::Sha256(String::new()).hasher();
            hasher.update(&bytes);
            hasher.finish()
        };
        let shown = Arc::new(AtomicU64::new(0));
        let begin = || Partial::new(&path, open(&path).unwrap(), shown.clone()).unwrap();
        let mut partial = begin();
        partial.append(Bytes::copy_from_slice(&bytes[..2_000_000])).await.unwrap();
        partial.append(Bytes::copy_from_slice(&bytes[2_000_000..2_000_001])).await.unwrap();
        assert_eq!((partial.length(), shown.load(Ordering::Relaxed)), (2_000_001, 2_000_000));
        // Given up: what was gathered only is lost.
        drop(partial);
        let mut partial = begin();
        assert_eq!(partial.length(), 2_000_000);
        partial.expect(Expected::Sha256(sha256.clone()));
        partial.append(Bytes::copy_from_slice(&bytes[2_000_000..])).await.unwrap();
        let (expected, value) = partial.finish().await.unwrap().unwrap();
        assert_eq!((expected.value(), value.as_str()), (sha256.as_str(), sha256.as_str()));

        // One that begins anew is hashed anew.
        let mut partial = begin();
        partial.expect(Expected::Sha256(sha256.clone()));
        partial.clear().await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        partial.append(Bytes::from(bytes)).await.unwrap();
        assert_eq!(partial.finish().await.unwrap().unwrap().1, sha256);
        assert_eq!(begin().finish().await.unwrap(), None, "nothing is known to compare with");
    }
}
