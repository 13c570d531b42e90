//! What can be wrong with a wish, in words that tell a person what to do.

use std::path::PathBuf;

use types::{ByteCount, ModelId, ModelKey};

/// Why a wish was not fulfilled. Nothing was changed, unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No model has this name.
    #[error("model `{name}` does not exist{}", hint(known))]
    NotFound {
        /// The name.
        name: String,
        /// Some that exist.
        known: Vec<String>,
    },
    /// The model is known, the variant is not.
    #[error("{model} has no variant `{variant}`{}", hint(known))]
    VariantNotFound {
        /// The model.
        model: ModelId,
        /// The variant.
        variant: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// Model configs with these names are there already.
    #[error("model config exists: {}; nothing was added (PUT changes a config that is there)", names.join(", "))]
    Exists {
        /// Which.
        names: Vec<String>,
    },
    /// What was sent is no model config.
    #[error("nothing was changed: {0}")]
    Invalid(String),
    /// A flag is in the way of a deletion.
    #[error(
        "cannot delete {}: guarded ({}); clear the flag first", names(variants),
        [("hot_ready", hot_ready), ("protected", protected)].iter().filter(|(_, set)| **set).map(|(name, _)| *name)
            .collect::<Vec<_>>().join(" and ")
    )]
    Guarded {
        /// The guarded variants.
        variants: Vec<ModelKey>,
        /// Whether one of them is hot ready.
        hot_ready: bool,
        /// Whether one of them is protected.
        protected: bool,
    },
    /// It is being downloaded.
    #[error("{model} is being downloaded; cancel that first (DELETE /api/models/{model}/download)")]
    Downloading {
        /// Which.
        model: ModelKey,
    },
    /// Its files are not here, and nobody said where to get them.
    #[error("{model} is not on this machine, and its config names no place to download it from: set `download.url`")]
    NoSource {
        /// Which.
        model: ModelKey,
    },
    /// There is no such download.
    #[error("no download of {model} runs, waits or rests")]
    NoDownload {
        /// Which.
        model: ModelKey,
    },
    /// It does not fit on the disk, or into the limit.
    #[error(
        "no room for {model}: it takes {required}, {available} may be written{}; delete models, or raise the limit",
        limit.map(|limit| format!(" (models may take {limit})")).unwrap_or_default()
    )]
    NoRoom {
        /// Which.
        model: ModelKey,
        /// What may be written for models now.
        available: ByteCount,
        /// What is missing of it.
        required: ByteCount,
        /// What all models together may take; `None` for what the disk has.
        limit: Option<ByteCount>,
    },
    /// The download cannot begin.
    #[error("{model} cannot be downloaded: {reason}")]
    Refused {
        /// Which.
        model: ModelKey,
        /// Why not.
        reason: String,
    },
    /// The hub did not tell which files there are.
    #[error("model `{name}` is not known here, nor to be had from the hub")]
    Hub {
        /// What was asked for.
        name: String,
        /// Why not.
        #[source]
        source: hub::Error,
    },
    /// A file that was named to snug, and does not lie where snug puts files.
    #[error("{} lies outside snug's folders; delete it yourself, or leave out its model", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// A file cannot be deleted; those before it are gone.
    #[error("cannot delete {}", path.display())]
    Delete {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The override file cannot be written; the change was not made.
    #[error("cannot write {}: is the folder there, and may snug write to it?", path.display())]
    Override {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The configuration pins it.
    #[error("`{name}` is pinned by the configuration; take `pinned` out of its entry there")]
    PinnedByConfiguration {
        /// The name.
        name: String,
    },
    /// snug is stopping.
    #[error("snug is stopping; ask again when it is back")]
    Stopping,
    /// The store does not take it.
    #[error("cannot be kept")]
    Store(#[from] store::Error),
}

fn hint(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are: {}", known.join(", ")) }
}

fn names(variants: &[ModelKey]) -> String {
    variants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
