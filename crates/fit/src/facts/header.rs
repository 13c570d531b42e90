//! Facts from the header of a GGUF file: exact weights, and what llama.cpp keeps for such a model.

use catalog::gguf::{Header, Recurrent};
use types::ByteCount;

use super::{Activations, Cache, Draft, Facts, Kept, Mixing, Outside, Span, Widths};

/// Architectures of which every layer keeps a state and nothing else (`llm_arch_is_recurrent`).
const RECURRENT: [&str; 6] = ["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"];
/// Architectures that look at a text once and keep nothing: encoders, and models that write by diffusion.
const WITHOUT_CACHE: [&str; 14] = [
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "gemma-embedding",
    "wavtokenizer-dec",
    "dream",
    "llada",
    "llada-moe",
    "rnd1",
];
/// Architectures whose graphs compute no logits where embeddings are wanted.
const EMBEDS_WITHOUT_LOGITS: [&str; 1] = ["lfm2"];
/// The layers of Gemma 3n that have a cache; the others share theirs (fixed in llama.cpp's code).
const GEMMA3N_KV_LAYERS: u32 = 20;

/// No width, count or rank of a real model is larger. Files may say anything; sums over believable numbers cannot overflow.
const BELIEVABLE: u64 = 1 << 20;

fn believable(number: u64) -> u64 {
    number.min(BELIEVABLE)
}

impl From<&Header> for Facts {
    fn from(header: &Header) -> Self {
        // Layers that only predict ahead are left out by the engine unless asked for: they count, and weigh nothing.
        let trunk = header.layers.saturating_sub(header.prediction_layers);
        let mut draft = Draft::default();
        let mut input = ByteCount::ZERO;
        let mut tied = ByteCount::ZERO;
        let mut output = ByteCount::ZERO;
        let (mut active, mut routed) = (0_u64, 0_u64);
        for tensor in &header.tensors {
            let name = tensor.name.as_str();
            let takes_part = match tensor.layer() {
                Some(layer) => layer < trunk,
                None => !is_input(name) || (name == "token_embd.weight" && header.weights.output_is_tied),
            };
            if takes_part {
                let sum = if tensor.is_experts() { &mut routed } else { &mut active };
                *sum = sum.saturating_add(tensor.elements());
            }
            match tensor.layer() {
                Some(layer) if layer < trunk => draft.tensor(tensor.bytes, tensor.is_experts()),
                Some(_) => {}
                None if name == "token_embd.weight" => {
                    input += tensor.bytes;
                    tied = if header.weights.output_is_tied { tensor.bytes } else { ByteCount::ZERO };
                }
                None if is_input(name) => input += tensor.bytes,
                None => output += tensor.bytes,
            }
        }
        for layer in 0..header.layers {
            let weights = header.weights.layers.get(layer as usize).copied().unwrap_or_default();
            if layer < trunk {
                draft.layer(weights.total, weights.experts, kept(header, layer));
            } else {
                draft.layer(ByteCount::ZERO, ByteCount::ZERO, Kept::default());
            }
        }
        let experts = header
            .experts
            .as_ref()
            .map_or((0, 0), |experts| (believable(experts.count), believable(experts.used.max())));
        let used = u128::from(routed) * u128::from(experts.1.min(experts.0)) / u128::from(experts.0.max(1));
        let parameters_active = active.saturating_add(u64::try_from(used).unwrap_or(u64::MAX));
        let outside = Outside {
            input,
            output,
            tied,
            projector: ByteCount::ZERO,
            vocabulary: believable(header.vocabulary),
            context: header.context_length,
            experts,
            parameters_active,
        };
        let widths = widths(header);
        let without_logits = header.is_encoder() || EMBEDS_WITHOUT_LOGITS.contains(&header.architecture.as_str());
        let activations = Activations {
            embedding: believable(header.embedding_length),
            layer: widths.widest(true),
            layer_without_experts: widths.widest(false),
            state: widths.state(),
            inputs: believable(header.per_layer_embedding) * u64::from(header.layers),
            masks: u64::from(has_indexer(header)),
            output: if without_logits { 0 } else { believable(header.vocabulary) },
        };
        draft.finish(outside, activations)
    }
}

