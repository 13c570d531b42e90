//! How one model runs best on one machine: in which quantisation, where it lies, how fast, and what that is worth.
//!
//! Every variant is tried in every way of running it that could be the best; the one with the highest score is kept. The
//! memory of a way is [`memory`]'s, its speed is [`speed`](crate::speed)'s; nothing is reckoned here a second time.

use catalog::catalogue::UseCase;
use types::{ByteCount, CacheType, DeviceName, MemoryUse};

use crate::Facts;
use crate::level::{FitLevel, RunMode, USABLE_SHARE};
use crate::machine::Machine;
use crate::memory::{Setting, memory};
use crate::quality::Quality;
use crate::reads::places;
use crate::score::{Components, Demand};
use crate::speed::{Engine, Quant, Speed, Work, estimate};

/// The context reckoned with where nobody names one, tokens: long enough for most, and what engines are started with.
pub const CONTEXT_DEFAULT: u64 = 8192;
/// A context is halved until the model fits, but not below this, tokens.
const CONTEXT_LEAST: u64 = 2048;
/// Of variants that run in a way, so many are compared; smaller ones lose more quality than they win speed.
const VARIANTS_COMPARED: usize = 4;
/// Where a variant that loses no more than this fits on accelerators, no slower way of running a better one is looked at.
const LOSS_TOLERATED: f64 = 4.0;
/// The longest prompt the time to the first token is told for, tokens.
const PROMPT_MAX: u64 = 4096;
/// What vLLM takes of each accelerator beside weights and cache: CUDA context, graphs, activations of a batch of 8,192.
const VLLM_OVERHEAD: ByteCount = ByteCount::mib(2560);
/// What an MLX server takes beside weights and cache.
const MLX_OVERHEAD: ByteCount = ByteCount::mib(512);

/// A model with the variants it is to be had in.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it is made for: decides what counts in its score.
    pub use_case: UseCase,
    /// How good it is, unquantised.
    pub quality: Quality,
    /// Its own context, tokens.
    pub context: u64,
    /// Parameters that a token uses.
    pub parameters_active: u64,
    /// Whether it is a mixture of experts.
    pub is_moe: bool,
    /// The best quality first.
    pub variants: Vec<Variant>,
}

/// One way in which its weights are stored.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The engine that takes it.
    pub engine: Engine,
    /// How much it costs to read.
    pub quant: Quant,
    /// Points of quality that the quantisation costs.
    pub quality_loss: f64,
    /// What the estimator needs of it.
    pub facts: Facts,
}

/// What an assessment is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Largest context reckoned with, tokens.
    pub context_max: u64,
    /// Whether no smaller context will do.
    pub context_fixed: bool,
    /// Requests served at once.
    pub slots: u32,
    /// Type of the cached keys and values.
    pub cache_type: CacheType,
    /// The only variant to look at; `None` for all.
    pub variant: Option<usize>,
    /// The only engine to look at; `None` for all.
    pub engine: Option<Engine>,
    /// The only way of running it to look at; `None` for all.
    pub mode: Option<RunMode>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            context_max: CONTEXT_DEFAULT,
            context_fixed: false,
            slots: 1,
            cache_type: CacheType::F16,
            variant: None,
            engine: None,
            mode: None,
        }
    }
}

/// How a model runs on a machine, or what it lacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Which variant.
    pub variant: usize,
    /// Where it lies.
    pub mode: RunMode,
    /// How well it fits; too tight where it does not run.
    pub level: FitLevel,
    /// Tokens of context for each slot, reckoned with.
    pub context: u64,
    /// Tokens of context that would fit, at most the model's own.
    pub usable_context: u64,
    /// What it holds on every device.
    pub memory: MemoryUse,
    /// How it would be started.
    pub setting: Setting,
    /// What it takes where it lies.
    pub required: ByteCount,
    /// What models may have there.
    pub available: ByteCount,
    /// Its speed; none where it does not run.
    pub speed: Speed,
    /// The parts of its score.
    pub components: Components,
    /// 0 to 100; 0 where it does not run.
    pub score: f64,
}

impl Assessment {
    /// The share of what models may have that it takes.
    pub fn share(&self) -> f64 {
        ratio(self.required, self.available)
    }
}

