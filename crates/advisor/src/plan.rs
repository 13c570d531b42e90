//! What running one model takes: here, in every way, and elsewhere; and how many requests at once.

use api::{
    Concurrency, ConcurrencyEstimate, ConcurrencyStep, PlanAnswer, PlanHardware, PlanLayers, PlanPath, PlanRequest,
};
use catalog::quantization::Quantization;
use fit::speed::Engine;
use fit::{Accelerator, Assessment, Candidate, Facts, FitLevel, Machine, RunMode, Terms, Variant};
use hardware::parts;
use types::{Backend, ByteCount, CacheType, DeviceName, MemoryUse};

use crate::book::{Book, Entry, variant};
use crate::machine::{gib, round};
use crate::query::{CORES_MAX, GB_ALLOWED, is_memory};

/// Models whose names fit, named at most.
const NAMED_MAX: usize = 8;
/// Accelerators that are enough, named at most.
const ACCELERATORS_NAMED: usize = 5;
/// Contexts by which requests at once are told, tokens.
const LADDER: [u64; 7] = [4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144];
/// More slots than any engine serves.
const SLOTS_MAX: u32 = 4096;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No model is meant.
    #[error("missing model: name one, such as model=Qwen/Qwen3-8B")]
    MissingModel,
    /// No model of the catalogue is meant.
    #[error("no model in the catalogue has all of {words:?}")]
    UnknownModel {
        /// What was asked for.
        words: String,
    },
    /// Several are.
    #[error("{count} models have all of {words:?}: {names}")]
    SeveralModels {
        /// What was asked for.
        words: String,
        /// How many.
        count: usize,
        /// The first of them.
        names: String,
    },
    /// A value that does not do.
    #[error("invalid {parameter} value {value:?}: use {allowed}")]
    Value {
        /// The parameter.
        parameter: &'static str,
        /// Its value, cut if long.
        value: String,
        /// What would do.
        allowed: String,
    },
}

impl PlanError {
    /// Whether the model is not in the catalogue.
    pub fn is_unknown_model(&self) -> bool {
        matches!(self, Self::UnknownModel { .. })
    }

    fn value(parameter: &'static str, value: &str, allowed: impl Into<String>) -> Self {
        let value = value[..value.floor_char_boundary(100)].to_owned();
        Self::Value { parameter, value, allowed: allowed.into() }
    }
}

/// A plan's request from the parameters of a query.
///
/// # Errors
/// The first value that does not do.
pub fn plan_request(pairs: &[(String, String)]) -> Result<PlanRequest, PlanError> {
    let mut request = PlanRequest::default();
    for (parameter, value) in pairs.iter().filter(|(_, value)| !value.trim().is_empty()) {
        let value = value.trim();
        match parameter.as_str() {
            "model" => value.clone_into(&mut request.model),
            "context" => request.context = Some(number("context", value)?),
            "quant" => request.quant = Some(value.to_owned()),
            "kv_quant" => request.kv_quant = Some(value.to_owned()),
            "target_tps" => request.target_tps = Some(number("target_tps", value)?),
            "slots" => request.slots = Some(number("slots", value)?),
            "ram_gb" | "ram" => request.ram_gb = Some(number("ram_gb", value)?),
            "vram_gb" | "memory" => request.vram_gb = Some(number("vram_gb", value)?),
            "cpu_cores" => request.cpu_cores = Some(number("cpu_cores", value)?),
            _ => {}
        }
    }
    Ok(request)
}

/// The hardware that a request means in place of the machine's.
///
/// # Errors
/// A size or count that cannot be.
pub fn plan_terms(request: &PlanRequest) -> Result<crate::Terms, PlanError> {
    for (parameter, gb) in [("ram_gb", request.ram_gb), ("vram_gb", request.vram_gb)] {
        if let Some(gb) = gb.filter(|gb| !is_memory(*gb)) {
            return Err(PlanError::value(parameter, &gb.to_string(), GB_ALLOWED));
        }
    }
    if let Some(cores) = request.cpu_cores.filter(|cores| !(1..=CORES_MAX).contains(cores)) {
        return Err(PlanError::value("cpu_cores", &cores.to_string(), "a whole number from 1 to 65536"));
    }
    let PlanRequest { ram_gb, vram_gb, cpu_cores, .. } = *request;
    Ok(crate::Terms { ram_gb, vram_gb, cpu_cores, ..crate::Terms::default() })
}

