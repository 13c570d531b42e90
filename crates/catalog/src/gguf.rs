//! What a GGUF file says about the model in it, read from its header alone.
//!
//! Owns the format (versions 2 and 3, little-endian) and the limits that keep a hostile file harmless: nothing is
//! allocated by a size the file claims, all arithmetic is checked, and every loop is bounded by bytes actually read.
//! Token lists are skipped, not stored. Sizes of tensors are computed as llama.cpp computes them, so that the sums are
//! what an engine will allocate for weights. Knows nothing about memory of machines or speed: `fit` does.

mod error;
mod facts;
mod file_type;
mod metadata;
mod sliding;
mod source;
mod tensor;

use std::io::Read;

use types::{ByteCount, Mode, Pooling};

pub use error::Error;
pub use facts::{Attention, ChatTemplate, Experts, Kind, PerLayer, Recurrent, SlidingPattern, Split};
pub use sliding::slides;
pub use tensor::{LayerWeights, Tensor, TensorType, Weights};

use metadata::Metadata;
use source::Source;

/// Everything the header of one file says. Numbers are zero where the file does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the GGUF format: 2 or 3.
    pub version: u32,
    /// What the file is.
    pub kind: Kind,
    /// `general.architecture`, such as `llama`; empty for files that are no model, and for later files of a split set.
    pub architecture: String,
    /// `general.name`: the author's name for the model.
    pub name: Option<String>,
    /// `general.size_label`, such as `8x7B`.
    pub size_label: Option<String>,
    /// The quantisation as files are named after it, such as `Q4_K_M`. From `general.file_type`, or else the type in
    /// which most bytes are stored.
    pub quantization: String,
    /// `general.file_type` as it is.
    pub file_type: Option<u64>,
    /// Transformer blocks, including those that only predict ahead ([`Header::prediction_layers`]).
    pub layers: u32,
    /// Of these, the last ones that only predict further tokens (multi-token prediction).
    pub prediction_layers: u32,
    /// Context the model was trained for, in tokens.
    pub context_length: u64,
    /// Width of a token's hidden state.
    pub embedding_length: u64,
    /// Length of the vectors an embedding model answers with; [`Header::embedding_length`] unless stated.
    pub embedding_length_out: u64,
    /// Width of the feed-forward layers.
    pub feed_forward_length: PerLayer,
    /// Width of a second embedding that each layer has for itself (Gemma 3n); zero for none.
    pub per_layer_embedding: u64,
    /// Residual streams that run side by side (hyper-connections); zero where there is one.
    pub streams: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: u64,
    /// Heads, their sizes, windows.
    pub attention: Attention,
    /// For mixtures of experts.
    pub experts: Option<Experts>,
    /// For models that keep a state per sequence besides, or instead of, a KV cache.
    pub recurrent: Option<Recurrent>,
    /// How token vectors become one, where the file says.
    pub pooling: Option<Pooling>,
    /// The chat template, if there is one.
    pub chat_template: Option<ChatTemplate>,
    /// Which file of a split set this is.
    pub split: Option<Split>,
    /// Every tensor, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Number of parameters: the elements of all tensors.
    pub parameters: u64,
    /// Bytes of the tensors, summed by their place in the model.
    pub weights: Weights,
    /// Where the tensors' data begins in the file.
    pub data_offset: ByteCount,
}

/// Reads the header at the beginning of `source`, a file of `file_length` bytes.
///
/// `source` need not be buffered; no more than the header is asked of it, give or take 64 KiB.
///
/// # Errors
/// When this is not a GGUF file of a known version, when its header is damaged or larger than any honest one, and when
/// the file is shorter than its tensors need. [`Error::class`] says what that means to somebody who asked for the model.
pub fn read(source: impl Read, file_length: ByteCount) -> Result<Header, Error> {
    let mut source = Source::new(source, file_length);
    let version = source.version()?;
    let tensor_count = source.count("tensors", limit::TENSORS)?;
    let key_count = source.count("metadata entries", limit::KEYS)?;
    let metadata = Metadata::read(&mut source, key_count)?;
    let alignment = metadata.alignment()?;
    let (tensors, data_offset) = tensor::read(&mut source, tensor_count, alignment, file_length)?;
    facts::gather(version, &metadata, tensors, data_offset)
}

/// What a header says of how its model is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompting {
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
    /// Whether it names a token by which gaps in a text are filled.
    pub fills_gaps: bool,
    /// `general.license`.
    pub license: Option<String>,
}

