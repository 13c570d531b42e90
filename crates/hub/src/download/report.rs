//! What a job's task tells while it works: how much is there, and whether it may go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::fetch::{Opening, Stop};
use super::job::JobId;

/// After so many bytes it is asked again whether there is room.
const ROOM_ASKED_EVERY: u64 = 64 << 20;

/// What a task tells or asks the owner.
#[derive(Debug)]
pub(super) enum Event {
    /// Whether there is still room for what is to come.
    MayGoOn { id: JobId, reply: oneshot::Sender<Result<(), Failure>> },
    /// A file is being checked, or that is over.
    Verifies { id: JobId, verifies: bool },
}

/// How much of one file is there.
#[derive(Debug)]
pub(super) struct Meter {
    /// How long it is, or is believed to be; `u64::MAX` while nobody knows.
    size: AtomicU64,
    /// What is written of it.
    pub(super) written: Arc<AtomicU64>,
    /// What has come of it: what is written, and what waits in memory to be.
    come: AtomicU64,
}

impl Meter {
    pub(super) fn new(size: Option<u64>, written: u64) -> Self {
        let atomic = |value| AtomicU64::new(value);
        Self { size: atomic(size.unwrap_or(u64::MAX)), written: Arc::new(atomic(written)), come: atomic(0) }
    }

    pub(super) fn size(&self) -> Option<u64> {
        Some(self.size.load(Ordering::Relaxed)).filter(|size| *size < u64::MAX)
    }

    pub(super) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// All of it is there.
    pub(super) fn set_whole(&self, size: u64) {
        self.set_size(size);
        self.come.store(size, Ordering::Relaxed);
        self.written.store(size, Ordering::Relaxed);
    }

    /// What has come of it.
    pub(super) fn done(&self) -> u64 {
        self.written.load(Ordering::Relaxed).max(self.come.load(Ordering::Relaxed))
    }

    /// What is still to be written of it, as far as is known.
    pub(super) fn missing(&self) -> u64 {
        self.size().map_or(0, |size| size.saturating_sub(self.written.load(Ordering::Relaxed)))
    }

    /// What is in memory only is lost.
    pub(super) fn lose_ahead(&self) {
        self.come.store(0, Ordering::Relaxed);
    }
}

/// The way from a job's task to its owner.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) id: JobId,
    pub(super) events: mpsc::Sender<Event>,
}

impl Line {
    /// Whether there is room for what is to come.
    pub(super) async fn may_go_on(&self) -> Result<(), Stop> {
        let (reply, answer) = oneshot::channel();
        let asked = self.events.send(Event::MayGoOn { id: self.id.clone(), reply }).await;
        match (asked, answer.await) {
            (Ok(()), Ok(answer)) => answer.map_err(Stop::Failed),
            // snug is stopping.
            _ => Err(Stop::Told),
        }
    }

    pub(super) async fn verifies(&self, verifies: bool) {
        // An owner that is gone shows nothing.
        let _ = self.events.send(Event::Verifies { id: self.id.clone(), verifies }).await;
    }
}

/// What is told of one file while it comes.
#[derive(Debug)]
pub(super) struct Report<'a> {
    line: &'a Line,
    meter: &'a Meter,
    /// Where is written down which version of the file the partial one is of.
    note: Option<(PathBuf, String)>,
    asked_at: Option<u64>,
}

/// Which version of which file a partial file is of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The address, without what may be secret in it.
    pub(super) url: String,
    /// What tells this version from others.
    pub(super) validator: Option<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(line: &'a Line, meter: &'a Meter) -> Self {
        Self { line, meter, note: None, asked_at: None }
    }

    /// The same, which writes down in `note` which version of the file at `url` this is.
    pub(super) fn with_note(self, note: PathBuf, url: String) -> Self {
        Self { note: Some((note, url)), ..self }
    }

    /// The first answer has come: what is written from now on is of this version, and so long.
    pub(super) async fn opened(&mut self, opening: &Opening) -> Result<(), Stop> {
        let was_known = self.meter.size() == opening.total;
        if let Some(total) = opening.total {
            self.meter.set_size(total);
        }
        if let Some((path, url)) = &self.note {
            let note = Note { url: url.clone(), validator: opening.validator.clone() };
            let text = serde_json::to_vec(&note).unwrap_or_default();
            tokio::fs::write(path, text).await.map_err(|error| Failure::of_disk(path, error))?;
        }
        if was_known { Ok(()) } else { self.line.may_go_on().await }
    }

    /// So much is there, and so much waits in memory.
    pub(super) async fn came(&mut self, there: u64, ahead: u64) -> Result<(), Stop> {
        self.meter.come.store(there.saturating_add(ahead), Ordering::Relaxed);
        let asked_at = *self.asked_at.get_or_insert(there);
        if there.saturating_sub(asked_at) < ROOM_ASKED_EVERY {
            return Ok(());
        }
        self.asked_at = Some(there);
        self.line.may_go_on().await
    }
}
