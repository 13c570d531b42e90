//! From a row to what the estimator takes: the machine, and where the model lies on it.

use fit::speed::{Device, Engine, Place, Quant, Work};
use fit::{Accelerator, Cpu, Machine};
use hardware::parts::{self, Part};
use types::{Backend, ByteCount, DeviceName};

use super::measurement::Measurement;
use super::model::{self, Facts};

/// What a row describes.
pub(super) struct Setup {
    pub(super) machine: Machine,
    pub(super) facts: Facts,
    /// The output tokens, where the row's rate is that of whole requests.
    pub(super) whole_request: Option<f64>,
    pub(super) kind: Kind,
    engine: Engine,
    quant: Quant,
    places: Vec<Place>,
    tensor_parallel: bool,
    prompt_tokens: f64,
}

/// Where the model lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Accelerator,
    Mixed,
    Cpu,
}

impl Setup {
    /// The setup of a row, or why it cannot be estimated.
    pub(super) fn of(row: &Measurement) -> Result<Self, &'static str> {
        if row.measured_decode_tps.is_none_or(|tps| tps <= 0.0) {
            return Err("no decode rate");
        }
        if row.spec_decode == "1" {
            return Err("speculative decoding");
        }
        if !row.is_single_request() {
            return Err("several requests at once");
        }
        let facts = model::facts(row).ok_or("no size of the model, neither stated nor in its name")?;
        let (bytes, quant) = model::quantisation(row).ok_or("a quantisation without a stated size")?;
        if facts.total < 50e6 {
            return Err("a toy (under 50 M parameters)");
        }
        let engine = engine(row);
        let (machine, on_cpu) = machine(row, engine);
        let layout =
            Layout { facts: &facts, bytes, context: filled_context(row), reserved: row.context.unwrap_or(4096.0) };
        let (places, kind) = layout.place(row, &machine, on_cpu).ok_or("larger than the machine's memory")?;
        Ok(Self {
            tensor_parallel: engine == Engine::Vllm && places.len() > 1,
            whole_request: row.is_whole_request().then(|| row.output_tokens.unwrap_or(200.0).max(2.0)),
            prompt_tokens: row.prompt_tokens.unwrap_or(SHORT_PROMPT),
            machine,
            facts,
            kind,
            engine,
            quant,
            places,
        })
    }

    pub(super) fn work(&self) -> Work<'_> {
        Work {
            engine: self.engine,
            quant: self.quant,
            places: &self.places,
            tensor_parallel: self.tensor_parallel,
            active_parameters: self.facts.active,
            layers: self.facts.layers,
            experts: self.facts.experts,
            drafts: self.facts.drafts,
            prompt_tokens: self.prompt_tokens,
        }
    }
}

/// Tokens of the community tool's prompts, about.
const SHORT_PROMPT: f64 = 40.0;

/// Tokens in the cache halfway through the answer. A context without a prompt says only what was reserved.
fn filled_context(row: &Measurement) -> f64 {
    let prompt = row.prompt_tokens.unwrap_or(if row.is_community() { SHORT_PROMPT } else { 256.0 });
    prompt + row.output_tokens.unwrap_or(256.0) / 2.0
}

fn engine(row: &Measurement) -> Engine {
    let is_apple = row.hardware.starts_with("Apple");
    let quant = row.quant.to_uppercase();
    let is_mlx = is_apple && (quant.contains("MLX") || quant == "NVFP4" || row.model_tag.contains("mlx"));
    match row.runtime.as_str() {
        "mlx" => Engine::Mlx,
        "vllm" if quant.contains("Q4_K") || quant.contains("Q8_0") => Engine::LlamaCpp,
        "vllm" | "sglang" | "tensorrt-llm" | "exllamav3" => Engine::Vllm,
        _ if is_mlx => Engine::Mlx,
        _ => Engine::LlamaCpp,
    }
}

/// Of a desktop whose processor nobody names: two channels of DDR4-3600 to DDR5-4800.
const CPU_BANDWIDTH_DEFAULT: f64 = 60e9;
const CORES_DEFAULT: u32 = 8;
/// What such machines have of the fastest memory their maker specifies: slower modules, or one in place of two.
const USUAL_SHARE: f64 = 0.7;

/// What the cores of a chip draw of a bandwidth that is there for its graphics.
const CORES_SHARE: f64 = 0.5;

/// The machine, and whether its processor does the work.
fn machine(row: &Measurement, engine: Engine) -> (Machine, bool) {
    let gpus = row.gpu_count.max(1);
    let vram = row.vram_gb.unwrap_or(0.0);
    let ram = row.ram_gb.unwrap_or(32.0);
    let part = part(row);
    let unified = row.hw_class == "UNIFIED"
        || part.is_some_and(|part| part.unified)
        // Half a gigabyte of its own: graphics of a processor, which takes the rest from the system.
        || (row.hw_class == "DISCRETE_GPU" && vram < 1.5);
    let cpu_name = row.hardware.strip_prefix("CPU: ");
    let cpu_bandwidth = match (cpu_name, part) {
        (Some(name), _) => parts::cpu_bandwidth_by_name(name).map_or(CPU_BANDWIDTH_DEFAULT, |memory| memory.bandwidth),
        (None, Some(part)) if unified && part.source == "assumed-memory" => part.bandwidth * USUAL_SHARE,
        (None, Some(part)) if unified => part.bandwidth * CORES_SHARE,
        _ => CPU_BANDWIDTH_DEFAULT,
    };
    let cpu = Cpu { backend: Backend::CpuX86, cores: CORES_DEFAULT, bandwidth: cpu_bandwidth };
    // Ollama leaves graphics in Intel's processors alone, up to Lunar Lake.
    let is_idle = part
        .is_some_and(|part| part.backend != Backend::Metal && part.unified && part.vendor == hardware::Vendor::Intel)
        && engine == Engine::LlamaCpp
        && row.runtime == "ollama"
        && !row.offload_tag.starts_with("gpu");
    let on_cpu = cpu_name.is_some() || row.offload_tag == "cpu" || is_idle;
    let memory = if unified { ram } else { vram / f64::from(if is_total(row, part) { gpus } else { 1 }) };
    let accelerators = (0..if unified { 1 } else { gpus })
        .filter(|_| cpu_name.is_none())
        .map(|index| Accelerator {
            device: DeviceName::new(format!("GPU{index}")),
            backend: part.map_or(Backend::Vulkan, |part| part.backend),
            memory: ByteCount::from_mib_f64(memory * 1024.0),
            unified,
            bandwidth: part.map(|part| {
                if part.source == "assumed-memory" { part.bandwidth * USUAL_SHARE } else { part.bandwidth }
            }),
            flops: part.map(|part| part.fp16),
            link: None,
        })
        .collect();
    (Machine { ram: ByteCount::from_mib_f64(ram * 1024.0), cpu, accelerators }, on_cpu)
}

