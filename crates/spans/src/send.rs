//! The queue, and the task that empties it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::finished::Finished;
use crate::span::{self, Ids};
use crate::traceparent::Parent;

/// Requests that may wait to be sent; about 4 MiB.
pub const QUEUE_MAX: usize = 8192;
/// Requests that are sent together.
const BATCH_MAX: usize = 512;
/// For so long they are gathered.
const GATHERED: Duration = Duration::from_secs(1);
/// What the collector has for one batch, tries and all.
const PATIENCE: Duration = Duration::from_secs(10);
/// What it has for all that is left at the end.
const LAST_PATIENCE: Duration = Duration::from_millis(800);

/// Where spans go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The collector, such as `http://127.0.0.1:4318`; `/v1/traces` is added.
    pub endpoint: String,
    /// What we are called there.
    pub service_name: String,
    /// Our version.
    pub service_version: String,
    /// Which share of requests is sent whose sender has not decided, 0 to 1.
    pub sample: f64,
}

/// Spans cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("spans cannot be sent to {endpoint}")]
pub struct StartError {
    endpoint: String,
    #[source]
    error: opentelemetry_otlp::ExporterBuildError,
}

/// What became of requests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The collector has them.
    pub sent: u64,
    /// The queue was full, or the collector did not take them.
    pub lost: u64,
}

/// Begins to send, in a task of `tracker` until `stop`. What came before `stop` is sent before the task ends, if the
/// collector takes it within 0.8 s.
///
/// # Errors
/// If the endpoint is none.
pub fn start(config: &Config, tracker: &TaskTracker, stop: CancellationToken) -> Result<Handle, StartError> {
    let endpoint = format!("{}/v1/traces", config.endpoint.trim_end_matches('/'));
    let built = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(&endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(PATIENCE)
        .build();
    let mut exporter = built.map_err(|error| StartError { endpoint, error })?;
    let version = KeyValue::new("service.version", config.service_version.clone());
    exporter.set_resource(
        &Resource::builder_empty().with_service_name(config.service_name.clone()).with_attribute(version).build(),
    );
    let handle = Handle(Arc::default());
    let sender = Sender {
        shared: Arc::clone(&handle.0),
        exporter,
        scope: InstrumentationScope::builder("snug").with_version(config.service_version.clone()).build(),
        sample: config.sample,
        has_failed: false,
    };
    tracker.spawn(sender.run(stop));
    Ok(handle)
}

/// A cheap way to have requests told of.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Finished>>,
    /// Something came into an empty queue.
    news: Notify,
    /// The queue is half full.
    pressing: Notify,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Handle {
    /// A request is over. Never waits; when the queue is full it is lost and counted.
    pub fn finished(&self, finished: Finished) {
        let mut queue = self.0.queue();
        let waiting = queue.len();
        if waiting >= QUEUE_MAX {
            drop(queue);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.push_back(finished);
        drop(queue);
        // Whoever serves wakes the task once for all that come until it looks.
        match waiting {
            0 => self.0.news.notify_one(),
            _ if waiting == QUEUE_MAX / 2 => self.0.pressing.notify_one(),
            _ => {}
        }
    }

    /// What became of all so far.
    pub fn counts(&self) -> Counts {
        Counts { sent: self.0.sent.load(Ordering::Relaxed), lost: self.0.lost.load(Ordering::Relaxed) }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Finished>> {
        // A queue is whole even if a thread panicked beside it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Sender {
    shared: Arc<Shared>,
    exporter: opentelemetry_otlp::SpanExporter,
    scope: InstrumentationScope,
    sample: f64,
    /// Whether the last attempt did, so that a collector that stays away is told of once.
    has_failed: bool,
}

impl Sender {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            // Each arm waits for a stored permit or a timer: nothing is lost when another is taken.
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shared.news.notified() => tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.shared.pressing.notified() => {}
                    () = sleep(GATHERED) => {}
                },
            }
            while let Some(batch) = self.batch() {
                tokio::select! {
                    () = self.send(batch) => {}
                    () = stop.cancelled() => break,
                }
            }
        }
        let all = async {
            while let Some(batch) = self.batch() {
                self.send(batch).await
            }
        };
        let in_time = timeout(LAST_PATIENCE, all).await.is_ok();
        let left = std::mem::take(&mut *self.shared.queue()).len();
        self.shared.lost.fetch_add(left as u64, Ordering::Relaxed);
        if !in_time {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }

    /// The next requests of the queue.
    fn batch(&self) -> Option<Vec<Finished>> {
        let mut queue = self.shared.queue();
        let count = queue.len().min(BATCH_MAX);
        (count > 0).then(|| queue.drain(..count).collect())
    }

    async fn send(&mut self, batch: Vec<Finished>) {
        let mut unsent = Unsent { shared: Arc::clone(&self.shared), count: batch.len() as u64 };
        let Ok((count, spans)) = self.spans(&batch) else {
            tracing::error!("the system gives no random numbers for ids of spans");
            return;
        };
        unsent.count = count;
        if spans.is_empty() {
            return;
        }
        match self.exporter.export(spans).await {
            Ok(()) => {
                unsent.count = 0;
                self.shared.sent.fetch_add(count, Ordering::Relaxed);
                if std::mem::replace(&mut self.has_failed, false) {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(%error, "the collector does not take spans; they are lost until it does");
                }
            }
        }
    }

    /// The spans of those that are to be sent, and how many these are.
    fn spans(&self, batch: &[Finished]) -> Result<(u64, Vec<SpanData>), getrandom::Error> {
        let mut random = vec![0; batch.len() * 32];
        getrandom::fill(&mut random)?;
        let (mut count, mut spans) = (0, Vec::with_capacity(batch.len() * 2));
        let (chances, _) = random.as_chunks::<32>();
        for (finished, chance) in batch.iter().zip(chances) {
            let parent = finished.traceparent.as_deref().and_then(Parent::read);
            let ids = ids(chance);
            if span::is_sampled(parent, &ids, self.sample) {
                count += 1;
                spans.extend(span::spans(finished, parent, &ids, &self.scope));
            }
        }
        Ok((count, spans))
    }
}

/// Requests on their way to the collector; what is left of them when this is dropped is lost.
struct Unsent {
    shared: Arc<Shared>,
    count: u64,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.shared.lost.fetch_add(self.count, Ordering::Relaxed);
    }
}

fn ids(chance: &[u8; 32]) -> Ids {
    let (mut trace, mut server, mut client) = ([0; 16], [0; 8], [0; 8]);
    trace.copy_from_slice(&chance[..16]);
    server.copy_from_slice(&chance[16..24]);
    client.copy_from_slice(&chance[24..]);
    Ids { trace: TraceId::from_bytes(trace), server: SpanId::from_bytes(server), client: SpanId::from_bytes(client) }
}
