//! What goes on without anybody asking: counting uses, following downloads, cleaning up.

use std::sync::Arc;
use std::time::Duration;

use hub::download::Ended;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Inner, Storage, USES_MAX};
use crate::error::Error;
use crate::remembered::Used;

/// After a start, the first look for files that nobody uses waits for so long.
const FIRST_CLEANUP: Duration = Duration::from_secs(600);

/// Counts answers as they come, all that are waiting in one write.
pub(super) async fn count_uses(inner: Arc<Inner>, mut used: mpsc::Receiver<Used>, stop: CancellationToken) {
    let mut answers = Vec::new();
    loop {
        tokio::select! {
            // What was counted before the end is written down.
            biased;
            count = used.recv_many(&mut answers, USES_MAX) => if count == 0 { return },
            () = stop.cancelled() => return,
        }
        if let Err(error) = inner.remembered.used(&answers).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the use of models is not kept");
        }
        answers.clear();
    }
}

pub(super) async fn follow_downloads(
    inner: Arc<Inner>,
    mut ended: broadcast::Receiver<Ended>,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            event = ended.recv() => event,
            () = stop.cancelled() => return,
        };
        let kept = match event {
            Ok(Ended::Finished { id, run, files }) => inner.arrived(&id, Some(run), &files).await,
            Ok(Ended::Failed { id, run, failure }) => {
                tracing::warn!(download = %id, "a download failed: {failure}");
                inner.fetches.failed(&id, run, &failure.to_string()).await.map_err(Error::from)
            }
            // Hundreds ended at once. What the hub does not know any more has come.
            Err(broadcast::error::RecvError::Lagged(_)) => {
                for id in inner.fetches.lost() {
                    if let Err(error) = inner.arrived(&id, None, &[]).await {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the end of a download is not kept");
                    }
                }
                Ok(())
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if let Err(error) = kept {
            tracing::warn!(error = &error as &dyn std::error::Error, "the end of a download is not kept");
        }
    }
}

pub(super) async fn clean_up_by_itself(storage: Storage, stop: CancellationToken) {
    let mut due = Instant::now() + FIRST_CLEANUP;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {
                if storage.policy().enabled
                    && let Err(error) = storage.clean_up().await
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, "clean-up failed");
                }
                due = Instant::now() + storage.policy().check_interval;
            }
            // Sooner, if the interval is shorter now; never later.
            () = storage.0.policy_changed.notified() => {
                due = due.min(Instant::now() + storage.policy().check_interval);
            }
            () = stop.cancelled() => return,
        }
    }
}
