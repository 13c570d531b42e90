//! The facts of a model, gathered from metadata and tensors.

use types::{ByteCount, Pooling};

use super::metadata::Metadata;
use super::tensor::{Tensor, Weights};
use super::{Error, Header, file_type, sliding};

/// What a GGUF file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A model, or the first file of one.
    Model,
    /// A later file of a split set: tensors, mostly without metadata.
    LaterShard,
    /// The part that turns images or sound into tokens of another model (`mmproj`).
    Projector,
    /// Changes to another model's weights (LoRA).
    Adapter,
    /// Something else, by its `general.type`: `imatrix`, `vocab`.
    Other(String),
}

/// A number that is the same in all layers, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerLayer {
    /// The same everywhere.
    Same(u64),
    /// One for each layer.
    Each(Vec<u64>),
}

impl Default for PerLayer {
    fn default() -> Self {
        Self::Same(0)
    }
}

impl PerLayer {
    /// The number for `layer`, counted from 0; zero beyond the last.
    pub fn at(&self, layer: u32) -> u64 {
        match self {
            Self::Same(number) => *number,
            Self::Each(numbers) => numbers.get(layer as usize).copied().unwrap_or(0),
        }
    }

    /// The largest number of any layer.
    pub fn max(&self) -> u64 {
        match self {
            Self::Same(number) => *number,
            Self::Each(numbers) => numbers.iter().copied().max().unwrap_or(0),
        }
    }
}

/// Attention: heads, their sizes, windows. Zero where the file does not say and nothing follows from the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attention {
    /// Heads.
    pub heads: PerLayer,
    /// Heads that keep keys and values; as many as `heads` unless stated. Zero in layers without a KV cache.
    pub kv_heads: PerLayer,
    /// Elements of a head's key; `embedding_length / heads` unless stated.
    pub key_length: u64,
    /// Elements of a head's value; `embedding_length / heads` unless stated.
    pub value_length: u64,
    /// The same in layers with a sliding window, where different.
    pub key_length_sliding: Option<u64>,
    /// The same in layers with a sliding window, where different.
    pub value_length_sliding: Option<u64>,
    /// Elements of a head's key before compression, in models that cache a latent vector (MLA).
    pub key_length_mla: Option<u64>,
    /// Elements of a head's value before compression, in models that cache a latent vector (MLA).
    pub value_length_mla: Option<u64>,
    /// Elements of the latent vector that is cached instead of keys and values (MLA).
    pub kv_lora_rank: Option<u64>,
    /// Elements of a key in the cache of a sparse-attention indexer.
    pub indexer_key_length: Option<u64>,
    /// Heads of that indexer.
    pub indexer_heads: u64,
    /// For each layer, whether it has an indexer of its own, where the file says; else all that attend to everything.
    pub indexer_layers: Option<Vec<bool>>,
    /// Tokens whose indexer keys are pooled; zero where they are not.
    pub indexer_pool: u64,
    /// For each layer, how many tokens its compressed cache makes one of (DeepSeek-V4); zero where it has none.
    pub compress_ratios: PerLayer,
    /// Elements of a head that are rotated by position.
    pub rope_dimensions: u64,
    /// Tokens that layers with a sliding window look back, as llama.cpp has it; `None` where it attends to everything.
    pub sliding_window: Option<u64>,
    /// Which layers have the window: as the file says, else as the architecture has it ([`slides`](super::slides)).
    pub sliding_pattern: Option<SlidingPattern>,
    /// Layers, counted from the end, that reuse the KV cache of an earlier one.
    pub shared_kv_layers: u64,
    /// Whether a token sees only those before it. Default true.
    pub causal: bool,
}

/// Which layers have a sliding window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlidingPattern {
    /// All but every n-th, counted from 1; all for 0, none for 1.
    AllButEvery(u64),
    /// All but the first of every n; all for 0, none for 1.
    AllButFirstOf(u64),
    /// For each layer, whether it has the window.
    Layers(Vec<bool>),
}

