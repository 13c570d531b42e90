//! What the estimator needs of a model, and how it follows from a file's header or from a shape and a quantisation.
//!
//! Both ways end in the same description: weights by place, what each layer keeps for tokens, and how wide a batch gets
//! on its way through. What is equal in several layers is kept once, so that sums over all layers are a few steps.

mod header;
mod shape;

use std::ops::Range;
use std::sync::Arc;

use types::{ByteCount, CacheType};

/// Tokens that llama.cpp computes at once (`n_ubatch`); compute buffers are sized for it.
pub(crate) const UBATCH: u64 = 512;
/// Caches are padded to this many cells (`llama_context`, `llama_kv_cache_iswa`).
const CELL_PADDING: u64 = 256;

/// What the estimator must know of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    layers: Arc<[Layer]>,
    /// What layers keep, each kind once, and how many layers are of it.
    kinds: Arc<Vec<(Kept, u64)>>,
    totals: Totals,
    outside: Outside,
    activations: Activations,
}

/// Weights that belong to no layer, and the model's own bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Embeddings: they stay in RAM.
    pub(crate) input: ByteCount,
    /// Head, norms and all else: they go with the last layer.
    pub(crate) output: ByteCount,
    /// What an accelerator holds once more because the token embedding is the head too.
    pub(crate) tied: ByteCount,
    /// A multimodal projector beside the model.
    pub(crate) projector: ByteCount,
    /// Entries of the vocabulary.
    pub(crate) vocabulary: u64,
    /// The context the model was trained for, tokens; zero where not known.
    pub(crate) context: u64,
    /// Routed experts of a layer, and how many a token uses.
    pub(crate) experts: (u64, u64),
    /// Parameters that take part in one token.
    pub(crate) parameters_active: u64,
}

/// One layer, and all before it. There are half a million of them in a catalogue: they hold no more than they must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// All weights up to the end of this layer.
    weights: ByteCount,
    /// Of these, the routed experts.
    experts: ByteCount,
    /// Which of the kinds it is of.
    kind: usize,
}

/// Of some layers that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// All their weights.
    pub(crate) weights: ByteCount,
    /// Of these, the routed experts.
    pub(crate) experts: ByteCount,
    /// Of the routed experts, what one token reads.
    pub(crate) experts_read: ByteCount,
}

impl Sum {
    /// Of the weights, what one token reads.
    pub(crate) fn read(&self) -> ByteCount {
        self.weights.saturating_sub(self.experts) + self.experts_read
    }
}

/// Sums over all layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    weights: ByteCount,
    experts: ByteCount,
    /// The largest tensor of any layer but experts, and the largest of experts: what an accelerator borrows from RAM at
    /// a time.
    largest: ByteCount,
    largest_experts: ByteCount,
}

/// What one layer keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Caches that grow with the context: one, or with an indexer or a compressed cache several.
    pub(crate) caches: Vec<Cache>,
    /// Bytes of recurrent state for each slot, whatever the context.
    pub(crate) state: u64,
}

/// A cache: as many values for each cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    /// Values of keys.
    pub(crate) key: u64,
    /// Values of values; none where one latent vector is both.
    pub(crate) value: u64,
    /// How many cells it has.
    pub(crate) span: Span,
}

/// How many cells a cache has for each slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Span {
    /// One for each token of the context.
    Context,
    /// Those for the last so many tokens, and for the batch at hand.
    Window(u64),
    /// One for so many tokens.
    Compressed(u64),
}

/// How wide a batch gets on its way through the model, in values for each token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activations {
    /// The residual stream.
    pub(crate) embedding: u64,
    /// The widest point of any layer: what lies in memory at once.
    pub(crate) layer: u64,
    /// The same where routed experts are computed elsewhere.
    pub(crate) layer_without_experts: u64,
    /// Bytes of state that lie there too, for each slot.
    pub(crate) state: u64,
    /// Inputs beside the embedding: those of layers that have an embedding for themselves.
    pub(crate) inputs: u64,
    /// Masks over the whole context beside those that the caches' spans say: an indexer's.
    pub(crate) masks: u64,
    /// Entries of the output where every token's is wanted: the vocabulary, or none for an encoder.
    pub(crate) output: u64,
}

impl Span {
    pub(crate) fn cells(self, context: u64, ubatch: u64) -> u64 {
        let context = padded(context);
        match self {
            Self::Context => context,
            Self::Window(window) => padded(context.min(window.saturating_add(ubatch))),
            Self::Compressed(ratio) => padded(context.div_ceil(ratio.max(1)).max(1)),
        }
    }
}

