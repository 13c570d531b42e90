//! Where the bytes of an answer come from, and what is held until the last of them has come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use route::Lease;
use types::{InstanceId, ModelKey};

use crate::meter::Usage;
use crate::patience::Patience;
use crate::pool::{Connection, Fault, Pool};
use crate::remote::Place;

/// Largest answer that is put into another dialect as a whole.
const WHOLE_MAX: usize = 64 << 20;

/// Where the bytes of an answer come from.
pub(crate) enum Source {
    /// An engine of this machine.
    Engine { body: Incoming, connection: Box<Connection>, lease: Lease },
    /// A provider. The place is given back when it is dropped.
    Remote { body: reqwest::Body, patience: Patience, place: Place },
    /// Ourselves: all of it is here.
    Whole { body: Option<Bytes>, by: By },
    /// The mock provider, which makes its pieces as they are fetched.
    Mock { pieces: Box<dyn Iterator<Item = Bytes> + Send>, usage: Usage, by: By },
}

/// Who answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The instance; a provider's name for what it runs.
    pub instance: InstanceId,
    /// The model.
    pub model: ModelKey,
}

impl Source {
    /// The next piece of the answer.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            let frame = match self {
                Self::Engine { body, connection, .. } => ready!(connection.poll_frame(body, cx)),
                Self::Remote { body, patience, .. } => match Pin::new(body).poll_frame(cx) {
                    Poll::Ready(frame) => {
                        patience.renew();
                        frame.map(|frame| frame.map_err(|error| Fault::Broken(error.into())))
                    }
                    Poll::Pending => return patience.poll_over(cx).map(|()| Some(Err(Fault::Silent))),
                },
                Self::Whole { body, .. } => return Poll::Ready(body.take().map(Ok)),
                Self::Mock { pieces, .. } => return Poll::Ready(pieces.next().map(Ok)),
            };
            match frame {
                None => return Poll::Ready(None),
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                // Trailers say nothing that a client of these APIs reads.
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
            }
        }
    }

    /// Whether nothing more comes, as far as that is known without asking.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Engine { body, .. } => body.is_end_stream(),
            Self::Remote { body, .. } => body.is_end_stream(),
            Self::Whole { body, .. } => body.is_none(),
            Self::Mock { .. } => false,
        }
    }

    /// How many bytes are to come, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Engine { body, .. } => body.size_hint().exact(),
            Self::Remote { body, .. } => body.size_hint().exact(),
            Self::Whole { body, .. } => Some(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Mock { .. } => None,
        }
    }

    /// The longest silence that is borne.
    pub(crate) fn idle_timeout(&self) -> Duration {
        match self {
            Self::Engine { connection, .. } => connection.idle_timeout(),
            Self::Remote { patience, .. } => patience.limit(),
            Self::Whole { .. } | Self::Mock { .. } => Duration::MAX,
        }
    }

    /// Who answers.
    pub(crate) fn by(&self) -> By {
        match self {
            Self::Engine { lease, .. } => {
                By { instance: lease.target().instance().clone(), model: lease.target().model().clone() }
            }
            Self::Remote { place, .. } => place.by(),
            Self::Whole { by, .. } | Self::Mock { by, .. } => by.clone(),
        }
    }

    /// What is known of the usage besides what the bytes say.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match self {
            Self::Mock { usage, .. } => Some(*usage),
            _ => None,
        }
    }

    /// The last byte has come: what can be used again is kept.
    pub(crate) fn finish(self, pool: &Arc<Pool>, now: Instant) {
        if let Self::Engine { connection, lease, .. } = self {
            pool.keep(connection, lease.target(), now);
        }
    }

    /// All that is to come, each piece shown to `see`.
    pub(crate) async fn collect(&mut self, mut see: impl FnMut(&Bytes)) -> Result<Bytes, Fault> {
        let mut whole = BytesMut::new();
        let mut only: Option<Bytes> = None;
        while let Some(piece) = std::future::poll_fn(|cx| self.poll_piece(cx)).await {
            let piece = piece?;
            see(&piece);
            if whole.len() + piece.len() > WHOLE_MAX {
                return Err(Fault::TooLarge { limit: WHOLE_MAX });
            }
            match only.take() {
                None if whole.is_empty() => only = Some(piece),
                None => whole.extend_from_slice(&piece),
                Some(first) => {
                    whole.extend_from_slice(&first);
                    whole.extend_from_slice(&piece);
                }
            }
        }
        Ok(only.unwrap_or_else(|| whole.freeze()))
    }
}
