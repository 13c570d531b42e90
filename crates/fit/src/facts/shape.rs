//! Facts from a shape and a quantisation: the same description for models whose files are not here.

use catalog::gguf::slides;
use catalog::quantization::{Container, Place, Quantization};
use catalog::shape::{
    Experts, FeedForward, Indexer, Layer, Mixer, PartKind, Recurrent, Role, Shape, ShapeError, Tensor,
};
use types::ByteCount;

use super::{Activations, Cache, Draft, Facts, Kept, Mixing, Outside, Span, Widths};

impl Facts {
    /// What a model of this shape is when stored so.
    ///
    /// # Errors
    /// If the shape does not describe its own layers.
    pub fn of(shape: &Shape, quantization: Quantization) -> Result<Self, ShapeError> {
        let place = Place::of(shape);
        let bytes = |tensor: &Tensor, place: &Place| quantization.bytes(tensor, place);
        let sum = |tensors: &[Tensor]| -> ByteCount { tensors.iter().map(|tensor| bytes(tensor, &place)).sum() };
        let layers = shape.layers()?;
        let own_cache = (layers.len() as u64).saturating_sub(shape.shared_kv_layers);
        // llama.cpp keeps everything for an architecture whose windows it does not know; vLLM and MLX know them.
        let engine_slides = quantization.container() != Container::Gguf || shape.gguf.as_deref().is_none_or(slides);

        let mut draft = Draft::default();
        let mut widths = Widths::default();
        let (mut tensors, mut tensors_of) = (vec![], None);
        for ((index, at), layer) in (0..).zip((0..).map(|layer| place.at(layer))).zip(&layers) {
            let (mut weights, mut experts) = (ByteCount::ZERO, ByteCount::ZERO);
            // Layers of one make follow each other, and have the same tensors.
            if tensors_of != Some(layer) {
                tensors = shape.layer_tensors(layer);
                widths = widths.max(widths_of(shape, layer));
                tensors_of = Some(layer);
            }
            for tensor in &tensors {
                let size = bytes(tensor, &at);
                weights += size;
                if tensor.role.is_routed() {
                    experts += size;
                }
                draft.tensor(size, tensor.role.is_routed());
            }
            draft.layer(weights, experts, kept(shape, layer, index < own_cache, engine_slides));
        }
        let input = shape.input_tensors();
        let embedding: Vec<_> = input.iter().filter(|tensor| tensor.role == Role::TokenEmbedding).copied().collect();
        let experts = layers.iter().find_map(|layer| match layer.feed_forward {
            FeedForward::Experts(experts) => Some((experts.total, experts.used)),
            _ => None,
        });
        let outside = Outside {
            input: sum(&input),
            output: sum(&shape.output_tensors()),
            tied: if shape.tied { sum(&embedding) } else { ByteCount::ZERO },
            projector: projector(shape),
            vocabulary: shape.vocabulary,
            context: shape.context,
            experts: experts.unwrap_or_default(),
            parameters_active: shape.parameters_active()?,
        };
        let has_indexer = layers.iter().any(|layer| match layer.mixer {
            Mixer::Latent { latent, .. } => latent.indexer.is_some(),
            Mixer::Full(attention) => attention.indexer.is_some(),
            _ => false,
        });
        let activations = Activations {
            embedding: shape.hidden,
            layer: widths.widest(true),
            layer_without_experts: widths.widest(false),
            state: widths.state(),
            inputs: shape.per_layer_embedding.saturating_mul(layers.len() as u64),
            masks: u64::from(has_indexer),
            output: if shape.bidirectional { 0 } else { shape.vocabulary },
        };
        Ok(draft.finish(outside, activations))
    }
}

/// Parts that turn images and sound into tokens, which engines keep in 16 bits.
fn projector(shape: &Shape) -> ByteCount {
    let senses = shape.parts.iter().filter(|part| matches!(part.kind, PartKind::Vision | PartKind::Audio));
    senses.map(|part| ByteCount::bytes(part.total_parameters()).saturating_mul(2)).sum()
}

fn kept(shape: &Shape, layer: &Layer<'_>, own_cache: bool, engine_slides: bool) -> Kept {
    let nothing = Kept::default();
    if shape.bidirectional {
        return nothing;
    }
    let cache = |key, value, span| Kept { caches: vec![Cache { key, value, span }], state: 0 };
    // The keys of an indexer stand beside the cache.
    let indexed = |mut kept: Kept, indexer: Option<Indexer>, value: u64| {
        kept.caches.extend(indexer.map(|indexer| Cache { key: indexer.head, value, span: Span::Context }));
        kept
    };
    let window_or_all = |window| if engine_slides { Span::Window(window) } else { Span::Context };
    match layer.mixer {
        Mixer::Full(_) | Mixer::Sliding { .. } | Mixer::Latent { .. } if !own_cache => nothing,
        Mixer::Full(attention) => {
            let value = attention.kv_heads * attention.value_head();
            let kept = cache(attention.kv_heads * attention.head, value, Span::Context);
            // llama.cpp gives this one values too, and does not use them.
            let unused = if shape.gguf.as_deref() == Some("minimax-m3") { attention.value_head() } else { 0 };
            indexed(kept, attention.indexer, unused)
        }
        Mixer::Sliding { attention, window } => {
            let value = attention.kv_heads * attention.value_head();
            cache(attention.kv_heads * attention.head, value, window_or_all(window))
        }
        Mixer::Latent { latent, .. } => indexed(cache(latent.rank + latent.rope, 0, Span::Context), latent.indexer, 0),
        Mixer::Compressed { compressed, ratio, .. } => {
            let mut kept = cache(compressed.head, 0, window_or_all(compressed.window));
            let chooses = ratio == compressed.sparse_ratio;
            kept.compress(compressed.head, ratio, Some(compressed.indexer.head).filter(|_| chooses));
            kept
        }
        Mixer::Recurrent(recurrent) => {
            let values = recurrent.convolution_state(shape.hidden).saturating_add(recurrent.state(shape.hidden));
            Kept { caches: vec![], state: values.saturating_mul(4) }
        }
        Mixer::None => nothing,
    }
}

