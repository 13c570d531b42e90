//! How one model runs best on one machine: in which quantisation, where it lies, how fast, and what that is worth.
//!
//! Every variant is tried in every way of running it that could be the best; the one with the highest score is kept. The
//! memory of a way is [`memory`]'s, its speed is [`speed`](crate::speed)'s; nothing is reckoned here a second time.

use catalog::catalogue::UseCase;
use types::{ByteCount, CacheType, DeviceMemory, MemoryUse};

use crate::Facts;
use crate::level::{FitLevel, RunMode, USABLE_SHARE};
use crate::machine::Machine;
use crate::memory::{Setting, held, memory};
use crate::plan::split_by;
use crate::quality::Quality;
use crate::reads::lay;
use crate::score::{Components, Demand};
use crate::speed::{Device, Engine, Place, Quant, Speed, Work, estimate};

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
///
/// Ways are compared by their numbers alone; names and lists are made of the winner's only.
pub fn assess(candidate: &Candidate, machine: &Machine, terms: &Terms) -> Option<Assessment> {
    let meant = |(index, variant): &(usize, &Variant)| {
        terms.variant.is_none_or(|only| only == *index) && terms.engine.is_none_or(|only| only == variant.engine)
    };
    let variants = || candidate.variants.iter().enumerate().filter(meant);
    let (smallest, least) = variants().min_by_key(|(_, variant)| variant.facts.weights())?;
    let mut desk = Desk::of(candidate, machine, terms);
    let native = if candidate.context == 0 { CONTEXT_DEFAULT } else { candidate.context };
    let most = native.min(terms.context_max).max(1);
    // A smaller context is of no use where the weights alone are too large.
    let mut context = (least.facts.weights() <= desk.vram + machine.ram).then_some(most);
    while let Some(tokens) = context {
        if let Some(best) = desk.best_at(variants(), tokens) {
            return Some(desk.assessment(best));
        }
        context = (!terms.context_fixed && tokens / 2 >= CONTEXT_LEAST).then_some(tokens / 2);
    }
    Some(desk.too_tight(smallest, most))
}

/// One way of running a variant.
#[derive(Clone, Copy, Debug)]
struct Way {
    mode: RunMode,
    context: u64,
    /// Layers on accelerators.
    offloaded: u32,
    /// Of so many layers the experts are in RAM.
    experts_in_ram: u32,
    /// What it holds in RAM, and on all accelerators together.
    ram: ByteCount,
    accelerators: ByteCount,
}

impl Way {
    fn total(&self) -> ByteCount {
        self.ram + self.accelerators
    }
}

/// A way with what it is worth.
struct Judged {
    variant: usize,
    way: Way,
    required: ByteCount,
    available: ByteCount,
    usable_context: u64,
    speed: Speed,
    components: Components,
    score: f64,
}

/// Where the ways of running one model on one machine are compared. Its lists are used again for each way.
struct Desk<'a> {
    candidate: &'a Candidate,
    machine: &'a Machine,
    terms: &'a Terms,
    demand: Demand,
    /// Memory of all accelerators, and whether some of it is the system's.
    vram: ByteCount,
    unified: bool,
    offload: Vec<u32>,
    held: Vec<DeviceMemory>,
    places: Vec<Place>,
}

impl<'a> Desk<'a> {
    fn of(candidate: &'a Candidate, machine: &'a Machine, terms: &'a Terms) -> Self {
        Self {
            candidate,
            machine,
            terms,
            demand: Demand::of(candidate.use_case),
            vram: machine.accelerators.iter().map(|device| device.memory).sum(),
            unified: machine.accelerators.iter().any(|device| device.unified),
            offload: vec![],
            held: vec![],
            places: vec![],
        }
    }

