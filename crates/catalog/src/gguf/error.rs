//! Why a header could not be read.

use std::io;

use types::{ByteCount, FailureClass};

/// Why a header could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another format, a text file, an error page.
    #[error("this is not a GGUF file: it begins with `{found}` instead of `GGUF`")]
    NotGguf {
        /// The first bytes, with unprintable ones escaped.
        found: String,
    },
    /// Version 1, which no engine reads any more.
    #[error("the file has GGUF version 1, which engines no longer read: get a newer conversion of the model")]
    TooOld,
    /// A version this program does not know.
    #[error("the file has GGUF version {version}; versions 2 and 3 are known: update this program and the engine")]
    TooNew {
        /// What the file says.
        version: u32,
    },
    /// Written on a big-endian machine.
    #[error(
        "the file has big-endian byte order, which engines on this machine cannot read: get the little-endian file"
    )]
    BigEndian,
    /// The file ends within the header.
    #[error("the file ends within its header, after {} bytes: it was cut short", length.as_u64())]
    HeaderCutShort {
        /// The file's length.
        length: ByteCount,
    },
    /// The file ends before its tensors do.
    #[error("the file has {} bytes where its tensors need {}: it was cut short", length.as_u64(), needed.as_u64())]
    DataCutShort {
        /// The file's length.
        length: ByteCount,
        /// The length it should have at least.
        needed: ByteCount,
    },
    /// More of something than an honest file has.
    #[error("the header claims {claimed} {what}; no more than {limit} are read")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// How much the file claims.
        claimed: u64,
        /// How much is read.
        limit: u64,
    },
    /// A type number that means nothing.
    #[error("metadata `{key}` has value type {found}, which does not exist")]
    UnknownValueType {
        /// The key, shortened.
        key: String,
        /// The number.
        found: u32,
    },
    /// A value that cannot be meant.
    #[error("metadata `{key}` should be {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// The same key or tensor name twice.
    #[error("`{name}` is there twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that is empty or not text.
    #[error("the name of {of} is empty or not text")]
    BadName {
        /// What has the name.
        of: &'static str,
    },
    /// A model without `general.architecture`.
    #[error("the header does not name an architecture")]
    NoArchitecture,
    /// A tensor whose shape, type or place cannot be.
    #[error("tensor `{name}` {problem}")]
    BadTensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file that is not of the split set it was found in.
    #[error("the file belongs to a set of {found} files, not to one of {expected}")]
    ForeignShard {
        /// Files of the set.
        expected: u32,
        /// Files of the set that this file says it is in.
        found: u32,
    },
    /// Reading failed.
    #[error("reading the header failed")]
    Read(#[from] io::Error),
}

impl Error {
    /// What this means to somebody who asked for the model to be loaded.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::TooNew { .. } => FailureClass::UnsupportedArch,
            Self::Read(error) if error.kind() == io::ErrorKind::NotFound => FailureClass::FileNotFound,
            Self::Read(_) => FailureClass::Unknown,
            _ => FailureClass::FileCorrupt,
        }
    }
}
