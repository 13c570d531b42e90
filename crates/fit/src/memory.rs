//! The one memory function: weights + KV cache + compute buffers + what the engine takes for itself, per device.

use std::ops::Range;

use types::{ByteCount, CacheType, DeviceMemory, DeviceName, MemoryUse};

use crate::facts::{Facts, Span, ubatch};

/// What `llama-server` holds beside its buffers: program, tokenizer, threads. Measured on small models: 40-70 MiB.
const ENGINE_RAM: ByteCount = ByteCount::mib(64);
/// What an accelerator's context takes before the first buffer. CUDA contexts take 250-500 MiB.
const ACCELERATOR_OVERHEAD: ByteCount = ByteCount::mib(400);
/// Copies of its inputs that a pipeline over several accelerators has beside the first (`GGML_SCHED_MAX_COPIES` - 1).
const PIPELINE_COPIES: u64 = 3;

/// How a model would be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Tokens of context for each slot.
    pub context: u64,
    /// Requests served at once.
    pub slots: u32,
    /// Layers on each accelerator, from the last layer backwards; the rest lies in RAM. With any layer goes the output.
    pub offload: Vec<(DeviceName, u32)>,
    /// Of so many layers, from the first on, the routed experts stay in RAM wherever the layers are (`--n-cpu-moe`).
    pub experts_in_ram: u32,
    /// Type of the cached keys.
    pub cache_type_k: CacheType,
    /// Type of the cached values.
    pub cache_type_v: CacheType,
    /// Whether every token's output is wanted (embeddings), not only the last one's.
    pub all_outputs: bool,
}

/// What the model holds, started so.
///
/// Weights are those of the file. Caches are computed as llama.cpp allocates them: cells padded to 256; layers with a
/// sliding window keep window + batch; latent attention keeps one vector; recurrent layers keep a state for each slot.
/// Compute buffers follow the widest point of a batch of 512 and the attention masks, as
/// llama.cpp's graph allocator reserves them with flash attention, which it chooses by itself.
///
/// Not counted is what comes with requests: outputs of a batch of embeddings, checkpoints of recurrent states.
pub fn memory(facts: &Facts, setting: &Setting) -> MemoryUse {
    let offload: Vec<u32> = setting.offload.iter().map(|(_, layers)| *layers).collect();
    let mut accelerators = vec![];
    let ram = held(facts, setting, &offload, &mut accelerators);
    let mut memory = MemoryUse::default();
    *memory.entry(DeviceName::cpu()) = ram;
    for ((device, _), held) in setting.offload.iter().zip(accelerators).filter(|((_, layers), _)| *layers > 0) {
        *memory.entry(device.clone()) = held;
    }
    memory
}

/// The same without names: what it holds in RAM, and in `accelerators` what on each of those that `offload` gives layers
/// to, in place of the setting's own.
pub(crate) fn held(
    facts: &Facts,
    setting: &Setting,
    offload: &[u32],
    accelerators: &mut Vec<DeviceMemory>,
) -> DeviceMemory {
    accelerators.clear();
    accelerators.resize(offload.len(), DeviceMemory::default());
    let layers = facts.layers().len();
    let offloaded: u64 = offload.iter().map(|layers| u64::from(*layers)).sum();
    let offloaded = usize::try_from(offloaded).unwrap_or(usize::MAX).min(layers);
    if offloaded == 0 {
        return in_ram(facts, setting);
    }
    let mut devices = (0..offload.len()).filter(|&index| offload[index] > 0);
    let only = devices.next().filter(|_| devices.next().is_none());
    if let Some(only) = only.filter(|_| offloaded == layers && setting.experts_in_ram == 0) {
        let whole = on_accelerator(facts, setting);
        accelerators[only] = whole.accelerator;
        return whole.ram;
    }
    split(facts, setting, offload, offloaded, accelerators)
}

/// What it holds with all of it in RAM, whatever the setting says of accelerators. Takes time by kinds of layers, not
/// by layers, and allocates nothing.
pub fn in_ram(facts: &Facts, setting: &Setting) -> DeviceMemory {
    let buffers = Buffers::of(facts, setting);
    DeviceMemory {
        model: facts.weights() + ENGINE_RAM,
        kv: facts.kept(setting.context, setting.slots, setting.cache_type_k, setting.cache_type_v),
        compute: buffers.masks + buffers.layer.max(buffers.output) + buffers.embedding + buffers.kept_outputs,
    }
}

/// What a model on one accelerator holds there and in RAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnAccelerator {
    /// In RAM: embeddings, inputs, the engine itself.
    pub ram: DeviceMemory,
    /// On the accelerator.
    pub accelerator: DeviceMemory,
}

