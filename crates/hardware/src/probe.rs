//! The one seam to the machine: files below a root, programs on a path, NVIDIA's library. Everything read through it
//! is bounded in size and time, and remembered for `snug doctor`. It does not know what any of it means.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use tokio::io::AsyncReadExt;

use crate::nvidia::nvml;
use crate::{Note, Ram};

/// A file or a program's output is read up to here: many times what any of them says.
const READ_MAX: u64 = 1 << 20;
/// Of what was read, this much is remembered.
const RECORD_MAX: usize = 4 << 10;
/// So many readings are remembered per door; the oldest go first.
const RECORDS_MAX: usize = 200;

/// Where and how to look at a machine.
#[derive(Clone)]
pub struct Doors {
    /// Files are read below this folder. Default: `/`.
    pub root: PathBuf,
    /// Folders in which programs are looked for, as in `PATH`. Default: this process's `PATH`, then where vendors
    /// install their programs.
    pub path: OsString,
    /// Which kind of system it is: decides which doors there are.
    pub os: Os,
    /// Longest that one program may take. Default: 2 s; Python programs on cold disks take more than one.
    pub program_time: Duration,
    /// Longest that a whole detection may take; what has not answered by then is a note. Default: 5 s.
    pub time: Duration,
    /// Variables by which somebody hides devices from engines, with their values. Default: those of this process.
    pub visibility: Vec<(&'static str, String)>,
    pub(crate) nvml: Arc<dyn nvml::Nvml>,
}

/// The variables that `Doors::visibility` is about.
const VISIBILITY: [&str; 5] = [
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "ONEAPI_DEVICE_SELECTOR",
    "ASCEND_RT_VISIBLE_DEVICES",
];

impl Doors {
    /// Those of this machine.
    pub fn here() -> Self {
        let mut path = std::env::var_os("PATH").unwrap_or_default();
        // A service's PATH is short; vendors install elsewhere.
        path.push(":/usr/bin:/usr/sbin:/sbin:/bin:/opt/rocm/bin:/usr/local/sbin:/usr/local/bin:/usr/lib/wsl/lib");
        let os = if cfg!(target_os = "macos") { Os::MacOs } else { Os::Linux };
        Self {
            root: PathBuf::from("/"),
            path,
            os,
            program_time: Duration::from_secs(2),
            time: Duration::from_secs(5),
            visibility: VISIBILITY.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect(),
            nvml: Arc::new(nvml::Library::default()),
        }
    }
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").field("root", &self.root).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The kinds of system that snug knows how to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Os {
    /// Linux.
    Linux,
    /// macOS.
    MacOs,
}

impl Os {
    /// As the fit API names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::MacOs => "macos",
        }
    }
}

/// One reading, for `snug doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// What was asked: a path, a command line, a library.
    pub asked: String,
    /// What it said, shortened to 4 KiB; or why it said nothing.
    pub answer: String,
}

/// Why a program said nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RunError {
    #[error("is not installed")]
    NotInstalled,
    #[error("cannot be started: {0}")]
    NotStarted(String),
    #[error("did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("failed ({status}): {text}")]
    Failed { status: String, text: String },
}

/// One look through the doors: reads, and remembers what it read and what it has to say about it.
pub(crate) struct Probe {
    doors: Doors,
    /// System memory, which unified devices compute out of.
    pub(crate) ram: Ram,
    pub(crate) notes: Vec<Note>,
    records: VecDeque<Record>,
    /// By when it should be over.
    end: Instant,
}

impl Probe {
    pub(crate) fn new(doors: &Doors, ram: Ram, end: Instant) -> Self {
        Self { doors: doors.clone(), ram, notes: vec![], records: VecDeque::new(), end }
    }

    pub(crate) fn into_parts(self) -> (Vec<Note>, Vec<Record>) {
        (self.notes, self.records.into())
    }

    pub(crate) fn note(&mut self, about: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) {
        self.notes.push(Note::new(about, text, hint));
    }

    pub(crate) fn record(&mut self, asked: impl Into<String>, answer: &str) {
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(Record { asked: asked.into(), answer: shorten(answer) });
    }

