//! Why a folder's files could not be understood.

use std::io;

use types::ByteCount;

use crate::shape::ShapeError;

/// Why a folder's files could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More than an honest file has.
    #[error("{what} has {} bytes; at most {} are read", found.as_u64(), limit.as_u64())]
    TooLong {
        /// Which file or part.
        what: &'static str,
        /// Its length.
        found: ByteCount,
        /// What is read.
        limit: ByteCount,
    },
    /// Not JSON, or not of the form that belongs there.
    #[error("{what} is not what it should be")]
    Form {
        /// Which file or part.
        what: &'static str,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// Keys without which the architecture is not known.
    #[error("config.json of a {model_type:?} model does not say {}", keys.join(", "))]
    Missing {
        /// What the configuration calls itself.
        model_type: String,
        /// The keys, each with its usual name.
        keys: Vec<&'static str>,
    },
    /// A value that cannot be meant.
    #[error("config.json says {key} = {found}, which cannot be meant")]
    Value {
        /// The key.
        key: String,
        /// What is there, shortened.
        found: String,
    },
    /// Something that a [`crate::shape::Shape`] has no words for.
    #[error("a {model_type:?} model has {what}, which cannot be described")]
    Indescribable {
        /// What the configuration calls itself.
        model_type: String,
        /// What it has.
        what: &'static str,
    },
    /// The facts contradict each other.
    #[error("config.json does not describe a model")]
    Shape(#[from] ShapeError),
    /// The header of a safetensors file contradicts itself or the file.
    #[error("the safetensors header is wrong: {0}")]
    Header(String),
    /// Reading failed.
    #[error("reading the safetensors header failed")]
    Read(#[from] io::Error),
}
