//! How every model of the book fits one machine: reckoned once, asked often.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::OnceLock;

use api::{EstimateBasis, FitRow, GgufSource, ScoreComponents};
use fit::speed::Engine;
use fit::{Assessment, FitLevel, Machine, RunMode};
use types::{Backend, ByteCount};

use crate::book::{Book, Entry, capability_word, use_case_words};
use crate::machine::{gib, round};
use crate::query::{Query, Sort, Terms};

/// Memory of accelerators from which on vLLM is reckoned with unasked.
const VLLM_MEMORY_MIN: ByteCount = ByteCount::gib(128);

/// What is known of models beyond the catalogue: what is here, and how fast it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Models on this machine by the last part of their names, in lower case, and how fast each quantisation ran, tok/s.
    pub installed: HashMap<String, Vec<(String, Option<f64>)>>,
}

impl Known {
    /// How fast a model ran here in this quantisation, tok/s.
    pub fn speed(&self, model: &str, quantization: &str) -> Option<f64> {
        let last = model.rsplit('/').next().unwrap_or_default().to_lowercase();
        let same = |(label, _): &&(String, Option<f64>)| label.eq_ignore_ascii_case(quantization);
        self.installed.get(&last)?.iter().find(same)?.1
    }

    /// The same of another machine, which has run nothing.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        self.installed.values_mut().flatten().for_each(|(_, tps)| *tps = None);
        self
    }
}

/// How every model fits.
#[derive(Debug)]
pub struct Analysis {
    /// In the book's order.
    rows: Vec<Row>,
    /// Indices into `rows`, the best first.
    order: Vec<usize>,
}

/// How one model fits.
#[derive(Debug)]
pub struct Row {
    /// Its place in the book.
    entry: usize,
    assessment: Assessment,
    tps: f64,
    measured: bool,
    installed: bool,
    wire: OnceLock<FitRow>,
}

impl Analysis {
    /// Reckons with every model of the book.
    pub fn of(book: &Book, machine: &Machine, terms: &Terms, known: &Known) -> Self {
        let terms_of = |engine| fit::Terms {
            context_max: terms.max_context.unwrap_or(fit::CONTEXT_DEFAULT),
            engine: Some(engine),
            ..fit::Terms::default()
        };
        let terms: Vec<fit::Terms> = engines(machine, terms.runtime).into_iter().map(terms_of).collect();
        let mut rows = Vec::with_capacity(book.len());
        for (index, entry) in book.entries().iter().enumerate() {
            let found = terms.iter().filter_map(|terms| fit::assess(&entry.candidate, machine, terms));
            // Of equals the engine named first.
            let best = found.reduce(|best, other| if other.score > best.score { other } else { best });
            rows.extend(best.map(|assessment| Row::new(index, entry, assessment, known)));
        }
        // Rows are large and stay where they are.
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|&a, &b| {
            let (a, b): (&Row, &Row) = (&rows[a], &rows[b]);
            let runs = |row: &Row| row.assessment.level == FitLevel::TooTight;
            let name = |row: &Row| &book.entries()[row.entry].model.id;
            runs(a)
                .cmp(&runs(b))
                .then(b.assessment.score.total_cmp(&a.assessment.score))
                .then(b.assessment.components.quality.total_cmp(&a.assessment.components.quality))
                .then_with(|| name(a).cmp(name(b)))
        });
        Self { rows, order }
    }

    /// The best first.
    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().map(|&index| &self.rows[index])
    }

    /// The rows that pass the filters in the order that is wanted, and how many there are without limit and offset.
    pub fn list<'a>(&'a self, book: &'a Book, query: &Query) -> (usize, Vec<&'a Row>) {
        let mut found: Vec<&Row> = self.rows().filter(|row| passes(row, &book.entries()[row.entry], query)).collect();
        // Rows come by score already, and a stable sort keeps that among equals.
        if query.sort != Sort::Score {
            found.sort_by(|a, b| {
                let tight = |row: &Row| row.assessment.level == FitLevel::TooTight;
                tight(a).cmp(&tight(b)).then_with(|| by(query.sort, (b, entry(book, b)), (a, entry(book, a))))
            });
        }
        let total = found.len();
        let shown = found.into_iter().skip(query.offset).take(query.limit.unwrap_or(usize::MAX)).collect();
        (total, shown)
    }

    /// The row of the model with this id.
    pub fn row(&self, book: &Book, id: &str) -> Option<&Row> {
        self.rows().find(|row| entry(book, row).model.id == id)
    }
}

