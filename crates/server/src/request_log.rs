//! The request log (`[request_log]`, off by default): a JSON line for each finished request, in a file of its own.
//!
//! Lines wait in a queue that is bounded in number and bytes; a task writes what has gathered. Where they come faster than
//! the disk takes them, or it takes none, they are lost and counted. Nobody who serves waits.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use gateway::Finished;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What is kept of each body, bytes.
pub(crate) const BODY_MAX: usize = 64 << 10;
/// What may wait for the disk: lines, and their bytes.
const LINES_MAX: usize = 8192;
const BYTES_MAX: usize = 32 << 20;
/// For so long lines are gathered.
const GATHERED: Duration = Duration::from_millis(500);

/// Where lines go.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) file: PathBuf,
    /// The file is begun anew before it grows beyond this.
    pub(crate) bytes_max: u64,
}

/// One request.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<i64>,
    endpoint: &'a str,
    model: Option<&'a str>,
    /// Who answered: the model with its variant, and its instance or provider.
    target: Option<String>,
    instance: Option<&'a str>,
    status: Option<u16>,
    outcome: &'a str,
    stream: bool,
    prompt_tokens: u64,
    completion_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    first_piece_ms: f64,
    total_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
}

/// The line of a request that ended at `time`, with its end.
fn line(finished: &Finished, time: Timestamp) -> Vec<u8> {
    let Finished { by, status, usage, bodies, .. } = finished;
    let millis = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let line = Line {
        time: time.to_string(),
        request_id: finished.id.as_str(),
        key_id: finished.caller.key_id().map(types::KeyId::as_i64),
        endpoint: finished.endpoint,
        model: finished.model.as_deref(),
        target: by.as_ref().map(|by| by.model.to_string()),
        instance: by.as_ref().map(|by| by.instance.as_str()),
        status: status.map(|status| status.as_u16()),
        outcome: finished.outcome.label(),
        stream: finished.is_stream,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        cached_tokens: usage.cached_tokens,
        first_piece_ms: millis(finished.first_piece),
        total_ms: millis(finished.total),
        request: bodies.as_ref().map(|bodies| text(&bodies.asked)),
        response: bodies.as_ref().map(|bodies| text(&bodies.answered)),
    };
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Opens the file and begins to write, in a task of `tracker` until `stop`; what came before is written then.
///
/// # Errors
/// If the file cannot be opened: told now, while somebody looks.
pub(crate) fn start(settings: Settings, tracker: &TaskTracker, stop: CancellationToken) -> anyhow::Result<Handle> {
    let context = || format!("request_log.file: cannot write {}", settings.file.display());
    if let Some(folder) = settings.file.parent() {
        // What was asked is nobody else's business. A folder that is there keeps its mode.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(context)?;
    }
    let open = Open::at(&settings.file).with_context(context)?;
    let handle = Handle(Arc::default());
    let writer = Writer { settings, open: Some(open), has_failed: false };
    tracker.spawn(write(Arc::clone(&handle.0), writer, stop));
    Ok(handle)
}

/// A cheap way to have requests written down.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something came where nothing waited.
    news: Notify,
    written: AtomicU64,
    lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Handle {
    /// A request has ended just now. Never waits.
    pub(crate) fn finished(&self, finished: &Finished) {
        self.put(line(finished, Timestamp::now()));
    }

    /// Lines that are written, and lines that are lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.0.written.load(Ordering::Relaxed), self.0.lost.load(Ordering::Relaxed))
    }

    fn put(&self, line: Vec<u8>) {
        let mut waiting = self.0.waiting();
        if waiting.lines.len() >= LINES_MAX || waiting.bytes + line.len() > BYTES_MAX {
            drop(waiting);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.lines.is_empty();
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        drop(waiting);
        // Whoever serves wakes the task once for all that come until it looks.
        if is_first {
            self.0.news.notify_one();
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A queue is whole even if a thread panicked beside it; a sum that is off is mended when it is emptied.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(shared: Arc<Shared>, mut writer: Writer, stop: CancellationToken) {
    loop {
        // Each arm waits for a stored permit or a timer: nothing is lost when another is taken.
        tokio::select! {
            () = stop.cancelled() => {}
            () = shared.news.notified() => tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(GATHERED) => {}
            },
        }
        let is_last = stop.is_cancelled();
        let lines = std::mem::take(&mut *shared.waiting()).lines;
        let count = lines.len() as u64;
        let written = tokio::task::spawn_blocking(move || {
            let written = writer.write(lines);
            (writer, written)
        });
        let Ok((back, written)) = written.await else { return };
        writer = back;
        shared.written.fetch_add(written, Ordering::Relaxed);
        shared.lost.fetch_add(count - written, Ordering::Relaxed);
        if is_last {
            return;
        }
    }
}

/// The file that is written to.
struct Open {
    file: File,
    size: u64,
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

struct Writer {
    settings: Settings,
    /// `None` after a failure; it is tried again with the next lines.
    open: Option<Open>,
    /// Whether the last lines were lost, so that a disk that stays full is told of once.
    has_failed: bool,
}

impl Writer {
    /// Writes lines; answers how many there are now on the disk.
    fn write(&mut self, lines: VecDeque<Vec<u8>>) -> u64 {
        let mut written = 0;
        for line in lines {
            match self.write_one(&line) {
                Ok(()) => {
                    written += 1;
                    if std::mem::replace(&mut self.has_failed, false) {
                        tracing::info!("the request log is written again");
                    }
                }
                Err(error) => {
                    self.open = None;
                    if !std::mem::replace(&mut self.has_failed, true) {
                        let file = self.settings.file.display();
                        tracing::warn!(%error, %file, "cannot write the request log; requests are not in it until it can");
                    }
                }
            }
        }
        written
    }

    fn write_one(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.open.as_ref().is_some_and(|open| open.size > 0 && open.size + length > self.settings.bytes_max) {
            self.open = None;
            std::fs::rename(&self.settings.file, older(&self.settings.file))?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::at(&self.settings.file)?),
        };
        open.file.write_all(line)?;
        open.size += length;
        Ok(())
    }
}

/// Where the lines go that came before.
fn older(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use types::{InstanceId, ModelId, ModelKey, Variant};

    use super::*;

    fn finished() -> Finished {
        Finished {
            id: gateway::RequestId::of(&http::HeaderMap::new()),
            endpoint: "chat_completions",
            model: Some("assistant".to_owned()),
            by: Some(gateway::By {
                instance: InstanceId::new("i-1"),
                model: ModelKey { id: ModelId::new("m"), variant: Variant::new("Q8_0") },
            }),
            caller: keys::Caller::anybody(),
            outcome: gateway::Outcome::Success,
            status: Some(http::StatusCode::OK),
            usage: gateway::Usage { prompt_tokens: 31, completion_tokens: 4, ..gateway::Usage::default() },
            is_stream: true,
            first_piece: Duration::from_millis(250),
            total: Duration::from_millis(1500),
            traceparent: None,
            bodies: None,
        }
    }

    #[test]
    fn a_line_says_what_happened() {
        let finished = finished();
        let time: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let told = |finished: &Finished| -> serde_json::Value {
            let line = line(finished, time);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            serde_json::from_slice(&line).unwrap()
        };
        let mut expected = json!({
            "time": "2026-01-02T03:04:05Z", "request_id": finished.id.as_str(),
            "endpoint": "chat_completions", "model": "assistant", "target": "m:Q8_0", "instance": "i-1", "status": 200,
            "outcome": "2xx", "stream": true, "prompt_tokens": 31, "completion_tokens": 4, "first_piece_ms": 250.0,
            "total_ms": 1500.0,
        });
        assert_eq!(told(&finished), expected);
        let bodies = gateway::Bodies { asked: b"{\n\xff}".to_vec(), answered: b"data: x\n\n".to_vec() };
        expected["request"] = "{\n\u{fffd}}".into();
        expected["response"] = "data: x\n\n".into();
        assert_eq!(told(&Finished { bodies: Some(Box::new(bodies)), ..finished }), expected);
    }

    #[tokio::test]
    async fn lines_are_written_and_the_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/requests.jsonl");
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let handle = start(Settings { file: file.clone(), bytes_max: 1000 }, &tracker, stop.clone()).unwrap();
        let lines: Vec<Vec<u8>> =
            (0..25_u8).map(|number| [[b'a' + number; 99], [b'\n'; 99]].concat()[..100].to_vec()).collect();
        for line in &lines {
            handle.put(line.clone());
        }
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_eq!(handle.counts(), (25, 0));
        assert_eq!(std::fs::read(&file).unwrap(), lines[20..].concat());
        assert_eq!(std::fs::read(older(&file)).unwrap(), lines[10..20].concat());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_lost_and_counted() {
        // What nobody empties has an end, in lines and in bytes.
        let full = Handle(Arc::default());
        (0..LINES_MAX + 5).for_each(|_| full.put(b"x\n".to_vec()));
        assert_eq!(full.counts(), (0, 5));
        let full = Handle(Arc::default());
        (0..5).for_each(|_| full.put(vec![b'x'; BYTES_MAX / 4]));
        assert_eq!(full.counts(), (0, 1));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gone/requests.jsonl");
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let handle = start(Settings { file, bytes_max: 10 }, &tracker, stop.clone()).unwrap();
        std::fs::remove_dir_all(folder.path().join("gone")).unwrap();
        // The first goes to the file that was open; the second needs another, where no folder is.
        handle.put(vec![b'x'; 9]);
        handle.put(vec![b'y'; 9]);
        stop.cancel();
        tracker.close();
        tracker.wait().await;
        assert_eq!(handle.counts(), (1, 1));
    }
}
