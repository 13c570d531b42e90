//! Connections to engines, kept open between requests and driven by whoever uses them.
//!
//! A connection has no task of its own: it moves only while its request is polled, in the task that serves the client.
//! That saves a hand-over between threads per frame, and dropping a request drops its connection. An idle connection is
//! not watched; whether it still lives is seen when it is taken.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::patience::Patience;

/// llama-server closes a connection after 5 s without a request; ours must not be the one that finds out.
const LONGEST_IDLE: Duration = Duration::from_secs(3);

/// Most idle connections kept per engine. Each occupies a thread of llama-server.
const MOST_IDLE: usize = 128;

/// Longest wait for a connection to be made. Engines are near, so a longer wait means that nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections by engine.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The one used last stands last.
    by_address: HashMap<SocketAddr, Vec<(Instant, Connection)>>,
    swept: Option<Instant>,
}

/// One connection to an engine, with no request on it or with one.
pub(crate) struct Connection {
    address: SocketAddr,
    host: HeaderValue,
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once it came to its end.
    driver: Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>,
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

impl Pool {
    /// Sends a request and waits for the head of its answer.
    ///
    /// A kept connection may turn out to be closed; the request is then sent once more on a fresh one. That is safe, as
    /// nothing of an answer has been seen.
    pub(crate) async fn send(
        &self,
        address: SocketAddr,
        patience: &mut Patience,
        request: impl Fn(&HeaderValue) -> Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), SendError> {
        if let Some(mut connection) = self.take(address) {
            match connection.send(request(&connection.host), patience).await {
                Err(SendError::Broken { source, .. }) => {
                    tracing::debug!(%address, error = %source, "a kept connection was closed, trying a fresh one");
                }
                Err(error) => return Err(error),
                Ok(response) => return Ok((response, connection)),
            }
        }
        let mut connection = Connection::open(address).await?;
        let response = connection.send(request(&connection.host), patience).await?;
        Ok((response, connection))
    }

    /// Keeps a connection whose answer has been read to its end, if it can be used again.
    pub(crate) fn keep(&self, mut connection: Connection) {
        if !connection.is_alive() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.lock();
        let kept = idle.by_address.entry(connection.address).or_default();
        if kept.len() < MOST_IDLE {
            kept.push((now, connection));
        }
        // Engines come and go: what nobody takes any more is closed here.
        if idle.swept.is_none_or(|swept| now.duration_since(swept) > LONGEST_IDLE) {
            idle.swept = Some(now);
            idle.by_address.retain(|_, kept| {
                kept.retain(|(since, _)| now.duration_since(*since) <= LONGEST_IDLE);
                !kept.is_empty()
            });
        }
    }

    fn take(&self, address: SocketAddr) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.lock().by_address.get_mut(&address)?.pop()?;
            if since.elapsed() <= LONGEST_IDLE && connection.is_alive() {
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
    async fn open(address: SocketAddr) -> Result<Self, SendError> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = connecting.await.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|source| SendError::Connect { address, source })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, driver) = handshake.map_err(|source| SendError::Broken { address, source })?;
        let host = HeaderValue::try_from(address.to_string()).expect("an address is digits and punctuation");
        Ok(Self { address, host, sender, driver: Some(driver) })
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: &mut Patience,
    ) -> Result<Response<Incoming>, SendError> {
        let address = self.address;
        let mut answer = pin!(self.sender.send_request(request));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            poll_driver(driver, cx);
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(|source| SendError::Broken { address, source }));
            }
            patience.poll_over(cx).map(|()| Err(SendError::Silent { address, waited: patience.limit() }))
        })
        .await
    }

    /// Moves bytes in both directions, as far as they go now.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        poll_driver(&mut self.driver, cx);
    }

    /// Whether another request can be sent, as far as can be known without sending one.
    fn is_alive(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

fn poll_driver(driver: &mut Option<http1::Connection<TokioIo<TcpStream>, Full<Bytes>>>, cx: &mut Context<'_>) {
    if let Some(running) = driver
        && Pin::new(running).poll(cx).is_ready()
    {
        // How it ended is told to whoever waits for the answer or reads the body.
        *driver = None;
    }
}
