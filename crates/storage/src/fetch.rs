//! Downloads of variants: what `hub` does with files, kept over a restart, and what is to be done when they are here.
//!
//! ```text
//!  begin ──▶ row in the store ──▶ hub ──┬─ finished ──▶ row gone ──▶ looked at ──▶ loaded, if that was asked for
//!                     ▲                 ├─ failed ────▶ reason in the row, until it is begun again or cancelled
//!  next start ────────┘                 └─ cancelled ─▶ row gone
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hub::download::{Downloads, FileWish, Job, JobId, Refused, Run, State};
use serde::{Deserialize, Serialize};
use store::{DownloadRow, Store};
use tokio::sync::watch;
use tokio::time::Instant;
use types::{ByteCount, ModelKey};

use crate::error::Error;
use crate::time::millis;

/// What a download does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for others.
    Queued,
    /// Bytes come.
    Running,
    /// It was told to wait.
    Paused,
    /// All bytes are here and are being checked.
    Verifying,
    /// It ended without.
    Failed,
}

/// A download as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which variant.
    pub model: ModelKey,
    /// What it does.
    pub phase: Phase,
    /// What is here.
    pub bytes_done: ByteCount,
    /// What it will be, once that is known.
    pub bytes_total: Option<ByteCount>,
    /// How fast it comes; 0 unless it runs.
    pub bytes_per_second: u64,
    /// How long it will take at that speed.
    pub eta: Option<Duration>,
    /// Why it failed.
    pub error: Option<String>,
    /// How long ago; of one that failed before a restart, since that.
    pub failed_for: Option<Duration>,
}

/// What is to be done once the files are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// With so many tokens of context for each slot; `None` for the model's own.
    pub context: Option<u64>,
}

/// What is kept of a download.
#[derive(Serialize, Deserialize)]
struct Kept {
    files: Vec<FileWish>,
    then: Option<Load>,
}

/// A download that is not done.
#[derive(Clone, Debug)]
struct Known {
    model: ModelKey,
    files: Vec<FileWish>,
    then: Option<Load>,
    /// Why it failed, as far as the hub does not say itself: before a restart.
    failed: Option<String>,
    failed_at: Option<Instant>,
    /// What has come, once all has, while the node looks for it.
    come: Option<ByteCount>,
    /// Which run of the hub's it is; what is told of an earlier one is of no interest.
    run: Option<Run>,
    created: SystemTime,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Fetches {
    downloads: Downloads,
    store: Store,
    known: Mutex<BTreeMap<JobId, Known>>,
    /// Held by whoever changes a download: what the hub does and what is written down of it go together.
    changing: tokio::sync::Mutex<()>,
    /// Told when one is forgotten.
    forgotten: watch::Sender<()>,
}

impl Fetches {
    pub(crate) fn new(downloads: Downloads, store: Store) -> Self {
        Self {
            downloads,
            store,
            known: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            forgotten: watch::Sender::default(),
        }
    }

    /// Tells whenever a download is over: done, or cancelled.
    pub(crate) fn forgotten(&self) -> watch::Receiver<()> {
        self.forgotten.subscribe()
    }

    fn runs(&self, id: &JobId, run: Run) {
        if let Some(known) = self.known().get_mut(id) {
            known.run = Some(run);
        }
    }

    /// All of a download has come, so many bytes: of which model it is. `run` is `None` where nobody told of its end.
    pub(crate) async fn come(&self, id: &JobId, run: Option<Run>, bytes: ByteCount) -> Option<ModelKey> {
        // One that is soon done may end before its beginning is written down.
        let _changing = self.changing.lock().await;
        let mut known = self.known();
        let known = known.get_mut(id).filter(|known| run.is_none() || known.run == run)?;
        known.come = Some(bytes);
        Some(known.model.clone())
    }