/// The best way of running `candidate` on `machine`; `None` if no variant is for the engines that are meant.
pub fn assess(candidate: &Candidate, machine: &Machine, terms: &Terms) -> Option<Assessment> {
    let meant = |index: &usize| {
        let variant = &candidate.variants[*index];
        terms.variant.is_none_or(|only| only == *index) && terms.engine.is_none_or(|only| only == variant.engine)
    };
    let variants: Vec<usize> = (0..candidate.variants.len()).filter(meant).collect();
    let smallest = *variants.iter().min_by_key(|&&index| candidate.variants[index].facts.weights())?;
    let native = if candidate.context == 0 { CONTEXT_DEFAULT } else { candidate.context };
    let mut context = native.min(terms.context_max).max(1);
    loop {
        let best = best_at(candidate, machine, terms, &variants, context);
        if best.is_some() {
            return best;
        }
        if terms.context_fixed || context / 2 < CONTEXT_LEAST {
            break;
        }
        context /= 2;
    }
    Some(too_tight(candidate, machine, terms, smallest, native.min(terms.context_max).max(1)))
}

/// One way of running a variant, and what it holds.
#[derive(Clone, Debug)]
struct Way {
    mode: RunMode,
    setting: Setting,
    memory: MemoryUse,
}

fn best_at(
    candidate: &Candidate,
    machine: &Machine,
    terms: &Terms,
    variants: &[usize],
    context: u64,
) -> Option<Assessment> {
    let mut best: Option<Assessment> = None;
    let mut keep = |found: Assessment| {
        if best.as_ref().is_none_or(|best| found.score > best.score) {
            best = Some(found);
        }
    };
    let wanted = |mode| terms.mode.is_none_or(|only| only == mode);
    let mut good_enough = false;
    if wanted(RunMode::Gpu) {
        let whole = |&index: &usize| {
            on_accelerators(&candidate.variants[index], machine, terms, context).map(|way| (index, way))
        };
        for (index, way) in variants.iter().filter_map(whole).take(VARIANTS_COMPARED) {
            good_enough |= candidate.variants[index].quality_loss <= LOSS_TOLERATED;
            keep(judge(candidate, index, machine, way));
        }
    }
    if good_enough {
        return best;
    }
    // In system memory the first that runs is the best but for speed, and smaller ones are faster in proportion.
    let mut compared = 0;
    for &index in variants {
        let variant = &candidate.variants[index];
        if variant.engine != Engine::LlamaCpp || compared >= VARIANTS_COMPARED {
            continue;
        }
        let mut modes = [RunMode::Moe, RunMode::CpuOffload, RunMode::CpuOnly].into_iter().filter(|mode| wanted(*mode));
        if let Some(way) = modes.find_map(|mode| partly(candidate, variant, machine, terms, context, mode)) {
            compared += 1;
            keep(judge(candidate, index, machine, way));
        }
    }
    best
}

/// All of it on accelerators.
fn on_accelerators(variant: &Variant, machine: &Machine, terms: &Terms, context: u64) -> Option<Way> {
    if machine.accelerators.is_empty() {
        return None;
    }
    let setting = setting(machine, terms, context, variant.facts.layer_count(), 0);
    let memory = match variant.engine {
        Engine::LlamaCpp => memory(&variant.facts, &setting),
        Engine::Vllm => evenly(variant, machine, terms, context, VLLM_OVERHEAD),
        Engine::Mlx => evenly(variant, machine, terms, context, MLX_OVERHEAD),
    };
    fits(&memory, machine).then_some(Way { mode: RunMode::Gpu, setting, memory })
}

/// Partly or wholly in system memory: as much as fits on accelerators.
fn partly(
    candidate: &Candidate,
    variant: &Variant,
    machine: &Machine,
    terms: &Terms,
    context: u64,
    mode: RunMode,
) -> Option<Way> {
    let layers = variant.facts.layer_count();
    let accelerated = !machine.accelerators.is_empty();
    let with = |offloaded: u32, experts_in_ram: u32| {
        let setting = setting(machine, terms, context, offloaded, experts_in_ram);
        let memory = memory(&variant.facts, &setting);
        fits(&memory, machine).then_some(Way { mode, setting, memory })
    };
    match mode {
        RunMode::Gpu => None,
        RunMode::CpuOnly => with(0, 0),
        // Memory that is the system's already is not stretched by it.
        _ if !accelerated || machine.accelerators.iter().any(|device| device.unified) => None,
        RunMode::Moe if !candidate.is_moe => None,
        // The fewest layers' experts that must leave; experts of all layers is what is easiest to fit.
        RunMode::Moe => {
            let most = with(layers, layers)?;
            Some(smallest_that_fits(1, layers, |count| with(layers, count)).unwrap_or(most))
        }
        // The most layers that fit.
        RunMode::CpuOffload => smallest_that_fits(1, layers.saturating_sub(1), |left| with(layers - left, 0)),
    }
}