/// Tensors that llama.cpp keeps with the input (`LLM_TENSOR_LAYER_INPUT`).
fn is_input(name: &str) -> bool {
    ["token_embd", "per_layer_token_embd", "position_embd", "token_types"].iter().any(|start| name.starts_with(start))
}

fn has_indexer(header: &Header) -> bool {
    matches!(
        header.architecture.as_str(),
        "deepseek32" | "glm-dsa" | "hy_v4" | "dots3note" | "minimax-m3" | "glm5-next" | "qwen4exp"
    ) && header.attention.indexer_key_length.is_some_and(|length| length > 0)
}

fn kept(header: &Header, layer: u32) -> Kept {
    if WITHOUT_CACHE.contains(&header.architecture.as_str()) {
        return Kept::default();
    }
    let state = if keeps_state(header, layer) { state_of(header).saturating_mul(4) } else { 0 };
    let mut caches = vec![];
    if has_cache(header, layer) {
        let attention = &header.attention;
        let window = attention.sliding_window.filter(|_| slides(header, layer));
        let length = |plain: u64, sliding: Option<u64>| {
            let head = if window.is_some() { sliding.unwrap_or(plain) } else { plain };
            believable(attention.kv_heads.at(layer)) * believable(head)
        };
        let is_latent = is_latent(header) || header.architecture == "deepseek4";
        caches.push(Cache {
            key: length(attention.key_length, attention.key_length_sliding),
            value: if is_latent { 0 } else { length(attention.value_length, attention.value_length_sliding) },
            span: window.map_or(Span::Context, Span::Window),
        });
        caches.extend(indexer_cache(header, layer, window.is_some()));
    }
    let mut kept = Kept { caches, state };
    if header.architecture == "deepseek4" {
        let ratio = believable(header.attention.compress_ratios.at(layer));
        // Of ratio 4 are the layers that choose (`DSV4_CSA_RATIO`).
        let indexer = believable(header.attention.indexer_key_length.unwrap_or(0));
        kept.compress(believable(header.attention.key_length), ratio, Some(indexer).filter(|_| ratio == 4));
    }
    kept.caches.retain(|cache| cache.key + cache.value > 0);
    kept
}

fn slides(header: &Header, layer: u32) -> bool {
    header.attention.sliding_pattern.as_ref().is_some_and(|pattern| pattern.slides(layer))
}

/// Whether one latent vector is cached in place of keys and values; older files of the same models have none.
fn is_latent(header: &Header) -> bool {
    header.attention.key_length_mla.is_some_and(|length| length > 0)
        && header.attention.value_length_mla.is_some_and(|length| length > 0)
}

fn has_cache(header: &Header, layer: u32) -> bool {
    let attention = &header.attention;
    let own = match header.architecture.as_str() {
        "gemma3n" => layer < GEMMA3N_KV_LAYERS,
        _ => u64::from(layer) < u64::from(header.layers).saturating_sub(attention.shared_kv_layers),
    };
    let attends = match header.architecture.as_str() {
        "falcon-h1" => true,
        _ => !keeps_state(header, layer),
    };
    own && attends && attention.kv_heads.at(layer) > 0
}

/// Whether a layer is recurrent, by each architecture's own rule.
fn keeps_state(header: &Header, layer: u32) -> bool {
    let Some(recurrent) = &header.recurrent else { return false };
    let architecture = header.architecture.as_str();
    if RECURRENT.contains(&architecture) || architecture == "falcon-h1" {
        return true;
    }
    if let Some(layers) = &recurrent.layers {
        return layers.get(layer as usize).copied().unwrap_or(false);
    }
    let every = |default: u64| {
        let interval = if recurrent.full_attention_interval == 0 { default } else { recurrent.full_attention_interval };
        !(u64::from(layer) + 1).is_multiple_of(interval)
    };
    match architecture {
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" => every(4),
        "minimax-01" => every(8),
        "nemotron_h" | "nemotron_h_moe" => {
            header.attention.kv_heads.at(layer) == 0 && header.feed_forward_length.at(layer) == 0
        }
        _ if recurrent.full_attention_interval > 0 => every(1),
        _ => header.attention.kv_heads.at(layer) == 0,
    }
}