/// Reads that from the header at the beginning of `source`, a file of `file_length` bytes. [`read`] leaves the texts out,
/// as its answer is kept.
///
/// # Errors
/// As [`read`].
pub fn prompting(source: impl Read, file_length: ByteCount) -> Result<Prompting, Error> {
    let mut source = Source::new(source, file_length);
    let _version = source.version()?;
    let _tensor_count = source.count("tensors", limit::TENSORS)?;
    let key_count = source.count("metadata entries", limit::KEYS)?;
    let metadata = Metadata::read(&mut source, key_count)?;
    Ok(Prompting {
        chat_template: metadata.text("tokenizer.chat_template")?.map(str::to_owned),
        fills_gaps: metadata.has_fill_prefix(),
        license: metadata.text("general.license")?.map(str::to_owned),
    })
}

impl Header {
    /// What an engine is to be started for with this model.
    ///
    /// Rerank where the model pools to a rank, or is an encoder with a head that classifies; embedding where it pools
    /// otherwise or is an encoder; chat for all else.
    pub fn mode(&self) -> Mode {
        match self.pooling {
            Some(Pooling::Rank) => Mode::Rerank,
            _ if self.is_encoder() && self.tensors.iter().any(|tensor| tensor.name.starts_with("cls.output.")) => {
                Mode::Rerank
            }
            Some(Pooling::Mean | Pooling::Cls | Pooling::Last) => Mode::Embedding,
            _ if self.is_encoder() => Mode::Embedding,
            _ => Mode::Chat,
        }
    }

    /// Whether the architecture only encodes: it makes vectors and cannot write.
    pub fn is_encoder(&self) -> bool {
        let name = self.architecture.as_str();
        name.ends_with("bert")
            || name.contains("-bert-")
            || matches!(name, "t5encoder" | "gemma-embedding" | "llama-embed")
    }

    /// Whether an engine can load this file as a model of its own; companions such as image projectors and adapters
    /// are not, nor are the later files of a split set.
    pub fn is_loadable(&self) -> bool {
        self.kind == Kind::Model
    }

    /// Adds what a later file of the same split set holds, so that the sums are those of the whole model.
    ///
    /// # Errors
    /// When `later` does not belong to the same set by its own account.
    pub fn add_shard(&mut self, later: Header) -> Result<(), Error> {
        match (&self.split, &later.split) {
            (Some(first), Some(next)) if first.count == next.count && next.number > 0 => {}
            (first, next) => {
                return Err(Error::ForeignShard {
                    expected: first.as_ref().map_or(1, |split| split.count),
                    found: next.as_ref().map_or(1, |split| split.count),
                });
            }
        }
        self.tensors.extend(later.tensors);
        self.parameters = self.parameters.saturating_add(later.parameters);
        self.weights = Weights::of(&self.tensors, self.layers);
        if self.vocabulary == 0 {
            self.vocabulary = facts::vocabulary_of(&self.tensors);
        }
        self.quantization = file_type::label(self.file_type, &self.tensors);
        Ok(())
    }
}

/// The most of everything. Each is several times what the largest published models have.
mod limit {
    /// Bytes of a header; the largest vocabularies with their merges take some 20 MiB.
    pub(super) const HEADER_BYTES: u64 = 512 << 20;
    /// Metadata entries; 60 are usual.
    pub(super) const KEYS: u64 = 16_384;
    /// Tensors; a mixture with every expert apart has 60,000.
    pub(super) const TENSORS: u64 = 262_144;
    /// Bytes of a metadata key.
    pub(super) const KEY_BYTES: u64 = 1_024;
    /// Bytes of a tensor's name. llama.cpp's own builds stop at 64.
    pub(super) const TENSOR_NAME_BYTES: u64 = 256;
    /// Bytes of one string that is skipped, such as a whole tokenizer in JSON.
    pub(super) const STRING_BYTES: u64 = 128 << 20;
    /// Bytes of a string that is kept.
    pub(super) const KEPT_STRING_BYTES: u64 = 4 << 20;
    /// Elements of an array that is skipped; vocabularies have 250,000.
    pub(super) const ARRAY_LENGTH: u64 = 16 << 20;
    /// Elements of an array that is kept: one per layer.
    pub(super) const KEPT_ARRAY_LENGTH: u64 = 4_096;
    /// Arrays in arrays. llama.cpp allows none; the format does.
    pub(super) const NESTING: u32 = 4;
    /// Layers that are counted one by one.
    pub(super) const LAYERS: u32 = 4_096;
}

#[cfg(test)]
mod tests;