/// What it holds with all layers on one accelerator, whatever the setting says of them. As quick as [`in_ram`].
pub fn on_accelerator(facts: &Facts, setting: &Setting) -> OnAccelerator {
    let outside = facts.outside();
    let buffers = Buffers::of(facts, setting);
    OnAccelerator {
        ram: DeviceMemory {
            model: outside.input + ENGINE_RAM,
            kv: ByteCount::ZERO,
            compute: buffers.host() + buffers.kept_outputs,
        },
        accelerator: DeviceMemory {
            model: facts.layer_weights() + outside.output + outside.tied + outside.projector,
            kv: facts.kept(setting.context, setting.slots, setting.cache_type_k, setting.cache_type_v),
            compute: buffers.masks + buffers.layer.max(buffers.output) + ACCELERATOR_OVERHEAD,
        },
    }
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

/// Layers in RAM and on one or more accelerators.
fn split(
    facts: &Facts,
    setting: &Setting,
    offload: &[u32],
    offloaded: usize,
    accelerators: &mut [DeviceMemory],
) -> DeviceMemory {
    let count = facts.layers().len();
    let outside = facts.outside();
    let buffers = Buffers::of(facts, setting);
    let stay = (setting.experts_in_ram as usize).min(count);
    let first = count - offloaded;
    let experts_of = |layers: Range<usize>| facts.sum(layers).experts;

    let experts_in_ram = if stay > first { experts_of(first..stay) } else { ByteCount::ZERO };
    let mut ram = DeviceMemory {
        model: outside.input + ENGINE_RAM + facts.sum(0..first).weights + experts_in_ram,
        kv: kept(facts, setting, 0..first),
        compute: ByteCount::ZERO,
    };

    // Where all experts are computed elsewhere, accelerators see only what comes out of them.
    let experts_here = experts_of(first.max(stay)..count) > ByteCount::ZERO;
    let widest = if experts_here || stay <= first { buffers.layer } else { buffers.layer_without_experts };
    // With everything on them, several accelerators work as a pipeline, each with copies of its inputs.
    let devices = offload.iter().filter(|layers| **layers > 0).count();
    let pipeline = if devices > 1 && first == 0 && stay == 0 { PIPELINE_COPIES } else { 0 };
    let copies = (buffers.masks + buffers.embedding).saturating_mul(pipeline);

    let mut next = first;
    let with_layers = offload.iter().zip(accelerators).filter(|(layers, _)| **layers > 0);
    for (index, (layers, held)) in with_layers.enumerate() {
        let is_last = index + 1 == devices;
        held.compute = ACCELERATOR_OVERHEAD + copies + buffers.masks;
        held.compute += if is_last { widest.max(buffers.output) } else { widest };
        if pipeline > 0 {
            // What comes from the accelerator before is there once for each copy, and once more as the residual.
            held.compute += buffers.embedding.saturating_mul(if index == 0 { 1 } else { pipeline + 2 });
        }
        if index == 0 {
            // Long prompts are computed here with weights borrowed from RAM, one tensor at a time.
            held.compute += facts.largest_borrowed(first > 0, stay > first);
        }
        let end = next.saturating_add(*layers as usize).min(count);
        let elsewhere = if stay > next { experts_of(next..stay.min(end)) } else { ByteCount::ZERO };
        held.model = facts.sum(next..end).weights.saturating_sub(elsewhere);
        held.kv = kept(facts, setting, next..end);
        next = end;
        if is_last {
            held.model += outside.output + outside.tied + outside.projector;
        }
    }
    ram.compute = buffers.host() + copies + buffers.kept_outputs;
    ram
}

fn kept(facts: &Facts, setting: &Setting, layers: Range<usize>) -> ByteCount {
    let Setting { context, slots, cache_type_k, cache_type_v, .. } = *setting;
    facts.kept_of(layers, context, slots, cache_type_k, cache_type_v)
}

/// What a batch takes on its way.
struct Buffers {
    /// Attention masks: 16 bit for each token of the batch and each cell it may see.
    masks: ByteCount,
    /// The widest layer.
    layer: ByteCount,
    /// The same where its experts are computed elsewhere.
    layer_without_experts: ByteCount,
    /// The output, where that of every token is wanted.
    output: ByteCount,
    /// One copy of the residual stream.
    embedding: ByteCount,
    /// Inputs of layers with an embedding for themselves.
    inputs: ByteCount,
    /// Outputs that wait to be read, for each slot.
    kept_outputs: ByteCount,
}

impl Buffers {
    fn of(facts: &Facts, setting: &Setting) -> Self {
        let activations = facts.activations();
        let slots = u64::from(setting.slots);
        let ubatch = ubatch(setting.context, setting.slots);
        let floats = |count: u64| ByteCount::bytes(count.saturating_mul(4));
        let batch = |width: u64| floats(width.saturating_mul(ubatch));
        let output = if setting.all_outputs && activations.output > 0 {
            batch(activations.output) + batch(2 * activations.embedding)
        } else {
            floats(slots.saturating_mul(activations.output))
        };
        let state = ByteCount::bytes(activations.state.saturating_mul(slots));
        let inputs = batch(activations.inputs);
        let embedding = if setting.all_outputs { activations.embedding } else { 0 };
        Self {
            masks: ByteCount::bytes(mask_cells(facts, setting.context, ubatch).saturating_mul(2 * ubatch)),
            layer: batch(activations.layer) + state + inputs,
            layer_without_experts: batch(activations.layer_without_experts) + state + inputs,
            output,
            embedding: batch(activations.embedding),
            inputs,
            kept_outputs: floats(slots.saturating_mul(facts.outside().vocabulary + embedding)),
        }
    }

    /// What stays in RAM when layers are on accelerators: inputs, and the masks.
    fn host(&self) -> ByteCount {
        self.masks + self.embedding + self.embedding + self.inputs
    }
}

/// Cells that masks have for each token of a batch: one mask for each span that some layer has.
fn mask_cells(facts: &Facts, context: u64, ubatch: u64) -> u64 {
    let mut cells = facts.activations().masks.saturating_mul(Span::Context.cells(context, ubatch));
    let mut seen: [Option<Span>; 4] = [None; 4];
    for cache in facts.kinds().flat_map(|kept| kept.caches.iter()) {
        if seen.contains(&Some(cache.span)) {
            continue;
        }
        if let Some(free) = seen.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(cache.span);
            cells = cells.saturating_add(cache.span.cells(context, ubatch));
        }
    }
    // Without a cache a batch sees itself alone.
    if seen[0].is_none() && facts.kinds().all(|kept| kept.state == 0) { ubatch } else { cells }
}

#[cfg(test)]
pub(crate) mod tests;