fn number<T: std::str::FromStr>(parameter: &'static str, value: &str) -> Result<T, PlanError> {
    value.parse().map_err(|_| PlanError::value(parameter, value, "a number above 0"))
}

/// A plan, and what the model would hold here.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// As the fit API answers it; who would have to leave is for those to say who know what runs.
    pub answer: PlanAnswer,
    /// What it would hold on every device; `None` if it does not run here.
    pub memory: Option<MemoryUse>,
}

/// What `request` takes on `machine`.
///
/// # Errors
/// If it does not name one model of the book, or a value does not do.
pub fn plan(book: &Book, machine: &Machine, request: &PlanRequest) -> Result<Plan, PlanError> {
    let Question { entry, candidate, terms, quantizations } = Question::read(book, request)?;
    if let Some(target) = request.target_tps.filter(|target| !(*target > 0.0 && target.is_finite())) {
        return Err(PlanError::value("target_tps", &target.to_string(), "a number above 0"));
    }
    let best = fit::assess(&candidate, machine, &terms).filter(runs);
    let variant = best.as_ref().map_or(0, |best| best.variant);
    let terms = Terms { variant: Some(variant), ..terms };
    let modes: &[RunMode] = match (machine.accelerators.is_empty(), candidate.is_moe) {
        (true, _) => &[RunMode::CpuOnly],
        (false, true) => &[RunMode::Gpu, RunMode::Moe, RunMode::CpuOffload, RunMode::CpuOnly],
        (false, false) => &[RunMode::Gpu, RunMode::CpuOffload, RunMode::CpuOnly],
    };
    let paths: Vec<PlanPath> = modes
        .iter()
        .filter_map(|&mode| fit::assess(&candidate, machine, &Terms { mode: Some(mode), ..terms }))
        .map(|found| path(&found, machine, entry))
        .collect();
    let here = best.as_ref().map(|best| path(best, machine, entry));
    let fast_enough = |tps: f64| request.target_tps.is_none_or(|target| tps >= target);
    let feasible = best.as_ref().is_some_and(|best| fast_enough(rate(entry, best)));
    let elsewhere = elsewhere(&candidate, machine, &terms, request.target_tps, entry);
    let answer = PlanAnswer {
        model: entry.model.id.clone(),
        context: terms.context_max,
        quant: quantizations[variant].as_str().to_owned(),
        kv_quant: terms.cache_type.as_str().to_owned(),
        slots: terms.slots,
        target_tps: request.target_tps,
        feasible,
        here,
        would_leave: vec![],
        paths,
        suggestions: suggestions(&candidate, &quantizations, machine, &terms, &elsewhere, best.as_ref()),
        hardware: elsewhere,
    };
    Ok(Plan { answer, memory: best.map(|best| best.memory) })
}

