//! Who may write a file: a lock on a file (flock), as `filelock` takes it for `huggingface_hub`. It goes with whoever held
//! it, however that ended.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// The lock is on this open file.
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock on the file at `path`, which is made if need be with its folder; `None` while another has it.
    pub(crate) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // A file system without locks: what is written gets its name only when its hash is right.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Who held it may have removed or replaced the file meanwhile: then this lock is nobody's.
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let there = fs::metadata(path).ok().map(identity);
        Ok((there == Some(identity(file.metadata()?))).then(|| Self { _file: file, path: path.to_owned() }))
    }

    /// Removes the file, then gives the lock up.
    pub(crate) fn remove(self) {
        // Whoever waits for it sees that it is gone and makes it anew.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/x.lock");
        let first = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(first);
        let second = Lock::try_take(&path).unwrap().unwrap();
        second.remove();
        assert!(!path.exists());
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
