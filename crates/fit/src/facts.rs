//! What the estimator needs of a model, from what its file's header says.

use catalog::gguf::{Header, SlidingPattern};
use types::ByteCount;

use crate::memory::{Facts, LayerKv};

impl From<&Header> for Facts {
    fn from(header: &Header) -> Self {
        let weights = &header.weights;
        Self {
            layers: weights.layers.iter().map(|layer| layer.total).collect(),
            input: weights.token_embedding,
            output: weights.output + weights.other,
            output_is_tied: weights.output_is_tied,
            projector: ByteCount::ZERO,
            kv: (0..header.layers).map(|layer| layer_kv(header, layer)).collect(),
            embedding_length: header.embedding_length,
            feed_forward_length: header.feed_forward_length.max(),
            vocabulary: header.vocabulary,
            context_native: header.context_length,
        }
    }
}

fn layer_kv(header: &Header, layer: u32) -> LayerKv {
    if header.is_encoder() {
        // Encoders look at a text once and keep nothing.
        return LayerKv::default();
    }
    if let Some(state) = recurrent_state(header, layer) {
        return LayerKv { state, ..LayerKv::default() };
    }
    let attention = &header.attention;
    let window = attention.sliding_window.filter(|_| slides(header, layer));
    if let Some(rank) = attention.kv_lora_rank.filter(|_| attention.key_length_mla.is_some()) {
        // MLA caches one latent vector per token in place of keys and values.
        let key = rank.saturating_add(attention.rope_dimensions);
        return LayerKv { key, value: 0, window, state: ByteCount::ZERO };
    }
    let heads = attention.kv_heads.at(layer);
    let of = |plain: u64, sliding: Option<u64>| {
        let length = if window.is_some() { sliding.unwrap_or(plain) } else { plain };
        heads.saturating_mul(length)
    };
    LayerKv {
        key: of(attention.key_length, attention.key_length_sliding),
        value: of(attention.value_length, attention.value_length_sliding),
        window,
        state: ByteCount::ZERO,
    }
}

/// Whether a layer has the sliding window. Where the file names a window and no pattern, the layer is counted in full:
/// the estimate is then too high rather than too low.
fn slides(header: &Header, layer: u32) -> bool {
    match &header.attention.sliding_pattern {
        Some(SlidingPattern::AllButEvery(period)) => *period > 0 && !(u64::from(layer) + 1).is_multiple_of(*period),
        Some(SlidingPattern::Layers(slides)) => slides.get(layer as usize).copied().unwrap_or(false),
        None => false,
    }
}

/// Bytes of state of a recurrent layer for each slot: convolution and state space, 32-bit (`llama_memory_recurrent`).
fn recurrent_state(header: &Header, layer: u32) -> Option<ByteCount> {
    let recurrent = header.recurrent.as_ref()?;
    let keeps_state = match (&recurrent.layers, recurrent.full_attention_interval) {
        (Some(layers), _) => layers.get(layer as usize).copied().unwrap_or(false),
        (None, 0) => header.attention.kv_heads.at(layer) == 0,
        (None, interval) => !(u64::from(layer) + 1).is_multiple_of(interval),
    };
    let convolution = recurrent.conv_kernel.saturating_sub(1).saturating_mul(
        recurrent.inner_size.saturating_add(2 * recurrent.group_count.saturating_mul(recurrent.state_size)),
    );
    let state = recurrent.inner_size.saturating_mul(recurrent.state_size);
    keeps_state.then(|| ByteCount::bytes(convolution.saturating_add(state).saturating_mul(4)))
}