    pub(crate) fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    /// Goes on with what an earlier snug did not finish.
    pub(crate) async fn resume(&self) -> Result<(), store::Error> {
        for row in self.store.downloads().await? {
            let id = JobId::new(row.id.as_str());
            let kept: Kept = match serde_json::from_str(&row.job) {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::warn!(download = row.id, %error, "a download of an earlier snug cannot be read; it is dropped");
                    self.store.delete_download(&row.id).await?;
                    continue;
                }
            };
            let created = crate::time::time(row.created_ms);
            let (files, then, failed) = (kept.files, kept.then, row.reason.clone());
            let model = row.file.clone();
            let known = Known {
                model,
                files: files.clone(),
                then,
                failed,
                failed_at: row.reason.as_ref().map(|_| Instant::now()),
                come: None,
                run: None,
                created,
            };
            self.known().insert(id.clone(), known.clone());
            let job = Job { id: id.clone(), files };
            let begun = match row.state.as_str() {
                // The hub knows of them, so that cancelling one removes what came of it.
                "failed" | "paused" => self.downloads.begin_paused(job).await,
                _ => match self.downloads.begin(job.clone()).await {
                    // It goes on when that may be again, and somebody asks.
                    Err(Refused::Offline) => self.downloads.begin_paused(job).await,
                    begun => begun,
                },
            };
            match begun {
                Ok(run) => self.runs(&id, run),
                Err(refused) => {
                    tracing::warn!(model = %row.file, "a download cannot go on: {refused}");
                    self.fail(&id, &refused.to_string()).await?;
                }
            }
        }
        Ok(())
    }