    fn best_at<'v>(
        &mut self,
        variants: impl Iterator<Item = (usize, &'v Variant)> + Clone,
        context: u64,
    ) -> Option<Judged> {
        let wanted = |mode| self.terms.mode.is_none_or(|only| only == mode);
        let (on_gpu, beside) =
            (wanted(RunMode::Gpu), [RunMode::Moe, RunMode::CpuOffload, RunMode::CpuOnly].map(|m| (m, wanted(m))));
        let mut best: Option<Judged> = None;
        let mut keep = |found: Judged| {
            if best.as_ref().is_none_or(|best| found.score > best.score) {
                best = Some(found);
            }
        };
        let mut good_enough = false;
        if on_gpu {
            let mut compared = 0;
            for (index, variant) in variants.clone() {
                if compared == VARIANTS_COMPARED {
                    break;
                }
                if let Some(way) = self.on_accelerators(variant, context) {
                    compared += 1;
                    good_enough |= variant.quality_loss <= LOSS_TOLERATED;
                    keep(self.judge(index, variant, way));
                }
            }
        }
        if good_enough {
            return best;
        }
        // In system memory the first that runs is the best but for speed, and smaller ones are faster in proportion.
        let mut compared = 0;
        for (index, variant) in variants.filter(|(_, variant)| variant.engine == Engine::LlamaCpp) {
            if compared == VARIANTS_COMPARED {
                break;
            }
            let mut modes = beside.iter().filter(|(_, wanted)| *wanted);
            if let Some(way) = modes.find_map(|(mode, _)| self.partly(variant, context, *mode)) {
                compared += 1;
                keep(self.judge(index, variant, way));
            }
        }
        best
    }

    /// All of it on accelerators.
    fn on_accelerators(&mut self, variant: &Variant, context: u64) -> Option<Way> {
        if self.machine.accelerators.is_empty() || variant.facts.layer_weights() > self.vram {
            return None;
        }
        self.way(variant, RunMode::Gpu, context, variant.facts.layer_count(), 0)
    }

    /// Partly or wholly in system memory: as much as fits on accelerators.
    fn partly(&mut self, variant: &Variant, context: u64, mode: RunMode) -> Option<Way> {
        let layers = variant.facts.layer_count();
        let weights = variant.facts.weights();
        match mode {
            RunMode::Gpu => None,
            RunMode::CpuOnly if weights > self.machine.ram => None,
            RunMode::CpuOnly => self.way(variant, mode, context, 0, 0),
            // Memory that is the system's already is not stretched by it.
            _ if self.machine.accelerators.is_empty() || self.unified => None,
            _ if weights > self.vram + self.machine.ram => None,
            RunMode::Moe if !self.candidate.is_moe => None,
            // The fewest layers' experts that must leave; experts of all layers is what is easiest to fit.
            RunMode::Moe => {
                let most = self.way(variant, mode, context, layers, layers)?;
                Some(
                    smallest_that_fits(1, layers, |count| self.way(variant, mode, context, layers, count))
                        .unwrap_or(most),
                )
            }
            // The most layers that fit.
            RunMode::CpuOffload => {
                let most_left = layers.saturating_sub(1);
                smallest_that_fits(1, most_left, |left| self.way(variant, mode, context, layers - left, 0))
            }
        }
    }

    /// This way, if every device has room for it.
    fn way(
        &mut self,
        variant: &Variant,
        mode: RunMode,
        context: u64,
        offloaded: u32,
        experts_in_ram: u32,
    ) -> Option<Way> {
        let way = self.weigh(variant, mode, context, offloaded, experts_in_ram);
        self.fits(&way).then_some(way)
    }

    /// What this way takes; `held` says it of each accelerator.
    fn weigh(&mut self, variant: &Variant, mode: RunMode, context: u64, offloaded: u32, experts_in_ram: u32) -> Way {
        self.offload.clear();
        self.offload.extend(layers_of(self.machine, offloaded));
        let setting = bare_setting(self.terms, context, experts_in_ram);
        let ram = match overhead(variant.engine) {
            None => held(&variant.facts, &setting, &self.offload, &mut self.held).total(),
            Some(overhead) => {
                let count = self.machine.accelerators.len();
                self.held.clear();
                self.held.resize(count, equal_part(variant, &setting, count, overhead));
                ByteCount::ZERO
            }
        };
        let accelerators = self.held.iter().map(DeviceMemory::total).sum();
        Way { mode, context, offloaded, experts_in_ram, ram, accelerators }
    }

