//! An answer whose head has come: who gives it, and what it becomes for the client.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use protocol::Answer;
use types::{InstanceId, ModelId, ModelKey, Variant};

use crate::meter::Meter;
use crate::pool::{Fault, Pool};
use crate::relay::Relay;
use crate::router::Gateway;
use crate::source::{By, Source};
use crate::tally::Tally;

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

    /// One of our own, about a model.
    pub(crate) fn ours(body: Vec<u8>, model: &str) -> Self {
        let model = ModelKey { id: ModelId::new(model), variant: Variant::new("") };
        let by = By { instance: InstanceId::new("snug"), model };
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect();
        Self::new(StatusCode::OK, headers, Source::Whole { body: Some(body.into()), by }, None)
    }

    /// Waits for its first piece: until then somebody else may be asked.
    pub(crate) async fn begin(&mut self) -> Result<(), Fault> {
        if let Some(piece) = std::future::poll_fn(|cx| self.source.poll_piece(cx)).await {
            self.first = Some(piece?);
        }
        Ok(())
    }

    /// Puts into the client's dialect what is no stream. Streams are put into it as they come.
    pub(crate) async fn settle(&mut self, pool: &Arc<Pool>) -> Result<(), Fault> {
        let Some(answer) = self.answer.as_mut().filter(|_| !self.is_stream || !self.status.is_success()) else {
            return Ok(());
        };
        let meter = &mut self.meter;
        let first = self.first.take();
        first.iter().for_each(|first| meter.pass(first));
        let rest = self.source.collect(|piece| meter.pass(piece)).await?;
        let whole = first.map_or_else(|| rest.clone(), |first| [first, rest.clone()].concat().into());
        let body = match self.status {
            status if status.is_success() => answer.whole(&whole)?,
            status => answer.error(status.as_u16(), &whole),
        };
        let ours = Source::Whole { body: Some(body.into()), by: self.source.by() };
        std::mem::replace(&mut self.source, ours).finish(pool, Instant::now());
        self.answer = None;
        self.is_stream = false;
        self.headers.remove(CONTENT_LENGTH);
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(())
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
