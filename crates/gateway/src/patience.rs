//! How long one silence may last.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that each sign of life puts off, and that costs a clock reading to put off.
///
/// The runtime's timer is set once and moved only when it fires, however many frames pass meanwhile.
pub(crate) struct Patience {
    limit: Duration,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Begins to wait now.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), timer: None }
    }

    /// There was a sign of life.
    pub(crate) fn renew(&mut self) {
        self.since = Instant::now();
    }

    /// The longest silence that is borne.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Ready once the silence has lasted too long.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (since, limit) = (self.since, self.limit);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(since + limit)));
        while timer.as_mut().poll(cx).is_ready() {
            let end = since + limit;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}