/// What fits for the smallest number, where larger numbers fit more easily.
fn smallest_that_fits(least: u32, most: u32, mut with: impl FnMut(u32) -> Option<Way>) -> Option<Way> {
    let (mut low, mut high) = (least, most);
    let mut found = None;
    while low <= high {
        let middle = low + (high - low) / 2;
        match with(middle) {
            Some(way) => {
                found = Some(way);
                if middle == least {
                    break;
                }
                high = middle - 1;
            }
            None => low = middle + 1,
        }
    }
    found
}

/// Layers in proportion to each accelerator's memory, as llama.cpp splits them.
fn setting(machine: &Machine, terms: &Terms, context: u64, offloaded: u32, experts_in_ram: u32) -> Setting {
    let sizes: Vec<u64> = machine.accelerators.iter().map(|device| device.memory.as_u64()).collect();
    let shares = crate::plan::split(offloaded, &sizes);
    Setting {
        context,
        slots: terms.slots,
        offload: machine.accelerators.iter().map(|device| device.device.clone()).zip(shares).collect(),
        experts_in_ram,
        cache_type_k: terms.cache_type,
        cache_type_v: terms.cache_type,
        all_outputs: false,
    }
}

/// An engine that gives every accelerator an equal part.
fn evenly(variant: &Variant, machine: &Machine, terms: &Terms, context: u64, overhead: ByteCount) -> MemoryUse {
    let mut held = MemoryUse::default();
    let count = machine.accelerators.len().max(1) as u64;
    let part = |bytes: ByteCount| ByteCount::bytes(bytes.as_u64().div_ceil(count));
    let kept = variant.facts.kept(context, terms.slots, terms.cache_type, terms.cache_type);
    for device in &machine.accelerators {
        let entry = held.entry(device.device.clone());
        entry.model = part(variant.facts.weights());
        entry.kv = part(kept);
        entry.compute = overhead;
    }
    held
}

/// Whether every device has room; memory that is the system's is counted there too.
fn fits(memory: &MemoryUse, machine: &Machine) -> bool {
    let mut ram = memory.on(&DeviceName::cpu());
    for device in &machine.accelerators {
        let held = memory.on(&device.device);
        if ratio(held, device.memory) > USABLE_SHARE && held > ByteCount::ZERO {
            return false;
        }
        if device.unified {
            ram += held;
        }
    }
    ratio(ram, machine.ram) <= USABLE_SHARE
}

/// What it takes and what there is, where it lies.
fn pool(way: &Way, machine: &Machine) -> (ByteCount, ByteCount) {
    let vram: ByteCount = machine.accelerators.iter().map(|device| device.memory).sum();
    let unified = machine.accelerators.iter().any(|device| device.unified);
    match way.mode {
        RunMode::Gpu if unified => (way.memory.total(), vram.min(machine.ram)),
        RunMode::Gpu => (way.memory.on_accelerators(), vram),
        RunMode::Moe | RunMode::CpuOffload => (way.memory.total(), vram + machine.ram),
        RunMode::CpuOnly => (way.memory.total(), machine.ram),
    }
}

fn judge(candidate: &Candidate, index: usize, machine: &Machine, way: Way) -> Assessment {
    let variant = &candidate.variants[index];
    let (required, available) = pool(&way, machine);
    let share = ratio(required, available);
    let speed = speed(candidate, variant, machine, &way);
    let demand = Demand::of(candidate.use_case);
    let usable_context = usable_context(candidate, variant, &way, available.saturating_sub(required));
    let components = Components {
        quality: (candidate.quality.index - variant.quality_loss).max(0.0),
        speed: demand.speed(rate(candidate.use_case, &speed)),
        fit: Demand::fit(share),
        context: demand.context(usable_context),
    };
    Assessment {
        variant: index,
        mode: way.mode,
        level: FitLevel::of(share.min(USABLE_SHARE), way.mode),
        context: way.setting.context,
        usable_context,
        score: demand.score(&components),
        memory: way.memory,
        setting: way.setting,
        required,
        available,
        speed,
        components,
    }
}

