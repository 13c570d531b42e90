//! All keys, and the rule who is let through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use types::KeyId;

use crate::caller::{Held, Uses};
use crate::{Caller, Hash, Key};

/// All keys. Cheap to clone; all clones are the same. Checks read an immutable picture; a change puts a new one there.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: ArcSwap<Ring>,
    /// Held while a new picture is made of the old one.
    changing: Mutex<()>,
}

/// The keys at one moment.
#[derive(Clone, Debug, Default)]
struct Ring {
    by_hash: HashMap<Hash, Arc<Held>>,
    /// Whether one of them is permanent.
    is_closed: bool,
}

/// Why somebody is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no key with the request.
    #[error("snug asks for an API key here: send it as `Authorization: Bearer snug-…`")]
    Missing,
    /// The key is none of ours.
    #[error("the API key is not known here: it is mistyped, was deleted, or is another server's")]
    Unknown,
    /// The key's time is over.
    #[error("the API key has expired; a new one is needed")]
    Expired,
}

impl Denied {
    /// The stable word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing_api_key",
            Self::Unknown | Self::Expired => "invalid_api_key",
        }
    }
}

impl Keys {
    /// With these keys.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let held = keys.into_iter().map(|key| Arc::new(Held { uses: Arc::new(Uses::new(&key)), key }));
        let ring = Ring::of(held.map(|held| (held.key.hash, held)).collect());
        Self(Arc::new(Shared { ring: ArcSwap::from_pointee(ring), changing: Mutex::default() }))
    }

    /// Who presents this, or nothing.
    ///
    /// # Errors
    /// The doors are closed and this is no key, or it is one whose time is over.
    pub fn check(&self, presented: Option<&str>) -> Result<Caller, Denied> {
        self.check_at(presented, SystemTime::now())
    }

    /// The same at a given time.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn check_at(&self, presented: Option<&str>, now: SystemTime) -> Result<Caller, Denied> {
        let ring = self.0.ring.load();
        let Some(presented) = presented else {
            return if ring.is_closed { Err(Denied::Missing) } else { Ok(Caller::anybody()) };
        };
        if ring.by_hash.is_empty() {
            return Ok(Caller::anybody());
        }
        match ring.by_hash.get(&Hash::of(presented)) {
            Some(held) if held.key.is_expired(now) => Err(Denied::Expired),
            Some(held) => {
                held.uses.passed(now);
                Ok(Caller::with(Arc::clone(held)))
            }
            None if ring.is_closed => Err(Denied::Unknown),
            // Many clients cannot do without a key and send any text.
            None => Ok(Caller::anybody()),
        }
    }

    /// Whether nobody is let through without a key.
    pub fn is_closed(&self) -> bool {
        self.0.ring.load().is_closed
    }

    /// All keys with their last uses, by number; those whose time is over, too.
    pub fn all(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.0.ring.load().by_hash.values().map(|held| held.now()).collect();
        keys.sort_by_key(|key| key.id);
        keys
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.ring.load().by_hash.len()
    }

    /// The key with this number.
    pub fn get(&self, id: KeyId) -> Option<Key> {
        self.0.ring.load().held(id).map(|held| held.now())
    }

    /// Adds a key, or puts it in the place of the one with its number; what that one has had counts on.
    pub fn put(&self, key: Key) {
        self.change(|ring| {
            let before = ring.held(key.id).cloned();
            let uses = match before {
                Some(before) => {
                    ring.by_hash.remove(&before.key.hash);
                    before.uses.gauge().limit(key.limits);
                    Arc::clone(&before.uses)
                }
                None => Arc::new(Uses::new(&key)),
            };
            ring.by_hash.insert(key.hash, Arc::new(Held { key, uses }));
        });
    }

    /// Removes the keys with these numbers.
    pub fn remove(&self, ids: &[KeyId]) {
        self.change(|ring| ring.by_hash.retain(|_, held| !ids.contains(&held.key.id)));
    }

    /// Those whose time is over.
    pub fn expired(&self, now: SystemTime) -> Vec<KeyId> {
        let ring = self.0.ring.load();
        ring.by_hash.values().filter(|held| held.key.is_expired(now)).map(|held| held.key.id).collect()
    }

    /// A key took so many tokens at that time, as is remembered elsewhere of the time before the start. To be told in the
    /// order of time, before the first request.
    pub fn spent(&self, id: KeyId, tokens: u64, at: SystemTime) {
        if let Some(held) = self.0.ring.load().held(id) {
            held.uses.gauge().spent(tokens, at);
        }
    }

    /// Last uses that are not written down. Once they are, [`Self::written`] is to be told.
    pub fn unwritten(&self) -> Vec<(KeyId, SystemTime)> {
        let ring = self.0.ring.load();
        ring.by_hash.values().filter_map(|held| Some((held.key.id, held.uses.unwritten()?))).collect()
    }

    /// These last uses are written down.
    pub fn written(&self, uses: &[(KeyId, SystemTime)]) {
        let ring = self.0.ring.load();
        let by_id: HashMap<KeyId, &Arc<Held>> = ring.by_hash.values().map(|held| (held.key.id, held)).collect();
        for (id, at) in uses {
            if let Some(held) = by_id.get(id) {
                held.uses.written(*at);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Ring)) {
        let _changing = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ring = Ring::clone(&self.0.ring.load());
        change(&mut ring);
        self.0.ring.store(Arc::new(Ring::of(ring.by_hash)));
    }
}

impl Ring {
    fn of(by_hash: HashMap<Hash, Arc<Held>>) -> Self {
        let is_closed = by_hash.values().any(|held| held.key.is_permanent());
        Self { by_hash, is_closed }
    }

    /// By number; only who manages keys asks so.
    fn held(&self, id: KeyId) -> Option<&Arc<Held>> {
        self.by_hash.values().find(|held| held.key.id == id)
    }
}

impl Held {
    /// The key with its last use.
    fn now(&self) -> Key {
        Key { last_used: self.uses.last(), ..self.key.clone() }
    }
}

#[cfg(test)]
mod tests;
