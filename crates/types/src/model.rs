//! Names of models: the id people write, the variant behind it, and the pair that names one loadable thing.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name as it is.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
pub(crate) use name;

name! {
    /// What a client writes into `model`: `SmolLM2-135M-Instruct`, `qwen/qwen3-4b`.
    ModelId
}

name! {
    /// One quantisation of a model, as files name it: `Q4_K_M`, `F16`. Empty when a model has only one nameless form.
    Variant
}

/// One loadable thing: a model in one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelKey {
    /// The model's id.
    pub id: ModelId,
    /// Which of its variants.
    pub variant: Variant,
}

impl fmt::Display for ModelKey {
    /// `id:variant`, or just `id` where the variant is nameless.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.variant.as_str().is_empty() {
            write!(f, "{}", self.id)
        } else {
            write!(f, "{}:{}", self.id, self.variant)
        }
    }
}

/// What an instance is started to do. An engine process does one of these for its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Chat and text completion.
    #[default]
    Chat,
    /// One vector per input.
    Embedding,
    /// One relevance score per document.
    Rerank,
}

impl Mode {
    /// The name used in configuration, API and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