/// Values of state for each slot, 32-bit: convolution and state proper (`llama_hparams::n_embd_r`, `n_embd_s`).
fn state_of(header: &Header) -> u64 {
    let Some(recurrent) = &header.recurrent else { return 0 };
    let width = believable(header.embedding_length);
    let heads = believable(header.attention.heads.max());
    let before = |tokens: u64| believable(tokens).saturating_sub(1);
    if recurrent.wkv_head_size > 0 {
        let shifts = if recurrent.token_shift_count == 0 { 2 } else { believable(recurrent.token_shift_count) };
        return width * (shifts + believable(recurrent.wkv_head_size));
    }
    if recurrent.short_convolution > 0 {
        return width * before(recurrent.short_convolution);
    }
    if recurrent.kda_head_size > 0 {
        let head = believable(recurrent.kda_head_size);
        let kernel = if recurrent.conv_kernel == 0 { 4 } else { recurrent.conv_kernel };
        return (heads * head).saturating_mul(3 * before(kernel) + head);
    }
    if header.architecture == "minimax-01" {
        let head = believable(header.attention.key_length);
        return (heads * head).saturating_mul(head);
    }
    let (inner, mixed, state) = inside(recurrent);
    before(recurrent.conv_kernel).saturating_mul(mixed).saturating_add(inner * state)
}

/// Width inside a state-space layer, of what its convolution mixes, and values of state for each.
fn inside(recurrent: &Recurrent) -> (u64, u64, u64) {
    let (inner, state) = (believable(recurrent.inner_size), believable(recurrent.state_size));
    (inner, inner + 2 * believable(recurrent.group_count) * state, state)
}

/// The cache of an indexer's keys. It stands beside a layer's own cache, and has values only where that has.
fn indexer_cache(header: &Header, layer: u32, slides: bool) -> Option<Cache> {
    let attention = &header.attention;
    let head = believable(attention.indexer_key_length.filter(|_| has_indexer(header) && !slides)?);
    let own = attention.indexer_layers.as_ref().map(|layers| layers.get(layer as usize).copied().unwrap_or(false));
    let (key, value) = match header.architecture.as_str() {
        "minimax-m3" => {
            let dense = header.experts.as_ref().map_or(0, |experts| experts.leading_dense_layers);
            return (u64::from(layer) >= dense).then_some(Cache {
                key: head,
                value: believable(attention.value_length),
                span: Span::Context,
            });
        }
        // The pooled indexer keeps key, gate and pooled value.
        "glm5-next" if attention.indexer_pool > 0 => (3 * head, 0),
        _ => (head, 0),
    };
    own.unwrap_or(true).then_some(Cache { key, value, span: Span::Context })
}

