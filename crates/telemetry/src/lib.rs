//! What happened lately: answers and swaps, with their times, and the averages people ask for; and what was used by whom.
//!
//! Owns a bounded window in memory and its copy in the store, and the sums of use that the store does not have yet. Must
//! not know HTTP, engines, or who counts.
//!
//! ```text
//!  answered ─▶ inbox (bounded) ──┬── whoever reads ──▶ recent: 60 min, 10,000 answers, 1,000 swaps
//!                                └── the keeper, half a second later ──▶ recent ──▶ store, one transaction
//!  used ─────▶ ledger (sums) ─────── the keeper, half a second later ─────────────▶ store, one transaction
//! ```
//!
//! What holds:
//! - Who tells never waits: it puts a value into the inbox, whose lock nobody holds for longer than to take it empty.
//! - Memory is bounded, whatever the store does. What is too much goes, the oldest first, and is counted.
//! - Use is not dropped: as long as the store does not take it, it adds up in memory, told apart less and less.
//! - The store is a copy: if it fails there is a warning and a later try, and all answers stay as they are. What it took
//!   is there after a restart; a `kill -9` takes the last second at most.

mod answer;
mod handle;
mod keeper;
mod ledger;
mod recent;
mod ring;
mod swap;

use std::time::{Duration, SystemTime};

pub use answer::Answer;
pub use handle::{Handle, start};
pub use ledger::Used;
pub use recent::{Averages, Totals};
pub use swap::Swap;

/// For how long answers are remembered.
pub const RETENTION: Duration = Duration::from_hours(1);
/// How many answers are remembered at most.
pub const ANSWERS_MAX: u32 = 10_000;
/// For how long it is known what was used in which minute; after that, in which hour.
pub const USAGE_BY_MINUTE: Duration = Duration::from_hours(3 * 24);
/// For how long it is known what was used.
pub const USAGE_KEPT: Duration = Duration::from_hours(400 * 24);
/// How many swaps are remembered at most.
pub const SWAPS_MAX: u32 = 1_000;

/// Milliseconds since 1970, as the store wants them.
fn since_1970(at: SystemTime) -> i64 {
    let passed = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)
}

/// The moment of these milliseconds since 1970.
fn moment(since_1970: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(since_1970).unwrap_or(0))
}

/// A time as the store gives it; one that cannot be is none.
fn duration(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1000.0).unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