impl Kept {
    /// Adds what compressed attention keeps besides its window (DeepSeek-V4): a cache of which each cell stands for
    /// `ratio` tokens, the keys of what chooses among its cells where that is done, and the state of what compresses
    /// them, which are two 32-bit planes (`llama_dsv4_comp_state`).
    fn compress(&mut self, head: u64, ratio: u64, indexer: Option<u64>) {
        if ratio == 0 {
            return;
        }
        let span = Span::Compressed(ratio);
        let planes = |width: u64, rows: u64| 2 * 4 * width * rows;
        self.caches.push(Cache { key: head, value: 0, span });
        // Cells that are chosen among overlap, so that twice as many rows of twice the width are in the making.
        self.state += match indexer {
            Some(_) => planes(2 * head, 2 * ratio),
            None => planes(head, ratio),
        };
        if let Some(indexer) = indexer {
            self.caches.push(Cache { key: indexer, value: 0, span });
            self.state += planes(2 * indexer, 2 * ratio);
        }
    }

    /// Bytes, for `slots` slots of `context` tokens each.
    pub(crate) fn bytes(&self, context: u64, slots: u64, ubatch: u64, key: CacheType, value: CacheType) -> u64 {
        let caches = self.caches.iter().map(|cache| {
            let cell = key.bytes_for(cache.key).saturating_add(value.bytes_for(cache.value));
            cell.saturating_mul(cache.span.cells(context, ubatch))
        });
        caches.fold(self.state, u64::saturating_add).saturating_mul(slots)
    }
}

impl Kept {
    /// Bytes that one token of a request reads, with so many tokens before it.
    pub(crate) fn read(&self, filled: u64, key: CacheType, value: CacheType) -> u64 {
        let caches = self.caches.iter().map(|cache| {
            let cells = match cache.span {
                Span::Context => filled,
                Span::Window(window) => filled.min(window),
                Span::Compressed(ratio) => filled / ratio.max(1),
            };
            key.bytes_for(cache.key).saturating_add(value.bytes_for(cache.value)).saturating_mul(cells)
        });
        caches.fold(self.state, u64::saturating_add)
    }
}

impl Facts {
    /// How many layers it has, those that only predict further tokens included.
    pub fn layer_count(&self) -> u32 {
        u32::try_from(self.layers.len()).unwrap_or(u32::MAX)
    }

    /// The context it was trained for, tokens; zero where not known.
    pub fn context_native(&self) -> u64 {
        self.outside.context
    }

    /// The same model with a multimodal projector of this size beside it.
    #[must_use]
    pub fn with_projector(mut self, size: ByteCount) -> Self {
        self.outside.projector = size;
        self
    }

    /// The same, but what layers keep is stored once for both, if it is equal: of one model in several quantisations it is.
    #[must_use]
    pub fn sharing(mut self, other: &Self) -> Self {
        if self.kinds == other.kinds {
            self.kinds = Arc::clone(&other.kinds);
        }
        self
    }

    /// All weights that an engine loads.
    pub fn weights(&self) -> ByteCount {
        self.totals.weights + self.outside.input + self.outside.output + self.outside.projector
    }

    /// Of these, the routed experts of all layers.
    pub fn experts(&self) -> ByteCount {
        self.totals.experts
    }

    /// Weights that are read for one token: all but embeddings, and of routed experts those that the token uses.
    pub fn weights_per_token(&self) -> ByteCount {
        let dense = self.totals.weights.saturating_sub(self.totals.experts);
        dense + self.experts_read(self.totals.experts) + self.outside.output + self.outside.tied
    }

    /// Parameters that take part in one token: of routed experts those that the token uses, of embeddings none but as
    /// the head.
    pub fn parameters_active(&self) -> u64 {
        self.outside.parameters_active
    }

    /// Whether it is a mixture of experts.
    pub fn has_experts(&self) -> bool {
        self.totals.experts > ByteCount::ZERO
    }

    /// What all layers keep for `slots` slots of `context` tokens each.
    pub fn kept(&self, context: u64, slots: u32, key: CacheType, value: CacheType) -> ByteCount {
        let ubatch = ubatch(context, slots);
        let kinds = self
            .kinds
            .iter()
            .map(|(kept, layers)| kept.bytes(context, u64::from(slots), ubatch, key, value).saturating_mul(*layers));
        ByteCount::bytes(kinds.fold(0, u64::saturating_add))
    }

    /// Of so many bytes of routed experts, those that one token reads.
    pub(crate) fn experts_read(&self, experts: ByteCount) -> ByteCount {
        let (total, used) = self.outside.experts;
        if total == 0 {
            return experts;
        }
        let read = u128::from(experts.as_u64()) * u128::from(used.min(total)) / u128::from(total);
        ByteCount::bytes(u64::try_from(read).unwrap_or(u64::MAX))
    }