    /// A file's text without the space around it; `None` if it is not there, cannot be read, or is empty. `path` is
    /// relative to the root.
    pub(crate) fn text(&mut self, path: impl AsRef<Path>) -> Option<String> {
        let path = path.as_ref();
        let read = read_text(&self.doors.root.join(path));
        match &read {
            Ok(text) => self.record(format!("/{}", path.display()), text),
            // Most files that are asked for are not there, on most machines.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.record(format!("/{}", path.display()), &format!("cannot be read: {error}")),
        }
        read.ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// [`Self::text`], not remembered: for what is asked of every device of a bus.
    pub(crate) fn peek(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = read_text(&self.doors.root.join(path)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A file's number, decimal or `0x…`; `None` also if it is no number.
    pub(crate) fn number(&mut self, path: impl AsRef<Path>) -> Option<u64> {
        let text = self.text(path)?;
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())
    }

    /// Names in a folder, sorted; none if it cannot be read.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.doors.root.join(path)) else { return vec![] };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.doors.root.join(path).exists()
    }

    /// Whether this process may use a device's file.
    pub(crate) fn may_open(&self, path: impl AsRef<Path>) -> bool {
        use rustix::fs::{Access, access};
        access(self.doors.root.join(path), Access::READ_OK | Access::WRITE_OK).is_ok()
    }

    /// Where a link leads, below the root.
    pub(crate) fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = std::fs::read_link(self.doors.root.join(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// What a program prints. It gets no input and its own process group, which is killed when its time is over.
    pub(crate) fn run(&mut self, program: &str, arguments: &[&str]) -> Result<String, RunError> {
        let time = self.doors.program_time.min(self.end.saturating_duration_since(Instant::now()));
        let result = run(&self.doors, time, program, arguments);
        let command = [&[program], arguments].concat().join(" ");
        match &result {
            Ok(text) => self.record(command, text),
            Err(error) => self.record(command, &error.to_string()),
        }
        result
    }

    /// The same, where a program that is there and fails is worth a note.
    pub(crate) fn run_noting(&mut self, program: &str, arguments: &[&str], hint: &str) -> Option<String> {
        match self.run(program, arguments) {
            Ok(text) => Some(text),
            Err(RunError::NotInstalled) => None,
            Err(error) => {
                self.note(program, error.to_string(), hint);
                None
            }
        }
    }

    pub(crate) fn nvml(&mut self) -> Result<nvml::Answer, nvml::Absent> {
        let answer = self.doors.nvml.ask();
        let text = match &answer {
            Ok(answer) => serde_json::to_string(answer).unwrap_or_default(),
            Err(absent) => absent.to_string(),
        };
        self.record("NVML (libnvidia-ml.so.1)", &text);
        answer
    }
}

pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    // Opening a pipe or a device could keep us waiting for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("is not a plain file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Blocks for `time` at most. Must not be called from within an async runtime.
fn run(doors: &Doors, time: Duration, program: &str, arguments: &[&str]) -> Result<String, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunError::NotStarted(error.to_string()))?;
    runtime.block_on(async {
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env("PATH", &doors.path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => RunError::NotInstalled,
                _ => RunError::NotStarted(error.to_string()),
            })?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let stdout = child.stdout.take().expect("stdout was asked to be piped");
        let stderr = child.stderr.take().expect("stderr was asked to be piped");
        let (mut text, mut complaint) = (Vec::new(), Vec::new());
        // What is beyond the limit stays in the pipe; a program that insists on writing it runs out of time.
        let mut stdout = stdout.take(READ_MAX);
        let mut stderr = stderr.take(READ_MAX);
        let finished = tokio::time::timeout(time, async {
            // A pipe that breaks ends the text: what was read until then counts.
            let _ = tokio::join!(stdout.read_to_end(&mut text), stderr.read_to_end(&mut complaint));
            child.wait().await
        })
        .await;
        match finished {
            Ok(Ok(status)) if status.success() => Ok(String::from_utf8_lossy(&text).into_owned()),
            Ok(Ok(status)) => {
                let said = if complaint.is_empty() { &text } else { &complaint };
                let text = shorten(String::from_utf8_lossy(said).trim());
                Err(RunError::Failed { status: status.to_string(), text })
            }
            Ok(Err(error)) => Err(RunError::NotStarted(error.to_string())),
            Err(_) => {
                if let Some(group) = group {
                    // It may just have ended by itself.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                Err(RunError::TimedOut(time))
            }
        }
    })
}

fn shorten(text: &str) -> String {
    if text.len() <= RECORD_MAX {
        return text.to_owned();
    }
    let end = (0..=RECORD_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    format!("{}… ({} more bytes)", &text[..end], text.len() - end)
}
