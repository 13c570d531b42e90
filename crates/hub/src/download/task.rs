//! The work for one job: find out what is missing, fetch it, check it, put it in its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use reqwest::Url;
use tokio_util::sync::CancellationToken;

use super::digest::Expected;
use super::failure::Failure;
use super::fetch::{Origin, Stop, fetch};
use super::job::{FileWish, Job, Source};
use super::partial::{self, Partial};
use super::report::{Line, Meter, Note, Report};
use super::room::Place;
use crate::cache::{self, Folder};
use crate::client::{Client, Remote};
use crate::error::Error;
use crate::lock::Lock;
use crate::request::{Asking, same_origin, shown};

/// How often it is looked whether another program has let go of a file.
const LOCK_PERIOD: Duration = Duration::from_millis(100);

/// Files that the hub is asked about at the same time.
const ASKED_AT_ONCE: usize = 4;

/// What all tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    /// The same hub and other hosts, without a limit on how long an answer may take.
    pub(super) asking: Asking,
    pub(super) cache: PathBuf,
    pub(super) ranges: usize,
}

impl Shared {
    /// Whether a file comes from the hub, so that it cannot come while nothing may be asked of that.
    pub(super) fn is_of_hub(&self, wish: &FileWish) -> bool {
        match &wish.source {
            Source::Hub { .. } => true,
            Source::Url { url, .. } => Url::parse(url).is_ok_and(|url| same_origin(&url, &self.asking.endpoint)),
        }
    }
}

/// A job that is being worked on.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) job: Arc<Job>,
    /// One for each file.
    pub(super) meters: Arc<[Meter]>,
    pub(super) traces: Traces,
    pub(super) line: Line,
    pub(super) stop: CancellationToken,
}

/// Partial files of a job, for when it is cancelled.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces(Arc<Mutex<Vec<Trace>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    lock: PathBuf,
    files: Vec<PathBuf>,
}

/// What must be done for a file.
enum Plan {
    /// Nothing.
    Here(PathBuf),
    /// It goes into the cache.
    Blob { folder: Folder, remote: Remote, expected: Option<Expected> },
    /// It goes to a path.
    File,
}

impl Task {
    /// Works until all files are there; gives where.
    pub(super) async fn run(self) -> Result<Vec<PathBuf>, Stop> {
        let job = self.job.clone();
        let plans = futures_util::stream::iter(0..job.files.len())
            .map(|number| self.plan(&job.files[number], &self.meters[number]))
            .buffered(ASKED_AT_ONCE)
            .try_collect();
        let plans: Vec<Plan> = self.stop.run_until_cancelled(plans).await.unwrap_or(Err(Stop::Told))?;
        self.line.may_go_on().await?;
        let mut files = vec![];
        for ((plan, wish), meter) in plans.into_iter().zip(&job.files).zip(self.meters.iter()) {
            let done = match (plan, &wish.source) {
                (Plan::Here(file), _) => Ok(file),
                (Plan::Blob { folder, remote, expected }, Source::Hub { repository, revision, path }) => {
                    let name = File { repository, revision, path, folder, remote };
                    self.to_cache(&name, expected, meter).await
                }
                (_, Source::Url { url, to }) => self.to_path(url, to, wish.sha256.as_deref(), meter).await,
                (_, Source::Hub { path, .. }) => Err(Failure::Invalid(format!("{path} has no place")).into()),
            };
            meter.lose_ahead();
            let file = done?;
            // It is there: what it takes is no guess any more.
            meter.set_whole(fs::metadata(&file).map_or(0, |metadata| metadata.len()));
            files.push(file);
        }
        Ok(files)
    }

    async fn plan(&self, wish: &FileWish, meter: &Meter) -> Result<Plan, Stop> {
        let here = |file: PathBuf| {
            meter.set_whole(fs::metadata(&file).map_or(0, |metadata| metadata.len()));
            Ok(Plan::Here(file))
        };
        let (repository, revision, path) = match &wish.source {
            Source::Url { to, .. } if to.is_file() => return here(to.clone()),
            Source::Url { .. } => return Ok(Plan::File),
            Source::Hub { repository, revision, path } => (repository, revision, path),
        };
        let cached = cache::cached(&self.shared.cache, repository, revision, path);
        // A commit does not change.
        if let Some(file) = cached.as_ref().filter(|_| cache::is_commit(revision)) {
            return here(file.clone());
        }
        let remote = match (self.shared.client.remote(repository, revision, path).await, cached) {
            // As `huggingface_hub` does: what was the newest is better than nothing.
            (Err(Error::Offline | Error::Busy { .. } | Error::Unreachable { .. }), Some(file)) => return here(file),
            (Err(error), _) => return Err(Failure::Hub(error).into()),
            (Ok(remote), _) => remote,
        };
        let invalid = || Failure::Invalid(format!("{path} of {repository} cannot be named in the cache"));
        let folder = Folder::new(&self.shared.cache, repository).ok_or_else(invalid)?;
        let of_hub = Expected::of_etag(&remote.etag, remote.size);
        let expected = match (wish.sha256.clone().map(Expected::Sha256), of_hub) {
            (Some(wished), Some(of_hub @ Expected::Sha256(_))) if wished != of_hub => {
                return Err(mismatch(path, &wished, of_hub.value()).into());
            }
            (wished, of_hub) => wished.or(of_hub),
        };
        let snapshot = folder.snapshot(&remote.commit, path).ok_or_else(invalid)?;
        meter.set_size(remote.size);
        if snapshot.is_file() {
            folder.keep_ref(revision, &remote.commit).map_err(|error| Failure::of_disk(&snapshot, error))?;
            return here(snapshot);
        }
        Ok(Plan::Blob { folder, remote, expected })
    }