/// Engines that a machine can use, the one that snug prefers first; only `meant`, if one is.
///
/// vLLM keeps all of a model on accelerators and serves many at once: it is for machines with much of their memory.
fn engines(machine: &Machine, meant: Option<Engine>) -> Vec<Engine> {
    let backend = machine.accelerators.first().map(|device| device.backend);
    let all: ByteCount = machine.accelerators.iter().filter(|device| !device.unified).map(|device| device.memory).sum();
    let large = all >= VLLM_MEMORY_MIN && matches!(backend, Some(Backend::Cuda | Backend::Rocm | Backend::Ascend));
    let usable = [
        (Engine::LlamaCpp, true),
        (Engine::Mlx, backend == Some(Backend::Metal)),
        // Asked for by name, it is reckoned with on any accelerator that it runs on.
        (Engine::Vllm, large || (meant.is_some() && matches!(backend, Some(Backend::Cuda | Backend::Rocm)))),
    ];
    usable
        .into_iter()
        .filter(|(engine, usable)| *usable && meant.is_none_or(|meant| meant == *engine))
        .map(|(engine, _)| engine)
        .collect()
}

fn entry<'a>(book: &'a Book, row: &Row) -> &'a Entry {
    &book.entries()[row.entry]
}

fn passes(row: &Row, entry: &Entry, query: &Query) -> bool {
    query.min_fit.shows(row.assessment.level)
        && query.use_case.is_none_or(|category| category == entry.category)
        && query.provider.as_ref().is_none_or(|part| entry.model.provider.to_lowercase().contains(part))
        && query.search.iter().all(|word| entry.text.contains(word))
        && (query.licenses.is_empty() || query.licenses.contains(&entry.model.license.to_lowercase()))
}

/// The smaller first, but uses by name: callers turn the others round.
fn by(sort: Sort, (a, of_a): (&Row, &Entry), (b, of_b): (&Row, &Entry)) -> Ordering {
    match sort {
        Sort::Score => a.assessment.score.total_cmp(&b.assessment.score),
        Sort::Tps => a.tps.total_cmp(&b.tps),
        Sort::Params => of_a.model.parameters.cmp(&of_b.model.parameters),
        Sort::Memory => a.assessment.share().total_cmp(&b.assessment.share()),
        Sort::Context => of_a.model.context.cmp(&of_b.model.context),
        Sort::Date => of_a.model.released.cmp(&of_b.model.released),
        Sort::UseCase => of_b.category.as_str().cmp(of_a.category.as_str()),
    }
}

impl Row {
    fn new(index: usize, entry: &Entry, assessment: Assessment, known: &Known) -> Self {
        let here = known.installed.get(&entry.name);
        let by_llama_cpp = entry.candidate.variants[assessment.variant].engine == Engine::LlamaCpp;
        let measured = (here.is_some() && by_llama_cpp)
            .then(|| known.speed(&entry.model.id, entry.quantizations[assessment.variant].as_str()))
            .flatten();
        let tps = measured.unwrap_or_else(|| fit::rate(entry.model.use_case, &assessment.speed));
        Self {
            entry: index,
            tps: if assessment.level == FitLevel::TooTight { 0.0 } else { tps },
            measured: measured.is_some(),
            installed: here.is_some(),
            assessment,
            wire: OnceLock::new(),
        }
    }

    /// As the fit API shows it.
    pub fn wire(&self, book: &Book, machine: &Machine) -> &FitRow {
        self.wire.get_or_init(|| self.make(entry(book, self), machine))
    }

