//! How fast a model answers: decode, prefill and time to the first token, with an interval.
//!
//! Decoding is bound by memory: each token reads the active weights and the KV cache once, at a share of the bandwidth
//! that the vendor states, plus what every token costs however small the model is. Prefill is bound by arithmetic. The
//! shares and costs are fitted to published measurements (`constants`, `docs/speed.md`); the form is the roofline
//! model (Williams, Waterman, Patterson 2009). Nothing here decides where weights lie: the caller says so in [`Work`].

mod constants;

use crate::machine::{Accelerator, Machine};

pub use constants::{CONSTANTS, Constants, Rates, Spread};

/// What one token makes an engine do, and where.
///
/// All byte counts are `f64`: they are factors of a product, never sums that must be exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work<'a> {
    /// The program that does it.
    pub engine: Engine,
    /// How the weights that are read most are stored.
    pub quant: Quant,
    /// The parts of the model by where they lie, in the order of its layers. Empty: nothing runs, every rate is zero.
    pub places: &'a [Place],
    /// Whether accelerators work on every layer together (vLLM's tensor parallelism), not one after the other.
    pub tensor_parallel: bool,
    /// Parameters that take part in one token: of a mixture of experts, those of the experts used, of the shared ones
    /// and of everything that is not an expert.
    pub active_parameters: f64,
    /// Layers (transformer blocks).
    pub layers: u32,
    /// Whether it is a mixture of experts.
    pub experts: bool,
    /// Whether the engine guesses several tokens ahead with prediction heads of the model's own (MTP).
    pub drafts: bool,
    /// Tokens of the prompt, for the time to the first token.
    pub prompt_tokens: f64,
}

/// A part of the model in one memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Which memory.
    pub device: Device,
    /// Bytes of weights read here for each decoded token: all of a dense layer; of experts only those used, on average.
    /// Tables of which a token reads one row (input embeddings) do not count.
    pub weights_read: f64,
    /// Bytes of weights that lie here; a prompt reads them all.
    pub weights_held: f64,
    /// Bytes of KV cache and recurrent state read here for each decoded token, at the context that is filled.
    pub kv_read: f64,
}

/// A memory and the cores that compute on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// By its index in [`Machine::accelerators`].
    Accelerator(usize),
    /// The system's memory and the processor.
    Cpu,
}

/// Engines, as far as they differ in speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// llama.cpp and what is built on it: Ollama, LM Studio.
    LlamaCpp,
    /// vLLM, and what schedules and computes like it: SGLang, TensorRT-LLM, ExLlama.
    Vllm,
    /// MLX.
    Mlx,
}

/// Kinds of storage for weights, as far as they differ in what a byte costs to read and unpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quant {
    /// GGUF K-quants (Q2_K to Q6_K), MXFP4 in a GGUF file, MLX's integers: what the other kinds are measured against.
    K,
    /// GGUF Q4_0 to Q5_1.
    Legacy,
    /// Eight-bit integers: Q8_0, W8A8.
    Int8,
    /// GGUF IQ1 to IQ4: look-up tables, dear on processors and old accelerators.
    Iq,
    /// BF16, F16; F32 has twice the bytes.
    Float,
    /// AWQ, GPTQ and their like: four-bit integers in safetensors files.
    Int4,
    /// FP8.
    Fp8,
    /// NVFP4, MXFP4 in safetensors files.
    Fp4,
}

impl Quant {
    const COUNT: usize = 8;
}

/// What to expect, in tokens per second and seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// Decoded tokens/s for one request.
    pub decode_tps: f64,
    /// Four of five measurements of such a setup are between this …
    pub decode_low: f64,
    /// … and this many tokens/s.
    pub decode_high: f64,
    /// Prompt tokens/s.
    pub prefill_tps: f64,
    /// Seconds from the request to the first token, for [`Work::prompt_tokens`] of prompt.
    pub ttft: f64,
    /// How much stands behind it.
    pub confidence: Confidence,
    /// How it came about.
    pub basis: Basis,
}

/// How much stands behind an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// The part is unknown: its bandwidth was guessed from its memory.
    Rough,
    /// From published figures, for a kind of setup with few or no measurements.
    Estimated,
    /// From published figures, for a kind of setup whose constants were fitted to many measurements.
    Calibrated,
}

impl Confidence {
    /// One lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rough => "rough",
            Self::Estimated => "estimated",
            Self::Calibrated => "calibrated",
        }
    }
}

