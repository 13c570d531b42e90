//! An engine's log: a file that the engine itself appends to, followed as it grows, cut when it is large.
//!
//! The engine writes to the file, not into a pipe to us: it must be able to go on writing when snug is gone. Rotation is
//! therefore "copy the old text beside it and cut the file to nothing"; the engine's descriptor is in append mode and goes
//! on at the new end. A full disk costs log lines, never the engine.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::Watcher;
use tokio::sync::Notify;
use types::ByteCount;

/// A line without an end is taken as one after this many bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How much is read in one go; a flood is read in several.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Tells when log files in one folder grow. Cheap to clone; one watch serves all engines.
#[derive(Clone)]
pub struct LogWatch(Option<Arc<Watching>>);

struct Watching {
    listeners: Arc<Mutex<HashMap<PathBuf, Arc<Notify>>>>,
    _watcher: Mutex<notify::RecommendedWatcher>,
}

impl LogWatch {
    /// Watches `folder`. Where the system cannot (no inotify handles left), readers fall back to looking now and then.
    pub fn new(folder: &Path) -> Self {
        Self(Watching::new(folder).map(Arc::new).inspect_err(|error| tracing::warn!(%error, "cannot watch logs")).ok())
    }

    /// Something to await for growth of `path`, while the guard lives.
    fn listen(&self, path: &Path) -> Listener {
        let grown = Arc::new(Notify::new());
        if let Some(watching) = &self.0 {
            let mut listeners = watching.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.insert(path.to_owned(), Arc::clone(&grown));
        }
        Listener { watch: self.clone(), path: path.to_owned(), grown }
    }
}

impl Watching {
    fn new(folder: &Path) -> notify::Result<Self> {
        let listeners: Arc<Mutex<HashMap<PathBuf, Arc<Notify>>>> = Arc::default();
        let heard = Arc::clone(&listeners);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            let listeners = heard.lock().unwrap_or_else(PoisonError::into_inner);
            for path in &event.paths {
                if let Some(grown) = listeners.get(path) {
                    grown.notify_one();
                }
            }
        })?;
        watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
        Ok(Self { listeners, _watcher: Mutex::new(watcher) })
    }
}

struct Listener {
    watch: LogWatch,
    path: PathBuf,
    grown: Arc<Notify>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(watching) = &self.watch.0 {
            watching.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
        }
    }
}

/// One engine's log file.
pub(crate) struct LogFile {
    path: PathBuf,
    reader: File,
    /// Bytes read so far.
    offset: u64,
    /// The beginning of a line whose end was not written yet.
    partial: Vec<u8>,
    size_max: ByteCount,
    listener: Option<Listener>,
    watch: LogWatch,
}

impl LogFile {
    /// Opens (or makes) the log at `path` and returns it with a handle for the engine to write to. Reading starts at
    /// the file's present end.
    pub(crate) fn open(path: &Path, size_max: ByteCount, watch: &LogWatch) -> io::Result<(Self, File)> {
        let writer = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let reader = File::open(path)?;
        let offset = reader.metadata()?.len();
        let log = Self {
            path: path.to_owned(),
            reader,
            offset,
            partial: Vec::new(),
            size_max,
            listener: None,
            watch: watch.clone(),
        };
        Ok((log, writer))
    }

    /// Starts to be told of growth.
    pub(crate) fn follow(&mut self) {
        self.listener = Some(self.watch.listen(&self.path));
    }

    /// Stops to be told: a serving engine writes lines that nobody needs at once.
    pub(crate) fn unfollow(&mut self) {
        self.listener = None;
    }