    async fn to_cache(&self, file: &File<'_>, expected: Option<Expected>, meter: &Meter) -> Result<PathBuf, Stop> {
        let File { repository, path, folder, remote, .. } = file;
        let (blob, incomplete) = (folder.blob(&remote.etag), folder.incomplete(&remote.etag));
        folder.make().map_err(|error| Failure::of_disk(&blob, error))?;
        let lock_file = folder.lock_file(&remote.etag);
        let Some(_lock) = self.lock(&lock_file, &blob).await? else { return file.link() };
        self.traces.add(lock_file, vec![incomplete.clone()]);
        let mut partial = open(&incomplete, meter)?;
        if partial.length() > remote.size {
            partial.clear().await?;
        }
        if let Some(expected) = expected {
            partial.expect(expected);
        }
        let url = self.shared.client.resolve(repository, &remote.commit, path).map_err(Failure::Hub)?;
        let origin = Origin::new(self.shared.asking.clone(), url, (*path).to_owned());
        let origin = origin.of_repository(repository, remote.size);
        let mut report = Report::new(&self.line, meter);
        let fetched = fetch(Arc::new(origin), &mut partial, self.shared.ranges, &mut report, &self.stop).await;
        let settled = match fetched {
            Ok(()) => self.settle(partial, path, &incomplete, &blob, meter).await,
            Err(stop) => Err(stop),
        };
        remove_if_empty(&incomplete);
        settled.and_then(|()| file.link())
    }

    async fn to_path(&self, url: &str, to: &Path, sha256: Option<&str>, meter: &Meter) -> Result<PathBuf, Stop> {
        let address = Url::parse(url).map_err(|error| Failure::Invalid(format!("{url:?} is no address: {error}")))?;
        let (unfinished, note) = (partial_of(to), note_of(to));
        // The partial file is its own lock.
        let Some(_lock) = self.lock(&unfinished, to).await? else { return Ok(to.to_owned()) };
        self.traces.add(unfinished.clone(), vec![unfinished.clone(), note.clone()]);
        let mut partial = open(&unfinished, meter)?;
        let noted = fs::read(&note).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let noted = noted.filter(|noted| noted.url == shown(&address));
        // Bytes of which nobody can say whether they belong to this file are worth nothing.
        let is_known = noted.as_ref().is_some_and(|noted| noted.validator.is_some() || sha256.is_some());
        if !is_known {
            partial.clear().await?;
        }
        if let Some(sha256) = sha256 {
            partial.expect(Expected::Sha256(sha256.to_owned()));
        }
        let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut report = Report::new(&self.line, meter).with_note(note.clone(), shown(&address));
        let origin = Origin::new(self.shared.asking.clone(), address, name.clone());
        let origin = origin.of_version(noted.filter(|_| is_known).and_then(|noted| noted.validator).as_deref());
        let fetched = fetch(Arc::new(origin), &mut partial, self.shared.ranges, &mut report, &self.stop).await;
        let settled = match fetched {
            Ok(()) => self.settle(partial, &name, &unfinished, to, meter).await,
            Err(stop) => Err(stop),
        };
        remove_if_empty(&unfinished);
        if !unfinished.exists() {
            // It would be about nothing.
            let _ = fs::remove_file(&note);
        }
        settled.map(|()| to.to_owned())
    }

    /// Waits for the right to write a file; `None` when it is there already, written by another.
    async fn lock(&self, lock: &Path, file: &Path) -> Result<Option<Lock>, Stop> {
        loop {
            if file.is_file() {
                return Ok(None);
            }
            let taken = Lock::try_take(lock).map_err(|error| Failure::of_disk(lock, error))?;
            if let Some(taken) = taken {
                // Who had it may just have finished.
                return Ok(if file.is_file() { None } else { Some(taken) });
            }
            let waited = self.stop.run_until_cancelled(tokio::time::sleep(LOCK_PERIOD)).await;
            waited.ok_or(Stop::Told)?;
        }
    }