impl SlidingPattern {
    /// Whether `layer`, counted from 0, has the window.
    pub fn slides(&self, layer: u32) -> bool {
        match self {
            Self::AllButEvery(period) => *period == 0 || u64::from(layer) % period < period - 1,
            Self::AllButFirstOf(period) => *period == 0 || !u64::from(layer).is_multiple_of(*period),
            Self::Layers(slides) => slides.get(layer as usize).copied().unwrap_or(false),
        }
    }
}

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experts {
    /// Routed experts in a layer.
    pub count: u64,
    /// Of these, how many a token uses.
    pub used: PerLayer,
    /// Experts that every token uses.
    pub shared: u64,
    /// Width of a routed expert.
    pub feed_forward_length: PerLayer,
    /// Width of the shared experts together.
    pub shared_feed_forward_length: u64,
    /// First layers without experts.
    pub leading_dense_layers: u64,
}

/// A state kept per sequence: Mamba, RWKV, linear attention, short convolutions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recurrent {
    /// `ssm.conv_kernel`.
    pub conv_kernel: u64,
    /// `ssm.inner_size`.
    pub inner_size: u64,
    /// `ssm.state_size`.
    pub state_size: u64,
    /// `ssm.group_count`.
    pub group_count: u64,
    /// `ssm.time_step_rank`.
    pub time_step_rank: u64,
    /// `wkv.head_size` (RWKV).
    pub wkv_head_size: u64,
    /// `token_shift_count` (RWKV).
    pub token_shift_count: u64,
    /// `kda.head_dim` (Kimi linear attention).
    pub kda_head_size: u64,
    /// `shortconv.l_cache` (LFM2).
    pub short_convolution: u64,
    /// Every n-th layer has full attention, the others keep a state; zero where the file does not say.
    pub full_attention_interval: u64,
    /// For each layer, whether it keeps a state, where the file says.
    pub layers: Option<Vec<bool>>,
}

/// What is known of a chat template without running it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Its size.
    pub bytes: ByteCount,
    /// Whether it mentions tools, so that tool calls may work.
    pub mentions_tools: bool,
}

/// The place of a file in a split set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// This file, counted from 0.
    pub number: u32,
    /// Files in the set.
    pub count: u32,
    /// Tensors in the whole set; zero where the file does not say.
    pub tensors: u64,
}

/// Puts the facts together.
pub(super) fn gather(
    version: u32,
    metadata: &Metadata,
    tensors: Vec<Tensor>,
    data_offset: ByteCount,
) -> Result<Header, Error> {
    let split = split(metadata)?;
    let architecture = metadata.text("general.architecture")?.unwrap_or_default().to_owned();
    let kind = kind(metadata.text("general.type")?, &architecture, split.as_ref());
    if architecture.is_empty() && kind == Kind::Model {
        return Err(Error::NoArchitecture);
    }
    let keys = Keys { metadata, architecture: &architecture };

    let layers = keys.small("block_count")?;
    let embedding_length = keys.number("embedding_length")?;
    let file_type = metadata.integer("general.file_type")?;
    let listed = metadata.listed_tokens().filter(|count| *count > 0);
    let stated = keys.optional("vocab_size")?;
    Ok(Header {
        version,
        name: metadata.text("general.name")?.map(str::to_owned),
        size_label: metadata.text("general.size_label")?.map(str::to_owned),
        quantization: file_type::label(file_type, &tensors),
        file_type,
        layers,
        prediction_layers: keys.small("nextn_predict_layers")?,
        context_length: keys.number("context_length")?,
        embedding_length,
        embedding_length_out: keys.optional("embedding_length_out")?.unwrap_or(embedding_length),
        feed_forward_length: keys.per_layer("feed_forward_length")?.unwrap_or_default(),
        per_layer_embedding: keys.number("embedding_length_per_layer_input")?,
        streams: keys.number("hyper_connection.count")?,
        vocabulary: listed.or(stated).unwrap_or_else(|| vocabulary_of(&tensors)),
        attention: attention(&keys, embedding_length, layers)?,
        experts: experts(&keys)?,
        recurrent: recurrent(&keys)?,
        pooling: pooling(&keys)?,
        chat_template: metadata.text("tokenizer.chat_template")?.map(|template| ChatTemplate {
            bytes: ByteCount::bytes(template.len() as u64),
            mentions_tools: template.contains("tools"),
        }),
        split,
        parameters: tensors.iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.elements())),
        weights: Weights::of(&tensors, layers),
        kind,
        architecture,
        tensors,
        data_offset,
    })
}

