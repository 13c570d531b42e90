//! An answer whose head has come: who gives it, and what it becomes for the client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use hyper::body::Incoming;
use protocol::Answer;
use route::Lease;
use types::{InstanceId, ModelId, ModelKey, Variant};

use crate::endpoint::Tongue;
use crate::meter::Meter;
use crate::pool::{Connection, Fault, Pool};
use crate::relay::Relay;
use crate::router::Gateway;
use crate::source::{By, Source};
use crate::tally::Tally;
use crate::{headers, rewording};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// An answer whose head has come.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// For the client already: what an engine says of itself is left out.
    pub(crate) headers: HeaderMap,
    pub(crate) source: Source,
    /// Whether its body is a stream of events.
    pub(crate) is_stream: bool,
    /// What makes it the client's dialect, if it is in another.
    pub(crate) answer: Option<Box<dyn Answer>>,
    /// What of it was seen before it goes on.
    pub(crate) meter: Meter,
    /// The first piece, if it was waited for.
    pub(crate) first: Option<Bytes>,
}

impl Reply {
    /// One whose body is put into the client's dialect by `answer`, or is in it already.
    pub(crate) fn new(status: StatusCode, headers: HeaderMap, source: Source, answer: Option<Box<dyn Answer>>) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..EVENT_STREAM.len()));
        let is_stream = kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM));
        Self { status, headers, source, is_stream, answer, meter: Meter::default(), first: None }
    }

    /// One of an engine.
    pub(crate) fn of_engine(
        response: http::Response<Incoming>,
        connection: Box<Connection>,
        lease: Lease,
        answer: Option<Box<dyn Answer>>,
    ) -> Self {
        let (head, body) = response.into_parts();
        let source = Source::Engine { body, connection, lease };
        Self::new(head.status, headers::towards_client(&head.headers), source, answer)
    }

    /// One of our own, about a model.
    pub(crate) fn ours(body: Vec<u8>, model: &str) -> Self {
        let model = ModelKey { id: ModelId::new(model), variant: Variant::new("") };
        let by = By { instance: InstanceId::new("snug"), model };
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        Self::new(StatusCode::OK, headers, Source::Whole { body: Some(body.into()), by, usage: None }, None)
    }

    /// Waits until something of it is there for the client: what is settled, of anything else the first piece. Until then
    /// somebody else may be asked.
    pub(crate) async fn begin(&mut self, tongue: Tongue, pool: &Arc<Pool>) -> Result<(), Fault> {
        if self.is_to_settle() {
            return self.settle(tongue, pool).await;
        }
        if let Some(piece) = std::future::poll_fn(|cx| self.source.poll_piece(cx)).await {
            self.first = Some(piece?);
        }
        Ok(())
    }

    /// Reads to its end, and puts into the client's dialect, what is in another and no stream, and what says of a failure:
    /// whoever gave it is free from then on. Streams are put into it as they come.
    pub(crate) async fn settle(&mut self, tongue: Tongue, pool: &Arc<Pool>) -> Result<(), Fault> {
        if !self.is_to_settle() {
            return Ok(());
        }
        let meter = &mut self.meter;
        let whole = self.source.collect(|piece| meter.pass(piece)).await?;
        let status = self.status;
        let whole = match &self.source {
            Source::Remote { place, .. } if !status.is_success() => place.without_key(whole),
            _ => whole,
        };
        let reworded = match self.answer.take() {
            Some(mut answer) if status.is_success() => Some(answer.whole(&whole)?),
            Some(mut answer) => Some(answer.error(status.as_u16(), &whole)),
            None => rewording::of_error(tongue, status, &whole),
        };
        // What is here whole has a length of its own.
        self.headers.remove(CONTENT_LENGTH);
        if reworded.is_some() {
            self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let ours = Source::Whole {
            body: Some(reworded.map_or(whole, Bytes::from)),
            by: self.source.by(),
            usage: Some(self.source.usage().unwrap_or_else(|| self.meter.usage())),
        };
        drop(std::mem::replace(&mut self.source, ours).finish(pool, Instant::now()));
        self.is_stream = false;
        Ok(())
    }

    fn is_to_settle(&self) -> bool {
        let is_failure = self.status.is_client_error() || self.status.is_server_error();
        let is_settled = matches!(self.source, Source::Whole { .. });
        (is_failure && !is_settled) || (self.answer.is_some() && (is_failure || !self.is_stream))
    }

    /// The answer for the client. `overhead` is what we took ourselves before it.
    pub(crate) fn respond(mut self, gateway: Arc<Gateway>, tally: Tally, overhead: Duration) -> Response {
        let mut headers = std::mem::take(&mut self.headers);
        if self.is_stream {
            // Room for an error event after what the engine announced.
            headers.remove(CONTENT_LENGTH);
        }
        if let Some(answer) = &self.answer {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.stream_type()));
        }
        gateway.metrics.overhead(overhead);
        headers.append(SERVER_TIMING, timing(overhead));
        let status = self.status;
        let mut response = Response::new(Body::new(Relay::new(gateway, self, tally)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

fn timing(overhead: Duration) -> HeaderValue {
    let micros = overhead.as_micros();
    let text = format!("snug;dur={}.{:03}", micros / 1000, micros % 1000);
    HeaderValue::try_from(text).expect("letters, digits and punctuation")
}
