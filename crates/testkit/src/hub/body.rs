//! The body of a file's answer: counted, and broken where a fault says so.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use tokio::time::{Instant, Sleep};

use super::{Content, Shared};

/// Any body.
pub(super) type Any = BoxBody<Bytes, io::Error>;

/// A short one.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Any {
    use http_body_util::BodyExt;
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// How a body breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    Never,
    /// Silent from this position on.
    Stall(u64),
    /// Cut at this position.
    Cut(u64),
}

/// The server sends what it has when a body has nothing more for the moment.
const FLUSHED_AFTER: Duration = Duration::from_millis(20);

/// A part of a file.
pub(super) struct Part {
    pub(super) shared: Arc<Shared>,
    /// Under which name it is counted.
    pub(super) file: String,
    pub(super) content: Content,
    pub(super) position: u64,
    pub(super) end: u64,
    pub(super) breaks: Break,
    /// Bytes per second.
    pub(super) pace: Option<u64>,
    pub(super) pause: Pin<Box<Sleep>>,
    pub(super) is_cutting: bool,
}

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let part = &mut *self;
        if part.position >= part.end {
            return Poll::Ready(None);
        }
        let until = match part.breaks {
            // Nobody wakes this again; the connection ends when the client leaves.
            Break::Stall(at) if part.position >= at => return Poll::Pending,
            Break::Cut(at) if part.position >= at => {
                if !part.is_cutting {
                    part.is_cutting = true;
                    part.pause.as_mut().reset(Instant::now() + FLUSHED_AFTER);
                }
                // What was given before the cut must have gone out, or it would not be where it is said to be.
                return part.pause.as_mut().poll(cx).map(|()| Some(Err(io::Error::other("cut"))));
            }
            Break::Stall(at) | Break::Cut(at) => part.end.min(at),
            Break::Never => part.end,
        };
        let mut piece = part.content.piece(part.position, until);
        if let Some(pace) = part.pace {
            if part.pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // Twenty times a second.
            let length = usize::try_from(pace / 20).unwrap_or(usize::MAX).clamp(1, piece.len());
            piece.truncate(length);
            #[expect(clippy::cast_precision_loss, reason = "a pause need not be exact")]
            let pause = Duration::from_secs_f64(length as f64 / pace as f64);
            part.pause.as_mut().reset(Instant::now() + pause);
        }
        part.position += piece.len() as u64;
        part.shared.state().counts.entry(part.file.clone()).or_default().bytes += piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.position)
    }
}
