//! Files come to this machine: into the hub's cache, or from any address to a path.
//!
//! Owns the life of a download and its partial files. Which files a model needs is [`crate::repository`]'s affair, where
//! they lie in the cache is [`crate::cache`]'s, how much room there is the caller's ([`Room`]).
//!
//! A job is several files that belong together. One task owns all jobs; [`Downloads`] is the way to it. A job's life:
//!
//! ```text
//!             ┌────────────── resume ─────────────┐
//!             ▼                                   │
//!  begin ─▶ queued ──place free──▶ running ──pause──▶ paused ◀── begin_paused
//!             │ │                     │ ▲             │
//!             │ └───pause──▶ paused   │ └─another file┤
//!             │                       ▼      │        │
//!             │                   verifying ─┘        │
//!             │                       │  │            │
//!             │             matches   │  │ does not   │
//!             │                       ▼  ▼            │
//!             │                    done  failed{reason} ◀── whatever cannot be mended by trying again
//!             └───── cancel ─────────▶ gone ◀─ cancel ┘      (cancel of a failed one: gone; begin again: queued)
//! ```
//!
//! At most [`Config::concurrent_max`] jobs have a place; the others wait in the order in which they came. A place is free
//! once the task that had it has ended, so two never write one file.
//!
//! A file is written in order into a partial file, whose length is all that must be known to go on after a crash;
//! ranges of a large file are fetched side by side and wait in memory for their turn. It is hashed while it comes, and
//! gets its name only when its length and hash are right.

mod digest;
mod failure;
mod fetch;
mod job;
mod owner;
mod partial;
mod pieces;
mod report;
mod room;
mod schedule;
mod speed;
mod task;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::ByteCount;

pub use failure::{Class, Failure};
pub use job::{FileWish, Job, JobId, JobView, Run, Source, State};
pub use room::{Room, Space};

use self::owner::{Begun, Command, Owner};
use self::schedule::Schedule;
use self::task::Shared;
use crate::client::{CONNECT_TIMEOUT, Client};
use crate::error::Error;

/// Commands that may wait for the owner; who has one more waits.
const COMMANDS: usize = 64;

/// Ends that a slow listener may be behind.
const ENDS_KEPT: usize = 256;

/// How downloads are done.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the hub's files go: the folder that `HF_HUB_CACHE` names, with `models--…` in it.
    pub cache: PathBuf,
    /// Jobs that run at the same time, at least 1. Default 2.
    pub concurrent_max: usize,
    /// Ranges of one file that are fetched at the same time, at least 1. Default 4.
    pub ranges: usize,
    /// How long a connection may be silent. Default 30 s.
    pub silence_max: Duration,
}

impl Config {
    /// The defaults, for this cache.
    pub fn new(cache: PathBuf) -> Self {
        Self { cache, concurrent_max: 2, ranges: 4, silence_max: Duration::from_secs(30) }
    }
}

/// Why a job is not taken, or not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It would not fit, beside what the other jobs will still write.
    #[error("{required} are needed and {available} are free{}: delete models, or raise the limit", limit_text(*limit))]
    NoRoom {
        /// What may be written, without what other jobs have coming.
        available: ByteCount,
        /// What is still to be written for this job: on the disk that has too little, or in all if the limit leaves too
        /// little.
        required: ByteCount,
        /// The limit that is set.
        limit: Option<ByteCount>,
    },
    /// Nothing may be asked of the hub, and not all files are here.
    #[error("HF_HUB_OFFLINE is set, so nothing is downloaded: unset it to allow that")]
    Offline,
    /// There is a job of this id that has neither failed nor been cancelled.
    #[error("this download is under way already")]
    AlreadyRunning,
    /// A name, an address or a hash that is none, or one that leads out of its folder.
    #[error("{0}")]
    Invalid(String),
    /// No job has this id.
    #[error("there is no such download")]
    Unknown,
    /// More jobs than anybody has models for.
    #[error("{0} downloads are waiting: try again when some are done")]
    Full(usize),
    /// snug is stopping.
    #[error("snug is stopping")]
    Stopping,
}

fn limit_text(limit: Option<ByteCount>) -> String {
    limit.map(|limit| format!(" within the storage limit of {limit}")).unwrap_or_default()
}

/// A job came to an end.
#[derive(Clone, Debug)]
pub enum Ended {
    /// All its files are there.
    Finished {
        /// Which job.
        id: JobId,
        /// Which of the jobs that had this id.
        run: Run,
        /// Where its files are, in the order in which they were wished for.
        files: Vec<PathBuf>,
    },
    /// It cannot be done. The job is kept, failed, until it is cancelled or begun again.
    Failed {
        /// Which job.
        id: JobId,
        /// Which of the jobs that had this id.
        run: Run,
        /// Why.
        failure: Arc<Failure>,
    },
}

/// The way to the task that owns all downloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Downloads {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    views: watch::Receiver<Arc<[JobView]>>,
    ended: broadcast::Sender<Ended>,
}

