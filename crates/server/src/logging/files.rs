//! Log files, one a day. A thread of its own writes them: a disk that is full or slow costs lines and never makes
//! anybody wait.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use config::LogFormat;
use jiff::civil::Date;
use jiff::{Timestamp, ZonedDateTime};
use tracing_subscriber::fmt::MakeWriter;

use super::rotation;

/// Lines that may be on their way to the disk; more are lost, and counted.
const WAITING_MAX: usize = 1024;
/// A line is cut at so many bytes: what waits is 16 MiB at most.
const LINE_MAX: usize = 16 << 10;
/// Lines that wait together are written together, about so many bytes at once.
const BATCH: usize = 64 << 10;
/// At the end, what still waits has this long to be written.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Where files go and how many are kept.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) folder: PathBuf,
    pub(super) rotate_hour: u32,
    pub(super) retain: u32,
    pub(super) format: LogFormat,
}

/// The files of a running snug. Dropped, it writes what waits.
pub(super) struct Files {
    lines: Lines,
    /// Closed once the thread has written everything.
    ended: Receiver<()>,
}

impl Files {
    /// Opens today's file and starts the thread.
    ///
    /// # Errors
    /// If the folder cannot be made or the file cannot be opened: told now, while somebody looks.
    pub(super) fn start(settings: Settings) -> anyhow::Result<Self> {
        let folder = settings.folder.clone();
        let context = || format!("logging.directory: cannot write log files to {}", folder.display());
        // Logs are nobody else's business. A folder that is there keeps its mode.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).with_context(context)?;
        let mut daily = Daily { settings, open: None };
        daily.file(&ZonedDateTime::now()).with_context(context)?;
        let (sender, waiting) = sync_channel(WAITING_MAX);
        let (end, ended) = sync_channel(0);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = Writer { daily, lost: Arc::clone(&lost), state: State::Well };
        std::thread::Builder::new().name("log-files".to_owned()).spawn(move || {
            writer.run(&waiting);
            drop(end);
        })?;
        Ok(Self { lines: Lines(Arc::new(Shared { sender: Mutex::new(Some(sender)), lost })), ended })
    }

    /// Where lines are put.
    pub(super) fn lines(&self) -> Lines {
        self.lines.clone()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Without a sender the thread comes to its end; a disk that hangs is not waited for.
        drop(self.lines.0.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ended = self.ended.recv_timeout(LAST_WRITE);
    }
}

/// The way to the thread. Never waits.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    sender: Mutex<Option<SyncSender<Vec<u8>>>>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    fn put(&self, line: &[u8]) {
        let cut = match line.get(..LINE_MAX) {
            Some(begin) => [begin, "…\n".as_bytes()].concat(),
            None => line.to_vec(),
        };
        let sender = self.0.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.as_ref().is_none_or(|sender| sender.try_send(cut).is_err()) {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self)
    }
}

/// Takes one whole line at a time, which is how `tracing-subscriber` writes.
pub(super) struct LineWriter<'a>(&'a Lines);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread's own.
struct Writer {
    daily: Daily,
    lost: Arc<AtomicU64>,
    state: State,
}

enum State {
    Well,
    /// The last write failed, perhaps in the middle of a line.
    Failing,
}

impl Writer {
    /// Writes until nobody can send any more.
    fn run(mut self, waiting: &Receiver<Vec<u8>>) {
        while let Ok(mut batch) = waiting.recv() {
            while batch.len() < BATCH {
                let Ok(line) = waiting.try_recv() else { break };
                batch.extend(line);
            }
            self.write(&batch);
        }
    }

    fn write(&mut self, batch: &[u8]) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut whole = Vec::new();
        if matches!(self.state, State::Failing) {
            whole.push(b'\n');
        }
        if lost > 0 {
            whole.extend(self.lost_lines(lost).into_bytes());
        }
        whole.extend(batch);
        match self.daily.file(&ZonedDateTime::now()).and_then(|file| file.write_all(&whole)) {
            Ok(()) => self.state = State::Well,
            Err(error) => {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.lost.fetch_add(lost + lines as u64, Ordering::Relaxed);
                // Said once, and not for every line that could not be written, of which this would be one.
                if !matches!(std::mem::replace(&mut self.state, State::Failing), State::Failing) {
                    let folder = self.daily.settings.folder.display();
                    tracing::warn!(%error, "cannot write the log file in {folder}; lines are lost until it works again");
                }
            }
        }
    }

    fn lost_lines(&self, lost: u64) -> String {
        let (now, message) = (Timestamp::now(), format!("{lost} lines were lost here: the disk was full or too slow"));
        match self.daily.settings.format {
            LogFormat::Text => format!("{now}  WARN {message}\n"),
            LogFormat::Json => {
                let line = serde_json::json!({ "timestamp": now.to_string(), "level": "WARN", "message": message });
                format!("{line}\n")
            }
        }
    }
}

