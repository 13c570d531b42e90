//! One key, as it is written down.

use std::time::SystemTime;

use types::KeyId;

use crate::{Hash, Limits, Scope};

/// A key. Its text is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its number.
    pub id: KeyId,
    /// The hash of its text.
    pub hash: Hash,
    /// The beginning of its text.
    pub prefix: String,
    /// What a person calls it.
    pub label: String,
    /// Whose it is; empty if nobody said.
    pub owner: String,
    /// For how long it is one.
    pub kind: Kind,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last let through.
    pub last_used: Option<SystemTime>,
    /// What it may be used for.
    pub scope: Scope,
    /// How much of that.
    pub limits: Limits,
}

/// For how long a key is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Until it is deleted. While there is one, nobody is let through without a key.
    Permanent,
    /// Until then.
    Temporary {
        /// From this moment on it is none.
        expires: SystemTime,
    },
}

impl Key {
    /// Whether it is over.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        matches!(self.kind, Kind::Temporary { expires } if now >= expires)
    }

    /// Whether it has no end of its own.
    pub fn is_permanent(&self) -> bool {
        self.kind == Kind::Permanent
    }
}
