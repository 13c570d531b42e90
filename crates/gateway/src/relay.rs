//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use api::{ErrorBody, ErrorObject, ErrorType};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use protocol::Answer;

use crate::meter::Meter;
use crate::metrics::Outcome;
use crate::pool::Fault;
use crate::reply::Reply;
use crate::router::Gateway;
use crate::source::{By, Source};
use crate::tally::Tally;

/// Passes an answer on as it comes and holds what the request holds: its source, its place in the books.
pub(crate) struct Relay {
    gateway: Arc<Gateway>,
    /// `None` once the end was reached.
    source: Option<Source>,
    /// What came before anybody asked.
    first: Option<Bytes>,
    tally: Tally,
    meter: Meter,
    status: StatusCode,
    /// Where in an event the stream stands, if it is one.
    events: Option<Events>,
    /// What makes it the client's dialect, if it is in another.
    answer: Option<Box<dyn Answer>>,
}

/// An answer that broke where no error event can say so: the connection to the client is cut.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cut(String);

impl Relay {
    /// The body for the client.
    pub(crate) fn new(gateway: Arc<Gateway>, reply: Reply, mut tally: Tally) -> Self {
        tally.answered(reply.source.by(), reply.status, reply.is_stream);
        Self {
            gateway,
            source: Some(reply.source),
            first: reply.first,
            tally,
            meter: reply.meter,
            status: reply.status,
            events: reply.is_stream.then(Events::default),
            answer: reply.answer,
        }
    }

    /// A piece came: what the client gets for it.
    fn pass(&mut self, piece: Bytes) -> Result<Bytes, Fault> {
        self.meter.pass(&piece);
        if let Some(events) = &mut self.events {
            events.pass(&piece);
        }
        self.tally.piece(&piece);
        match &mut self.answer {
            None => Ok(piece),
            Some(answer) => Ok(answer.piece(&piece)?.into()),
        }
    }

    /// The answer came to its end: the last words for the client, if there are any.
    fn complete(&mut self) -> Option<Bytes> {
        let source = self.source.take()?;
        let now = Instant::now();
        let usage = source.usage().unwrap_or_else(|| self.meter.usage());
        source.finish(&self.gateway.pool, now);
        self.tally.close(Outcome::from(self.status), usage, now);
        let last = self.answer.as_mut()?.end();
        (!last.is_empty()).then(|| last.into())
    }