/// How many requests at once fit beside the model's weights. `pairs` are the parameters of a query: those of a plan, and
/// `users`.
///
/// # Errors
/// As [`plan`].
pub fn concurrency(book: &Book, machine: &Machine, pairs: &[(String, String)]) -> Result<Concurrency, PlanError> {
    let request = plan_request(pairs)?;
    let users = pairs.iter().find(|(name, value)| name == "users" && !value.trim().is_empty());
    let users: Option<u64> = users.map(|(_, value)| number("users", value.trim())).transpose()?;
    let Question { entry, candidate, terms, quantizations } = Question::read(book, &request)?;
    let Some(best) = fit::assess(&candidate, machine, &Terms { context_fixed: false, ..terms }) else {
        return Err(PlanError::UnknownModel { words: request.model.clone() });
    };
    let facts = &candidate.variants[best.variant].facts;
    let kept = |context: u64, slots: u32| facts.kept(context, slots, terms.cache_type, terms.cache_type);
    let resident = best.required.saturating_sub(kept(best.context, 1));
    let budget = usable(best.available).saturating_sub(resident);
    let native = entry.model.context;
    let sessions = |context: u64| {
        let one = kept(context, 1).as_u64();
        budget.as_u64().checked_div(one).unwrap_or(u64::from(SLOTS_MAX))
    };
    let contexts = LADDER.into_iter().chain(request.context.filter(|asked| !LADDER.contains(asked)));
    let mut ladder: Vec<ConcurrencyStep> = contexts
        .map(|asked| {
            let context = asked.min(native).max(1);
            ConcurrencyStep {
                requested_context: asked,
                effective_context: context,
                clamped: context < asked,
                per_session_kv_gb: gib(kept(context, 1)),
                max_sessions: sessions(context),
            }
        })
        .collect();
    ladder.sort_by_key(|step| step.requested_context);
    // The longest context at which so many fit: what is kept only grows with the context.
    let longest = |users: u64| {
        let (mut low, mut high) = (0, native);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if sessions(middle) >= users { low = middle } else { high = middle - 1 }
        }
        low
    };
    Ok(Concurrency {
        model: entry.model.id.clone(),
        run_mode: best.mode.as_str().to_owned(),
        fit_level: best.level.as_str().to_owned(),
        target_users: users,
        max_context_for_target: users.map(longest),
        estimate: ConcurrencyEstimate {
            pool_gb: gib(best.available),
            weights_resident_gb: gib(resident),
            kv_budget_gb: gib(budget),
            per_session_recurrent_gb: gib(facts.state()),
            quant: quantizations[best.variant].as_str().to_owned(),
            kv_quant: terms.cache_type.as_str().to_owned(),
            native_context: native,
            ladder,
        },
    })
}

/// A request, understood.
struct Question<'a> {
    entry: &'a Entry,
    candidate: Candidate,
    terms: Terms,
    quantizations: Vec<Quantization>,
}

impl<'a> Question<'a> {
    fn read(book: &'a Book, request: &PlanRequest) -> Result<Self, PlanError> {
        let entry = find(book, &request.model)?;
        let native = entry.model.context.max(1);
        let context = match request.context {
            Some(asked) if asked == 0 || asked > native => {
                let allowed = format!("1 to {native} tokens, what the model was trained for");
                return Err(PlanError::value("context", &asked.to_string(), allowed));
            }
            Some(asked) => asked,
            None => native.min(fit::CONTEXT_DEFAULT),
        };
        let cache_type = match request.kv_quant.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("fp16") => CacheType::F16,
            Some(name) => CacheType::from_name(name).ok_or_else(|| {
                PlanError::value("kv_quant", name, "f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl")
            })?,
        };
        let slots = match request.slots {
            Some(slots) if !(1..=SLOTS_MAX).contains(&slots) => {
                return Err(PlanError::value("slots", &slots.to_string(), format!("1 to {SLOTS_MAX}")));
            }
            slots => slots.unwrap_or(1),
        };
        let mut candidate = entry.candidate.clone();
        let mut quantizations = entry.quantizations.clone();
        if let Some(name) = &request.quant {
            let known = || PlanError::value("quant", name, names(&entry.quantizations));
            let quantization: Quantization = name.parse().map_err(|_| known())?;
            let meant = match quantizations.iter().position(|one| *one == quantization) {
                Some(index) => candidate.variants[index].clone(),
                // Nobody is known to offer it; it can be made all the same.
                None => {
                    let facts = Facts::of(&entry.model.shape, quantization).map_err(|_| known())?;
                    variant(&entry.model, quantization, facts)
                }
            };
            candidate.variants = vec![meant];
            quantizations = vec![quantization];
        } else {
            // The engine that the machine would use anyway, if the model is to be had for it.
            let llama = |variant: &Variant| variant.engine == Engine::LlamaCpp;
            if candidate.variants.iter().any(llama) {
                let keep: Vec<bool> = candidate.variants.iter().map(llama).collect();
                let mut kept = keep.iter();
                candidate.variants.retain(|_| kept.next().copied().unwrap_or(false));
                let mut kept = keep.iter();
                quantizations.retain(|_| kept.next().copied().unwrap_or(false));
            }
        }
        let terms = Terms { context_max: context, context_fixed: true, slots, cache_type, ..Terms::default() };
        Ok(Self { entry, candidate, terms, quantizations })
    }
}

fn names(quantizations: &[Quantization]) -> String {
    quantizations.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>().join(", ")
}

