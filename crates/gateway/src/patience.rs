//! How long one silence may last.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that each sign of life puts off at no cost.
///
/// Silence is counted from the first time someone finds nothing, so a sign of life need not read the clock; and the
/// runtime's timer is set once and moved only when it fires, however many frames or requests pass meanwhile.
pub(crate) struct Patience {
    limit: Duration,
    /// When the present silence was first noticed.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Bears silences up to `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: None }
    }

    /// Bears silences up to `limit` from now on. The timer is kept where nothing changes; one that is set would fire when
    /// the old limit says.
    pub(crate) fn limit_to(&mut self, limit: Duration) {
        if self.limit != limit {
            *self = Self::new(limit);
        }
    }

    /// There was a sign of life.
    pub(crate) fn renew(&mut self) {
        self.since = None;
    }

    /// The longest silence that is borne.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// There is nothing now. Ready once that has lasted too long.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        while timer.as_mut().poll(cx).is_ready() {
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            // Set for an earlier silence.
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}