    /// Waits until the file has grown; for ever unless following. Cancel-safe: a growth that was told stays told.
    pub(crate) async fn grown(&self) {
        match &self.listener {
            Some(listener) => listener.grown.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Calls `each` for every line that was completed since the last call and before this one: an engine that writes
    /// faster than we read does not keep us here.
    pub(crate) fn read_lines(&mut self, mut each: impl FnMut(&str)) -> io::Result<()> {
        let end = self.reader.metadata()?.len();
        if end < self.offset {
            // Somebody else cut the file.
            self.offset = 0;
            self.partial.clear();
        }
        while self.offset < end {
            self.reader.seek(SeekFrom::Start(self.offset))?;
            let mut fresh = Vec::new();
            let count = (&mut self.reader).take(READ_BYTES_MAX).read_to_end(&mut fresh)?;
            if count == 0 {
                break;
            }
            self.offset += count as u64;
            for piece in fresh.split_inclusive(|&byte| byte == b'\n') {
                self.partial.extend_from_slice(piece);
                if piece.ends_with(b"\n") || self.partial.len() >= LINE_BYTES_MAX {
                    each(String::from_utf8_lossy(&self.partial).trim_end());
                    self.partial.clear();
                }
            }
        }
        Ok(())
    }

    /// If the file is too large, keeps its text beside it (one generation) and cuts it. Lines not read yet are lost to
    /// [`Self::read_lines`], not to the copy.
    pub(crate) fn rotate_if_large(&mut self) -> io::Result<()> {
        if self.reader.metadata()?.len() <= self.size_max.as_u64() {
            return Ok(());
        }
        let older = older(&self.path);
        if let Err(error) = std::fs::copy(&self.path, &older) {
            // Most likely the disk is full; then making room matters more than old lines.
            tracing::warn!(log.path = %self.path.display(), %error, "could not keep the older log, cutting it");
            let _gone = std::fs::remove_file(&older);
        }
        OpenOptions::new().write(true).open(&self.path)?.set_len(0)?;
        self.offset = 0;
        self.partial.clear();
        Ok(())
    }

    /// Ends a line that never got its end, and gives it to `each`.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(&str)) {
        let _unreadable = self.read_lines(&mut each);
        if !self.partial.is_empty() {
            each(String::from_utf8_lossy(&self.partial).trim_end());
            self.partial.clear();
        }
    }
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn lines(log: &mut LogFile) -> Vec<String> {
        let mut lines = vec![];
        log.read_lines(|line| lines.push(line.to_owned())).unwrap();
        lines
    }

    #[tokio::test]
    async fn growth_is_told_and_lines_come_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        let (mut log, mut engine) = LogFile::open(&path, ByteCount::mib(1), &LogWatch::new(folder.path())).unwrap();
        log.follow();
        engine.write_all(b"one\ntw").unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(10), log.grown()).await.unwrap();
        assert_eq!(lines(&mut log), ["one"]);
        engine.write_all(b"o\n\xff\n").unwrap();
        assert_eq!(lines(&mut log), ["two", "\u{fffd}"]);
    }

    #[test]
    fn a_flood_is_read_as_far_as_it_had_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        let (mut log, mut engine) = LogFile::open(&path, ByteCount::mib(8), &LogWatch(None)).unwrap();
        engine.write_all(b"first\n").unwrap();
        let mut count = 0;
        log.read_lines(|_| {
            count += 1;
            assert!(count < 1000, "it would never come back");
            engine.write_all(b"another\n").unwrap();
        })
        .unwrap();
        assert!(!lines(&mut log).is_empty(), "what came meanwhile is there the next time");
    }

    #[test]
    fn a_large_log_is_kept_beside_and_cut_under_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        let (mut log, mut engine) = LogFile::open(&path, ByteCount::bytes(10), &LogWatch(None)).unwrap();
        engine.write_all(b"more than ten bytes\n").unwrap();
        assert_eq!(lines(&mut log), ["more than ten bytes"]);
        log.rotate_if_large().unwrap();
        engine.write_all(b"fresh\n").unwrap();
        assert_eq!(lines(&mut log), ["fresh"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "fresh\n");
        assert_eq!(std::fs::read_to_string(older(&path)).unwrap(), "more than ten bytes\n");
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.log");
        let (mut log, mut engine) = LogFile::open(&path, ByteCount::mib(8), &LogWatch(None)).unwrap();
        engine.write_all(&vec![b'x'; 3 << 20]).unwrap();
        let mut longest = 0;
        log.read_lines(|line| longest = longest.max(line.len())).unwrap();
        assert!(longest >= LINE_BYTES_MAX && log.partial.len() < 3 << 20);
    }
}
