//! Connections to engines, kept open between requests and driven by whoever uses them.
//!
//! A connection has no task of its own: it moves only while its request is polled, in the task that serves the client.
//! That saves a hand-over between threads per frame, and dropping a request drops its connection. An idle connection is
//! not watched; whether it still lives is seen when it is taken.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use route::Target;
use tokio::net::TcpStream;

use crate::patience::Patience;

/// llama-server closes a connection after 5 s without a request; ours must not be the one that finds out.
const LONGEST_IDLE: Duration = Duration::from_secs(3);

/// Most idle connections kept per engine. Each occupies a thread of llama-server.
const MOST_IDLE: usize = 128;

/// Longest wait for a connection to be made. Engines are near, so a longer wait means that nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections by engine.
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// One entry for each target that lives, empty or not.
    by_address: HashMap<SocketAddr, Vec<Kept>>,
    swept: Option<Instant>,
}

/// An idle connection, and since when it is. In a list of them the one used last stands last.
type Kept = (Instant, Box<Connection>);

/// One connection to an engine, with no request on it or with one.
pub(crate) struct Connection {
    address: SocketAddr,
    host: HeaderValue,
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it came to its end.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    /// With the engine's silence. Kept with the connection, as setting a timer costs more than keeping it.
    patience: Patience,
}

/// Why an engine gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection could be made.
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The connection ended before the answer's head had come.
    #[error("no answer from {address}")]
    Broken {
        address: SocketAddr,
        #[source]
        source: hyper::Error,
    },
    /// It said nothing for too long.
    #[error("no answer from {address} within {} s", waited.as_secs())]
    Silent { address: SocketAddr, waited: Duration },
}

/// Why an engine's answer did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection ended.
    #[error("the connection ended")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came for too long.
    #[error("nothing came for too long")]
    Silent,
    /// It is larger than what is put into another dialect.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// It is not what its dialect says.
    #[error(transparent)]
    Foreign(#[from] protocol::Fault),
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new() -> Self {
        Self { idle: Mutex::default() }
    }

    /// Sends a request and waits for the head of its answer; an engine's silence is borne for so long, then and later.
    ///
    /// A kept connection may turn out to be closed; the request is then sent once more on a fresh one. That is safe, as
    /// nothing of an answer has been seen.
    pub(crate) async fn send(
        &self,
        address: SocketAddr,
        now: Instant,
        idle_timeout: Duration,
        request: impl Fn(&HeaderValue) -> Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Box<Connection>), SendError> {
        if let Some(mut connection) = self.take(address, now) {
            connection.patience.limit_to(idle_timeout);
            match connection.send(request(&connection.host)).await {
                Err(SendError::Broken { source, .. }) => {
                    tracing::debug!(%address, error = %source, "a kept connection was closed, trying a fresh one");
                }
                Err(error) => return Err(error),
                Ok(response) => return Ok((response, connection)),
            }
        }
        let mut connection = Box::new(Connection::open(address, idle_timeout).await?);
        let response = connection.send(request(&connection.host)).await?;
        Ok((response, connection))
    }

    /// Keeps a connection whose answer has been read to its end, if it can be used again.
    ///
    /// When the target is closed, its connections are dropped: llama-server waits for idle ones before it ends, which
    /// would add a tenth of a second to every swap.
    pub(crate) fn keep(self: &Arc<Self>, mut connection: Box<Connection>, target: &Target, now: Instant) {
        if !connection.is_alive() {
            return;
        }
        let address = connection.address;
        let mut idle = self.lock();
        // Looked at under the lock: a close after this look finds what is kept here.
        if target.is_closed() {
            return;
        }
        let is_first = !idle.by_address.contains_key(&address);
        let kept = idle.by_address.entry(address).or_default();
        if kept.len() < MOST_IDLE {
            kept.push((now, connection));
        }
        if idle.swept.is_none_or(|swept| now.saturating_duration_since(swept) > LONGEST_IDLE) {
            idle.swept = Some(now);
            for kept in idle.by_address.values_mut() {
                kept.retain(|(since, _)| now.saturating_duration_since(*since) <= LONGEST_IDLE);
            }
        }
        drop(idle);
        if is_first {
            let pool = Arc::downgrade(self);
            target.when_closed(move || {
                if let Some(pool) = pool.upgrade() {
                    let gone = pool.lock().by_address.remove(&address);
                    drop(gone);
                }
            });
        }
    }

    fn take(&self, address: SocketAddr, now: Instant) -> Option<Box<Connection>> {
        loop {
            let (since, mut connection) = self.lock().by_address.get_mut(&address)?.pop()?;
            if now.saturating_duration_since(since) <= LONGEST_IDLE && connection.is_alive() {
                return Some(connection);
            }
        }
    }

    /// Nothing that can panic runs under the lock, and a half-done change would only lose idle connections.
    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn open(address: SocketAddr, idle_timeout: Duration) -> Result<Self, SendError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = connecting.await.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|source| SendError::Connect { address, source })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(|source| SendError::Broken { address, source })?;
        let host = HeaderValue::try_from(address.to_string()).expect("an address is digits and punctuation");
        Ok(Self { address, host, sender, driver: Some(driver), patience: Patience::new(idle_timeout) })
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        let Self { address, sender, driver, patience, .. } = self;
        let address = *address;
        let mut answer = pin!(sender.send_request(request));
        patience.renew();
        poll_fn(|cx| {
            poll_driver(driver, cx);
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut unwoken()) {
                patience.renew();
                return Poll::Ready(answer.map_err(|source| SendError::Broken { address, source }));
            }
            patience.poll_over(cx).map(|()| Err(SendError::Silent { address, waited: patience.limit() }))
        })
        .await
    }

    /// The next frame of the answer whose body this is.
    pub(crate) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        // Asked first, the body tells the connection that there is room; then the connection may fill it.
        let mut frame = Pin::new(&mut *body).poll_frame(&mut unwoken());
        if frame.is_pending() {
            poll_driver(&mut self.driver, cx);
            frame = Pin::new(body).poll_frame(&mut unwoken());
        }
        if frame.is_pending() {
            return self.patience.poll_over(cx).map(|()| Some(Err(Fault::Silent)));
        }
        self.patience.renew();
        frame.map_err(|error| Fault::Broken(error.into()))
    }

    /// The longest silence of an engine that is borne.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.patience.limit()
    }

    /// Whether another request can be sent, as far as can be known without sending one.
    fn is_alive(&mut self) -> bool {
        poll_driver(&mut self.driver, &mut unwoken());
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// For what only [`poll_driver`] can bring forward and is looked at right after it: a wake-up would be for nothing.
///
/// Where it finds nothing, [`Patience`] must be asked next, with the task's own context: if it found nothing because
/// the runtime's budget for the task is spent, that is what brings the task back.
fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Moves bytes in both directions, as far as they go now.
fn poll_driver(driver: &mut Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>, cx: &mut Context<'_>) {
    if let Some(running) = driver
        && Pin::new(running).poll(cx).is_ready()
    {
        // How it ended is told to whoever waits for the answer or reads the body.
        *driver = None;
    }
}