/// The file of the day.
struct Daily {
    settings: Settings,
    open: Option<(Date, File)>,
}

impl Daily {
    /// The file of this moment. With a new one, old ones go.
    fn file(&mut self, now: &ZonedDateTime) -> io::Result<&mut File> {
        let day = rotation::day(now, self.settings.rotate_hour);
        let open = match self.open.take() {
            Some((opened, file)) if opened == day => (opened, file),
            _ => {
                let path = self.settings.folder.join(rotation::name(day));
                let file = File::options().append(true).create(true).mode(0o600).open(path)?;
                self.remove_surplus();
                (day, file)
            }
        };
        Ok(&mut self.open.insert(open).1)
    }

    /// A file that cannot be removed stays; the next day tries again.
    fn remove_surplus(&self) {
        let Ok(entries) = std::fs::read_dir(&self.settings.folder) else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        for name in rotation::surplus(names, self.settings.retain) {
            let _removed = std::fs::remove_file(self.settings.folder.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &std::path::Path) -> Settings {
        Settings { folder: folder.to_owned(), rotate_hour: 0, retain: 2, format: LogFormat::Text }
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn each_day_has_a_file_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let mut daily = Daily { settings: settings(folder.path()), open: None };
        for (moment, text) in [
            ("2025-01-01T10:00:00+00:00[UTC]", "a"),
            ("2025-01-01T23:59:59+00:00[UTC]", "b"),
            ("2025-01-02T00:00:00+00:00[UTC]", "c"),
            ("2025-01-03T00:00:00+00:00[UTC]", "d"),
        ] {
            daily.file(&moment.parse().unwrap()).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(names(folder.path()), ["notes.txt", "snug-2025-01-02.log", "snug-2025-01-03.log"]);
        // Started again on the same day, it goes on in the same file.
        let mut daily = Daily { settings: settings(folder.path()), open: None };
        daily.file(&"2025-01-03T12:00:00+00:00[UTC]".parse().unwrap()).unwrap().write_all(b"e").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("snug-2025-01-03.log")).unwrap(), "de");
    }

    #[test]
    fn what_waits_is_written_at_the_end_and_long_lines_are_cut() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/logs");
        let files = Files::start(settings(&folder)).unwrap();
        let lines = files.lines();
        lines.make_writer().write_all(b"first\n").unwrap();
        lines.make_writer().write_all(&[b'x'; 2 * LINE_MAX]).unwrap();
        lines.make_writer().write_all(b"last\n").unwrap();
        drop(files);
        let name = names(&folder).pop().unwrap();
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let written: Vec<&str> = text.lines().collect();
        assert_eq!((written.len(), written[0], written[2]), (3, "first", "last"));
        assert_eq!(written[1].len(), LINE_MAX + "…".len());
        for path in [folder.clone(), folder.join(name)] {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
        }
        // Nobody writes any more; nobody minds.
        lines.make_writer().write_all(b"too late\n").unwrap();
    }

    #[test]
    fn lost_lines_are_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let lost = Arc::new(AtomicU64::new(3));
        // A file opened for reading only fails as a full disk does: every write, and nothing else.
        let readable = folder.path().join("readable");
        std::fs::write(&readable, "").unwrap();
        let today = rotation::day(&ZonedDateTime::now(), 0);
        let open = Some((today, File::open(&readable).unwrap()));
        let daily = Daily { settings: settings(folder.path()), open };
        let mut writer = Writer { daily, lost: Arc::clone(&lost), state: State::Well };
        writer.write(b"a\nb\n");
        assert_eq!(lost.load(Ordering::Relaxed), 5);

        writer.daily.open = None;
        writer.write(b"c\n");
        let file = folder.path().join(names(folder.path()).pop().unwrap());
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with(" WARN 5 lines were lost here: the disk was full or too slow"), "{text}");
        assert_eq!((lines[0], lines[2], lost.load(Ordering::Relaxed)), ("", "c", 0));
    }

    #[test]
    fn a_folder_that_cannot_be_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Files::start(settings(&file.join("logs"))).err().expect("a file is no folder");
        assert!(error.to_string().starts_with("logging.directory: cannot write log files to "), "{error}");
    }
}