    /// Whether every device has room; memory that is the system's is counted there too.
    fn fits(&self, way: &Way) -> bool {
        let mut ram = way.ram;
        for (device, held) in self.machine.accelerators.iter().zip(&self.held) {
            let held = held.total();
            if ratio(held, device.memory) > USABLE_SHARE && held > ByteCount::ZERO {
                return false;
            }
            if device.unified {
                ram += held;
            }
        }
        ratio(ram, self.machine.ram) <= USABLE_SHARE
    }

    /// What it takes and what there is, where it lies.
    fn pool(&self, way: &Way) -> (ByteCount, ByteCount) {
        match way.mode {
            RunMode::Gpu if self.unified => (way.total(), self.vram.min(self.machine.ram)),
            RunMode::Gpu => (way.accelerators, self.vram),
            RunMode::Moe | RunMode::CpuOffload => (way.total(), self.vram + self.machine.ram),
            RunMode::CpuOnly => (way.total(), self.machine.ram),
        }
    }

    fn judge(&mut self, index: usize, variant: &Variant, way: Way) -> Judged {
        let (required, available) = self.pool(&way);
        let speed = self.speed(variant, &way);
        let usable_context = self.usable_context(variant, &way, available.saturating_sub(required));
        let components = Components {
            quality: self.quality(variant),
            speed: self.demand.speed(rate(self.candidate.use_case, &speed)),
            fit: Demand::fit(ratio(required, available)),
            context: self.demand.context(usable_context),
        };
        let score = self.demand.score(&components);
        Judged { variant: index, way, required, available, usable_context, speed, components, score }
    }

    fn quality(&self, variant: &Variant) -> f64 {
        (self.candidate.quality.index - variant.quality_loss).max(0.0)
    }

    fn speed(&mut self, variant: &Variant, way: &Way) -> Speed {
        // Half of the context is filled, on average.
        let filled = (way.context / 2).max(1);
        let devices = layers_of(self.machine, way.offloaded).enumerate();
        let offload = devices.map(|(index, layers)| (Device::Accelerator(index), layers));
        let setting = bare_setting(self.terms, way.context, way.experts_in_ram);
        lay(&variant.facts, &setting, offload, filled, &mut self.places);
        #[expect(clippy::cast_precision_loss, reason = "factors of a product")]
        let (active_parameters, prompt_tokens) =
            (self.candidate.parameters_active as f64, filled.min(PROMPT_MAX) as f64);
        estimate(
            self.machine,
            &Work {
                engine: variant.engine,
                quant: variant.quant,
                places: &self.places,
                tensor_parallel: variant.engine == Engine::Vllm && self.machine.accelerators.len() > 1,
                active_parameters,
                layers: variant.facts.layer_count(),
                experts: self.candidate.is_moe,
                drafts: false,
                prompt_tokens,
            },
        )
    }

    /// How much more context the rest of the memory would hold, by what each token keeps.
    fn usable_context(&self, variant: &Variant, way: &Way, spare: ByteCount) -> u64 {
        let here = way.context;
        let native = if self.candidate.context == 0 { here } else { self.candidate.context };
        if native <= here {
            return native;
        }
        let Terms { slots, cache_type, .. } = *self.terms;
        let at = |context| variant.facts.kept(context, slots, cache_type, cache_type).as_u64();
        let growth = at(here.saturating_mul(2)).saturating_sub(at(here));
        if growth == 0 {
            return native;
        }
        let spare = u128::from(spare.as_u64()) * 98 / 100;
        let more = spare * u128::from(here) / u128::from(growth);
        here.saturating_add(u64::try_from(more).unwrap_or(u64::MAX)).min(native)
    }

    /// All that is told of the winner.
    fn assessment(&self, best: Judged) -> Assessment {
        let Judged { variant, way, required, available, usable_context, speed, components, score } = best;
        let (setting, memory) = self.start(&self.candidate.variants[variant], &way);
        let share = ratio(required, available);
        Assessment {
            variant,
            mode: way.mode,
            level: FitLevel::of(share.min(USABLE_SHARE), way.mode),
            context: way.context,
            usable_context,
            memory,
            setting,
            required,
            available,
            speed,
            components,
            score,
        }
    }

