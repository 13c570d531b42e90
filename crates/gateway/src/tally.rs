//! One request's entry in the books, from its head to its last byte.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode};
use keys::{Caller, Permit};

use crate::RequestId;
use crate::endpoint::Endpoint;
use crate::meter::Usage;
use crate::metrics::{ModelMetrics, Outcome, Waiting};
use crate::router::Gateway;
use crate::source::By;

/// A request that is over, however it ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its id.
    pub id: RequestId,
    /// What was asked: `chat_completions`, `embeddings`, …
    pub endpoint: &'static str,
    /// The id of the model that was asked for; `None` where there is no such model.
    pub model: Option<String>,
    /// Who answered, if anybody did.
    pub by: Option<By>,
    /// Who asked.
    pub caller: Caller,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's status; `None` where the client left before there was one.
    pub status: Option<StatusCode>,
    /// What was used, as far as that is known.
    pub usage: Usage,
    /// Whether the answer was a stream.
    pub is_stream: bool,
    /// From the request's head to the first piece of the answer: of a stream, the time to its first token.
    pub first_piece: Duration,
    /// From the request's head to the answer's end.
    pub total: Duration,
    /// The trace that the client is in (W3C `traceparent`).
    pub traceparent: Option<HeaderValue>,
    /// What was asked and answered, where that is kept ([`crate::Limits::bodies_kept`]).
    pub bodies: Option<Box<Bodies>>,
}

/// The beginnings of what was asked and answered.
#[derive(Debug, Clone, Default)]
pub struct Bodies {
    /// Of the request's body, as it came.
    pub asked: Vec<u8>,
    /// Of the answer, as it came from whoever answered.
    pub answered: Vec<u8>,
}

/// One request's entry in the books. Dropped without an outcome, it counts as cancelled by its client.
pub(crate) struct Tally {
    gateway: Arc<Gateway>,
    endpoint: Endpoint,
    model: Arc<ModelMetrics>,
    received: Instant,
    /// Whether a piece of the answer came.
    begun: bool,
    /// How much of each body is kept, bytes.
    bodies_kept: usize,
    /// The caller's place among its requests.
    permit: Option<Permit>,
    /// What is told at the end; `None` once it was.
    finished: Option<Finished>,
}

impl Tally {
    /// A request came in, for a model not known yet.
    pub(crate) fn open(gateway: &Arc<Gateway>, endpoint: Endpoint, id: &RequestId, headers: &HeaderMap) -> Self {
        let model = gateway.metrics.unknown();
        model.came();
        let finished = Finished {
            id: id.clone(),
            endpoint: endpoint.label(),
            model: None,
            by: None,
            caller: Caller::anybody(),
            outcome: Outcome::Cancelled,
            status: None,
            usage: Usage::default(),
            is_stream: false,
            first_piece: Duration::ZERO,
            total: Duration::ZERO,
            traceparent: headers.get("traceparent").cloned(),
            bodies: None,
        };
        let received = Instant::now();
        Self {
            gateway: Arc::clone(gateway),
            endpoint,
            model,
            received,
            begun: false,
            bodies_kept: 0,
            permit: None,
            finished: Some(finished),
        }
    }

    /// It comes from this caller, who has a place for it.
    pub(crate) fn set_caller(&mut self, caller: Caller, permit: Permit) {
        self.permit = Some(permit);
        self.note(|finished| finished.caller = caller);
    }

    /// It is for the model with this id, which exists.
    pub(crate) fn set_model(&mut self, id: &str) {
        self.model.went();
        self.model = self.gateway.metrics.model(id);
        self.model.came();
        self.note(|finished| finished.model = Some(id.to_owned()));
    }

    /// What is asked.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// It waits for a load, or for its turn, until the guard is dropped.
    pub(crate) fn wait(&self) -> Waiting {
        Waiting::begin(&self.model)
    }

    /// Somebody answers.
    pub(crate) fn answered(&mut self, by: By, status: StatusCode, is_stream: bool) {
        self.note(|finished| {
            finished.by = Some(by);
            finished.status = Some(status);
            finished.is_stream = is_stream;
        });
    }

    /// This was asked. Of it and of what is answered so much is kept.
    pub(crate) fn asked(&mut self, body: &[u8], kept: usize) {
        self.bodies_kept = kept;
        if kept > 0 {
            let asked = body[..body.len().min(kept)].to_vec();
            self.note(|finished| finished.bodies = Some(Box::new(Bodies { asked, answered: Vec::new() })));
        }
    }

    /// A piece of the answer came.
    pub(crate) fn piece(&mut self, piece: &[u8]) {
        if let Some(bodies) = self.finished.as_mut().and_then(|finished| finished.bodies.as_mut()) {
            let room = self.bodies_kept.saturating_sub(bodies.answered.len());
            bodies.answered.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let passed = self.received.elapsed();
        let model = Arc::clone(&self.model);
        self.note(|finished| {
            finished.first_piece = passed;
            if finished.is_stream {
                model.first_token(passed);
            }
        });
    }

    /// It is over: how, and what was used.
    pub(crate) fn close(&mut self, outcome: Outcome, usage: Usage, now: Instant) {
        let Some(mut finished) = self.finished.take() else { return };
        let total = now.saturating_duration_since(self.received);
        self.model.usage(&usage);
        self.model.ended(&self.gateway.metrics, self.endpoint, outcome, total);
        self.permit = None;
        let tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
        if tokens > 0 {
            finished.caller.spent(tokens, SystemTime::now());
        }
        finished.outcome = outcome;
        finished.usage = usage;
        finished.total = total;
        if !self.begun {
            finished.first_piece = total;
        }
        (self.gateway.finished)(finished);
    }

    /// It is refused, or failed before anybody answered.
    pub(crate) fn refuse(&mut self, status: StatusCode) {
        self.note(|finished| finished.status = Some(status));
        self.close(Outcome::from(status), Usage::default(), Instant::now());
    }

    fn note(&mut self, note: impl FnOnce(&mut Finished)) {
        if let Some(finished) = &mut self.finished {
            note(finished);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.close(Outcome::Cancelled, Usage::default(), Instant::now());
    }
}
