//! Waiting for a condition: by asking again, with an end.

use std::time::{Duration, Instant};

/// Long enough for a small machine under load; never waited for in full where all is well.
pub const LONG: Duration = Duration::from_secs(60);
/// Between two looks.
const PERIOD: Duration = Duration::from_millis(20);

/// What `look` finds, asked again and again for at most [`LONG`].
///
/// # Panics
/// When it finds nothing in that time; `what` says what was waited for.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < LONG, "waited {} s in vain: {what}", LONG.as_secs());
        tokio::time::sleep(PERIOD).await;
    }
}