fn widths_of(shape: &Shape, layer: &Layer<'_>) -> Widths {
    let mut widths = Widths { embedding: shape.hidden, ..Widths::default() };
    // AltUp of Gemma 3n: four streams.
    if shape.gguf.as_deref() == Some("gemma3n") {
        widths.streams = 3;
    }
    match layer.mixer {
        Mixer::Full(attention) | Mixer::Sliding { attention, .. } => {
            widths.query = attention.heads * attention.head;
            widths.key = attention.kv_heads * attention.head;
        }
        Mixer::Latent { latent, heads } => {
            widths.latent = Some((heads, latent.key + latent.rope, latent.rank, latent.rope));
            widths.indexer = latent.indexer.map_or(0, |indexer| indexer.heads * indexer.head);
        }
        Mixer::Compressed { compressed, heads, .. } => {
            widths.query = heads * compressed.head;
            widths.key = compressed.head;
            widths.indexer = compressed.indexer.heads * compressed.indexer.head;
        }
        Mixer::Recurrent(recurrent) => widths.recurrent = Some(mixing(recurrent, shape.hidden)),
        Mixer::None => {}
    }
    match layer.feed_forward {
        FeedForward::Dense { width, gated } => (widths.feed_forward, widths.gated) = (width, gated),
        FeedForward::Experts(experts) => {
            let Experts { used, width, latent, gated, dense_width, .. } = *experts;
            widths.experts = used * width;
            widths.experts_out = used * if latent > 0 { latent } else { shape.hidden };
            widths.experts_gated = gated;
            (widths.feed_forward, widths.gated) = (dense_width, true);
        }
        FeedForward::None => {}
    }
    widths
}

fn mixing(recurrent: &Recurrent, hidden: u64) -> Mixing {
    match *recurrent {
        Recurrent::Mamba { inner, state, time_step, .. } => Mixing::Mamba {
            projection: 2 * inner + time_step,
            // It keeps no second copy of what it convolves.
            convolution: inner / 2,
            inner,
            state: inner * state,
        },
        Recurrent::Mamba2 { inner, state, heads, groups, .. } => {
            let convolution = inner + 2 * groups * state;
            Mixing::Mamba { projection: inner + convolution + heads, convolution, inner, state: inner * state }
        }
        Recurrent::DeltaNet { key_heads, value_heads, key, value, .. } => {
            let inner = value_heads * value;
            Mixing::DeltaNet { convolution: 2 * key_heads * key + inner, inner }
        }
        Recurrent::Kda { heads, head, .. } | Recurrent::Lightning { heads, head } => {
            Mixing::Linear { inner: heads * head }
        }
        Recurrent::ShortConvolution { .. } => Mixing::ShortConvolution,
        Recurrent::Rwkv { head, .. } => Mixing::Rwkv { state: hidden * head },
        Recurrent::RgLru { width, .. } => {
            Mixing::Mamba { projection: 2 * width, convolution: width, inner: width, state: width }
        }
    }
}

#[cfg(test)]
mod tests {
    use catalog::catalogue::Catalogue;
    use types::CacheType;

    use super::*;

    #[test]
    fn every_model_of_the_catalogue_adds_up() {
        for model in Catalogue::embedded().models() {
            let shape = &model.shape;
            let parts: u64 = shape.parts.iter().map(|part| part.total_parameters()).sum();
            let parameters = shape.parameters().unwrap() - parts;
            let facts = |quantization| Facts::of(shape, quantization).unwrap();
            let bytes = |facts: &Facts| facts.weights().saturating_sub(projector(shape)).as_u64();
            let (whole, small) = (facts(Quantization::BF16), facts(Quantization::Q4_K_M));
            // Two bytes each, but for norms and routers; four and a half to eight bits where rows are odd.
            assert!(
                (2 * parameters..parameters * 21 / 10).contains(&bytes(&whole)),
                "{}: {}",
                model.id,
                whole.weights()
            );
            assert!((parameters / 2..parameters * 6 / 5).contains(&bytes(&small)), "{}: {}", model.id, small.weights());
            let kept = |context| small.kept(context, 1, CacheType::F16, CacheType::F16);
            assert!(kept(4096) >= kept(1024), "{}", model.id);
            for repository in &model.repositories {
                for quantization in &repository.quantizations {
                    assert!(quantization.parse::<Quantization>().is_ok(), "{}: {quantization}", repository.id);
                }
            }
        }
    }

    /// KiB that a token takes, 16 bits each, as widely published for these.
    #[test]
    fn tokens_take_what_is_known_of_them() {
        for (id, kib) in [
            ("meta-llama/Llama-3.1-8B-Instruct", 128.0),
            ("Qwen/Qwen3-8B", 144.0),
            ("Qwen/Qwen3-30B-A3B", 96.0),
            ("deepseek-ai/DeepSeek-V3", 68.625),
        ] {
            let model = Catalogue::embedded().get(id).unwrap();
            let facts = Facts::of(&model.shape, Quantization::Q4_K_M).unwrap();
            let kept = |context| facts.kept(context, 1, CacheType::F16, CacheType::F16).as_u64();
            #[expect(clippy::cast_precision_loss, reason = "KiB of one token")]
            let found = (kept(16_384) - kept(8192)) as f64 / 8192.0 / 1024.0;
            assert!((found - kib).abs() < 0.01, "{id}: {found} KiB");
        }
    }
}
