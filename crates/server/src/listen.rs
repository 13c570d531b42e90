//! The port: accepts connections within a bound, serves each on one thread, and ends them in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Peer;
use crate::cors::Readable;

/// A client that has begun a request has this long to send its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection on which nothing moves is asked after this long whether the client is still there.
#[cfg(target_os = "linux")]
const SILENT_CLIENT_PROBED: Duration = Duration::from_secs(60);
/// A client that takes none of what is sent to it for this long is cut off.
#[cfg(target_os = "linux")]
const STALLED_CLIENT_TIMEOUT: Duration = Duration::from_secs(300);
/// Connections that may be on their way to one thread.
const LANE_MAX: usize = 64;
/// After an error of accept that will not pass by itself (no file descriptors left).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Binds `host`, which may be a name or an address. `flag` is what takes another port.
pub(crate) async fn bind(host: &str, port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind((host.trim_start_matches('[').trim_end_matches(']'), port)).await.with_context(|| {
        format!("cannot listen on {host}:{port}; is another program using the port? {flag} takes another")
    })
}

/// What serves connections: one thread for each router, with a runtime of its own.
///
/// A request is read, passed on and answered on one thread, over connections that live there; nothing is handed over
/// between cores. Measured beside one runtime with as many workers: 15-20 % more requests per second at 64 connections.
pub(crate) struct Listen {
    routers: Vec<Readable>,
    room: Arc<Semaphore>,
}

/// The connections of a listener that accepts no more.
pub(crate) struct Connections {
    open: TaskTracker,
    cut: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl Connections {
    /// Waits until all have ended.
    pub(crate) async fn finished(&self) {
        self.open.wait().await;
    }

    /// Ends those that are left, and the threads.
    pub(crate) async fn cut(self) {
        self.cut.cancel();
        self.open.wait().await;
        for thread in self.threads {
            // It has nothing left to do; if it panicked, it has said so.
            let _ended = thread.join();
        }
    }
}

impl Listen {
    /// Serves `routers`, each on a thread, on at most `connections_max` connections together; more wait in the system's
    /// own queue.
    pub(crate) fn new(routers: Vec<Readable>, connections_max: u32) -> Self {
        let room = usize::try_from(connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        Self { routers, room: Arc::new(Semaphore::new(room)) }
    }

    /// Accepts until `stop`, then hands back what is still open: connections that are told to end after the answer they
    /// are at.
    pub(crate) async fn serve(
        self,
        listeners: Vec<TcpListener>,
        stop: CancellationToken,
    ) -> std::io::Result<Connections> {
        let (open, cut) = (TaskTracker::new(), CancellationToken::new());
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        for (number, router) in self.routers.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (lane, accepted) = Lane::new();
            let serving = Serving {
                router,
                open: open.clone(),
                // Tokens of its own: each connection looks at them with each step, and threads must not meet there.
                stop: stop.child_token(),
                cut: cut.child_token(),
            };
            let thread = std::thread::Builder::new().name(format!("serve-{number}"));
            threads.push(thread.spawn(move || runtime.block_on(serving.run(accepted)))?);
            lanes.push(lane);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _never = join_all(listeners.iter().map(|listener| accept_all(listener, &self.room, &lanes))) => {}
        }
        open.close();
        Ok(Connections { open, cut, threads })
    }
}

/// The way to one serving thread.
struct Lane {
    accepted: mpsc::Sender<Accepted>,
    /// How many connections it has.
    load: Arc<()>,
}

/// A connection on its way to the thread that serves it, and what it holds while it is open.
struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    _room: OwnedSemaphorePermit,
    /// One more holder of the lane's load.
    _load: Arc<()>,
}

impl Lane {
    fn new() -> (Self, mpsc::Receiver<Accepted>) {
        let (accepted, connections) = mpsc::channel(LANE_MAX);
        (Self { accepted, load: Arc::new(()) }, connections)
    }

    fn load(&self) -> usize {
        Arc::strong_count(&self.load)
    }
}

/// Gives each connection to the thread that has the fewest. Left to themselves, the first thread awake would take a whole
/// burst of them, and the others would look on.
async fn accept_all(listener: &TcpListener, room: &Arc<Semaphore>, lanes: &[Lane]) {
    loop {
        match accept(listener, room, lanes).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>, lanes: &[Lane]) -> std::io::Result<()> {
    let room = Arc::clone(room).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    let lane = lanes.iter().min_by_key(|lane| lane.load()).ok_or(std::io::ErrorKind::NotConnected)?;
    let accepted = Accepted { stream: stream.into_std()?, peer, _room: room, _load: Arc::clone(&lane.load) };
    lane.accepted.send(accepted).await.map_err(|_| std::io::Error::other("a serving thread has ended"))
}

/// What one thread serves with.
struct Serving {
    router: Readable,
    open: TaskTracker,
    stop: CancellationToken,
    cut: CancellationToken,
}

impl Serving {
    /// Serves what comes until nothing more can come, then lives until all connections have ended.
    async fn run(self, mut connections: mpsc::Receiver<Accepted>) {
        while let Some(accepted) = connections.recv().await {
            let (router, stop, cut) = (self.router.clone(), self.stop.clone(), self.cut.clone());
            self.open.spawn(async move {
                let Accepted { stream, peer, _room, _load } = accepted;
                match TcpStream::from_std(stream) {
                    Ok(stream) => serve_connection(stream, peer, router, stop, cut).await,
                    Err(error) => tracing::warn!(%error, "cannot serve a connection"),
                }
            });
        }
        self.open.wait().await;
    }
}

/// Small pieces go out at once, and a client that has vanished or stopped reading does not hold an engine for ever.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        rustix::net::sockopt::set_tcp_keepidle(stream, SILENT_CLIENT_PROBED)?;
        let timeout_ms = u32::try_from(STALLED_CLIENT_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        rustix::net::sockopt::set_tcp_user_timeout(stream, timeout_ms)?;
    }
    Ok(())
}

/// Until it ends by itself, or, once it is to `stop`, after the answer it is at, or at the `cut`, which only comes later.
async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Readable,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%error, "cannot set options of a connection");
    }
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let mut router = router.clone();
        async move { router.call(request).await }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection => served,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = served {
        // A client that went away, or sent what is not HTTP: its own affair.
        tracing::debug!(%error, %peer, "connection ended");
    }
}