    /// What one token of a request reads of what is kept, with so many tokens before it.
    pub(crate) fn kept_read(&self, filled: u64, key: CacheType, value: CacheType) -> u64 {
        let kinds = self.kinds.iter().map(|(kept, layers)| kept.read(filled, key, value).saturating_mul(*layers));
        kinds.fold(0, u64::saturating_add)
    }

    /// Of what they keep, the recurrent state of one slot, whatever the context.
    pub fn state(&self) -> ByteCount {
        let states = self.kinds.iter().map(|(kept, layers)| kept.state.saturating_mul(*layers));
        ByteCount::bytes(states.fold(0, u64::saturating_add))
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Of these layers, counted from 0.
    pub(crate) fn sum(&self, layers: Range<usize>) -> Sum {
        let upto = |end: usize| match end.checked_sub(1) {
            Some(last) => (self.layers[last].weights, self.layers[last].experts),
            None => (ByteCount::ZERO, ByteCount::ZERO),
        };
        let (before, all) = (upto(layers.start), upto(layers.end));
        let experts = all.1.saturating_sub(before.1);
        Sum { weights: all.0.saturating_sub(before.0), experts, experts_read: self.experts_read(experts) }
    }

    /// As [`Facts::kept`], of these layers only.
    pub(crate) fn kept_of(
        &self,
        layers: Range<usize>,
        context: u64,
        slots: u32,
        key: CacheType,
        value: CacheType,
    ) -> ByteCount {
        let ubatch = ubatch(context, slots);
        let bytes = |kept: &Kept| kept.bytes(context, u64::from(slots), ubatch, key, value);
        ByteCount::bytes(self.by_kind(layers, bytes))
    }

    /// As [`Facts::kept_read`], of these layers only.
    pub(crate) fn kept_read_of(&self, layers: Range<usize>, filled: u64, key: CacheType, value: CacheType) -> u64 {
        self.by_kind(layers, |kept| kept.read(filled, key, value))
    }

    /// Sum over layers of what their kinds have: reckoned once for each kind.
    fn by_kind(&self, layers: Range<usize>, of: impl Fn(&Kept) -> u64) -> u64 {
        if layers.is_empty() {
            return 0;
        }
        if let [(only, _)] = self.kinds.as_slice() {
            return of(only).saturating_mul(layers.len() as u64);
        }
        let sums = self.kinds.iter().enumerate().map(|(kind, (kept, _))| {
            let count = self.layers[layers.clone()].iter().filter(|layer| layer.kind == kind).count();
            if count == 0 { 0 } else { of(kept).saturating_mul(count as u64) }
        });
        sums.fold(0, u64::saturating_add)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Kept> {
        self.kinds.iter().map(|(kept, _)| kept)
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.outside
    }

    pub(crate) fn activations(&self) -> &Activations {
        &self.activations
    }

    /// Weights of all layers.
    pub(crate) fn layer_weights(&self) -> ByteCount {
        self.totals.weights
    }

    /// The largest tensor in RAM that an accelerator would borrow: of layers, or of experts.
    pub(crate) fn largest_borrowed(&self, layers: bool, experts: bool) -> ByteCount {
        let layers = if layers { self.totals.largest.max(self.totals.largest_experts) } else { ByteCount::ZERO };
        let experts = if experts { self.totals.largest_experts } else { ByteCount::ZERO };
        layers.max(experts)
    }
}

/// Tokens that are computed at once, for `slots` slots of `context` tokens each.
pub(crate) fn ubatch(context: u64, slots: u32) -> u64 {
    UBATCH.min(context.saturating_mul(u64::from(slots)))
}

fn padded(cells: u64) -> u64 {
    cells.div_ceil(CELL_PADDING).saturating_mul(CELL_PADDING)
}

/// Facts in the making: layers are added from the first to the last.
#[derive(Default)]
struct Draft {
    facts: Facts,
    layers: Vec<Layer>,
}

impl Draft {
    fn layer(&mut self, weights: ByteCount, experts: ByteCount, kept: Kept) {
        let kinds = Arc::make_mut(&mut self.facts.kinds);
        let kind = kinds.iter().position(|(known, _)| *known == kept).unwrap_or_else(|| {
            kinds.push((kept, 0));
            kinds.len() - 1
        });
        kinds[kind].1 += 1;
        self.facts.totals.weights += weights;
        self.facts.totals.experts += experts;
        let Totals { weights, experts, .. } = self.facts.totals;
        self.layers.push(Layer { weights, experts, kind });
    }

    fn tensor(&mut self, bytes: ByteCount, of_experts: bool) {
        let totals = &mut self.facts.totals;
        let largest = if of_experts { &mut totals.largest_experts } else { &mut totals.largest };
        *largest = (*largest).max(bytes);
    }

    fn finish(mut self, outside: Outside, activations: Activations) -> Facts {
        self.facts.outside = outside;
        self.facts.activations = activations;
        self.facts.layers = self.layers.into();
        self.facts
    }
}

/// Widths of what a layer computes, in values for each token. Zero for what it does not have.
///
/// What lies in memory at once is fitted to what llama.cpp's graph allocator reserves for each family (pinned version,
/// batches of 512): twenty shapes from SmolLM2 to DeepSeek-V3, on a CPU and on one or two accelerators. The tests of
/// `memory` hold ten of them to 10 % or 16 MiB.
#[derive(Clone, Copy, Debug, Default)]
struct Widths {
    embedding: u64,
    /// All heads of queries.
    query: u64,
    /// All heads of keys.
    key: u64,
    /// Multi-head latent attention: heads, a head's key, its rank and its part that carries the position.
    latent: Option<(u64, u64, u64, u64)>,
    /// An indexer's queries.
    indexer: u64,
    /// The dense feed-forward part.
    feed_forward: u64,
    gated: bool,
    /// Of routed experts those a token uses, together: their width, and their output's.
    experts: u64,
    experts_out: u64,
    experts_gated: bool,
    /// Residual streams beside the first.
    streams: u64,
    recurrent: Option<Mixing>,
}

/// What a recurrent layer computes.
#[derive(Clone, Copy, Debug)]
enum Mixing {
    /// Mamba: width of the input projection, of the convolution, and inside; values of state.
    Mamba { projection: u64, convolution: u64, inner: u64, state: u64 },
    /// Gated delta net: width of the convolution, and inside.
    DeltaNet { convolution: u64, inner: u64 },
    /// Kimi delta attention and Lightning: width of all heads.
    Linear { inner: u64 },
    /// A short convolution.
    ShortConvolution,
    /// RWKV: values of state.
    Rwkv { state: u64 },
}

impl Widths {
    /// Values for each token at the widest point; without the experts' own where these are computed elsewhere.
    fn widest(&self, with_experts: bool) -> u64 {
        let residual = 2 * self.embedding;
        let beside = residual + self.embedding.max(self.query);
        let mut widest = residual + 2 * self.query + self.key;
        if let Some((heads, key, rank, rope)) = self.latent {
            let heads = heads * (key + 2 * rank + 2 * rope);
            widest = widest.max(3 * self.embedding + heads + self.indexer);
        }
        if self.feed_forward > 0 {
            widest = widest.max(if self.gated { 3 } else { 1 } * self.feed_forward + beside);
        }
        if self.experts > 0 && with_experts {
            let inside = if self.experts_gated { 3 } else { 1 } * self.experts;
            // What comes out of the experts takes the place of what went in, where it fits.
            let fits = self.experts_gated && self.experts_out <= 2 * self.experts;
            widest = widest.max(inside + if fits { 0 } else { self.experts_out } + beside);
        }
        if self.experts > 0 && !with_experts {
            widest = widest.max(self.experts_out + 4 * self.embedding);
        }
        let mixing = match self.recurrent {
            Some(Mixing::Mamba { projection, convolution, inner, .. }) => projection + 2 * convolution + 2 * inner,
            Some(Mixing::DeltaNet { convolution, inner }) => 3 * convolution + inner,
            Some(Mixing::Linear { inner }) => 10 * inner,
            Some(Mixing::ShortConvolution) => 4 * self.embedding,
            Some(Mixing::Rwkv { .. }) => 16 * self.embedding,
            None => 0,
        };
        widest.max(residual + mixing) + 2 * self.streams * self.embedding
    }

    /// Bytes of state that lie among the activations, for each slot.
    fn state(&self) -> u64 {
        match self.recurrent {
            Some(Mixing::Mamba { state, .. }) => state.saturating_mul(4),
            Some(Mixing::Rwkv { state }) => state.saturating_mul(8),
            _ => 0,
        }
    }

    /// The wider of each.
    fn max(self, other: Self) -> Self {
        Self {
            embedding: self.embedding.max(other.embedding),
            query: self.query.max(other.query),
            key: self.key.max(other.key),
            latent: self.latent.or(other.latent),
            indexer: self.indexer.max(other.indexer),
            feed_forward: self.feed_forward.max(other.feed_forward),
            gated: self.gated || other.gated,
            experts: self.experts.max(other.experts),
            experts_out: self.experts_out.max(other.experts_out),
            experts_gated: self.experts_gated || other.experts_gated,
            streams: self.streams.max(other.streams),
            recurrent: self.recurrent.or(other.recurrent),
        }
    }
}
