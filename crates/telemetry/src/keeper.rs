//! The task that keeps the store's copy.

use std::time::{Duration, SystemTime};

use store::Store;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::handle::Handle;
use crate::{ANSWERS_MAX, Answer, RETENTION, SWAPS_MAX, Swap, USAGE_BY_MINUTE, USAGE_KEPT, since_1970};

/// For so long things are gathered before they are written together.
const GATHERED: Duration = Duration::from_millis(500);
/// After a failure, so long until the next try.
const RETRY: Duration = Duration::from_secs(10);
/// How often what is too old is dropped from the store, while something is written.
const PRUNED_EVERY: Duration = Duration::from_mins(1);

/// How often what was used is summed up further, while something is written.
const ROLLED_UP_EVERY: Duration = Duration::from_hours(1);

/// Reads back what the store has, then writes what comes until `stop`, and what is left then.
pub(crate) async fn keep(handle: Handle, store: Store, stop: CancellationToken) {
    let now = Instant::now();
    let mut keeper =
        Keeper { handle, store, has_failed: false, unpruned: 0, pruned: now, rolled_up: now, rolled_up_to_ms: 0 };
    keeper.restore().await;
    keeper.handle.now_restored();
    if let Err(error) = keeper.roll_up().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "what was used stays in minutes for now");
    }
    loop {
        // Each of these only waits; an interrupted one is begun anew.
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeper.handle.news() => tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(GATHERED) => {}
            },
            () = sleep(RETRY), if keeper.has_failed => {}
        }
        let is_last = stop.is_cancelled();
        keeper.write().await;
        if is_last {
            return;
        }
    }
}

struct Keeper {
    handle: Handle,
    store: Store,
    /// Whether the last attempt did, so that a disk that stays full is told of once.
    has_failed: bool,
    /// Answers written since the store was pruned.
    unpruned: usize,
    pruned: Instant,
    rolled_up: Instant,
    /// Until when what was used is summed up by the hour, ms since 1970.
    rolled_up_to_ms: i64,
}

impl Keeper {
    async fn restore(&mut self) {
        let read = async {
            self.prune().await?;
            let answers = self.store.inferences_since(oldest(), ANSWERS_MAX).await?;
            Ok::<_, store::Error>((answers, self.store.last_swaps(SWAPS_MAX).await?))
        };
        match read.await {
            Ok((answers, swaps)) => self.handle.read(|recent, _| {
                recent.answers.restore(answers.into_iter().map(Answer::from));
                recent.swaps.restore(swaps.into_iter().map(Swap::from));
            }),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the history starts empty");
            }
        }
    }

    async fn write(&mut self) {
        let written = self.write_all().await;
        if let Err(error) = &written
            && !self.has_failed
        {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the history and what is used are in memory only for now"
            );
        }
        self.has_failed = written.is_err();
    }

    async fn write_all(&mut self) -> Result<(), store::Error> {
        let ledger = self.handle.take_ledger();
        if !ledger.is_empty()
            && let Err(error) = self.store.add_usage(&ledger.rows()).await
        {
            self.handle.put_back(ledger);
            return Err(error);
        }
        let ((answers, answers_to), (swaps, swaps_to)) =
            self.handle.read(|recent, _| (recent.answers.unwritten(), recent.swaps.unwritten()));
        if !answers.is_empty() {
            let rows: Vec<_> = answers.iter().map(Answer::row).collect();
            self.store.add_inferences(&rows).await?;
            self.handle.read(|recent, _| recent.answers.written(answers_to));
            self.unpruned += rows.len();
        }
        if !swaps.is_empty() {
            let rows: Vec<_> = swaps.iter().map(Swap::row).collect();
            self.store.add_swaps(&rows).await?;
            self.handle.read(|recent, _| recent.swaps.written(swaps_to));
        }
        if self.pruned.elapsed() >= PRUNED_EVERY || self.unpruned >= ANSWERS_MAX as usize {
            (self.pruned, self.unpruned) = (Instant::now(), 0);
            self.prune().await?;
        }
        if self.rolled_up.elapsed() >= ROLLED_UP_EVERY {
            self.roll_up().await?;
        }
        Ok(())
    }

    async fn roll_up(&mut self) -> Result<(), store::Error> {
        self.rolled_up = Instant::now();
        let to = before(USAGE_BY_MINUTE);
        self.store.roll_up_usage(self.rolled_up_to_ms, to, before(USAGE_KEPT)).await?;
        self.rolled_up_to_ms = to;
        Ok(())
    }

    async fn prune(&self) -> Result<(), store::Error> {
        self.store.prune_inferences(oldest(), ANSWERS_MAX).await?;
        self.store.prune_swaps(SWAPS_MAX).await
    }
}

/// What ended before is not in the window any more; ms since 1970.
fn oldest() -> i64 {
    before(RETENTION)
}

/// So long ago; ms since 1970.
fn before(past: Duration) -> i64 {
    since_1970(SystemTime::now().checked_sub(past).unwrap_or(SystemTime::UNIX_EPOCH))
}
