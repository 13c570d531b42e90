//! Asking for a model that is not ready, and why the answer may be no.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use types::{ByteCount, LoadFailure, ModelKey};

use crate::{Lease, Target};

/// What the gateway awaits while a model is made ready.
pub type Activation<'a> = Pin<Box<dyn Future<Output = Result<Lease, Unavailable>> + Send + 'a>>;

/// Whoever can make a model ready: on one machine the node.
pub trait Activate: Send + Sync {
    /// Makes the model that `name` means ready and returns a lease on it, taken before anyone could evict it.
    ///
    /// Dropping the future gives up the caller's place; the load itself goes on for the others.
    fn activate<'a>(&'a self, name: &'a str) -> Activation<'a>;

    /// How long the model that `name` means stays loaded from now on without being used, if it is loaded.
    fn keep<'a>(&'a self, name: &'a str, keep: Keep) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// How long a model stays loaded without being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So long; zero until nobody uses it.
    For(Duration),
    /// Until it is unloaded by hand, or its place is needed.
    Forever,
}

/// Why no target could be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// No model has this name.
    #[error("model `{name}` does not exist{}", known_hint(known))]
    NotFound {
        /// The name asked for.
        name: String,
        /// Names that exist, sorted, at most a screenful.
        known: Vec<String>,
    },
    /// It did not load.
    #[error("{0}")]
    LoadFailed(Box<LoadFailure>),
    /// It crashed too often and rests.
    #[error("{failure}; it is not started again for {} s", retry_after.as_secs().max(1))]
    Resting {
        /// The last failure.
        failure: Box<LoadFailure>,
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// It does not fit beside what is busy, and the wait was too long.
    #[error(
        "no room for {model}: it needs {needed}, {free} is free, and what is loaded is in use ({})",
        blockers_hint(blockers)
    )]
    NoRoom {
        /// Which model.
        model: ModelKey,
        /// What it needs, for a person: `512.0 MiB on CPU`.
        needed: String,
        /// What is free, in the same form.
        free: String,
        /// What is in the way.
        blockers: Vec<Blocker>,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many callers wait already.
    #[error("{waiting} callers already wait for models to load (limit {limit})")]
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// It is ready, and all its places are taken: its queue is the place to wait in.
    #[error("{} is answering {} requests already, which is its limit", target.model(), target.limit())]
    Busy {
        /// The ready instance.
        target: Arc<Target>,
    },
    /// It is still loading after the longest wait.
    #[error("{model} is still {state} after {} s", waited.as_secs())]
    StillLoading {
        /// Which model.
        model: ModelKey,
        /// Its state.
        state: String,
        /// How long the caller waited.
        waited: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// Its files are being fetched.
    #[error("{model} is being downloaded ({percent:.0} % so far); ask again in a while")]
    Downloading {
        /// Which model.
        model: ModelKey,
        /// How much of it is here, 0 to 100.
        percent: f64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Its files would have to be fetched, and there is no room for them.
    #[error(
        "no room on disk for {model}: it takes {required}, {available} may be written{}",
        limit.map(|limit| format!(" (models may take {limit})")).unwrap_or_default()
    )]
    StorageFull {
        /// Which model.
        model: ModelKey,
        /// What may be written for models now.
        available: ByteCount,
        /// What it takes.
        required: ByteCount,
        /// What all models together may take; `None` for what the disk has.
        limit: Option<ByteCount>,
    },
    /// It was unloaded by hand while the caller waited.
    #[error("{model} was unloaded while it was waited for; ask again to load it")]
    Unloaded {
        /// Which model.
        model: ModelKey,
    },
    /// snug is stopping.
    #[error("snug is stopping")]
    Stopping,
}

/// A loaded model that stands in the way of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Which model.
    pub model: ModelKey,
    /// Why it stays: `busy`, `loading`, `pinned`.
    pub reason: &'static str,
    /// Its requests in flight.
    pub in_flight: u64,
    /// What it holds, for a person.
    pub holds: String,
}

fn known_hint(known: &[String]) -> String {
    if known.is_empty() {
        "; there are no models yet: put a .gguf file into the models folder".to_owned()
    } else {
        format!("; these do: {}", known.join(", "))
    }
}

fn blockers_hint(blockers: &[Blocker]) -> String {
    let one = |blocker: &Blocker| format!("{} {} holding {}", blocker.model, blocker.reason, blocker.holds);
    blockers.iter().map(one).collect::<Vec<_>>().join("; ")
}
