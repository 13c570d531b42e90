//! Who is asking.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use types::{DeploymentId, KeyId};

use crate::limits::Gauge;
use crate::{Key, Limited, Scope};

/// Who is asking: somebody with a key, or anybody. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Held>>);

/// A key in use.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) key: Key,
    /// Stays the same when the key is changed.
    pub(crate) uses: Arc<Uses>,
}

/// What was done with a key.
#[derive(Debug)]
pub(crate) struct Uses {
    gauge: Mutex<Gauge>,
    /// When it was last let through, ms since 1970; 0 if never.
    last_ms: AtomicI64,
    /// Of that, what is written down.
    written_ms: AtomicI64,
}

impl Caller {
    /// Somebody without a key, who may do everything that keys may do.
    pub const fn anybody() -> Self {
        Self(None)
    }

    pub(crate) const fn with(held: Arc<Held>) -> Self {
        Self(Some(held))
    }

    /// The key's number; `None` of somebody without.
    pub fn key_id(&self) -> Option<KeyId> {
        self.0.as_ref().map(|held| held.key.id)
    }

    /// What a person calls the key; empty of somebody without.
    pub fn label(&self) -> &str {
        self.0.as_ref().map_or("", |held| &held.key.label)
    }

    /// Whose key it is; empty if nobody said, and of somebody without.
    pub fn owner(&self) -> &str {
        self.0.as_ref().map_or("", |held| &held.key.owner)
    }

    /// What the key may be used for; `None` of somebody without, who may use everything.
    pub fn scope(&self) -> Option<&Scope> {
        self.0.as_ref().map(|held| &held.key.scope)
    }

    /// Whether the model with this id may answer, whoever runs it. An alias is no id: whoever resolves names asks with
    /// what they mean.
    pub fn may_use_model(&self, id: &str) -> bool {
        self.scope().is_none_or(|scope| scope.has_model(id))
    }

    /// Whether this deployment may answer, whatever it runs.
    pub fn may_use_deployment(&self, id: DeploymentId) -> bool {
        self.scope().is_none_or(|scope| scope.has_deployment(id))
    }

    /// Whether this endpoint, one of [`crate::ENDPOINTS`], may be asked.
    pub fn may_use_endpoint(&self, name: &str) -> bool {
        self.scope().is_none_or(|scope| scope.has_endpoint(name))
    }

    /// Who shares turns with whom: the same for all requests with a key, another for each key, 0 for all without.
    pub fn fair_id(&self) -> u64 {
        self.key_id().map_or(0, |id| id.as_i64().unsigned_abs())
    }

    /// Lets a request in, as far as the key's limits go. Who is refused is not counted.
    ///
    /// # Errors
    /// The key has had what it may have.
    pub fn admit(&self, now: SystemTime) -> Result<Permit, Limited> {
        let Some(held) = &self.0 else { return Ok(Permit(None)) };
        held.uses.gauge().admit(now)?;
        Ok(Permit(Some(Arc::clone(&held.uses))))
    }

    /// An answer took so many tokens, of its prompt and its own.
    pub fn spent(&self, tokens: u64, now: SystemTime) {
        if let Some(held) = &self.0 {
            held.uses.gauge().spent(tokens, now);
        }
    }
}

/// A request's place among those that its key has in flight. Comes back when it is dropped.
#[derive(Debug)]
#[must_use = "the place comes back when this is dropped"]
pub struct Permit(Option<Arc<Uses>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(uses) = &self.0 {
            uses.gauge().ended();
        }
    }
}

impl Uses {
    pub(crate) fn new(key: &Key) -> Self {
        let last_ms = key.last_used.map_or(0, millis);
        Self {
            gauge: Mutex::new(Gauge::new(key.limits)),
            last_ms: AtomicI64::new(last_ms),
            written_ms: AtomicI64::new(last_ms),
        }
    }

    /// Held for a few instructions. What is behind it is whole even if a thread panicked beside it.
    pub(crate) fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn passed(&self, now: SystemTime) {
        self.last_ms.store(millis(now), Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Option<SystemTime> {
        moment(self.last_ms.load(Ordering::Relaxed))
    }

    /// When it was last let through, if that is not written down.
    pub(crate) fn unwritten(&self) -> Option<SystemTime> {
        let last = self.last_ms.load(Ordering::Relaxed);
        moment(last).filter(|_| last != self.written_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn written(&self, at: SystemTime) {
        self.written_ms.store(millis(at), Ordering::Relaxed);
    }
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn moment(ms: i64) -> Option<SystemTime> {
    let since = u64::try_from(ms).ok().filter(|ms| *ms > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since))
}