/// Tokens in the embedding, for files that do not list them.
pub(super) fn vocabulary_of(tensors: &[Tensor]) -> u64 {
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    embedding.and_then(|tensor| tensor.dimensions.get(1)).copied().unwrap_or(0)
}

fn kind(general_type: Option<&str>, architecture: &str, split: Option<&Split>) -> Kind {
    match (general_type, architecture) {
        (Some("mmproj"), _) | (_, "clip") => Kind::Projector,
        (Some("adapter"), _) => Kind::Adapter,
        (None | Some("model"), _) if split.is_some_and(|split| split.number > 0) => Kind::LaterShard,
        (None | Some("model"), _) => Kind::Model,
        (Some(other), _) => Kind::Other(other.to_owned()),
    }
}

fn split(metadata: &Metadata) -> Result<Option<Split>, Error> {
    let small = |key: &str| match metadata.integer(key)? {
        Some(number) => {
            let number = u16::try_from(number);
            number
                .map(|number| Some(u32::from(number)))
                .map_err(|_| Error::BadValue { key: key.to_owned(), expected: "below 65,536" })
        }
        None => Ok(None),
    };
    let Some(count) = small("split.count")?.filter(|count| *count > 1) else { return Ok(None) };
    let number = small("split.no")?.unwrap_or(0);
    if number >= count {
        return Err(Error::BadValue { key: "split.no".to_owned(), expected: "below split.count" });
    }
    Ok(Some(Split { number, count, tensors: metadata.integer("split.tensors.count")?.unwrap_or(0) }))
}

fn attention(keys: &Keys<'_>, embedding_length: u64, layers: u32) -> Result<Attention, Error> {
    let heads = keys.per_layer("attention.head_count")?.unwrap_or_default();
    // Layers without attention have zero heads; the size of a head is that of the layers with.
    let head_length = embedding_length.checked_div(heads.max()).unwrap_or(0);
    let key_length = keys.optional("attention.key_length")?.unwrap_or(head_length);
    let stated_pattern = match keys.per_layer("attention.sliding_window_pattern")? {
        None => None,
        Some(PerLayer::Same(period)) => Some(SlidingPattern::AllButEvery(period)),
        Some(PerLayer::Each(layers)) => Some(SlidingPattern::Layers(to_flags(&layers))),
    };
    let stated_window = keys.optional("attention.sliding_window")?;
    let (sliding_window, sliding_pattern) = sliding::resolve(keys.architecture, layers, stated_window, stated_pattern);
    Ok(Attention {
        kv_heads: keys.per_layer("attention.head_count_kv")?.unwrap_or_else(|| heads.clone()),
        heads,
        key_length,
        value_length: keys.optional("attention.value_length")?.unwrap_or(head_length),
        key_length_sliding: keys.optional("attention.key_length_swa")?,
        value_length_sliding: keys.optional("attention.value_length_swa")?,
        key_length_mla: keys.optional("attention.key_length_mla")?,
        value_length_mla: keys.optional("attention.value_length_mla")?,
        kv_lora_rank: keys.optional("attention.kv_lora_rank")?,
        indexer_key_length: keys.optional("attention.indexer.key_length")?,
        rope_dimensions: keys.optional("rope.dimension_count")?.unwrap_or(key_length),
        indexer_heads: keys.number("attention.indexer.head_count")?,
        indexer_layers: match keys.per_layer("attention.indexer.types")? {
            Some(PerLayer::Each(layers)) => Some(to_flags(&layers)),
            _ => None,
        },
        indexer_pool: keys.number("attention.indexer.kpool")?,
        compress_ratios: keys.per_layer("attention.compress_ratios")?.unwrap_or_default(),
        sliding_window,
        sliding_pattern,
        shared_kv_layers: keys.number("attention.shared_kv_layers")?,
        causal: keys.metadata.flag(&keys.key("attention.causal"))?.unwrap_or(true),
    })
}

