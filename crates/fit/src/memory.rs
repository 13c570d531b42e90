//! The one memory function: weights + KV cache + compute buffers + what the engine takes for itself, per device.

use types::{ByteCount, CacheType, DeviceMemory, DeviceName, MemoryUse};

/// Tokens that llama.cpp computes at once (`n_ubatch`); compute buffers are sized for it.
const UBATCH: u64 = 512;
/// KV caches are padded to this many cells (`llama_kv_cache`).
const CELL_PADDING: u64 = 256;
/// What `llama-server` holds beside its buffers: program, tokenizer, threads. Measured on small models: 40-70 MiB.
const ENGINE_RAM: ByteCount = ByteCount::mib(64);
/// What an accelerator's context takes before the first buffer. CUDA contexts take 250-500 MiB.
const ACCELERATOR_OVERHEAD: ByteCount = ByteCount::mib(400);

/// What the estimator must know of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Weights of each layer, as they lie in the file.
    pub layers: Vec<ByteCount>,
    /// Weights that belong to no layer and stay in RAM: the token embedding.
    pub input: ByteCount,
    /// Weights that belong to no layer and go with the last layer: the output head and norms.
    pub output: ByteCount,
    /// Whether the model has no output head of its own: an accelerator then holds the token embedding once more.
    pub output_is_tied: bool,
    /// Weights of a multimodal projector beside the model.
    pub projector: ByteCount,
    /// What each layer keeps per token.
    pub kv: Vec<LayerKv>,
    /// Width of the residual stream.
    pub embedding_length: u64,
    /// Width of the widest feed-forward layer.
    pub feed_forward_length: u64,
    /// Entries of the vocabulary.
    pub vocabulary: u64,
    /// The context the model was trained for, tokens.
    pub context_native: u64,
}

/// What one layer keeps for attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerKv {
    /// Values of keys per token.
    pub key: u64,
    /// Values of values per token.
    pub value: u64,
    /// Only the last so many tokens are kept.
    pub window: Option<u64>,
    /// Bytes of recurrent state per slot, whatever the context.
    pub state: ByteCount,
}

/// How a model would be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Tokens of context for each slot.
    pub context: u64,
    /// Requests served at once.
    pub slots: u32,
    /// Layers on each accelerator, from the last layer backwards; the rest lies in RAM.
    pub offload: Vec<(DeviceName, u32)>,
    /// Type of the cached keys.
    pub cache_type_k: CacheType,
    /// Type of the cached values.
    pub cache_type_v: CacheType,
    /// Whether every token's output is wanted (embeddings), not only the last one's.
    pub all_outputs: bool,
}

/// What the model holds, started so.
///
/// Sources: `llama_kv_cache` for the cache (cells padded to 256; sliding-window layers keep window + ubatch cells),
/// ggml's block sizes for its types, and for compute buffers a fit to what llama.cpp reports: activations of one ubatch
/// through the widest layer, the attention mask, and logits where every token has an output.
pub fn memory(facts: &Facts, setting: &Setting) -> MemoryUse {
    let mut memory = MemoryUse::default();
    let layer_count = facts.layers.len();
    let offloaded: usize = setting.offload.iter().map(|(_, layers)| *layers as usize).sum::<usize>().min(layer_count);

    let ram = memory.entry(DeviceName::cpu());
    ram.model = facts.input + ENGINE_RAM;
    for layer in 0..layer_count - offloaded {
        add_layer(ram, facts, setting, layer);
    }
    if offloaded == 0 {
        ram.model += facts.output + facts.projector;
        ram.compute = compute(facts, setting);
        return memory;
    }
    ram.compute = ByteCount::bytes(UBATCH * facts.embedding_length * 4);

    let mut next = layer_count - offloaded;
    let devices: Vec<_> = setting.offload.iter().filter(|(_, layers)| *layers > 0).collect();
    for (index, (device, layers)) in devices.iter().enumerate() {
        let mut held =
            DeviceMemory { compute: compute(facts, setting) + ACCELERATOR_OVERHEAD, ..DeviceMemory::default() };
        let end = (next + *layers as usize).min(layer_count);
        for layer in next..end {
            add_layer(&mut held, facts, setting, layer);
        }
        next = end;
        if index + 1 == devices.len() {
            held.model += facts.output + facts.projector;
            if facts.output_is_tied {
                held.model += facts.input;
            }
        }
        *memory.entry(device.clone()) = held;
    }
    memory
}

/// What an instance holds whose engine reported `buffers`: those, and what the engine takes beside them.
pub fn with_overhead(buffers: &MemoryUse) -> MemoryUse {
    let mut memory = buffers.clone();
    for (device, held) in &mut memory.0 {
        if !device.is_cpu() {
            held.compute += ACCELERATOR_OVERHEAD;
        }
    }
    memory.entry(DeviceName::cpu()).model += ENGINE_RAM;
    memory
}