impl Downloads {
    /// Starts the owner on `tracker`. It ends, and leaves partial files for the next start, when `stop` is cancelled.
    ///
    /// # Errors
    /// [`Error::Tls`].
    pub fn start(
        config: Config,
        client: &Client,
        room: Arc<dyn Room>,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let asking = client.asking_with(http(config.silence_max)?);
        let (cache, ranges) = (config.cache, config.ranges.max(1));
        let shared = Arc::new(Shared { client: client.clone(), asking, cache, ranges });
        let (commands, commanded) = mpsc::channel(COMMANDS);
        let (views, shown) = watch::channel(Arc::default());
        let (ended, _) = broadcast::channel(ENDS_KEPT);
        let owner = Owner {
            shared: shared.clone(),
            room,
            schedule: Schedule::new(config.concurrent_max),
            entries: HashMap::new(),
            tasks: JoinSet::new(),
            task_jobs: HashMap::new(),
            events: mpsc::channel(owner::EVENTS),
            views,
            ended: ended.clone(),
            begun: Instant::now(),
            runs: 0,
            stop,
        };
        tracker.spawn(owner.run(commanded));
        Ok(Self { shared, commands, views: shown, ended })
    }

    /// Takes a job: it runs as soon as there is a place for it. What is here already is not fetched again. A job that
    /// failed may be begun anew. While one of this id that was cancelled is on its way out, it is waited for.
    ///
    /// [`Ended`] tells the run that this answers with; it may do so before this has answered.
    ///
    /// Sizes that the wishes do not tell are asked for when the job runs; if they do not fit, it fails then.
    ///
    /// # Errors
    /// [`Refused::NoRoom`], [`Refused::Offline`], [`Refused::AlreadyRunning`], [`Refused::Invalid`], [`Refused::Full`],
    /// [`Refused::Stopping`].
    pub async fn begin(&self, job: Job) -> Result<Run, Refused> {
        self.take(job, false).await
    }

    /// Takes a job that is paused, as one that was paused before snug was restarted. One that failed before that is better
    /// begun so than not at all: what is on the disk of it is shown, [`Self::resume`] tries it again, and [`Self::cancel`]
    /// removes its partial files. Those of the hub are found by the sha256 that the wish must tell for that.
    ///
    /// # Errors
    /// As [`Self::begin`], but room is not asked for, and [`Refused::Offline`] is told only by [`Self::resume`].
    pub async fn begin_paused(&self, job: Job) -> Result<Run, Refused> {
        self.take(job, true).await
    }

    /// Pauses a job; its partial files stay. One that is paused already is no error.
    ///
    /// # Errors
    /// [`Refused::Unknown`] for one that is not there or has failed, [`Refused::Stopping`].
    pub async fn pause(&self, id: &JobId) -> Result<(), Refused> {
        self.tell(|reply| Command::Pause { id: id.clone(), reply }).await
    }

    /// Lets a paused job go on where it was, behind those that wait. One that is not paused is no error.
    ///
    /// # Errors
    /// [`Refused::Unknown`] for one that is not there or has failed, [`Refused::NoRoom`], [`Refused::Offline`],
    /// [`Refused::Stopping`].
    pub async fn resume(&self, id: &JobId) -> Result<(), Refused> {
        self.tell(|reply| Command::Resume { id: id.clone(), reply }).await
    }

    /// Ends a job and removes its partial files; returns when they are gone. Files of it that are complete stay.
    ///
    /// # Errors
    /// [`Refused::Unknown`], [`Refused::Stopping`].
    pub async fn cancel(&self, id: &JobId) -> Result<(), Refused> {
        self.tell(|reply| Command::Cancel { id: id.clone(), reply }).await
    }

    /// Changes how many jobs run at the same time. Those that run already go on.
    pub async fn set_concurrent_max(&self, jobs: usize) {
        // One that is stopping starts no more.
        let _ = self.commands.send(Command::Places(jobs)).await;
    }

    /// All jobs that are not done, in the order in which they were begun.
    pub fn jobs(&self) -> Arc<[JobView]> {
        self.views.borrow().clone()
    }

    /// The same, now and whenever it changes; progress at most four times a second.
    pub fn changes(&self) -> watch::Receiver<Arc<[JobView]>> {
        self.views.clone()
    }

    /// Every end of a job from now on. Who is behind by hundreds misses some, and looks at [`Self::jobs`].
    pub fn events(&self) -> broadcast::Receiver<Ended> {
        self.ended.subscribe()
    }

    async fn take(&self, mut job: Job, is_paused: bool) -> Result<Run, Refused> {
        job.check().map_err(Refused::Invalid)?;
        loop {
            // Looking at the disk takes time that the owner does not have.
            let shared = self.shared.clone();
            let looked = tokio::task::spawn_blocking(move || {
                let looks: Vec<_> = job.files.iter().map(|wish| task::look(&shared.cache, wish)).collect();
                (job, looks)
            });
            let (looked_at, looks) = looked.await.map_err(|_| Refused::Stopping)?;
            let (reply, answer) = oneshot::channel();
            let command = Command::Begin { job: looked_at, looks, is_paused, reply };
            self.commands.send(command).await.map_err(|_| Refused::Stopping)?;
            match answer.await.map_err(|_| Refused::Stopping)?? {
                Begun::Runs(run) => return Ok(run),
                // Its partial files go with it: all is looked at anew.
                Begun::After { gone, job: again } => {
                    gone.await.unwrap_or(Err(Refused::Stopping))?;
                    job = again;
                }
            }
        }
    }

    async fn tell(&self, command: impl FnOnce(owner::Reply) -> Command) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Refused::Stopping)?;
        answer.await.unwrap_or(Err(Refused::Stopping))
    }
}

/// A client for answers that may take hours, as long as they are not silent.
fn http(silence_max: Duration) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("snug/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(silence_max)
        // Ours are followed by hand, so that the token stays with the hub.
        .redirect(redirect::Policy::none());
    builder.build().map_err(|source| Error::Tls { source })
}
