//! What the gateway counts, for `/metrics`.
//!
//! Labels are few: `model` is the id of a model that exists (or `unknown`), never what a client wrote. A request looks
//! its model up once and then touches that model's own counters.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::endpoint::Endpoint;
use crate::meter::Usage;

/// A cheap handle on the gateway's metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    requests: Family<RequestLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    in_flight: Family<ModelLabel, Gauge>,
    waiting: Family<ModelLabel, Gauge>,
    first_token: Family<ModelLabel, Histogram, fn() -> Histogram>,
    duration: Family<ModelLabel, Histogram, fn() -> Histogram>,
    overhead: Histogram,
    by_model: RwLock<HashMap<String, Arc<ModelMetrics>>>,
    unknown: OnceLock<Arc<ModelMetrics>>,
}

/// One model's own counters.
pub(crate) struct ModelMetrics {
    model: String,
    /// Made when first used, so that `/metrics` lists only what happened.
    requests: [[OnceLock<Counter>; Outcome::ALL.len()]; Endpoint::ALL.len()],
    prompt_tokens: Counter,
    completion_tokens: Counter,
    in_flight: Gauge,
    waiting: Gauge,
    first_token: Histogram,
    duration: Histogram,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Success,
    /// It was at fault.
    ClientError,
    /// We, an engine or a provider were.
    ServerError,
    /// The client left first.
    Cancelled,
    /// The answer began well and broke.
    Broken,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Success, Self::ClientError, Self::ServerError, Self::Cancelled, Self::Broken];

    /// Its word in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Cancelled => "cancelled",
            Self::Broken => "broken",
        }
    }
}

impl From<StatusCode> for Outcome {
    fn from(status: StatusCode) -> Self {
        match status.as_u16() {
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
            _ => Self::Success,
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    endpoint: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: &'static str,
}

impl Metrics {
    /// Adds the gateway's metrics to a registry without prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let families = Families {
            requests: Family::default(),
            tokens: Family::default(),
            in_flight: Family::default(),
            waiting: Family::default(),
            // 1 ms to 65 s.
            first_token: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 17))),
            // 2 ms to 262 s.
            duration: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.002, 2.0, 18))),
            // 5 µs to 40 ms.
            overhead: Histogram::new(exponential_buckets(5e-6, 2.0, 14)),
            by_model: RwLock::default(),
            unknown: OnceLock::new(),
        };
        registry.register("snug_requests", "Requests answered, by how they ended", families.requests.clone());
        registry.register("snug_tokens", "Tokens as the engines counted them", families.tokens.clone());
        registry.register(
            "snug_requests_in_flight",
            "Requests received and not yet answered to the end",
            families.in_flight.clone(),
        );
        registry.register("snug_waiting_requests", "Requests that wait for a model to load", families.waiting.clone());
        registry.register_with_unit(
            "snug_time_to_first_token",
            "From the request's head to the first piece of a streamed answer",
            Unit::Seconds,
            families.first_token.clone(),
        );
        registry.register_with_unit(
            "snug_request_duration",
            "From the request's head to the answer's last byte",
            Unit::Seconds,
            families.duration.clone(),
        );
        registry.register_with_unit(
            "snug_overhead",
            "What snug itself adds to a request before the answer begins, without waiting for a load",
            Unit::Seconds,
            families.overhead.clone(),
        );
        Self(Arc::new(families))
    }

    /// The counters of the model with this id, which must exist.
    pub(crate) fn model(&self, id: &str) -> Arc<ModelMetrics> {
        // A map that grows by whole entries is sound even if a thread panicked beside it.
        let known = self.0.by_model.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        known.unwrap_or_else(|| {
            let mut by_model = self.0.by_model.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(by_model.entry(id.to_owned()).or_insert_with(|| Arc::new(self.0.handles(id))))
        })
    }

    /// The counters of requests whose model is not known (yet).
    pub(crate) fn unknown(&self) -> Arc<ModelMetrics> {
        Arc::clone(self.0.unknown.get_or_init(|| Arc::new(self.0.handles("unknown"))))
    }

    /// What snug itself added to a request.
    pub(crate) fn overhead(&self, overhead: Duration) {
        self.0.overhead.observe(overhead.as_secs_f64());
    }
}

impl ModelMetrics {
    /// A request for it came.
    pub(crate) fn came(&self) {
        self.in_flight.inc();
    }

    /// It is not one for it after all.
    pub(crate) fn went(&self) {
        self.in_flight.dec();
    }

    /// The first piece of a streamed answer came.
    pub(crate) fn first_token(&self, passed: Duration) {
        self.first_token.observe(passed.as_secs_f64());
    }

    /// The engine counted these tokens.
    pub(crate) fn usage(&self, usage: &Usage) {
        self.prompt_tokens.inc_by(usage.prompt_tokens);
        self.completion_tokens.inc_by(usage.completion_tokens);
    }

    /// A request ended.
    pub(crate) fn ended(&self, metrics: &Metrics, endpoint: Endpoint, outcome: Outcome, total: Duration) {
        let counter = self.requests[endpoint as usize][outcome as usize].get_or_init(|| {
            let labels =
                RequestLabels { model: self.model.clone(), endpoint: endpoint.label(), status: outcome.label() };
            metrics.0.requests.get_or_create_owned(&labels)
        });
        counter.inc();
        self.duration.observe(total.as_secs_f64());
        self.in_flight.dec();
    }
}

impl Families {
    fn handles(&self, model: &str) -> ModelMetrics {
        let label = ModelLabel { model: model.to_owned() };
        let tokens = |kind| self.tokens.get_or_create_owned(&TokenLabels { model: model.to_owned(), kind });
        ModelMetrics {
            model: model.to_owned(),
            requests: Default::default(),
            prompt_tokens: tokens("prompt"),
            completion_tokens: tokens("completion"),
            in_flight: self.in_flight.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
            first_token: self.first_token.get_or_create_owned(&label),
            duration: self.duration.get_or_create_owned(&label),
        }
    }
}

/// A request that waits for a load.
pub(crate) struct Waiting(Arc<ModelMetrics>);

impl Waiting {
    /// From now on, until it is dropped.
    pub(crate) fn begin(model: &Arc<ModelMetrics>) -> Self {
        model.waiting.inc();
        Self(Arc::clone(model))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.dec();
    }
}