    fn make(&self, entry: &Entry, machine: &Machine) -> FitRow {
        let Entry { model, candidate, .. } = entry;
        let found = &self.assessment;
        let variant = &candidate.variants[found.variant];
        let runs = found.level != FitLevel::TooTight;
        let memory = |kind: fn(&types::DeviceMemory) -> ByteCount| gib(found.memory.0.values().map(kind).sum());
        let in_ram = found.memory.on(&types::DeviceName::cpu());
        let billions = |count: u64| {
            #[expect(clippy::cast_precision_loss, reason = "shown with three decimals")]
            round(count as f64 / 1e9, 3)
        };
        let basis = &found.speed.basis;
        let gigabytes = |bytes_per_second: f64| round(bytes_per_second / 1e9, 1);
        let on_cpu = matches!(found.mode, RunMode::Moe | RunMode::CpuOffload | RunMode::CpuOnly);
        FitRow {
            name: model.id.clone(),
            provider: model.provider.clone(),
            parameter_count: entry.parameter_count.clone(),
            params_b: billions(model.parameters),
            active_params_b: billions(model.parameters_active),
            context_length: model.context,
            usable_context: found.usable_context,
            effective_context_length: found.context,
            use_case: use_case_words(model.use_case).to_owned(),
            category: entry.category.label().to_owned(),
            release_date: stated(&model.released),
            is_moe: candidate.is_moe,
            fit_level: found.level.as_str().to_owned(),
            fit_label: found.level.label().to_owned(),
            run_mode: found.mode.as_str().to_owned(),
            run_mode_label: found.mode.label().to_owned(),
            score: round(found.score, 1),
            score_components: ScoreComponents {
                quality: round(found.components.quality, 1),
                speed: round(found.components.speed, 1),
                fit: round(found.components.fit, 1),
                context: round(found.components.context, 1),
            },
            estimated_tps: round(self.tps, 1),
            estimated_tps_range: if self.measured {
                [round(self.tps, 1), round(self.tps, 1)]
            } else {
                let scale = if found.speed.decode_tps > 0.0 { self.tps / found.speed.decode_tps } else { 0.0 };
                [found.speed.decode_low, found.speed.decode_high].map(|tps| round(tps * scale, 1))
            },
            prefill_tps: runs.then(|| round(found.speed.prefill_tps, 1)),
            ttft_ms: runs.then(|| round(found.speed.ttft * 1e3, 1)),
            runtime: variant.engine.as_str().to_owned(),
            runtime_label: variant.engine.label().to_owned(),
            best_quant: Some(entry.quantizations[found.variant].as_str().to_owned()),
            memory_required_gb: gib(found.required),
            memory_available_gb: gib(found.available),
            moe_offloaded_gb: (found.mode == RunMode::Moe).then(|| gib(in_ram)),
            utilization_pct: round((found.share() * 100.0).min(99_999.9), 1),
            disk_size_gb: gib(variant.facts.weights()),
            notes: notes(entry, found, machine),
            gguf_sources: entry
                .gguf_repositories()
                .map(|repo| GgufSource {
                    provider: repo.split('/').next().unwrap_or_default().to_owned(),
                    repo: repo.to_owned(),
                })
                .collect(),
            capabilities: model.capabilities.iter().map(|&one| capability_word(one).to_owned()).collect(),
            license: stated(&model.license),
            installed: self.installed,
            estimate_basis: EstimateBasis {
                method: if self.measured { "measured" } else { "roofline" }.to_owned(),
                weights_gb: memory(|held| held.model),
                kv_cache_gb: memory(|held| held.kv),
                overhead_gb: memory(|held| held.compute),
                gpu_bandwidth_gbps: machine
                    .accelerators
                    .first()
                    .and_then(|device| device.bandwidth)
                    .filter(|_| found.mode != RunMode::CpuOnly)
                    .map(gigabytes),
                ram_bandwidth_gbps: on_cpu.then(|| gigabytes(machine.cpu.bandwidth)),
                efficiency: round(basis.efficiency, 3),
                read_per_token_gb: round((basis.weights_read + basis.kv_read) / f64::from(1 << 30), 3),
                evaluations: candidate.quality.evaluations,
            },
            estimate_confidence: if self.measured { "measured" } else { found.speed.confidence.as_str() }.to_owned(),
        }
    }
}

/// A text, if there is one.
fn stated(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// What a person should know.
fn notes(entry: &Entry, found: &Assessment, machine: &Machine) -> Vec<String> {
    let mut notes = vec![];
    let layers = entry.candidate.variants[found.variant].facts.layer_count();
    let offloaded: u32 = found.setting.offload.iter().map(|(_, layers)| layers).sum();
    if found.level == FitLevel::TooTight {
        let pool = if found.mode == RunMode::CpuOnly { "RAM" } else { "accelerator memory" };
        notes.push(format!(
            "does not run here: even {} with {} tokens of context takes {} of {pool}, models may use {}",
            entry.quantizations[found.variant].as_str(),
            found.context,
            found.required,
            found.available
        ));
        return notes;
    }
    match found.mode {
        RunMode::Moe => notes.push(format!(
            "the routed experts of {} of {layers} layers lie in RAM, all else on the accelerator",
            found.setting.experts_in_ram
        )),
        RunMode::CpuOffload => {
            notes.push(format!("{offloaded} of {layers} layers on the accelerator, the others in RAM"))
        }
        RunMode::CpuOnly if !machine.accelerators.is_empty() => {
            notes.push("does not fit on the accelerator: runs on the CPU".to_owned());
        }
        RunMode::CpuOnly => notes.push("no accelerator: runs on the CPU".to_owned()),
        RunMode::Gpu if offloaded > 0 && machine.accelerators.len() > 1 => {
            notes.push(format!("split over {} accelerators", machine.accelerators.len()));
        }
        RunMode::Gpu => {}
    }
    if found.usable_context < entry.model.context {
        notes.push(format!("{} of its {} tokens of context fit", found.usable_context, entry.model.context));
    }
    let is_local = entry.model.repositories.is_empty();
    if !is_local
        && entry.candidate.variants[found.variant].engine == Engine::LlamaCpp
        && entry.gguf_repositories().next().is_none()
    {
        notes.push("no GGUF repository is known: convert and quantise it yourself".to_owned());
    }
    if is_local {
        notes.push("read from its files; its quality is not known".to_owned());
    } else if entry.candidate.quality.evaluations == 0 {
        notes.push("no public evaluation is known: quality is judged by size and age".to_owned());
    }
    notes
}