fn part(row: &Measurement) -> Option<&'static Part> {
    let gib = if row.hw_class == "UNIFIED" { row.ram_gb } else { row.vram_gb };
    let size = |cards: u32| ByteCount::from_mib_f64(gib.unwrap_or(0.0) * 1024.0 / f64::from(cards));
    parts::by_name_and_memory(&row.hardware, size(1))
}

/// Whether the row's memory is that of all cards: more than any one card of this name has.
fn is_total(row: &Measurement, part: Option<&Part>) -> bool {
    let largest = part.and_then(|part| part.memory.iter().max()).map_or(f64::INFINITY, |size| gib(*size));
    row.gpu_count > 1 && row.vram_gb.unwrap_or(0.0) > 1.5 * largest
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn gib(size: ByteCount) -> f64 {
    size.as_u64() as f64 / f64::from(1 << 30)
}

/// Where a model lies, when cards are filled first.
struct Layout<'a> {
    facts: &'a Facts,
    /// For each parameter.
    bytes: f64,
    /// Tokens of context that are filled.
    context: f64,
    /// Tokens of context that room is kept for.
    reserved: f64,
}

impl Layout<'_> {
    fn place(&self, row: &Measurement, machine: &Machine, on_cpu: bool) -> Option<(Vec<Place>, Kind)> {
        let ram = gib(machine.ram) * GIB;
        if on_cpu || machine.accelerators.is_empty() {
            return (self.held() <= ram).then(|| (vec![self.part(Device::Cpu, 1.0, 1.0, 1.0)], Kind::Cpu));
        }
        let cards = machine.accelerators.len();
        let room: f64 = machine.accelerators.iter().map(|card| gib(card.memory) * GIB - ENGINE).sum();
        // Long contexts are shortened or quantised before weights leave the card.
        let cache = self.kv(self.reserved.min(8192.0)).min(0.1 * room);
        let tagged = row.offload_tag.strip_prefix("gpu").and_then(|share| share.parse::<f64>().ok()).map(|p| p / 100.0);
        let on_cards = tagged.unwrap_or_else(|| ((room - cache) / self.held()).clamp(0.0, 1.0));
        if (1.0 - on_cards) * self.held() > ram {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of cards")]
        let each = on_cards / cards as f64;
        let (each_read, left_read) = self.read_shares(on_cards, each);
        // Experts leave without the cache: attention stays on the card.
        let cache_stays = self.facts.experts && on_cards > 0.0;
        let (each_cache, left_cache) = if cache_stays { (each / on_cards, 0.0) } else { (each, 1.0 - on_cards) };
        let mut places: Vec<Place> =
            (0..cards).map(|card| self.part(Device::Accelerator(card), each, each_read, each_cache)).collect();
        if on_cards >= 0.995 {
            return Some((places, Kind::Accelerator));
        }
        places.push(self.part(Device::Cpu, 1.0 - on_cards, left_read, left_cache));
        Some((places, Kind::Mixed))
    }

    /// Shares of what a token reads, on each card and on the processor. Of a mixture of experts, experts leave the card
    /// first: they are most of the bytes and few of them are read.
    fn read_shares(&self, on_cards: f64, each: f64) -> (f64, f64) {
        let out = 1.0 - on_cards;
        if !self.facts.experts || on_cards >= 1.0 {
            return (each, out);
        }
        // What is not an expert is about 40 % of what a token reads.
        const SHARED: f64 = 0.4;
        let shared_of_all = SHARED * self.facts.active / self.facts.total;
        let experts_out = (out / (1.0 - shared_of_all)).min(1.0);
        let read_out = experts_out * (1.0 - SHARED);
        (each / on_cards.max(1e-9) * (1.0 - read_out), read_out)
    }

    /// The part of the model on a device, by its shares of what is held, read and cached.
    fn part(&self, device: Device, held: f64, read: f64, cached: f64) -> Place {
        Place {
            device,
            weights_read: self.facts.active * self.bytes * read,
            weights_held: self.held() * held,
            kv_read: self.kv(self.context) * cached,
        }
    }

    fn held(&self) -> f64 {
        self.facts.total * self.bytes
    }

    fn kv(&self, tokens: f64) -> f64 {
        let (sliding, window) = self.facts.kv_window;
        self.facts.kv_full * tokens + sliding * tokens.min(window)
    }
}

const GIB: f64 = (1_u64 << 30) as f64;
/// Bytes that an engine's own buffers and the desktop take of each card.
const ENGINE: f64 = 0.7e9;