/// The model of this id, or the only one whose name has all the words.
fn find<'a>(book: &'a Book, words: &str) -> Result<&'a Entry, PlanError> {
    let words = words.trim();
    if words.is_empty() {
        return Err(PlanError::MissingModel);
    }
    let shown = words[..words.floor_char_boundary(100)].to_owned();
    let entries = book.entries();
    let last = |entry: &&Entry| entry.model.id.rsplit('/').next().is_some_and(|last| last.eq_ignore_ascii_case(words));
    let exact = entries.iter().find(|entry| entry.model.id.eq_ignore_ascii_case(words));
    if let Some(entry) = exact.or_else(|| entries.iter().find(last)) {
        return Ok(entry);
    }
    let lower = words.to_lowercase();
    let found: Vec<&Entry> = entries
        .iter()
        .filter(|entry| lower.split_whitespace().all(|word| entry.model.id.to_lowercase().contains(word)))
        .collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(PlanError::UnknownModel { words: shown }),
        several => {
            let mut names: Vec<&str> = several.iter().take(NAMED_MAX).map(|entry| entry.model.id.as_str()).collect();
            if several.len() > NAMED_MAX {
                names.push("…");
            }
            Err(PlanError::SeveralModels { words: shown, count: several.len(), names: names.join(", ") })
        }
    }
}

fn runs(found: &Assessment) -> bool {
    found.level != FitLevel::TooTight
}

fn rate(entry: &Entry, found: &Assessment) -> f64 {
    fit::rate(entry.model.use_case, &found.speed)
}

fn path(found: &Assessment, machine: &Machine, entry: &Entry) -> PlanPath {
    let layers = found
        .setting
        .offload
        .iter()
        .filter(|(_, layers)| *layers > 0)
        .map(|(device, layers)| PlanLayers {
            device: device.as_str().to_owned(),
            layers: *layers,
            memory_gb: gib(found.memory.on(device)),
        })
        .collect();
    PlanPath {
        run_mode: found.mode.as_str().to_owned(),
        feasible: runs(found),
        fit_level: found.level.as_str().to_owned(),
        vram_gb: gib(found.memory.on_accelerators()),
        ram_gb: gib(found.memory.on(&DeviceName::cpu())),
        estimated_tps: runs(found).then(|| round(rate(entry, found), 1)),
        layers,
        expert_layers_in_ram: found.setting.experts_in_ram,
        missing: (!runs(found)).then(|| missing(found, machine)),
    }
}

/// What a way of running lacks, by device.
fn missing(found: &Assessment, machine: &Machine) -> String {
    let mut lacking: Vec<String> = vec![];
    let ram = found.memory.on(&DeviceName::cpu());
    let mut check = |what: &str, held: ByteCount, allowed: ByteCount| {
        let short = held.saturating_sub(usable(allowed));
        if short > ByteCount::ZERO {
            lacking.push(format!("{short} more of {what} (takes {held}, models may use {allowed})"));
        }
    };
    for device in &machine.accelerators {
        check(device.device.as_str(), found.memory.on(&device.device), device.memory);
    }
    let unified = machine.accelerators.iter().any(|device| device.unified);
    let in_ram = if unified { ram + found.memory.on_accelerators() } else { ram };
    check("RAM", in_ram, machine.ram);
    match found.mode {
        _ if !lacking.is_empty() => lacking.join("; "),
        RunMode::Moe | RunMode::CpuOffload if unified => {
            "the accelerator's memory is the system's: nothing is won".to_owned()
        }
        // Wholly on accelerators it fits: a part of it elsewhere is for models that do not.
        _ => "not needed: it fits on the accelerators".to_owned(),
    }
}

/// The share that models are given, of what there is.
fn usable(all: ByteCount) -> ByteCount {
    ByteCount::bytes(all.as_u64() / 100 * 98)
}