/// Widths of the widest layers, from the tensors themselves where they tell.
fn widths(header: &Header) -> Widths {
    let attention = &header.attention;
    let head = believable(attention.key_length.max(attention.key_length_sliding.unwrap_or(0)));
    let heads = believable(attention.heads.max());
    let used = header.experts.as_ref().map_or(0, |experts| believable(experts.used.max()));
    let mut widths = Widths {
        embedding: believable(header.embedding_length),
        query: heads * head,
        key: believable(attention.kv_heads.max()) * head,
        indexer: believable(attention.indexer_key_length.unwrap_or(0)) * believable(attention.indexer_heads),
        latent: is_latent(header).then(|| {
            let rank = believable(attention.kv_lora_rank.unwrap_or(0));
            let key = believable(attention.key_length_mla.unwrap_or(0));
            (heads, key, rank, believable(attention.rope_dimensions))
        }),
        streams: match header.architecture.as_str() {
            // AltUp: four streams, fixed in llama.cpp's code.
            "gemma3n" => 3,
            _ => believable(header.streams).saturating_sub(1),
        },
        recurrent: mixing(header),
        ..Widths::default()
    };
    if widths.latent.is_some() {
        // Queries are counted with the latent attention; its cache's key is no width of a batch.
        widths.query = 0;
        widths.key = 0;
    }
    let trunk = header.layers.saturating_sub(header.prediction_layers);
    for tensor in header.tensors.iter().filter(|tensor| tensor.layer().is_some_and(|layer| layer < trunk)) {
        let dimension = |index: usize| believable(tensor.dimensions.get(index).copied().unwrap_or(1));
        let (columns, rows) = (dimension(0), dimension(1));
        match tensor.name.rsplit_once("blk.").and_then(|(_, rest)| rest.split_once('.')).map_or("", |(_, name)| name) {
            "ffn_down.weight" => widths.feed_forward = widths.feed_forward.max(columns),
            "ffn_gate.weight" => widths.gated = true,
            "ffn_up.weight" if rows == 2 * header.feed_forward_length.max() => widths.gated = true,
            "ffn_down_exps.weight" => {
                widths.experts = widths.experts.max(used * columns);
                widths.experts_out = widths.experts_out.max(used * rows);
            }
            "ffn_gate_exps.weight" | "ffn_gate_up_exps.weight" => widths.experts_gated = true,
            _ => {}
        }
    }
    widths
}

