//! The body of an answer on its way from the engine to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use api::{ErrorBody, ErrorObject, ErrorType};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use route::Lease;

use crate::Completed;
use crate::meter::Meter;
use crate::metrics::{Outcome, Tally};
use crate::pool::{Connection, Fault};
use crate::router::Gateway;

/// Passes frames on as they come and holds what the request holds: lease, connection, place in the books.
pub(crate) struct Relay {
    gateway: Arc<Gateway>,
    body: Incoming,
    held: Option<Held>,
    tally: Tally,
    meter: Meter,
    status: StatusCode,
    /// Where in an event the stream stands, if it is one.
    events: Option<Events>,
}

/// What is given back at the end; `None` in its place says that the end was reached.
struct Held {
    connection: Box<Connection>,
    lease: Lease,
}

/// An answer that broke where no error event can say so: the connection to the client is cut.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cut(String);

impl Relay {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        body: Incoming,
        connection: Box<Connection>,
        lease: Lease,
        tally: Tally,
        status: StatusCode,
        is_event_stream: bool,
    ) -> Self {
        let events = is_event_stream.then(Events::default);
        let held = Some(Held { connection, lease });
        Self { gateway, body, held, tally, meter: Meter::default(), status, events }
    }

    fn pass(&mut self, piece: &Bytes) {
        self.meter.pass(piece);
        if let Some(events) = &mut self.events {
            events.pass(piece);
        }
        self.tally.piece(self.events.is_some());
    }

    /// The engine's answer came to its end.
    fn complete(&mut self) {
        let Some(Held { connection, lease }) = self.held.take() else { return };
        let now = Instant::now();
        self.gateway.pool.keep(connection, lease.target(), now);
        if self.status.is_success() {
            let usage = self.meter.usage();
            self.tally.usage(&usage);
            let target = lease.target();
            let (first_piece, total) = self.tally.times(now);
            (self.gateway.completed)(Completed {
                instance: target.instance().clone(),
                model: target.model().clone(),
                usage,
                is_stream: self.events.is_some(),
                first_piece,
                total,
            });
        }
        self.tally.close(Outcome::from(self.status), now);
    }

    /// It did not. A stream ends in an error event, anything else is cut.
    fn fail(&mut self, fault: &Fault) -> Option<Result<Frame<Bytes>, Cut>> {
        if self.events.as_ref().is_some_and(Events::is_done) {
            // All was said; only the connection did not end as it should.
            self.complete();
            return None;
        }
        let Held { lease, connection } = self.held.take()?;
        self.tally.close(Outcome::Broken, Instant::now());
        let target = lease.target();
        let model = target.model();
        let (code, message) = match fault {
            Fault::Broken(_) => {
                ("engine_failed", format!("the engine of {model} ended before the answer was complete"))
            }
            Fault::Silent => {
                let silence = connection.engine_idle_timeout().as_secs_f64();
                ("timeout", format!("the engine of {model} said nothing for {silence} s"))
            }
        };
        tracing::warn!(
            engine.id = %target.instance(),
            %model,
            error = fault as &dyn std::error::Error,
            "an answer broke"
        );
        Some(match &self.events {
            Some(events) => Ok(Frame::data(events.error(code, message))),
            None => Err(Cut(message)),
        })
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let Some(held) = &mut this.held else { return Poll::Ready(None) };
        match ready!(held.connection.poll_frame(&mut this.body, cx)) {
            Some(Ok(frame)) => {
                if let Some(piece) = frame.data_ref() {
                    this.pass(piece);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(fault)) => Poll::Ready(this.fail(&fault)),
            None => {
                this.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // A stream of events may grow by an error event.
        if self.events.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A body of known length is not asked again after its last byte.
        if self.body.is_end_stream() {
            self.complete();
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
