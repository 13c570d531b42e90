//! A fake hub: a small real HTTP server that plays the Hugging Face hub as <https://huggingface.co/docs/hub/api> and
//! `huggingface_hub` know it, and does to downloads what networks do.
//!
//! Two ports, since the real one has two hosts: the hub itself, and the storage that large files are redirected to. Each
//! file may have [`Fault`]s. It counts what it is asked and what it gives.
//!
//! ```text
//!  GET       /api/models/OWNER/NAME[/revision/REV][?blobs=true]
//!  GET       /api/models/OWNER/NAME/tree/REV[?recursive=true&limit=N&cursor=N]
//!  HEAD GET  /OWNER/NAME/resolve/REV/PATH     small: 307 to /api/resolve-cache/…; large: 302 to the storage
//!  HEAD GET  /files/NAME                      a file of no repository
//! ```

mod answer;
mod body;
mod content;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use content::{Content, sha256};

use content::Stored;

/// A fake hub that runs until it is dropped.
#[derive(Debug)]
pub struct FakeHub {
    shared: Arc<Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What goes wrong with a file. `times`: how often; `u32::MAX` for always.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The hub (for a file of no repository: its only host) answers with this status.
    Refused {
        /// The status.
        status: u16,
        /// `X-Error-Code`; empty for none.
        code: &'static str,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
        /// How often.
        times: u32,
    },
    /// The storage answers with this status.
    StorageRefused {
        /// The status.
        status: u16,
        /// How often.
        times: u32,
    },
    /// A licence must be accepted: who brings no token is refused.
    Gated,
    /// The connection falls silent after so many bytes of a body.
    Stall {
        /// Bytes.
        after: u64,
        /// How often.
        times: u32,
    },
    /// The connection is cut after so many bytes of a body.
    Cut {
        /// Bytes.
        after: u64,
        /// How often.
        times: u32,
    },
    /// What is given is so long, whatever is announced.
    Length(u64),
    /// What is given is something else of the same length.
    OtherBytes,
    /// Ranges are not known: every answer is the whole.
    NoRanges,
    /// No `ETag` is given for a file of no repository.
    NoEtag,
    /// No faster than this, in bytes per second, for each connection.
    Slow(u64),
}

/// What was asked of a file, and given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// HEAD requests.
    pub heads: u64,
    /// GET requests that began to give bytes, wherever they were answered.
    pub gets: u64,
    /// Bytes of bodies that were given.
    pub bytes: u64,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Range` header; empty if there was none.
    pub range: String,
    /// Whether it came to the storage.
    pub at_storage: bool,
    /// Whether it brought a token.
    pub has_token: bool,
}

/// What the server and the test share.
#[derive(Debug)]
struct Shared {
    hub: SocketAddr,
    storage: SocketAddr,
    connections: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// Files of no repository, by `files/NAME`.
    plain: BTreeMap<String, Arc<Stored>>,
    /// By what a file is called: `OWNER/NAME/PATH` or `files/NAME`.
    faults: BTreeMap<String, Vec<Fault>>,
    counts: BTreeMap<String, Counts>,
    asked: Vec<Asked>,
}

#[derive(Debug, Default)]
struct Repository {
    /// Commits, the newest last, with all files of each by path.
    commits: Vec<(String, BTreeMap<String, Arc<Stored>>)>,
}

impl FakeHub {
    /// Starts one, on ports that the system chooses, in a thread of its own.
    ///
    /// # Panics
    /// If this machine has no loopback.
    pub fn start() -> Self {
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("fake-hub".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let hub = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
                let storage = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
                let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
                let shared = Arc::new(Shared {
                    hub: address(&hub),
                    storage: address(&storage),
                    connections: AtomicU64::new(0),
                    state: Mutex::default(),
                });
                ready.send(shared.clone()).expect("the test waits for it");
                tokio::select! {
                    () = serve(hub, shared.clone(), false) => {}
                    () = serve(storage, shared, true) => {}
                    _ = stopped => {}
                }
            });
        });
        let thread = thread.expect("a thread can be started");
        let shared = started.recv().expect("the server starts");
        Self { shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Its address, as `HF_ENDPOINT` has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.hub)
    }

    /// The address of a file of no repository.
    pub fn file_url(&self, name: &str) -> String {
        format!("http://{}/files/{name}", self.shared.hub)
    }

    /// Puts a file into a repository, in a new commit, and gives its sha256. One of 1 MiB or more is stored as large.
    pub fn put(&self, repository: &str, path: &str, content: impl Into<Content>) -> String {
        let stored = Arc::new(Stored::new(content.into()));
        let sha256 = stored.sha256.clone();
        let mut state = self.shared.state();
        let commits = &mut state.repositories.entry(repository.to_owned()).or_default().commits;
        let mut files = commits.last().map(|(_, files)| files.clone()).unwrap_or_default();
        files.insert(path.to_owned(), stored);
        commits.push((content::sha1(format!("{repository} {}", commits.len()).as_bytes()), files));
        sha256
    }

    /// Puts a file of no repository to `/files/NAME`, in place of one that was there, and gives its sha256.
    pub fn put_file(&self, name: &str, content: impl Into<Content>) -> String {
        let stored = Arc::new(Stored::new(content.into()));
        let sha256 = stored.sha256.clone();
        self.shared.state().plain.insert(format!("files/{name}"), stored);
        sha256
    }

    /// The newest commit of a repository.
    ///
    /// # Panics
    /// If it has none.
    pub fn commit(&self, repository: &str) -> String {
        let state = self.shared.state();
        let commits = &state.repositories.get(repository).expect("a repository that was put").commits;
        commits.last().expect("it has a commit").0.clone()
    }

    /// Lets something go wrong with a file: `OWNER/NAME/PATH`, or `files/NAME`.
    pub fn fault(&self, file: &str, fault: Fault) {
        self.shared.state().faults.entry(file.to_owned()).or_default().push(fault);
    }

    /// Lets nothing go wrong with a file any more. Answers that are being given stay as they are.
    pub fn mend(&self, file: &str) {
        self.shared.state().faults.remove(file);
    }

    /// What was asked of a file, and given: `OWNER/NAME/PATH`, or `files/NAME`.
    pub fn counts(&self, file: &str) -> Counts {
        self.shared.state().counts.get(file).copied().unwrap_or_default()
    }

    /// Connections that were made to either port so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// All requests so far, in their order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state().asked.clone()
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It is gone already if it panicked; its message was printed.
            let _gone = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, at_storage: bool) {
    // Connections end with the server.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let _ = stream.set_nodelay(true);
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let shared = shared.clone();
                let service = service_fn(move |request| {
                    let answer = answer::answer(&shared, at_storage, &request);
                    async move { Ok::<_, std::convert::Infallible>(answer) }
                });
                connections.spawn(async move {
                    let mut http = http1::Builder::new();
                    http.timer(TokioTimer::new());
                    // A client that leaves is no error here.
                    let _left = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
