//! From a row to what the estimator takes: the machine, and where the model lies on it.

use catalog::quantization::Quantization;
use fit::speed::{Engine, Place, Quant, Work};
use fit::{Accelerator, Cpu, Machine};
use hardware::parts::{self, Part};
use types::{Backend, ByteCount, DeviceName};

use super::layout::{Context, Kind, Weights};
use super::measurement::Measurement;
use super::{known, model, quantization};

/// What a row describes.
pub(super) struct Setup {
    pub(super) machine: Machine,
    pub(super) size: Size,
    /// Whether the catalogue has it; else rules of thumb say what it is like.
    pub(super) model_is_known: bool,
    /// Whether the row says a quantisation that is known.
    pub(super) quantization_is_said: bool,
    /// The output tokens, where the row's rate is that of whole requests.
    pub(super) whole_request: Option<f64>,
    pub(super) kind: Kind,
    engine: Engine,
    drafts: bool,
    quant: Quant,
    places: Vec<Place>,
    tensor_parallel: bool,
    prompt_tokens: f64,
}

impl Setup {
    /// The setup of a row, or why it cannot be estimated.
    pub(super) fn of(row: &Measurement) -> Result<Self, &'static str> {
        if row.measured_decode_tps.is_none_or(|tps| tps <= 0.0) {
            return Err("no decode rate");
        }
        if row.spec_decode {
            return Err("speculative decoding");
        }
        if !row.is_single_request() {
            return Err("several requests at once");
        }
        let engine = engine(row);
        let (quantization, quantization_is_said) = quantization::of(row, engine == Engine::Mlx);
        let (weights, size) = weights(row, quantization)?;
        let (machine, on_cpu) = machine(row, engine);
        let share = row.offload_tag.strip_prefix("gpu").and_then(|share| share.parse::<f64>().ok());
        let share = share.map(|percent| (percent / 100.0).clamp(0.0, 1.0));
        let context = Context { filled: filled_context(row), reserved: row.context.unwrap_or(4096.0) };
        let (places, kind) =
            weights.place(&machine, on_cpu, share, context).ok_or("larger than the machine's memory")?;
        Ok(Self {
            tensor_parallel: engine == Engine::Vllm && places.len() > 1,
            whole_request: row.is_whole_request().then(|| row.output_tokens.unwrap_or(200.0).max(2.0)),
            prompt_tokens: row.prompt_tokens.unwrap_or(SHORT_PROMPT),
            model_is_known: matches!(weights, Weights::Known(_)),
            quantization_is_said,
            drafts: model::drafts(row),
            machine,
            size,
            kind,
            engine,
            quant: quantization.into(),
            places,
        })
    }

    pub(super) fn work(&self) -> Work<'_> {
        Work {
            engine: self.engine,
            quant: self.quant,
            places: &self.places,
            tensor_parallel: self.tensor_parallel,
            active_parameters: self.size.active,
            layers: self.size.layers,
            experts: self.size.experts,
            drafts: self.drafts,
            prompt_tokens: self.prompt_tokens,
        }
    }
}

/// How large a model is.
pub(super) struct Size {
    /// Parameters that a token uses.
    active: f64,
    pub(super) layers: u32,
    pub(super) experts: bool,
}

/// The row's model by the catalogue, else by rules of thumb.
fn weights(row: &Measurement, quantization: Quantization) -> Result<(Weights, Size), &'static str> {
    let (weights, size, total) = match known::model(row).and_then(|one| Some((one, Weights::known(one, quantization)?)))
    {
        Some((model, weights)) => {
            #[expect(clippy::cast_precision_loss, reason = "factors of a product")]
            let (active, total) = (model.parameters_active as f64, model.parameters as f64);
            let layers = u32::try_from(model.shape.layer_count()).unwrap_or(u32::MAX);
            (weights, Size { active, layers, experts: model.shape.has_experts() }, total)
        }
        None => {
            let guess = model::guess(row).ok_or("no size of the model, neither stated nor in its name")?;
            let size = Size { active: guess.active, layers: guess.layers, experts: guess.experts };
            (Weights::Guessed(guess, quantization.bits() / 8.0), size, guess.total)
        }
    };
    if total < 50e6 { Err("a toy (under 50 M parameters)") } else { Ok((weights, size)) }
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

/// GiB of a memory whose size is not stated.
const PLENTY: f64 = 1024.0;

/// The machine, and whether its processor does the work.
fn machine(row: &Measurement, engine: Engine) -> (Machine, bool) {
    let gpus = row.cards();
    let part = part(row);
    let size_of_part = part.and_then(|part| part.memory.iter().max()).map(|size| gib(*size));
    // Where nobody says how much there is, it was enough for what was measured.
    let ram = row.ram_gb.filter(|ram| *ram > 0.0).unwrap_or(PLENTY);
    let stated = row.vram_gb.filter(|vram| *vram > 0.0);
    let vram = stated.or(size_of_part).unwrap_or(if row.hw_class == "DISCRETE_GPU" { PLENTY } else { 0.0 });
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
    row.cards() > 1 && row.vram_gb.unwrap_or(0.0) > 1.5 * largest
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn gib(size: ByteCount) -> f64 {
    size.as_u64() as f64 / f64::from(1 << 30)
}
