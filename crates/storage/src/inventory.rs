//! What is on disk: the node's library beside what is remembered of each variant.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::time::SystemTime;

use types::{ByteCount, ModelKey};

use crate::state::RuntimeState;

/// One variant's files, what is remembered of them, and where the variant is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Which.
    pub key: ModelKey,
    /// Its files, the one that an engine is given first.
    pub files: Vec<PathBuf>,
    /// All of them together.
    pub size: ByteCount,
    /// When it came here.
    pub arrived: SystemTime,
    /// When anything about its first file was changed: a copy of an old file is as new here as any.
    pub changed: SystemTime,
    /// When it was used last.
    pub last_used: Option<SystemTime>,
    /// How many requests it answered.
    pub usage_count: u64,
    /// Whether its weights stay in RAM when it is unloaded. Guards it.
    pub hot_ready: bool,
    /// Whether it may not be deleted. Guards it.
    pub protected: bool,
    /// Where it is.
    pub state: RuntimeState,
    /// Whether clean-up may delete it: it lies in the models folder, or was downloaded here.
    pub ours: bool,
}

/// In which order a list comes. All but the name: the largest or the latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By last use.
    #[default]
    LastUsed,
    /// By size.
    Size,
    /// By name.
    Name,
    /// By how often it was used; the contract's word is `downloads`.
    Downloads,
}

impl Sort {
    /// The order with this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "last_used" => Self::LastUsed,
            "size" => Self::Size,
            "name" => Self::Name,
            "downloads" | "usage_count" => Self::Downloads,
            _ => return None,
        })
    }

    /// The names that there are, for a message.
    pub const NAMES: &'static str = "last_used, size, name, downloads";

    /// Puts a list in this order; equal ones by name.
    pub fn apply(self, stored: &mut [Stored]) {
        stored.sort_by(|a, b| a.key.cmp(&b.key));
        match self {
            Self::LastUsed => stored.sort_by_key(|one| Reverse(one.last_used_or_arrived())),
            Self::Size => stored.sort_by_key(|one| Reverse(one.size)),
            Self::Name => {}
            Self::Downloads => stored.sort_by_key(|one| Reverse(one.usage_count)),
        }
    }
}

impl Stored {
    /// Whether it may not be deleted by hand.
    pub fn is_guarded(&self) -> bool {
        self.hot_ready || self.protected
    }

    /// Since when nobody has used it, as far as clean-up goes: what has just come was not unused before.
    pub(crate) fn unused_since(&self) -> SystemTime {
        self.last_used_or_arrived().max(self.arrived).max(self.changed)
    }

    /// When it was used last; when it came here, if never.
    pub fn last_used_or_arrived(&self) -> SystemTime {
        self.last_used.unwrap_or(self.arrived)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use types::{ModelId, Variant};

    use super::*;

    /// Some time in 2026.
    pub(crate) fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_780_000_000)
    }

    pub(crate) fn stored(id: &str, variant: &str) -> Stored {
        Stored {
            key: ModelKey { id: ModelId::new(id), variant: Variant::new(variant) },
            files: vec![format!("/models/{id}.gguf").into()],
            size: ByteCount::mib(1),
            arrived: SystemTime::UNIX_EPOCH,
            changed: SystemTime::UNIX_EPOCH,
            last_used: None,
            usage_count: 0,
            hot_ready: false,
            protected: false,
            state: RuntimeState::Unloaded,
            ours: true,
        }
    }

    #[test]
    fn lists_come_in_the_order_asked_for() {
        let later = |seconds| Some(now() + Duration::from_secs(seconds));
        let a = Stored { size: ByteCount::mib(3), last_used: later(1), usage_count: 1, ..stored("a", "") };
        let b = Stored { size: ByteCount::mib(1), last_used: later(3), usage_count: 1, ..stored("b", "") };
        let c = Stored { size: ByteCount::mib(2), last_used: later(2), usage_count: 9, ..stored("c", "") };
        let check = |sort: &str, expected: &str| {
            let mut all = [c.clone(), a.clone(), b.clone()];
            Sort::named(sort).unwrap().apply(&mut all);
            assert_eq!(all.map(|one| one.key.to_string()).concat(), expected, "{sort}");
        };
        check("last_used", "bca");
        check("size", "acb");
        check("name", "abc");
        check("downloads", "cab");
        assert_eq!(Sort::named("colour"), None);
    }
}