    /// Checks a file of which all bytes are here, and gives it its name.
    async fn settle(&self, partial: Partial, name: &str, from: &Path, to: &Path, meter: &Meter) -> Result<(), Stop> {
        self.line.verifies(true).await;
        meter.set_size(partial.length());
        let verified = self.stop.run_until_cancelled(partial.finish()).await;
        if let Some((expected, is)) = verified.ok_or(Stop::Told)??
            && is != expected.value()
        {
            // It would never become right.
            let _ = fs::remove_file(from);
            meter.written.store(0, std::sync::atomic::Ordering::Relaxed);
            return Err(mismatch(name, &expected, &is).into());
        }
        let (from, target) = (from.to_owned(), to.to_owned());
        let renamed = tokio::task::spawn_blocking(move || rename(&from, &target)).await;
        let renamed = renamed.unwrap_or_else(|_| Err(io::Error::other("snug is stopping")));
        renamed.map_err(|error| Failure::of_disk(to, error))?;
        self.line.verifies(false).await;
        Ok(())
    }
}

/// A file of a repository, and what the hub says of it.
struct File<'a> {
    repository: &'a str,
    revision: &'a str,
    path: &'a str,
    folder: Folder,
    remote: Remote,
}

impl File<'_> {
    /// Its blob is there: makes it a file of its snapshot.
    fn link(&self) -> Result<PathBuf, Stop> {
        let Remote { commit, etag, .. } = &self.remote;
        let linked = self.folder.keep_ref(self.revision, commit);
        let linked = linked.and_then(|()| self.folder.link(etag, commit, self.path));
        linked.map_err(|error| Failure::of_disk(&self.folder.blob(etag), error).into())
    }
}

impl Traces {
    /// What a job may have left before this snug was started.
    pub(super) fn of(cache: &Path, job: &Job) -> Self {
        let traces = Self::default();
        for wish in &job.files {
            match &wish.source {
                Source::Url { to, .. } => {
                    traces.add(partial_of(to), vec![partial_of(to), note_of(to)]);
                }
                Source::Hub { repository, .. } => {
                    if let (Some(folder), Some(etag)) = (Folder::new(cache, repository), &wish.sha256) {
                        traces.add(folder.lock_file(etag), vec![folder.incomplete(etag)]);
                    }
                }
            }
        }
        traces
    }

    fn add(&self, lock: PathBuf, files: Vec<PathBuf>) {
        let mut traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trace = Trace { lock, files };
        if !traces.contains(&trace) {
            traces.push(trace);
        }
    }

    /// Removes the partial files, but for those that another job or program goes on with.
    pub(super) fn remove(&self) {
        let traces = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for Trace { lock, files } in traces.into_iter().filter(|trace| trace.files.iter().any(|file| file.exists())) {
            if let Ok(Some(_lock)) = Lock::try_take(&lock) {
                for file in files {
                    // One that cannot be removed takes room and does no other harm.
                    let _ = fs::remove_file(file);
                }
            }
        }
    }
}

/// How much of a wished file is here, and where it is written.
#[derive(Debug)]
pub(super) struct Look {
    /// Its length, as far as is known.
    pub(super) size: Option<u64>,
    /// What is there of it.
    pub(super) written: u64,
    pub(super) place: Place,
}

/// Looks at the disk for a wished file.
pub(super) fn look(cache: &Path, wish: &FileWish) -> Look {
    let length = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
    let size = wish.size.map(types::ByteCount::as_u64);
    let (folder, whole, partial) = match &wish.source {
        Source::Url { to, .. } => (to.parent().unwrap_or(to), length(to), length(&partial_of(to))),
        Source::Hub { repository, revision, path } => {
            let blob = || Some((Folder::new(cache, repository)?, wish.sha256.as_ref()?));
            let cached = cache::cached(cache, repository, revision, path).and_then(|file| length(&file));
            let whole = cached.or_else(|| blob().and_then(|(folder, etag)| length(&folder.blob(etag))));
            (cache, whole, blob().and_then(|(folder, etag)| length(&folder.incomplete(etag))))
        }
    };
    let (size, written) = whole.map_or((size, partial.unwrap_or(0)), |whole| (Some(whole), whole));
    Look { size, written, place: Place::of(folder) }
}

fn open(path: &Path, meter: &Meter) -> Result<Partial, Failure> {
    let file = partial::open(path).map_err(|error| Failure::of_disk(path, error))?;
    Partial::new(path, file, meter.written.clone())
}

/// A partial file of which nothing has come is of no use.
fn remove_if_empty(partial: &Path) {
    if fs::symlink_metadata(partial).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
        let _ = fs::remove_file(partial);
    }
}

fn mismatch(file: &str, expected: &Expected, is: &str) -> Failure {
    let (algorithm, expected) = (expected.algorithm(), expected.value().to_owned());
    Failure::Hash { file: file.to_owned(), algorithm, is: is.to_owned(), expected }
}

/// Gives a file that the disk has its name, and sees to it that the disk has that too.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The name of a file that is not whole yet.
fn partial_of(to: &Path) -> PathBuf {
    with_ending(to, ".partial")
}

/// Where is written down which version of the file the partial one is of.
fn note_of(to: &Path) -> PathBuf {
    with_ending(to, ".partial.json")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