/// How an estimate came about. Times are seconds for each decoded token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Basis {
    /// Bytes of weights read, all places.
    pub weights_read: f64,
    /// Bytes of KV cache read, all places.
    pub kv_read: f64,
    /// The stated bandwidth, bytes/s, of the place that takes longest.
    pub bandwidth: f64,
    /// The share of it that is reached.
    pub efficiency: f64,
    /// Spent reading on accelerators.
    pub accelerator_time: f64,
    /// Spent on the processor.
    pub cpu_time: f64,
    /// Spent however small the model is: launches, synchronisation, hops between devices.
    pub overhead: f64,
}

/// A kind of device under a kind of engine: what one set of constants is fitted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// llama.cpp on NVIDIA cards.
    LlamaCuda,
    /// llama.cpp on NVIDIA parts that share the system's memory: GB10, Jetson.
    LlamaCudaUnified,
    /// llama.cpp on AMD cards.
    LlamaRocm,
    /// llama.cpp on Apple silicon.
    LlamaMetal,
    /// llama.cpp on graphics in a processor of AMD or Intel.
    LlamaIntegrated,
    /// llama.cpp on any other card: Intel's, Ascend's, whatever only Vulkan knows.
    LlamaOther,
    /// vLLM on any accelerator.
    Vllm,
    /// MLX on Apple silicon.
    Mlx,
    /// Any engine on a processor.
    Cpu,
}

impl Platform {
    const COUNT: usize = 9;
    /// All, in the order of [`Constants::rates`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::LlamaCuda,
        Self::LlamaCudaUnified,
        Self::LlamaRocm,
        Self::LlamaMetal,
        Self::LlamaIntegrated,
        Self::LlamaOther,
        Self::Vllm,
        Self::Mlx,
        Self::Cpu,
    ];

    /// That of an accelerator.
    pub fn of(engine: Engine, accelerator: &Accelerator) -> Self {
        use types::Backend;
        match (engine, accelerator.backend) {
            (Engine::Vllm, _) => Self::Vllm,
            (Engine::Mlx, _) => Self::Mlx,
            (Engine::LlamaCpp, Backend::Metal) => Self::LlamaMetal,
            (Engine::LlamaCpp, Backend::CpuX86 | Backend::CpuArm) => Self::Cpu,
            (Engine::LlamaCpp, Backend::Cuda) if accelerator.unified => Self::LlamaCudaUnified,
            (Engine::LlamaCpp, Backend::Cuda) => Self::LlamaCuda,
            (Engine::LlamaCpp, Backend::Rocm) if is_wide(accelerator) => Self::LlamaRocm,
            (Engine::LlamaCpp, _) if accelerator.unified => Self::LlamaIntegrated,
            (Engine::LlamaCpp, Backend::Rocm) => Self::LlamaRocm,
            (Engine::LlamaCpp, Backend::Sycl | Backend::Vulkan | Backend::Ascend) => Self::LlamaOther,
        }
    }
}

/// Whether graphics in a processor have memory as wide as a card's: at least 150 GB/s, twice what two channels carry
/// (Strix Halo). They then reach a card's share of it: a 7B Q4_0 is published at 50 tok/s there, 75 % of 256 GB/s.
fn is_wide(accelerator: &Accelerator) -> bool {
    accelerator.unified && accelerator.bandwidth.is_some_and(|bandwidth| bandwidth >= 150e9)
}

/// The speed of `work` on `machine`.
///
/// Places on accelerators that the machine does not have count as places in the system's memory.
pub fn estimate(machine: &Machine, work: &Work<'_>) -> Speed {
    estimate_with(&CONSTANTS, machine, work)
}

