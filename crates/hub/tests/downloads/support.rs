//! Where a download test begins: a fake hub, a cache, and downloads between them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hub::download::{Class, Config, Downloads, Ended, FileWish, Job, JobId, JobView, Room, Run, Source, Space, State};
use hub::{Client, Retries, Settings, Token};
use testkit::{Counts, FakeHub, LONG, eventually};
use tokio::sync::{Mutex, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::ByteCount;

pub(crate) const MIB: u64 = 1 << 20;

/// The repository that tests put files into.
pub(crate) const REPOSITORY: &str = "org/name-GGUF";

/// A fake hub, a folder, and downloads between them.
pub(crate) struct Scene {
    pub(crate) hub: FakeHub,
    pub(crate) room: Arc<Limit>,
    pub(crate) downloads: Downloads,
    ends: Mutex<broadcast::Receiver<Ended>>,
    folder: tempfile::TempDir,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// As much room as a test allows.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) free: AtomicU64,
    /// Of which folders it was asked.
    pub(crate) asked: std::sync::Mutex<BTreeSet<PathBuf>>,
}

impl Limit {
    pub(crate) fn new(free: u64) -> Self {
        Self { free: free.into(), asked: std::sync::Mutex::default() }
    }
}

impl Room for Limit {
    fn room(&self, folder: &Path) -> Space {
        self.asked.lock().unwrap().insert(folder.to_owned());
        let free = ByteCount::bytes(self.free.load(Ordering::SeqCst));
        Space { free, used: ByteCount::ZERO, limit: Some(ByteCount::gib(1)) }
    }
}

/// What differs from one scene to the other.
pub(crate) struct Script {
    pub(crate) concurrent_max: usize,
    pub(crate) token: Option<&'static str>,
    pub(crate) offline: bool,
    pub(crate) room: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self { concurrent_max: 2, token: None, offline: false, room: u64::MAX }
    }
}

pub(crate) fn scene() -> Scene {
    Scene::new(Script::default())
}

impl Scene {
    pub(crate) fn new(script: Script) -> Self {
        let (hub, folder) = (FakeHub::start(), tempfile::tempdir().unwrap());
        let room = Arc::new(Limit::new(script.room));
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let client = client(&hub.url(), &script);
        let downloads = start(&client, folder.path(), script.concurrent_max, room.clone(), &tracker, stop.clone());
        let ends = Mutex::new(downloads.events());
        Self { hub, room, downloads, ends, folder, tracker, stop }
    }

    /// Ends the downloads as snug does, and begins with new ones over the same folder.
    pub(crate) async fn restart(mut self, script: Script) -> Self {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(LONG, self.tracker.wait()).await.expect("downloads end when they are told to");
        (self.tracker, self.stop) = (TaskTracker::new(), CancellationToken::new());
        let client = client(&self.hub.url(), &script);
        let (folder, room) = (self.folder.path(), self.room.clone());
        self.downloads = start(&client, folder, script.concurrent_max, room, &self.tracker, self.stop.clone());
        self.ends = Mutex::new(self.downloads.events());
        self
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    /// A file outside of the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("models").join(name)
    }

    /// The wish for a file of no repository.
    pub(crate) fn file(&self, name: &str) -> FileWish {
        FileWish::new(Source::Url { url: self.hub.file_url(name), to: self.path(name) })
    }

    pub(crate) fn counts(&self, path: &str) -> Counts {
        self.hub.counts(&format!("{REPOSITORY}/{path}"))
    }

    pub(crate) async fn begin(&self, id: &str, files: Vec<FileWish>) -> Run {
        self.downloads.begin(Job { id: JobId::new(id), files }).await.unwrap()
    }

    /// The next end of any job.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ends = self.ends.lock().await;
        tokio::time::timeout(LONG, ends.recv()).await.expect("a download ends").unwrap()
    }

    /// Downloads files as one job, and gives their places.
    pub(crate) async fn fetch(&self, files: Vec<FileWish>) -> Vec<PathBuf> {
        self.begin("fetch", files).await;
        match self.ended().await {
            Ended::Finished { files, .. } => files,
            Ended::Failed { failure, .. } => panic!("{failure}"),
        }
    }

    /// Downloads a file that must fail; gives the class and the reason.
    pub(crate) async fn fail(&self, file: FileWish) -> (Class, String) {
        self.begin("fail", vec![file]).await;
        match self.ended().await {
            Ended::Finished { .. } => panic!("it was done"),
            Ended::Failed { failure, .. } => (failure.class(), failure.to_string()),
        }
    }

    pub(crate) fn job(&self, id: &str) -> Option<JobView> {
        self.downloads.jobs().iter().find(|job| job.id.as_str() == id).cloned()
    }

    /// Waits until a job is in a state.
    pub(crate) async fn wait(&self, id: &str, what: &str, is_so: impl Fn(&JobView) -> bool) -> JobView {
        eventually(&format!("{id} {what}"), async || self.job(id).filter(&is_so)).await
    }

    /// Waits until some bytes of a job are on the disk.
    pub(crate) async fn comes(&self, id: &str, bytes: u64) {
        self.wait(id, "comes", |job| matches!(job.state, State::Running) && job.bytes_done.as_u64() >= bytes).await;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn retries() -> Retries {
    Retries { attempts: 4, first_wait: Duration::from_millis(1), longest_wait: Duration::from_secs(5) }
}

pub(crate) fn client(endpoint: &str, script: &Script) -> Client {
    let token = script.token.map(Token::new);
    let settings = Settings { endpoint: endpoint.to_owned(), token, offline: script.offline, retries: retries() };
    Client::new(&settings).unwrap()
}

fn start(
    client: &Client,
    folder: &Path,
    concurrent_max: usize,
    room: Arc<Limit>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Downloads {
    let silence_max = Duration::from_secs(1);
    let config = Config { concurrent_max, silence_max, ..Config::new(folder.join("hub")) };
    Downloads::start(config, client, room, tracker, stop).unwrap()
}

/// The wish for a file of the tests' repository.
pub(crate) fn of_hub(path: &str) -> FileWish {
    FileWish::new(Source::Hub { repository: REPOSITORY.to_owned(), revision: "main".to_owned(), path: path.to_owned() })
}

/// The sha256 of a file, in pieces.
pub(crate) fn sha256(path: &Path) -> String {
    use std::io::Read;
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut file = std::fs::File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            count => context.update(&buffer[..count]),
        }
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files under a folder, by their path in it, sorted.
pub(crate) fn files_under(folder: &Path) -> Vec<String> {
    let (mut found, mut folders) = (vec![], vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