/// What would run it, whatever is here.
fn elsewhere(
    candidate: &Candidate,
    machine: &Machine,
    terms: &Terms,
    target_tps: Option<f64>,
    entry: &Entry,
) -> PlanHardware {
    let endless = ByteCount::bytes(1 << 50);
    let with = |memory: ByteCount, bandwidth: f64, flops: f64, backend: Backend| {
        let accelerator = Accelerator {
            device: DeviceName::new("GPU0"),
            backend,
            memory,
            unified: false,
            bandwidth: Some(bandwidth),
            flops: Some(flops),
            link: None,
        };
        Machine { ram: endless, cpu: machine.cpu.clone(), accelerators: vec![accelerator] }
    };
    let on = |machine: &Machine, mode| fit::assess(candidate, machine, &Terms { mode: Some(mode), ..*terms });
    let large = on(&with(endless, 1e12, 1e14, Backend::Cuda), RunMode::Gpu);
    let vram = large.as_ref().map_or(ByteCount::ZERO, |found| found.memory.on_accelerators());
    let ram = on(&Machine { ram: endless, cpu: machine.cpu.clone(), accelerators: vec![] }, RunMode::CpuOnly);
    let ram = ram.map_or(ByteCount::ZERO, |found| found.memory.total());
    let bandwidth = target_tps.zip(large.as_ref()).and_then(|(target, found)| {
        let basis = &found.speed.basis;
        let left = 1.0 / target - basis.overhead;
        let bytes = basis.weights_read + basis.kv_read;
        (left > 0.0 && basis.efficiency > 0.0).then(|| round(bytes / left / basis.efficiency / 1e9, 0))
    });
    let mut enough: Vec<(ByteCount, f64, &str)> = parts::all()
        .iter()
        .flat_map(|part| part.memory.iter().map(move |memory| (*memory, part)))
        .filter(|(memory, part)| {
            usable(*memory) >= vram
                && on(&with(*memory, part.bandwidth, part.fp16, part.backend), RunMode::Gpu)
                    .is_some_and(|found| runs(&found) && target_tps.is_none_or(|target| rate(entry, &found) >= target))
        })
        .map(|(memory, part)| (memory, part.bandwidth, part.name))
        .collect();
    enough.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    enough.dedup_by_key(|(memory, ..)| *memory);
    PlanHardware {
        vram_gb: gib(vram),
        ram_gb: gib(ram),
        bandwidth_gbps: bandwidth,
        accelerators: enough
            .into_iter()
            .take(ACCELERATORS_NAMED)
            .map(|(memory, _, name)| format!("{name} ({memory})"))
            .collect(),
    }
}

/// What would make room, or would make it faster, the cheapest first.
fn suggestions(
    candidate: &Candidate,
    quantizations: &[Quantization],
    machine: &Machine,
    terms: &Terms,
    elsewhere: &PlanHardware,
    best: Option<&Assessment>,
) -> Vec<String> {
    let wholly = best.is_some_and(|best| best.mode == RunMode::Gpu);
    if wholly || (best.is_some() && machine.accelerators.is_empty()) {
        return vec![];
    }
    let mode = if machine.accelerators.is_empty() { RunMode::CpuOnly } else { RunMode::Gpu };
    let place = if mode == RunMode::Gpu { "the accelerators" } else { "RAM" };
    let fits = |terms: Terms| fit::assess(candidate, machine, &Terms { mode: Some(mode), ..terms }).filter(runs);
    let mut suggestions = vec![];
    if terms.cache_type == CacheType::F16
        && let Some(found) = fits(Terms { cache_type: CacheType::Q8_0, ..*terms })
    {
        suggestions.push(format!("a q8_0 cache: all of it then fits on {place} with {}", found.required));
    }
    if let Some(found) =
        fits(Terms { context_fixed: false, ..*terms }).filter(|found| found.context < terms.context_max)
    {
        suggestions.push(format!("a context of {} tokens: all of it then fits on {place}", found.context));
    }
    if let Some(found) = fits(Terms { variant: None, ..*terms }).filter(|found| Some(found.variant) != terms.variant) {
        suggestions.push(format!(
            "{} in place of {}: all of it then fits on {place} with {}",
            quantizations[found.variant].as_str(),
            quantizations[terms.variant.unwrap_or(0)].as_str(),
            found.required
        ));
    }
    let (needed, there, what) = match mode {
        RunMode::CpuOnly => (elsewhere.ram_gb, gib(machine.ram), "RAM"),
        _ => (
            elsewhere.vram_gb,
            gib(machine.accelerators.iter().map(|device| device.memory).sum()),
            "accelerator memory",
        ),
    };
    let more = needed / 0.98 - there;
    if more > 0.0 {
        suggestions.push(format!("{more:.1} GiB more of {what}: all of it then fits there"));
    }
    suggestions
}