/// As [`estimate`], with other constants: for the calibration.
pub fn estimate_with(constants: &Constants, machine: &Machine, work: &Work<'_>) -> Speed {
    let weights_read: f64 = work.places.iter().map(|place| place.weights_read).sum();
    if weights_read <= 0.0 {
        return Speed::NONE;
    }
    let mut basis = Basis { weights_read, ..Basis::default() };
    let mut confidence = Confidence::Calibrated;
    let mut prefill = 0.0;
    let mut slowest = 0.0;
    let mut longest = 0.0_f64;
    let mut prefill_longest = 0.0_f64;
    let mut leading = Platform::Cpu;
    let mut on_accelerators = 0_u32;
    for place in work.places {
        let memory = Memory::of(constants, machine, work, place.device);
        let share = place.weights_read / weights_read;
        let time = memory.decode(constants, work, place, share);
        let overhead = memory.rates.overhead(work) * share;
        basis.kv_read += place.kv_read;
        basis.overhead += overhead;
        longest = longest.max(time + overhead);
        if memory.on_cpu {
            basis.cpu_time += time;
        } else {
            basis.accelerator_time += time;
            on_accelerators += 1;
        }
        if time > slowest {
            slowest = time;
            leading = memory.platform;
            basis.bandwidth = memory.bandwidth;
            basis.efficiency = memory.efficiency(constants, work);
        }
        let prefill_time = memory.prefill(constants, machine, work, place, share);
        prefill += prefill_time;
        prefill_longest = prefill_longest.max(prefill_time);
        confidence = confidence.min(memory.confidence);
    }
    let mut decode = basis.overhead + basis.accelerator_time + basis.cpu_time;
    let hops = f64::from(u32::try_from(work.places.len()).unwrap_or(u32::MAX)) - 1.0;
    if work.tensor_parallel && on_accelerators > 1 {
        // Every card works on its share of each layer at the same time, and all wait for each other twice a layer.
        let waits = 2.0 * f64::from(work.layers) * constants.all_reduce;
        basis.overhead = basis.overhead / f64::from(on_accelerators) + waits;
        decode = longest + waits;
        prefill = prefill_longest;
    } else {
        let hop = hops * constants.hop;
        basis.overhead += hop;
        decode += hop;
        if basis.cpu_time == 0.0 {
            // A prompt's batches follow each other from card to card: all cards work at once.
            prefill = prefill_longest;
        }
    }
    if work.drafts {
        decode /= constants.draft_gain;
    }
    let rates = constants.of(leading);
    let mixed = basis.cpu_time > 0.0 && basis.accelerator_time > 0.0;
    let mut spread = if mixed { constants.mixed } else { rates.spread };
    if confidence == Confidence::Rough {
        spread = Spread { low: spread.low.min(0.4), high: spread.high.max(2.5) };
    }
    let decode_tps = 1.0 / decode;
    let prefill_tps = 1.0 / prefill;
    Speed {
        decode_tps,
        decode_low: decode_tps * spread.low,
        decode_high: decode_tps * spread.high,
        prefill_tps,
        ttft: work.prompt_tokens * prefill + decode + rates.first_token,
        confidence,
        basis,
    }
}

impl Speed {
    /// Of nothing.
    pub const NONE: Self = Self {
        decode_tps: 0.0,
        decode_low: 0.0,
        decode_high: 0.0,
        prefill_tps: 0.0,
        ttft: 0.0,
        confidence: Confidence::Rough,
        basis: Basis {
            weights_read: 0.0,
            kv_read: 0.0,
            bandwidth: 0.0,
            efficiency: 0.0,
            accelerator_time: 0.0,
            cpu_time: 0.0,
            overhead: 0.0,
        },
    };
}

/// One memory with all that its speed depends on.
struct Memory<'a> {
    platform: Platform,
    rates: &'a Rates,
    /// Stated or guessed, bytes/s.
    bandwidth: f64,
    /// Stated or guessed, FLOP/s, for prompts.
    flops: f64,
    /// To and from the system's memory, bytes/s.
    link: f64,
    on_cpu: bool,
    confidence: Confidence,
}

/// Bytes/s of a PCIe 4.0 link with eight lanes, what most slots have at least; where nobody knows better.
const LINK_DEFAULT: f64 = 12e9;

/// Tokens of a prompt that engines compute at once (llama.cpp's `--ubatch-size`; vLLM takes more).
const BATCH: f64 = 512.0;

impl<'a> Memory<'a> {
    fn of(constants: &'a Constants, machine: &Machine, work: &Work<'_>, device: Device) -> Self {
        let accelerator = match device {
            Device::Accelerator(index) => machine.accelerators.get(index),
            Device::Cpu => None,
        };
        let Some(accelerator) = accelerator else { return Self::cpu(constants, machine) };
        let platform = Platform::of(work.engine, accelerator);
        let rates = constants.of(platform);
        let confidence = match accelerator.bandwidth {
            None => Confidence::Rough,
            Some(_) if rates.measurements < 20 => Confidence::Estimated,
            Some(_) => Confidence::Calibrated,
        };
        let bandwidth = accelerator.bandwidth.unwrap_or_else(|| guessed_bandwidth(machine, accelerator));
        // Bytes and FLOP/s of parts are in proportion, within a factor of two or so either way.
        let flops_per_byte = if accelerator.unified { 40.0 } else { 110.0 };
        Self {
            platform,
            rates,
            bandwidth,
            flops: accelerator.flops.unwrap_or(bandwidth * flops_per_byte),
            link: accelerator.link.unwrap_or(LINK_DEFAULT),
            on_cpu: false,
            confidence,
        }
    }

