//! Ids of API keys, and of what their scope may name.

use std::fmt;

/// An API key's number. Never given twice, so that what a deleted key used is not taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(i64);

impl KeyId {
    /// Wraps a number as it is.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A deployment's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId(i64);

impl DeploymentId {
    /// Wraps a number as it is.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
