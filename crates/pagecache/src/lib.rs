//! Keeps files in RAM: their pages stay locked in the page cache, so that whoever reads them next need not wait for a disk.
//!
//! Owns the locking and how much of it is real. Files are mapped, never read through the mapping: somebody else may change
//! or cut them, and pages that are gone then are only less kept. Where the system does not let us lock, the files are read
//! once instead; they stay as long as nobody else wants the memory, and [`Kept::note`] says so.
//!
//! Everything here blocks, on the disk for as long as the files take to be read.

mod measure;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use types::ByteCount;

/// So much is locked at once: a wish that is withdrawn waits for no more than this.
const CHUNK: u64 = 256 << 20;
/// So much is read at once where nothing may be locked.
const READ: usize = 1 << 20;

/// Files that stay in RAM until this is dropped. Dropping it takes a while for large files: it is for a thread that may
/// block.
#[derive(Debug)]
pub struct Kept {
    /// Their pages are locked while these live; none where the system did not let us.
    _maps: Vec<MmapRaw>,
    bytes: ByteCount,
    locked: ByteCount,
    note: Option<String>,
}

/// How far [`Kept::keep`] is, and whether it is still wanted. Shared with the thread that works.
#[derive(Debug, Default)]
pub struct Progress {
    unwanted: AtomicBool,
    locked: AtomicU64,
}

/// Why files are not kept in RAM.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be opened, mapped or read.
    #[error("cannot keep {} in RAM", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// [`Progress::cancel`] was called.
    #[error("it is no longer wanted in RAM")]
    Unwanted,
}

impl Kept {
    /// Brings these files into RAM and locks them there. Blocks until they are, or until `progress` is cancelled, which is
    /// looked at every 256 MiB.
    ///
    /// # Errors
    /// If a file cannot be opened, or it is not wanted any more. That the system does not let us lock is no error; see
    /// [`Self::note`].
    pub fn keep(files: &[PathBuf], progress: &Progress) -> Result<Self, Error> {
        let files: Vec<(&Path, File, u64)> = files.iter().map(|path| open(path)).collect::<Result<_, _>>()?;
        let bytes = ByteCount::bytes(files.iter().map(|(_, _, length)| length).sum());
        raise_limit();
        match lock(&files, progress)? {
            Ok(maps) => {
                let locked = measure::locked(&maps).map_or(bytes, |measured| measured.min(bytes));
                progress.locked.store(locked.as_u64(), Ordering::Relaxed);
                Ok(Self { _maps: maps, bytes, locked, note: None })
            }
            Err(refused) => {
                progress.locked.store(0, Ordering::Relaxed);
                read(&files, progress)?;
                Ok(Self { _maps: vec![], bytes, locked: ByteCount::ZERO, note: Some(advice(&refused)) })
            }
        }
    }

    /// The files' length together.
    pub const fn bytes(&self) -> ByteCount {
        self.bytes
    }

    /// How much of that nobody can take away: as the kernel counts it on Linux, elsewhere what it accepted to lock.
    pub const fn locked(&self) -> ByteCount {
        self.locked
    }

    /// Why nothing is locked and what helps, if nothing is: the files were read and stay only until others want the memory.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

impl Progress {
    /// The files are not wanted any more. What works on them ends soon.
    pub fn cancel(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    /// How much is locked by now.
    pub fn locked(&self) -> ByteCount {
        ByteCount::bytes(self.locked.load(Ordering::Relaxed))
    }

    fn check(&self) -> Result<(), Error> {
        if self.unwanted.load(Ordering::Relaxed) { Err(Error::Unwanted) } else { Ok(()) }
    }
}

fn open(path: &Path) -> Result<(&Path, File, u64), Error> {
    let failed = |error| Error::File { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    Ok((path, file, length))
}

/// Maps and locks all files, or nothing: the inner error is the system's refusal.
fn lock(files: &[(&Path, File, u64)], progress: &Progress) -> Result<io::Result<Vec<MmapRaw>>, Error> {
    let mut maps = Vec::new();
    for (path, file, length) in files {
        let failed = |error| Error::File { path: (*path).to_owned(), error };
        for offset in (0..*length).step_by(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
            progress.check()?;
            let chunk = CHUNK.min(length - offset);
            let chunk_length = usize::try_from(chunk).map_err(|error| failed(io::Error::other(error)))?;
            let map = MmapOptions::new().offset(offset).len(chunk_length).map_raw_read_only(file).map_err(failed)?;
            if let Err(refused) = map.lock() {
                return Ok(Err(refused));
            }
            maps.push(map);
            progress.locked.fetch_add(chunk, Ordering::Relaxed);
        }
    }
    Ok(Ok(maps))
}

/// Reads all files once, so that their pages are in the page cache for now. To advise the kernel of the wish is not enough:
/// it takes no more of it than one read-ahead.
fn read(files: &[(&Path, File, u64)], progress: &Progress) -> Result<(), Error> {
    let mut buffer = vec![0; READ];
    for (path, file, _) in files {
        let mut offset = 0;
        loop {
            progress.check()?;
            match file.read_at(&mut buffer, offset) {
                Ok(0) => break,
                Ok(count) => offset += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::File { path: (*path).to_owned(), error }),
            }
        }
    }
    Ok(())
}

/// Allows us what the system would allow us if we asked.
fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Memlock);
    if current != maximum {
        // Without it we lock as much as we may.
        let _refused = setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    }
}

fn advice(refused: &io::Error) -> String {
    let limit = match getrlimit(Resource::Memlock).current {
        Some(bytes) => format!("this process may lock {}", ByteCount::bytes(bytes)),
        None => "this process may lock as much as it likes".to_owned(),
    };
    format!(
        "not locked, only read: the system refused ({refused}; {limit}); raise RLIMIT_MEMLOCK for it (`ulimit -l unlimited`, \
         or LimitMEMLOCK=infinity in a systemd unit), else others may take the memory"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, mib: usize) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, vec![7; mib << 20]).unwrap();
        path
    }

    #[test]
    fn what_is_kept_is_locked_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = [file(&folder, "a", 3), file(&folder, "b", 1), file(&folder, "empty", 0)];
        let progress = Progress::default();
        let kept = Kept::keep(&files, &progress).unwrap();
        assert_eq!(kept.bytes(), ByteCount::mib(4));
        match kept.note() {
            None => assert_eq!((kept.locked(), progress.locked()), (ByteCount::mib(4), ByteCount::mib(4))),
            Some(note) => {
                assert!(note.contains("RLIMIT_MEMLOCK"), "{note}");
                assert_eq!(kept.locked(), ByteCount::ZERO);
            }
        }
    }

    #[test]
    fn what_is_unwanted_or_missing_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let progress = Progress::default();
        let missing = Kept::keep(&[folder.path().join("none")], &progress).unwrap_err();
        assert!(matches!(&missing, Error::File { path, .. } if path.ends_with("none")), "{missing:?}");
        progress.cancel();
        let files = [file(&folder, "a", 1)];
        assert!(matches!(Kept::keep(&files, &progress), Err(Error::Unwanted)));
    }

    #[test]
    fn what_cannot_be_locked_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let files = [file(&folder, "a", 3)];
        let opened = [open(&files[0]).unwrap()];
        read(&opened, &Progress::default()).unwrap();
        let note = advice(&io::Error::from_raw_os_error(12));
        assert!(note.contains("LimitMEMLOCK") && note.contains("only read"), "{note}");
    }
}