/// The rate that matters for a use: models of vectors read, all others write. Tokens/s.
pub fn rate(use_case: UseCase, speed: &Speed) -> f64 {
    match use_case {
        UseCase::Embedding | UseCase::Rerank => speed.prefill_tps,
        _ => speed.decode_tps,
    }
}

/// Of a model that does not fit: what it would take, wholly on accelerators if there are any.
fn too_tight(candidate: &Candidate, machine: &Machine, terms: &Terms, index: usize, context: u64) -> Assessment {
    let variant = &candidate.variants[index];
    let accelerated = !machine.accelerators.is_empty() && terms.mode != Some(RunMode::CpuOnly);
    let mode = terms.mode.unwrap_or(if accelerated { RunMode::Gpu } else { RunMode::CpuOnly });
    let layers = variant.facts.layer_count();
    let (offloaded, experts_in_ram) = match mode {
        RunMode::Gpu | RunMode::CpuOffload => (layers, 0),
        RunMode::Moe => (layers, layers),
        RunMode::CpuOnly => (0, 0),
    };
    let setting = setting(machine, terms, context, offloaded, experts_in_ram);
    let memory = match variant.engine {
        Engine::LlamaCpp => memory(&variant.facts, &setting),
        Engine::Vllm => evenly(variant, machine, terms, context, VLLM_OVERHEAD),
        Engine::Mlx => evenly(variant, machine, terms, context, MLX_OVERHEAD),
    };
    let way = Way { mode, setting, memory };
    let (required, available) = pool(&way, machine);
    Assessment {
        variant: index,
        mode,
        level: FitLevel::TooTight,
        context,
        usable_context: 0,
        score: 0.0,
        memory: way.memory,
        setting: way.setting,
        required,
        available,
        speed: Speed::NONE,
        components: Components {
            quality: (candidate.quality.index - variant.quality_loss).max(0.0),
            ..Components::default()
        },
    }
}

/// How much more context the rest of the memory would hold, by what each token keeps.
fn usable_context(candidate: &Candidate, variant: &Variant, way: &Way, spare: ByteCount) -> u64 {
    let Setting { context: here, slots, cache_type_k, cache_type_v, .. } = way.setting;
    let native = if candidate.context == 0 { here } else { candidate.context };
    let at = |context| variant.facts.kept(context, slots, cache_type_k, cache_type_v).as_u64();
    if native <= here {
        return native;
    }
    let growth = at(here.saturating_mul(2)).saturating_sub(at(here));
    if growth == 0 {
        return native;
    }
    let spare = u128::from(spare.as_u64()) * 98 / 100;
    let more = spare * u128::from(here) / u128::from(growth);
    here.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(native)
}

fn speed(candidate: &Candidate, variant: &Variant, machine: &Machine, way: &Way) -> Speed {
    // Half of the context is filled, on average.
    let filled = (way.setting.context / 2).max(1);
    let places = places(&variant.facts, &way.setting, filled, machine);
    #[expect(clippy::cast_precision_loss, reason = "factors of a product")]
    let (active_parameters, prompt_tokens) = (candidate.parameters_active as f64, filled.min(PROMPT_MAX) as f64);
    estimate(
        machine,
        &Work {
            engine: variant.engine,
            quant: variant.quant,
            places: &places,
            tensor_parallel: variant.engine == Engine::Vllm && machine.accelerators.len() > 1,
            active_parameters,
            layers: variant.facts.layer_count(),
            experts: candidate.is_moe,
            drafts: false,
            prompt_tokens,
        },
    )
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn as_f64(bytes: ByteCount) -> f64 {
    bytes.as_u64() as f64
}

/// `a` of `b`; endless where `b` is nothing.
fn ratio(a: ByteCount, b: ByteCount) -> f64 {
    if b == ByteCount::ZERO { f64::INFINITY } else { as_f64(a) / as_f64(b) }
}