fn experts(keys: &Keys<'_>) -> Result<Option<Experts>, Error> {
    let Some(count) = keys.optional("expert_count")?.filter(|count| *count > 0) else { return Ok(None) };
    Ok(Some(Experts {
        count,
        used: keys.per_layer("expert_used_count")?.unwrap_or_default(),
        shared: keys.number("expert_shared_count")?,
        feed_forward_length: keys.per_layer("expert_feed_forward_length")?.unwrap_or_default(),
        shared_feed_forward_length: keys.per_layer("expert_shared_feed_forward_length")?.unwrap_or_default().max(),
        leading_dense_layers: keys.number("leading_dense_block_count")?,
    }))
}

fn recurrent(keys: &Keys<'_>) -> Result<Option<Recurrent>, Error> {
    let recurrent = Recurrent {
        conv_kernel: keys.number("ssm.conv_kernel")?,
        inner_size: keys.number("ssm.inner_size")?,
        state_size: keys.number("ssm.state_size")?,
        group_count: keys.number("ssm.group_count")?,
        time_step_rank: keys.number("ssm.time_step_rank")?,
        wkv_head_size: keys.number("wkv.head_size")?,
        token_shift_count: keys.number("token_shift_count")?,
        kda_head_size: keys.number("kda.head_dim")?,
        short_convolution: keys.number("shortconv.l_cache")?,
        full_attention_interval: keys.number("full_attention_interval")?,
        layers: match keys.per_layer("attention.recurrent_layers")? {
            Some(PerLayer::Each(layers)) => Some(to_flags(&layers)),
            _ => None,
        },
    };
    Ok((recurrent != Recurrent::default()).then_some(recurrent))
}

fn pooling(keys: &Keys<'_>) -> Result<Option<Pooling>, Error> {
    Ok(match keys.optional("pooling_type")? {
        Some(0) => Some(Pooling::None),
        Some(1) => Some(Pooling::Mean),
        Some(2) => Some(Pooling::Cls),
        Some(3) => Some(Pooling::Last),
        Some(4) => Some(Pooling::Rank),
        Some(_) | None => None,
    })
}

fn to_flags(numbers: &[u64]) -> Vec<bool> {
    numbers.iter().map(|number| *number != 0).collect()
}

/// Metadata under the architecture's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A number; the largest where an architecture states one for each layer.
    fn optional(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.per_layer(name)?.map(|number| number.max()))
    }

    fn number(&self, name: &str) -> Result<u64, Error> {
        Ok(self.optional(name)?.unwrap_or(0))
    }

    /// A count of layers or the like, which must be believable.
    fn small(&self, name: &str) -> Result<u32, Error> {
        let number = self.number(name)?;
        u32::try_from(number)
            .ok()
            .filter(|number| *number <= super::limit::LAYERS)
            .ok_or_else(|| Error::BadValue { key: self.key(name), expected: "at most 4,096" })
    }

    fn per_layer(&self, name: &str) -> Result<Option<PerLayer>, Error> {
        let key = self.key(name);
        let numbers = self.metadata.integers(&key)?;
        Ok(numbers.map(|numbers| match numbers.as_slice() {
            [number] if !self.metadata.is_list(&key) => PerLayer::Same(*number),
            _ => PerLayer::Each(numbers),
        }))
    }
}