    /// Of a model that does not fit: what it would take, wholly on accelerators if there are any.
    fn too_tight(&mut self, index: usize, context: u64) -> Assessment {
        let variant = &self.candidate.variants[index];
        let accelerated = !self.machine.accelerators.is_empty() && self.terms.mode != Some(RunMode::CpuOnly);
        let mode = self.terms.mode.unwrap_or(if accelerated { RunMode::Gpu } else { RunMode::CpuOnly });
        let layers = variant.facts.layer_count();
        let (offloaded, experts_in_ram) = match mode {
            RunMode::Gpu | RunMode::CpuOffload => (layers, 0),
            RunMode::Moe => (layers, layers),
            RunMode::CpuOnly => (0, 0),
        };
        let way = self.weigh(variant, mode, context, offloaded, experts_in_ram);
        let (required, available) = self.pool(&way);
        let (setting, memory) = self.start(variant, &way);
        Assessment {
            variant: index,
            mode,
            level: FitLevel::TooTight,
            context,
            usable_context: 0,
            score: 0.0,
            memory,
            setting,
            required,
            available,
            speed: Speed::NONE,
            components: Components { quality: self.quality(variant), ..Components::default() },
        }
    }

    /// How it would be started, and what it would hold on every device by name.
    fn start(&self, variant: &Variant, way: &Way) -> (Setting, MemoryUse) {
        let names = self.machine.accelerators.iter().map(|accelerator| accelerator.device.clone());
        let setting = Setting {
            offload: names.clone().zip(layers_of(self.machine, way.offloaded)).collect(),
            ..bare_setting(self.terms, way.context, way.experts_in_ram)
        };
        let memory = match overhead(variant.engine) {
            None => memory(&variant.facts, &setting),
            Some(overhead) => {
                let part = equal_part(variant, &setting, self.machine.accelerators.len(), overhead);
                MemoryUse(names.map(|name| (name, part)).collect())
            }
        };
        (setting, memory)
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
fn layers_of(machine: &Machine, offloaded: u32) -> impl Iterator<Item = u32> + Clone {
    split_by(offloaded, machine.accelerators.iter().map(|device| device.memory.as_u64()))
}

/// A setting that says nothing of accelerators.
fn bare_setting(terms: &Terms, context: u64, experts_in_ram: u32) -> Setting {
    Setting {
        context,
        slots: terms.slots,
        offload: vec![],
        experts_in_ram,
        cache_type_k: terms.cache_type,
        cache_type_v: terms.cache_type,
        all_outputs: false,
    }
}

/// What an engine that gives every accelerator an equal part takes beside it; llama.cpp gives whole layers.
const fn overhead(engine: Engine) -> Option<ByteCount> {
    match engine {
        Engine::LlamaCpp => None,
        Engine::Vllm => Some(VLLM_OVERHEAD),
        Engine::Mlx => Some(MLX_OVERHEAD),
    }
}

/// What such an engine holds on each of `count` accelerators.
fn equal_part(variant: &Variant, setting: &Setting, count: usize, overhead: ByteCount) -> DeviceMemory {
    let count = count.max(1) as u64;
    let part = |bytes: ByteCount| ByteCount::bytes(bytes.as_u64().div_ceil(count));
    let Setting { context, slots, cache_type_k, cache_type_v, .. } = *setting;
    DeviceMemory {
        model: part(variant.facts.weights()),
        kv: part(variant.facts.kept(context, slots, cache_type_k, cache_type_v)),
        compute: overhead,
    }
}

/// The rate that matters for a use: models of vectors read, all others write. Tokens/s.
pub fn rate(use_case: UseCase, speed: &Speed) -> f64 {
    match use_case {
        UseCase::Embedding | UseCase::Rerank => speed.prefill_tps,
        _ => speed.decode_tps,
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn as_f64(bytes: ByteCount) -> f64 {
    bytes.as_u64() as f64
}

/// `a` of `b`; endless where `b` is nothing.
fn ratio(a: ByteCount, b: ByteCount) -> f64 {
    if b == ByteCount::ZERO { f64::INFINITY } else { as_f64(a) / as_f64(b) }
}