    /// It did not. A stream ends in an error event, anything else is cut.
    fn fail(&mut self, fault: &Fault) -> Option<Result<Frame<Bytes>, Cut>> {
        if self.events.as_ref().is_some_and(Events::is_done) {
            // All was said; only the connection did not end as it should.
            return self.complete().map(|last| Ok(Frame::data(last)));
        }
        let source = self.source.take()?;
        self.tally.close(Outcome::Broken, self.meter.usage_so_far(self.events.is_some()), Instant::now());
        let By { instance, model } = source.by();
        let (code, message) = match fault {
            Fault::Broken(_) => {
                ("engine_failed", format!("the engine of {model} ended before the answer was complete"))
            }
            Fault::Silent => {
                let silence = source.idle_timeout().as_secs_f64();
                ("timeout", format!("the engine of {model} said nothing for {silence} s"))
            }
            Fault::TooLarge { .. } | Fault::Foreign(_) => ("bad_answer", format!("{model}: {fault}")),
        };
        tracing::warn!(engine.id = %instance, %model, error = fault as &dyn std::error::Error, "an answer broke");
        Some(match (&mut self.answer, &self.events) {
            (Some(answer), Some(_)) => Ok(Frame::data(answer.broken(code, &message).into())),
            (None, Some(events)) => Ok(Frame::data(events.error(code, message))),
            (_, None) => Err(Cut(message)),
        })
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        loop {
            let Some(source) = &mut this.source else { return Poll::Ready(None) };
            let piece = match this.first.take() {
                Some(first) => Some(Ok(first)),
                None => ready!(source.poll_piece(cx)),
            };
            match piece.map(|piece| piece.and_then(|piece| this.pass(piece))) {
                // An event of which only a part has come.
                Some(Ok(piece)) if piece.is_empty() && this.answer.is_some() => {}
                Some(Ok(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Err(fault)) => return Poll::Ready(this.fail(&fault)),
                None => return Poll::Ready(this.complete().map(|last| Ok(Frame::data(last)))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| self.is_as_it_came() && source.is_over())
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.source.as_ref().map_or(Some(0), Source::length);
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        // A stream of events may grow by an error event.
        match length {
            Some(length) if self.is_as_it_came() && self.events.is_none() => SizeHint::with_exact(length + first),
            _ => SizeHint::default(),
        }
    }
}

impl Relay {
    /// Whether the source's end is the answer's end, and its length the answer's.
    fn is_as_it_came(&self) -> bool {
        self.first.is_none() && self.answer.is_none()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A body of known length is not asked again after its last byte.
        if self.is_as_it_came() && self.source.as_ref().is_some_and(Source::is_over) {
            self.complete();
        } else if self.source.is_some() {
            let usage = self.meter.usage_so_far(self.events.is_some());
            self.tally.close(Outcome::Cancelled, usage, Instant::now());
        }
    }
}

/// Where in a stream of events the last byte stands.
#[derive(Default)]
struct Events {
    /// The last bytes, right-aligned.
    tail: [u8; Self::DONE.len()],
    begun: bool,
}

impl Events {
    const DONE: &[u8] = b"data: [DONE]\n\n";

    fn pass(&mut self, piece: &[u8]) {
        let length = self.tail.len();
        self.begun |= !piece.is_empty();
        if piece.len() >= length {
            self.tail.copy_from_slice(&piece[piece.len() - length..]);
        } else {
            self.tail.rotate_left(piece.len());
            self.tail[length - piece.len()..].copy_from_slice(piece);
        }
    }

    fn is_done(&self) -> bool {
        self.tail == Self::DONE
    }

    /// An error event, set off from an event that was cut short.
    fn error(&self, code: &str, message: String) -> Bytes {
        let between = !self.begun || self.tail.ends_with(b"\n\n") || self.tail.ends_with(b"\r\n\r\n");
        let error = ErrorObject {
            message,
            kind: ErrorType::ServerError,
            param: None,
            code: Some(code.to_owned()),
            details: None,
        };
        let body = serde_json::to_string(&ErrorBody { error, detail: None }).expect("an error body is plain data");
        let gap = if between { "" } else { "\n\n" };
        format!("{gap}data: {body}\n\n").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[&str]) -> Events {
        let mut events = Events::default();
        pieces.iter().for_each(|piece| events.pass(piece.as_bytes()));
        events
    }

    #[test]
    fn an_error_event_stands_apart() {
        for (pieces, gap) in [
            (&[][..], false),
            (&["data: {\"a\":1}\n\n"], false),
            (&["data: {\"a\":1}\r\n\r\n"], false),
            (&["data: {}\n", "\n"], false),
            (&["data: {\"a\":1"], true),
            (&["d"], true),
        ] {
            let event = after(pieces).error("engine_failed", "gone".to_owned());
            assert_eq!(event.starts_with(b"\n\ndata: "), gap, "{pieces:?}");
            assert!(event.ends_with(b"}\n\n"));
        }
    }

    #[test]
    fn sees_the_end_however_it_is_cut() {
        assert!(after(&["data: {}\n\ndata: [DONE]\n\n"]).is_done());
        assert!(after(&["data: {}\n\n", "data: [DO", "NE]", "\n\n"]).is_done());
        assert!(!after(&["data: [DONE]\n\n", "data: {}\n\n"]).is_done());
        assert!(!after(&["data: [DONE]"]).is_done());
    }
}
