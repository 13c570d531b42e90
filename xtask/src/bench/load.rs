//! A closed-loop HTTP client that costs little and measures exactly.
//!
//! It reads just enough HTTP/1.1 to know where an answer ends, so that on a small machine most of the time goes into
//! what is measured.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What one run of requests showed.
pub(crate) struct Sample {
    /// Latency of each request, nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Requests per second.
    pub(crate) rate: f64,
}

/// Asks over and over on some connections, each as soon as it has its answer.
pub(crate) async fn requests(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Sample> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let request = request.to_vec();
        tasks.spawn(async move {
            let mut latency = histogram();
            let mut wire = Wire::connect(address).await?;
            while begun.elapsed() < duration {
                let sent = Instant::now();
                wire.send(&request).await?;
                wire.answer().await?;
                latency.record(nanos(sent.elapsed()))?;
            }
            anyhow::Ok(latency)
        });
    }
    let mut latency = histogram();
    while let Some(of_task) = tasks.join_next().await {
        latency.add(of_task??)?;
    }
    let rate = count(latency.len()) / begun.elapsed().as_secs_f64();
    Ok(Sample { latency, rate })
}

/// What one run of streams showed.
pub(crate) struct Streams {
    /// From request to first event, nanoseconds.
    pub(crate) first: Histogram<u64>,
    /// From first event to last, per event, nanoseconds.
    pub(crate) later: Histogram<u64>,
}

/// Reads streams, each connection one after the other.
pub(crate) async fn streams(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    streams: usize,
) -> anyhow::Result<Streams> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let request = request.to_vec();
        tasks.spawn(async move {
            let (mut first, mut later) = (histogram(), histogram());
            let mut wire = Wire::connect(address).await?;
            for _ in 0..streams {
                let sent = Instant::now();
                wire.send(&request).await?;
                let stream = wire.stream().await?;
                first.record(nanos(stream.first - sent))?;
                later.record(nanos(stream.last - stream.first) / stream.events.max(1))?;
            }
            anyhow::Ok((first, later))
        });
    }
    let (mut first, mut later) = (histogram(), histogram());
    while let Some(of_task) = tasks.join_next().await {
        let (first_of_task, later_of_task) = of_task??;
        first.add(first_of_task)?;
        later.add(later_of_task)?;
    }
    Ok(Streams { first, later })
}

/// Reads one stream of an upstream that stamps its tokens, and tells how long each was on its way, nanoseconds. The first
/// one does not count.
pub(crate) async fn ways(address: SocketAddr, request: &[u8]) -> anyhow::Result<Histogram<u64>> {
    let mut wire = Wire::connect(address).await?;
    wire.send(request).await?;
    wire.stamped_stream().await
}

/// One request on a connection of its own, and the head of its answer; an error unless that is 200 or 304.
pub(crate) async fn head(address: SocketAddr, request: &[u8]) -> anyhow::Result<String> {
    let mut wire = Wire::connect(address).await?;
    wire.send(request).await?;
    let end = wire.head().await?;
    Ok(String::from_utf8_lossy(&wire.buffer[..end]).into_owned())
}

/// One request on a connection of its own, and the body of its answer; an error unless it is 200 or 304.
pub(crate) async fn ask(address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut wire = Wire::connect(address).await?;
    wire.send(request).await?;
    let body = wire.answer().await?;
    Ok(wire.buffer[body].to_vec())
}

/// A chat request of ordinary size, with more fields.
pub(crate) fn chat(model: &str, fields: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"model":"{model}","messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"Say something of ordinary length, please."}}],"temperature":0.7,{fields}}}"#
    );
    let length = body.len();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\naccept: */*\r\nuser-agent: xtask\r\n\
         authorization: Bearer none\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// How a chunked body ends.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// How an answer without a body begins.
const NOT_MODIFIED: &[u8] = b"HTTP/1.1 304";

struct Stream {
    first: Instant,
    last: Instant,
    /// Events after the first.
    events: u64,
}

struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    async fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.buffer.clear();
        Ok(self.stream.write_all(request).await?)
    }

    /// Reads one answer of known length and says where in the buffer its body lies.
    async fn answer(&mut self) -> anyhow::Result<Range<usize>> {
        let body = self.head().await?;
        if self.buffer.starts_with(NOT_MODIFIED) {
            return Ok(body..body);
        }
        let head = self.buffer[..body].to_ascii_lowercase();
        let at = memmem::find(&head, b"content-length: ").context("an answer without length")?;
        let digits = head[at + 16..].iter().take_while(|byte| byte.is_ascii_digit());
        let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        while self.buffer.len() < body + length {
            self.read().await?;
        }
        Ok(body..body + length)
    }

    /// Reads one chunked stream of events.
    async fn stream(&mut self) -> anyhow::Result<Stream> {
        let mut seen = self.head().await?;
        let (mut first, mut events) = (None, 0);
        loop {
            let found = memmem::find_iter(&self.buffer[seen..], b"data: ").count();
            if found > 0 {
                first.get_or_insert_with(Instant::now);
                events += found as u64;
            }
            if self.buffer.ends_with(END) {
                break;
            }
            // What may be the beginning of a mark is looked at again.
            seen = self.buffer.len().saturating_sub(5).max(seen);
            if self.buffer.len() > 32 << 10 {
                self.buffer.drain(..seen - 8);
                seen = 8;
            }
            self.read().await?;
        }
        let first = first.context("a stream without events")?;
        Ok(Stream { first, last: Instant::now(), events: events - 1 })
    }

    /// Reads one chunked stream whose tokens carry the time they were sent.
    async fn stamped_stream(&mut self) -> anyhow::Result<Histogram<u64>> {
        const STAMP: &[u8] = b"\"sent_ns\":";
        let mut ways = histogram();
        let mut seen = self.head().await?;
        let mut is_first = true;
        loop {
            let now = monotonic_nanos();
            while let Some(at) = memmem::find(&self.buffer[seen..], STAMP) {
                let digits = &self.buffer[seen + at + STAMP.len()..];
                let Some(length) = digits.iter().position(|byte| !byte.is_ascii_digit()) else {
                    break; // The rest of it comes with the next piece.
                };
                let sent = digits[..length].iter().fold(0, |sent, digit| sent * 10 + u64::from(digit - b'0'));
                seen += at + STAMP.len() + length;
                if !std::mem::take(&mut is_first) {
                    ways.record(now.saturating_sub(sent).max(1))?;
                }
            }
            if self.buffer.ends_with(END) {
                break;
            }
            self.read().await?;
        }
        ensure!(!ways.is_empty(), "no token says when it was sent");
        Ok(ways)
    }

    /// Reads up to the end of a head and says where its body begins.
    async fn head(&mut self) -> anyhow::Result<usize> {
        loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let is_well = self.buffer.starts_with(b"HTTP/1.1 200") || self.buffer.starts_with(NOT_MODIFIED);
                ensure!(is_well, "{}", String::from_utf8_lossy(&self.buffer));
                return Ok(end + 4);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection ended: {}", String::from_utf8_lossy(&self.buffer));
        }
        Ok(())
    }
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds and precision that the library allows")
}

/// The clock by which the upstream stamps.
fn monotonic_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("it counts from the start of the machine")
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn count(count: u64) -> f64 {
    count as f64
}