fn mixing(header: &Header) -> Option<Mixing> {
    let recurrent = header.recurrent.as_ref()?;
    let heads = believable(header.attention.heads.max());
    let (inner, convolution, state) = inside(recurrent);
    Some(match header.architecture.as_str() {
        _ if recurrent.wkv_head_size > 0 => {
            Mixing::Rwkv { state: believable(header.embedding_length) * believable(recurrent.wkv_head_size) }
        }
        _ if recurrent.short_convolution > 0 => Mixing::ShortConvolution,
        _ if recurrent.kda_head_size > 0 => Mixing::Linear { inner: heads * believable(recurrent.kda_head_size) },
        "minimax-01" => Mixing::Linear { inner: heads * believable(header.attention.key_length) },
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" => Mixing::DeltaNet { convolution, inner },
        _ if inner > 0 => Mixing::Mamba {
            projection: inner + convolution + believable(recurrent.time_step_rank),
            // Mamba 1 keeps no second copy of what it convolves.
            convolution: if recurrent.group_count == 0 { inner / 2 } else { convolution },
            inner,
            state: inner * state,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use catalog::gguf;
    use proptest::prelude::*;
    use testkit::gguf::{ChatModel, F16, File, Tensor, Value, kinds};
    use types::CacheType;

    use super::*;
    use crate::{Setting, memory};

    fn facts(file: &File) -> Facts {
        let bytes = file.bytes();
        Facts::from(&gguf::read(bytes.as_slice(), ByteCount::bytes(bytes.len() as u64)).unwrap())
    }

    /// MiB that four slots of 4,096 tokens keep, 16 bits each.
    fn kept_mib(file: &File) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "mebibytes")]
        let bytes = facts(file).kept(4096, 4, CacheType::F16, CacheType::F16).as_u64() as f64;
        bytes / f64::from(1 << 20)
    }

    fn kib(architecture: &str, keys: &[(&str, Value)]) -> u64 {
        let mut file = File::new(architecture)
            .set(&format!("{architecture}.block_count"), Value::U32(4))
            .set(&format!("{architecture}.embedding_length"), Value::U32(1024))
            .set(&format!("{architecture}.attention.head_count"), Value::U32(8));
        for (key, value) in keys {
            file = file.set(&format!("{architecture}.{key}"), value.clone());
        }
        facts(&file).kept(1024, 1, CacheType::F16, CacheType::F16).as_u64() / 1024
    }

    /// Without an engine, by each architecture's rule: 8 heads of 128, keys and values of 2 KiB each for a token.
    #[test]
    fn architectures_keep_what_their_code_says() {
        let (number, numbers) = (Value::U32, Value::U32s);
        let full = 1024 * 4;
        assert_eq!(kib("llama", &[]), 4 * full);
        assert_eq!((kib("bert", &[]), kib("dream", &[]), kib("llama-embed", &[])), (0, 0, 4 * full));
        assert_eq!(kib("llama", &[("nextn_predict_layers", number(1))]), 3 * full);
        assert_eq!(kib("gemma4", &[("attention.shared_kv_layers", number(3))]), full);
        // Gemma 2 slides in two of four layers, by 4,096 unless said otherwise: 256 + 512 cells for 256.
        assert_eq!(kib("gemma2", &[("attention.sliding_window", number(256))]), 2 * full + 2 * 768 * 4);
        assert_eq!(kib("jamba", &[("attention.head_count_kv", numbers(vec![8, 0, 0, 0]))]), full);
        // One key of 128 for each token more.
        let latent = [
            ("attention.head_count_kv", number(1)),
            ("attention.key_length", number(576)),
            ("attention.key_length_mla", number(192)),
            ("attention.value_length_mla", number(128)),
            ("attention.indexer.key_length", number(128)),
        ];
        assert_eq!(kib("deepseek2", &latent), 4 * 1024 * 576 * 2 / 1024);
        assert_eq!(kib("deepseek32", &latent), 4 * 1024 * (576 + 128) * 2 / 1024);
        // DeepSeek-V4: the last 128 + 512 tokens, padded to 768, and of all others one in four or in 128.
        let compressed = [
            ("attention.head_count_kv", number(1)),
            ("attention.sliding_window", number(128)),
            ("attention.compress_ratios", numbers(vec![0, 0, 0, 128])),
        ];
        let compressor = 2 * 4 * 128 * 128;
        assert_eq!(kib("deepseek4", &compressed), (4 * 768 * 256 + 256 * 256 + compressor) / 1024);
    }

    #[test]
    fn kinds_of_models_keep_what_the_engine_reports() {
        for (file, expected) in [
            (kinds::experts(), 128.0),
            (kinds::latent_attention(), 108.0),
            (kinds::sliding_window(), 144.0),
            (kinds::short_convolution(), 96.0),
        ] {
            assert!((kept_mib(&file) - expected).abs() < 0.1, "{} MiB, {expected} reported", kept_mib(&file));
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(
            architecture in prop::sample::select(vec!["llama", "gemma3", "deepseek4", "mamba2", "kimi-linear", "qwen3next", "rwkv7", "glm-dsa", "minimax-01"]),
            numbers in prop::collection::vec(prop_oneof![0..5_u64, any::<u64>()], 24),
            context: u64,
            slots: u32,
        ) {
            const KEYS: [&str; 24] = [
                "embedding_length", "feed_forward_length", "context_length", "vocab_size", "attention.head_count",
                "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.key_length_mla",
                "attention.value_length_mla", "attention.kv_lora_rank", "attention.sliding_window",
                "attention.sliding_window_pattern", "attention.compress_ratios", "attention.indexer.key_length",
                "attention.indexer.head_count", "ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.group_count",
                "wkv.head_size", "kda.head_dim", "expert_count", "expert_used_count",
            ];
            let mut file = ChatModel::default().file().set("general.architecture", Value::text(architecture));
            file.tensors.clear();
            file = file.set(&format!("{architecture}.block_count"), Value::U32(3));
            file = file.tensor(Tensor::zeros("blk.1.ffn_down_exps.weight", &[64, 32, 4], F16));
            for (key, number) in KEYS.iter().zip(numbers) {
                file = file.set(&format!("{architecture}.{key}"), Value::U64(number));
            }
            let setting = Setting {
                context,
                slots,
                offload: vec![(types::DeviceName::new("CUDA0"), 2)],
                experts_in_ram: 2,
                cache_type_k: CacheType::Q8_0,
                cache_type_v: CacheType::F16,
                all_outputs: true,
            };
            prop_assert!(memory(&facts(&file), &setting).total() > ByteCount::ZERO);
        }
    }
}