    fn cpu(constants: &'a Constants, machine: &Machine) -> Self {
        let rates = constants.of(Platform::Cpu);
        Self {
            platform: Platform::Cpu,
            rates,
            bandwidth: machine.cpu.bandwidth.max(1e9),
            flops: f64::from(machine.cpu.cores.max(1)) * constants.core_flops,
            link: LINK_DEFAULT,
            on_cpu: true,
            confidence: if rates.measurements < 20 { Confidence::Estimated } else { Confidence::Calibrated },
        }
    }

    /// The share of the stated bandwidth that reading weights reaches.
    fn efficiency(&self, constants: &Constants, work: &Work<'_>) -> f64 {
        let quant = if self.on_cpu { &constants.quant_on_cpu } else { &constants.quant_on_accelerator };
        let experts = if work.experts { self.rates.experts } else { 1.0 };
        self.rates.efficiency * experts * quant[work.quant as usize]
    }

    /// Seconds to read, and on a processor to compute, this place's share of a token.
    fn decode(&self, constants: &Constants, work: &Work<'_>, place: &Place, share: f64) -> f64 {
        let weights = place.weights_read / (self.bandwidth * self.efficiency(constants, work));
        let kv = place.kv_read / (self.bandwidth * self.rates.kv_efficiency);
        let reading = weights + kv;
        if self.on_cpu {
            // Few or old cores unpack weights more slowly than memory brings them.
            reading.max(2.0 * work.active_parameters * share / self.flops)
        } else {
            reading
        }
    }

    /// Seconds for this place's share of one token of a prompt.
    fn prefill(&self, constants: &Constants, machine: &Machine, work: &Work<'_>, place: &Place, share: f64) -> f64 {
        // Attention: with grouped queries each cached element meets about eight queries, two operations each, and a
        // prompt's tokens see half of it on average.
        let attention = 4.0 * place.kv_read;
        let operations = 2.0 * work.active_parameters * share + attention;
        let experts = if work.experts { constants.prefill_experts } else { 1.0 };
        let computing = operations / (self.flops * self.rates.prefill * experts);
        let reading = place.weights_held / (self.bandwidth * self.rates.efficiency) / BATCH;
        let here = computing.max(reading);
        let Some(accelerator) = machine.accelerators.first().filter(|card| self.on_cpu && !card.unified) else {
            return here;
        };
        // With a card beside it, llama.cpp sends the weights of large batches over the link to be computed there.
        let card = Memory::of(constants, machine, work, Device::Accelerator(0));
        let sending = place.weights_held / accelerator.link.unwrap_or(card.link) / BATCH;
        here.min(sending.max(operations / (card.flops * card.rates.prefill * experts)))
    }
}

impl Rates {
    /// Seconds for each token that no bandwidth shortens.
    fn overhead(&self, work: &Work<'_>) -> f64 {
        let experts = if work.experts { self.per_expert_layer } else { 0.0 };
        self.per_token + f64::from(work.layers) * (self.per_layer + experts)
    }
}

impl Constants {
    /// Those of a platform.
    pub fn of(&self, platform: Platform) -> &Rates {
        &self.rates[platform as usize]
    }
}

/// Bandwidth of a part that no table knows: unified memory is the processor's; of cards, makers give larger memories
/// more bandwidth (8 GiB: 250 GB/s, 24 GiB: 750 GB/s, which fits cards from 2018 on within a factor of two).
fn guessed_bandwidth(machine: &Machine, accelerator: &Accelerator) -> f64 {
    if accelerator.unified {
        return machine.cpu.bandwidth.max(20e9);
    }
    #[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
    let gib = accelerator.memory.as_u64() as f64 / f64::from(1 << 30);
    (gib * 31e9).clamp(80e9, 2e12)
}

#[cfg(test)]
mod tests;