    /// Begins a download, or lets one that rests go on; `then` is done when it has finished.
    pub(crate) async fn begin(&self, model: &ModelKey, files: Vec<FileWish>, then: Option<Load>) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let id = id(model);
        let earlier = self.known().get(&id).cloned();
        let then = then.or(earlier.as_ref().and_then(|known| known.then));
        let created = earlier.as_ref().map_or_else(SystemTime::now, |known| known.created);
        let known = Known {
            model: model.clone(),
            files: files.clone(),
            then,
            failed: None,
            failed_at: None,
            come: None,
            run: None,
            created,
        };
        self.save(&id, &known, "queued").await?;
        self.known().insert(id.clone(), known.clone());
        let begun = match self.downloads.begin(Job { id: id.clone(), files }).await {
            Err(Refused::AlreadyRunning) => {
                // It goes on with the files that it was begun with.
                if let Some(Known { files, .. }) = &earlier {
                    let known = Known { files: files.clone(), ..known };
                    self.save(&id, &known, "queued").await?;
                    self.known().insert(id.clone(), known);
                }
                let run = earlier.as_ref().and_then(|earlier| earlier.run);
                self.downloads.resume(&id).await.map(|()| run)
            }
            begun => begun.map(Some),
        };
        let refused = match begun {
            Ok(run) => {
                run.into_iter().for_each(|run| self.runs(&id, run));
                return Ok(());
            }
            Err(refused) => refused,
        };
        match earlier {
            None => self.forget(&id).await?,
            // It is as it was.
            Some(earlier) => {
                let rests = self.downloads.jobs().iter().any(|job| job.id == id && matches!(job.state, State::Paused));
                let state = match earlier.failed {
                    Some(_) => "failed",
                    None if rests => "paused",
                    None => "queued",
                };
                self.save(&id, &earlier, state).await?;
                self.known().insert(id, earlier);
            }
        }
        Err(of_refused(model, refused))
    }

    /// Begins one that is known again, or lets it go on.
    pub(crate) async fn again(&self, model: &ModelKey) -> Result<(), Error> {
        let files = self.known().get(&id(model)).map(|known| known.files.clone());
        self.begin(model, files.ok_or_else(|| Error::NoDownload { model: model.clone() })?, None).await
    }

    pub(crate) async fn pause(&self, model: &ModelKey) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let id = id(model);
        self.downloads.pause(&id).await.map_err(|refused| of_refused(model, refused))?;
        let known = self.known().get(&id).cloned();
        if let Some(known) = known {
            self.save(&id, &known, "paused").await?;
        }
        Ok(())
    }

    /// Ends a download, or forgets one that failed; what came of it is removed.
    pub(crate) async fn cancel(&self, model: &ModelKey) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        let id = id(model);
        let known = self.known().contains_key(&id);
        match self.downloads.cancel(&id).await {
            // It failed before a restart.
            Err(Refused::Unknown) if known => {}
            cancelled => cancelled.map_err(|refused| of_refused(model, refused))?,
        }
        Ok(self.forget(&id).await?)
    }

    /// A download has finished, and its files can be asked for: what is to be done now.
    pub(crate) async fn finished(&self, id: &JobId) -> Result<Option<Load>, store::Error> {
        let _changing = self.changing.lock().await;
        let then = self.known().get(id).and_then(|known| known.then);
        self.forget(id).await?;
        Ok(then)
    }

    /// Those of which the hub knows nothing any more, though nobody told of their end.
    pub(crate) fn lost(&self) -> Vec<JobId> {
        let jobs = self.downloads.jobs();
        let known = self.known();
        let is_lost = |(id, one): &(&JobId, &Known)| {
            one.failed.is_none() && one.come.is_none() && !jobs.iter().any(|job| job.id == **id)
        };
        known.iter().filter(is_lost).map(|(id, _)| id.clone()).collect()
    }

    /// A download has failed: the reason is kept.
    pub(crate) async fn failed(&self, id: &JobId, run: Run, reason: &str) -> Result<(), store::Error> {
        let _changing = self.changing.lock().await;
        let is_of_it = self.known().get(id).is_some_and(|known| known.run == Some(run));
        if is_of_it { self.fail(id, reason).await } else { Ok(()) }
    }

    async fn fail(&self, id: &JobId, reason: &str) -> Result<(), store::Error> {
        let known = self.known().get_mut(id).map(|known| {
            known.failed = Some(reason.to_owned());
            known.failed_at = Some(Instant::now());
            known.clone()
        });
        match known {
            Some(known) => self.save(id, &known, "failed").await,
            None => Ok(()),
        }
    }

    /// All that are not done, in the order in which they were begun.
    pub(crate) fn all(&self) -> Vec<Fetch> {
        let jobs = self.downloads.jobs();
        let mut known: Vec<(JobId, Known)> = self.known().iter().map(|(id, one)| (id.clone(), one.clone())).collect();
        known.sort_by_key(|(_, one)| one.created);
        let fetch = |(id, known): (JobId, Known)| {
            let failed_for = known.failed_at.map(|at| at.elapsed());
            let Some(job) = jobs.iter().find(|job| job.id == id) else {
                return Fetch {
                    model: known.model,
                    phase: match (&known.failed, known.come) {
                        (Some(_), _) => Phase::Failed,
                        (None, Some(_)) => Phase::Verifying,
                        // Between being taken down and being taken by the hub.
                        (None, None) => Phase::Queued,
                    },
                    bytes_done: known.come.unwrap_or_default(),
                    bytes_total: known.come,
                    bytes_per_second: 0,
                    eta: None,
                    error: known.failed,
                    failed_for,
                };
            };
            let (phase, error) = match &job.state {
                // It rests since it failed, before a restart.
                State::Paused if known.failed.is_some() => (Phase::Failed, known.failed),
                State::Queued => (Phase::Queued, None),
                State::Running => (Phase::Running, None),
                State::Paused => (Phase::Paused, None),
                State::Verifying => (Phase::Verifying, None),
                State::Failed(failure) => (Phase::Failed, Some(failure.to_string())),
            };
            Fetch {
                model: known.model,
                phase,
                bytes_done: job.bytes_done,
                bytes_total: job.bytes_total,
                bytes_per_second: job.bytes_per_second,
                eta: job.eta,
                error,
                failed_for,
            }
        };
        known.into_iter().map(fetch).collect()
    }

    async fn save(&self, id: &JobId, known: &Known, state: &str) -> Result<(), store::Error> {
        let kept = Kept { files: known.files.clone(), then: known.then };
        let row = DownloadRow {
            id: id.as_str().to_owned(),
            file: known.model.clone(),
            job: serde_json::to_string(&kept).expect("a job is plain data"),
            state: state.to_owned(),
            reason: known.failed.clone(),
            created_ms: millis(known.created),
        };
        self.store.save_download(&row).await
    }

    async fn forget(&self, id: &JobId) -> Result<(), store::Error> {
        self.known().remove(id);
        let deleted = self.store.delete_download(id.as_str()).await;
        self.forgotten.send_replace(());
        deleted
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<JobId, Known>> {
        // Entries are whole: sound even if a thread panicked beside it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Phase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Verifying => "verifying",
            Self::Failed => "failed",
        }
    }
}

impl Fetch {
    /// Whether the variant is on its way.
    pub fn is_on_its_way(&self) -> bool {
        self.phase != Phase::Failed
    }

    /// How much is here, 0 to 100.
    pub fn percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people to see")]
        let share = |total: ByteCount| self.bytes_done.as_u64() as f64 / total.as_u64().max(1) as f64;
        self.bytes_total.map_or(0.0, |total| (share(total) * 100.0).min(100.0))
    }
}

fn id(model: &ModelKey) -> JobId {
    JobId::new(model.to_string())
}

fn of_refused(model: &ModelKey, refused: Refused) -> Error {
    let model = model.clone();
    match refused {
        Refused::NoRoom { available, required, limit } => Error::NoRoom { model, available, required, limit },
        Refused::Unknown => Error::NoDownload { model },
        other => Error::Refused { model, reason: other.to_string() },
    }
}
