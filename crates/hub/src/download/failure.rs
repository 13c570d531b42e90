//! Why a download cannot be done, in words that a person can act on.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use types::ByteCount;

use crate::error::Error;

/// Why a download cannot be done. Its text says all, causes with it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The hub does not give it.
    #[error("{}", with_causes(.0))]
    Hub(#[source] Error),
    /// The address does not give it.
    #[error("{url} answers {status}{}", advice(*status))]
    Status {
        /// What was asked for, without what may be secret in it.
        url: String,
        /// The status.
        status: u16,
    },
    /// The address has too much to do.
    #[error("{host} is too busy ({status}) after {attempts} tries: try again later; what has come is kept")]
    Busy {
        /// Who was asked.
        host: String,
        /// 429 or one of 5xx.
        status: u16,
        /// How often it was asked since something last came.
        attempts: u32,
    },
    /// The connection breaks.
    #[error(
        "the connection to {host} fails ({reason}), tried {attempts} times: check the network and HTTPS_PROXY; what has \
         come is kept"
    )]
    Broken {
        /// Who was asked.
        host: String,
        /// How it breaks.
        reason: String,
        /// How often it did since something last came.
        attempts: u32,
    },
    /// What came is not what was announced; it was removed.
    #[error("{file}: {algorithm} is {is}, expected {expected}")]
    Hash {
        /// The file's name.
        file: String,
        /// `sha256`, or `git sha1`.
        algorithm: &'static str,
        /// What it is, in hexadecimal digits.
        is: String,
        /// What it should be.
        expected: String,
    },
    /// It is longer or shorter than was announced.
    #[error("{file} is {is} bytes long, expected {expected}")]
    Length {
        /// The file's name.
        file: String,
        /// What it is.
        is: u64,
        /// What it should be.
        expected: u64,
    },
    /// It is another file each time it is asked for.
    #[error("{file} changes while it is downloaded: try again later")]
    Changing {
        /// The file's name.
        file: String,
    },
    /// It does not fit any more.
    #[error("{required} are still to be written and {available} are free: delete models, or raise the limit")]
    NoRoom {
        /// What may be written.
        available: ByteCount,
        /// What is still to be written for this job.
        required: ByteCount,
        /// The limit that is set.
        limit: Option<ByteCount>,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full: delete something, then begin again; what has come is kept", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// A file cannot be written, or not read again.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A name, an address or a hash that is none, or one that leads out of its folder.
    #[error("{0}")]
    Invalid(String),
}

/// What kind of failure it is, for a program to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A licence must be accepted, or the token may not see it.
    Denied,
    /// It is not there.
    NotFound,
    /// The network, or a server with too much to do: it may work later.
    Unreachable,
    /// What came is not what was announced.
    Corrupt,
    /// No room within the limit or on the disk.
    NoRoom,
    /// The disk does not take it for another reason.
    Disk,
    /// It was asked for in a way that cannot work.
    Invalid,
}

impl Failure {
    /// What became of a connection.
    pub(super) fn broken(host: String, error: &reqwest::Error) -> Self {
        let reason = if error.is_timeout() { "it is silent".to_owned() } else { innermost(error) };
        Self::Broken { host, reason, attempts: 1 }
    }

    /// A connection that nobody drives any more.
    pub(super) fn ended_early(host: &str) -> Self {
        Self::Broken { host: host.to_owned(), reason: "it ended early".to_owned(), attempts: 1 }
    }

    /// What became of a file on the disk.
    pub(super) fn of_disk(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Write { path, source },
        }
    }

    /// The same after so many tries.
    pub(super) fn after(self, tries: u32) -> Self {
        match self {
            Self::Busy { host, status, .. } => Self::Busy { host, status, attempts: tries },
            Self::Broken { host, reason, .. } => Self::Broken { host, reason, attempts: tries },
            other => other,
        }
    }

    /// What kind it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Hub(error) => match error {
                Error::Gated { .. } | Error::Refused { .. } => Class::Denied,
                Error::NotFound { .. } => Class::NotFound,
                Error::Busy { .. } | Error::Unreachable { .. } | Error::Offline => Class::Unreachable,
                Error::Id { .. }
                | Error::Revision { .. }
                | Error::Endpoint { .. }
                | Error::Token
                | Error::Tls { .. } => Class::Invalid,
                _ => Class::Unreachable,
            },
            Self::Status { status: 401 | 403, .. } => Class::Denied,
            Self::Status { status: 404 | 410, .. } => Class::NotFound,
            Self::Status { .. } | Self::Changing { .. } | Self::Busy { .. } | Self::Broken { .. } => Class::Unreachable,
            Self::Hash { .. } | Self::Length { .. } => Class::Corrupt,
            Self::NoRoom { .. } | Self::DiskFull { .. } => Class::NoRoom,
            Self::Write { .. } => Class::Disk,
            Self::Invalid(_) => Class::Invalid,
        }
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => ": it wants permission that snug does not have",
        404 | 410 => ": check the address",
        _ => "",
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