fn add_layer(held: &mut DeviceMemory, facts: &Facts, setting: &Setting, layer: usize) {
    held.model += facts.layers[layer];
    if let Some(kv) = facts.kv.get(layer) {
        held.kv += layer_kv(kv, setting);
    }
}

fn layer_kv(kv: &LayerKv, setting: &Setting) -> ByteCount {
    let slots = u64::from(setting.slots);
    let wanted = kv.window.map_or(setting.context, |window| setting.context.min(window.saturating_add(UBATCH)));
    let cells = wanted.div_ceil(CELL_PADDING).saturating_mul(CELL_PADDING).saturating_mul(slots);
    let bytes = |width: u64, cache_type: CacheType| cache_type.bytes_for(width).saturating_mul(cells);
    ByteCount::bytes(bytes(kv.key, setting.cache_type_k).saturating_add(bytes(kv.value, setting.cache_type_v)))
        + kv.state.saturating_mul(slots)
}

fn compute(facts: &Facts, setting: &Setting) -> ByteCount {
    let activations = UBATCH.saturating_mul(4).saturating_mul(
        facts.feed_forward_length.saturating_mul(2).saturating_add(facts.embedding_length.saturating_mul(6)),
    );
    let mask = UBATCH.saturating_mul(2).saturating_mul(setting.context);
    let outputs = if setting.all_outputs { UBATCH } else { u64::from(setting.slots) };
    let logits = outputs.saturating_mul(facts.vocabulary).saturating_mul(4);
    let outputs_kept = u64::from(setting.slots).saturating_mul(facts.vocabulary).saturating_mul(4);
    ByteCount::bytes(activations) + ByteCount::bytes(mask) + ByteCount::bytes(logits) + ByteCount::bytes(outputs_kept)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// SmolLM2-135M-Instruct Q4_1: 30 layers, 3 KV heads of 64, 49,152 tokens, output tied to the embedding.
    pub(crate) fn smollm2() -> Facts {
        let kv = LayerKv { key: 192, value: 192, ..LayerKv::default() };
        let layers = vec![ByteCount::bytes(2_219_520); 30];
        let all = ByteCount::from_mib_f64(92.10);
        Facts {
            input: all.saturating_sub(layers.iter().copied().sum()),
            layers,
            kv: vec![kv; 30],
            embedding_length: 576,
            feed_forward_length: 1536,
            vocabulary: 49_152,
            context_native: 8192,
            ..Facts::default()
        }
    }

    pub(crate) fn setting(context: u64, slots: u32) -> Setting {
        Setting {
            context,
            slots,
            offload: vec![],
            cache_type_k: CacheType::F16,
            cache_type_v: CacheType::F16,
            all_outputs: false,
        }
    }

    /// What llama-server printed for the same start, MiB.
    fn check(setting: &Setting, kv_mib: f64, compute_mib: f64) {
        let memory = memory(&smollm2(), setting);
        let ram = memory.0[&DeviceName::cpu()];
        assert_eq!(ram.kv, ByteCount::from_mib_f64(kv_mib), "KV is exact");
        #[expect(clippy::cast_precision_loss, reason = "small figures")]
        let compute = ram.compute.as_u64() as f64 / f64::from(1 << 20);
        assert!((compute / compute_mib - 1.0).abs() < 0.25, "compute {compute:.1} MiB, engine says {compute_mib} MiB");
    }

    #[test]
    fn agrees_with_what_llama_server_reports() {
        check(&setting(2048, 2), 90.0, 15.51 + 0.38);
        check(&Setting { all_outputs: true, ..setting(2048, 2) }, 90.0, 100.27 + 0.38);
    }

    #[test]
    fn cheaper_caches_cost_less_and_windows_bound_them() {
        let kv = |setting: &Setting, facts: &Facts| memory(facts, setting).0[&DeviceName::cpu()].kv.as_u64();
        let full = kv(&setting(8192, 1), &smollm2());
        let q8 = Setting { cache_type_k: CacheType::Q8_0, cache_type_v: CacheType::Q8_0, ..setting(8192, 1) };
        assert_eq!(kv(&q8, &smollm2()), full * 34 / 64);
        let mut windowed = smollm2();
        windowed.kv.iter_mut().for_each(|layer| layer.window = Some(512));
        assert_eq!(kv(&setting(8192, 1), &windowed), full / 8);
    }

    #[test]
    fn layers_on_two_cards_and_in_ram_add_up() {
        let offload = vec![(DeviceName::new("CUDA0"), 10), (DeviceName::new("CUDA1"), 10)];
        let split = memory(&smollm2(), &Setting { offload, ..setting(2048, 1) });
        let whole = memory(&smollm2(), &setting(2048, 1));
        let sum =
            |memory: &MemoryUse, kind: fn(&DeviceMemory) -> ByteCount| memory.0.values().map(kind).sum::<ByteCount>();
        assert_eq!(sum(&split, |held| held.kv), sum(&whole, |held| held.kv));
        assert_eq!(sum(&split, |held| held.model), sum(&whole, |held| held.model));
    }
}
