//! What the fit API answers from: the machine as it is now, the book of models, and what was reckoned with them.
//!
//! All that belongs to one state of the machine is one immutable [`State`]; a task makes a new one when something that
//! matters has changed. A request reads the state and what was kept in it; only a question that nobody asked before is
//! reckoned out, on a thread for such work. Looking at the machine and reading the catalogue take a moment after the
//! start; who asks earlier waits for it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use advisor::{Analysis, Book, Known, Query, Terms};
use api::{
    Concurrency, FitRow, Installed, InstalledModel, NodeName, PlanAnswer, PlanRequest, Runtime, Runtimes, SystemAnswer,
};
use arc_swap::ArcSwap;
use fit::Machine;
use fit::speed::Engine;
use hardware::{CardMemory, OverrideError, Overrides, Settings, System, Watch};
use lru::LruCache;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{Backend, ByteCount, DeviceName, MemoryUse};

use crate::fit_api::Refusal;
use crate::kept::Kept;
use crate::{catalogue, engine_program};

/// Sets of terms whose analysis is kept.
const ANALYSES_KEPT: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");
/// Answers that are kept; the largest is some megabytes.
const ANSWERS_KEPT: NonZeroUsize = NonZeroUsize::new(16).expect("16 is not 0");
/// A device's memory must have changed by so much, or by a fiftieth, for everything to be reckoned anew.
const CHANGE_LEAST: ByteCount = ByteCount::mib(256);

/// What the adviser is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where what is measured once is kept, and where additions to the catalogue lie.
    pub(crate) data_dir: PathBuf,
    /// The engine program, if there is one.
    pub(crate) llama_server: Option<PathBuf>,
    /// Accelerator memory that models may use together; all there is unless stated.
    pub(crate) memory: Option<ByteCount>,
    /// What single accelerators of this machine are said to have, by their number.
    pub(crate) vram: BTreeMap<u32, ByteCount>,
    /// Interfaces by which accelerators are used, the preferred first.
    pub(crate) backends: Vec<Backend>,
    /// System memory that models may use together; what can be spared unless stated.
    pub(crate) ram: Option<ByteCount>,
    /// Cores in place of those there are.
    pub(crate) cpu_cores: Option<u32>,
    /// Another machine to give advice for.
    pub(crate) simulate: Option<System>,
    /// Largest context reckoned with where a question names none, tokens.
    pub(crate) max_context: Option<u64>,
}

/// The adviser of a server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Advice {
    config: Arc<Config>,
    node: node::Handle,
    ready: watch::Receiver<Option<Arc<Ready>>>,
}

/// What there is once the machine was looked at and the catalogue read.
struct Ready {
    book: Book,
    hardware: Watch,
    state: ArcSwap<State>,
    /// Who may reckon now: as many as there are cores. The others wait, and may find it done.
    turns: Semaphore,
}

/// The machine at one moment, and what was reckoned for it.
struct State {
    machine: Machine,
    system: Arc<System>,
    /// What our models hold of it.
    held: MemoryUse,
    known: Known,
    analyses: Mutex<LruCache<String, Arc<Analysed>>>,
    answers: Mutex<LruCache<String, Kept>>,
}

/// How every model fits a machine, and which machine that was.
struct Analysed {
    analysis: Analysis,
    system: Arc<System>,
    machine: Machine,
}

impl Advice {
    /// Begins to look at the machine and to read the catalogue, and follows machine and node from then on, in tasks of
    /// `tracker` until `stop`.
    pub(crate) fn start(config: Config, node: node::Handle, tracker: &TaskTracker, stop: CancellationToken) -> Self {
        let (publish, ready) = watch::channel(None);
        let advice = Self { config: Arc::new(config), node, ready };
        let (follower, looks) = (advice.clone(), tracker.clone());
        tracker.spawn(async move {
            let living = follower.live(publish, &looks, stop.clone());
            // What it does between two waits leaves nothing half done.
            tokio::select! {
                () = stop.cancelled() => {}
                () = living => {}
            }
        });
        advice
    }

    async fn live(&self, publish: watch::Sender<Option<Arc<Ready>>>, tracker: &TaskTracker, stop: CancellationToken) {
        let data_dir = self.config.data_dir.clone();
        let book = tokio::task::spawn_blocking(move || {
            let (catalogue, notes) = catalogue::with_additions(&data_dir);
            for note in notes {
                tracing::warn!("{note}");
            }
            Book::new(catalogue.models())
        });
        let hardware = match self.look(tracker, stop).await {
            Ok(hardware) => hardware,
            Err(error) => {
                tracing::error!(%error, "cannot tell what this machine has; the fit API does not answer");
                return;
            }
        };
        let book = book.await.expect("reading the embedded catalogue does not panic");
        let state = ArcSwap::from_pointee(State::of(hardware.system(), &self.node, &self.config));
        let (mut machine, mut node) = (hardware.changes(), self.node.view());
        let ready = Arc::new(Ready { book, hardware, state, turns: Semaphore::new(cores()) });
        publish.send_replace(Some(Arc::clone(&ready)));
        loop {
            // Reckoned before anybody asks.
            let state = ready.state.load_full();
            let _kept = ready.analysed(&state, &Terms::default(), &self.config).await;
            drop(state);
            // Both arms only wait for a change, and miss none when cancelled. A simulated machine never changes; the
            // node outlives neither `stop` nor us.
            tokio::select! {
                Ok(()) = machine.changed() => {}
                changed = node.changed() => if changed.is_err() {
                    return;
                },
            }
            node.mark_unchanged();
            let fresh = State::of(Arc::clone(&machine.borrow_and_update()), &self.node, &self.config);
            if fresh.differs_from(&ready.state.load()) {
                ready.state.store(Arc::new(fresh));
            }
        }
    }

    /// The machine that advice is for, with what its owner says of it.
    async fn look(&self, tracker: &TaskTracker, stop: CancellationToken) -> Result<Watch, OverrideError> {
        let Config { data_dir, memory, vram, ram, cpu_cores, simulate, .. } = &*self.config;
        let said = Overrides { memory: None, ram: *ram, cpu_cores: *cpu_cores };
        if let Some(system) = simulate {
            return Ok(Watch::of(with_memory(said.apply(system)?, *memory)?));
        }
        let settings = Settings {
            overrides: said,
            vram: vram.clone(),
            bandwidth_folder: Some(data_dir.clone()),
            ..Settings::here()
        };
        let looking = stop.child_token();
        let hardware = Watch::start(settings.clone(), tracker, looking.clone()).await?;
        match memory {
            // Said of a machine without any, it has one; of one with some, it is what models may use together.
            Some(each) if hardware.system().accelerators.is_empty() => {
                looking.cancel();
                let memory = Some(CardMemory { count: None, each: *each });
                Watch::start(Settings { overrides: Overrides { memory, ..said }, ..settings }, tracker, stop).await
            }
            _ => Ok(hardware),
        }
    }

    /// Waits until machine and catalogue are known.
    async fn ready(&self) -> Result<Arc<Ready>, Refusal> {
        let mut ready = self.ready.clone();
        let known = ready.wait_for(Option::is_some).await;
        known.ok().and_then(|ready| ready.clone()).ok_or_else(|| {
            Refusal::unavailable("this machine could not be looked at, or the server is stopping; its log says more")
        })
    }

    /// The machine that is looked at, and can be looked at again.
    pub(crate) async fn hardware(&self) -> Result<Watch, Refusal> {
        Ok(self.ready().await?.hardware.clone())
    }

    /// `GET /api/v1/system`: as it is now.
    pub(crate) async fn system(&self, terms: &Terms) -> Result<SystemAnswer, Refusal> {
        let system = self.ready().await?.hardware.system();
        match terms.overrides() {
            Some(overrides) => Ok(system_answer(&overrides.apply(&system)?)),
            None => Ok(system_answer(&system)),
        }
    }

    /// A list of models, as it is kept or made now.
    pub(crate) async fn list(&self, query: Query) -> Result<Kept, Refusal> {
        self.ready().await?.list(query, &self.config).await
    }

    /// What a model takes here.
    pub(crate) async fn plan(&self, request: PlanRequest) -> Result<PlanAnswer, Refusal> {
        let ready = self.ready().await?;
        let terms = advisor::plan_terms(&request)?;
        let state = ready.state.load_full();
        let machine = state.machine_with(&terms, &self.config)?;
        // Many accelerators are tried: some milliseconds.
        let reckoning = Arc::clone(&ready);
        let _turn = reckoning.turn().await;
        let made = tokio::task::spawn_blocking(move || advisor::plan(&ready.book, &machine, &request));
        let advisor::Plan { mut answer, memory } = made.await.expect("planning does not panic")?;
        // What ran here is known better than it can be reckoned.
        let is_this_machine = terms.overrides().is_none() && self.config.simulate.is_none();
        let measured = state.known.speed(&answer.model, &answer.quant).filter(|_| is_this_machine);
        if let (Some(tps), Some(here)) = (measured, &mut answer.here) {
            here.estimated_tps = Some(tps);
            answer.feasible = answer.target_tps.is_none_or(|target| tps >= target);
            answer.paths.iter_mut().filter(|path| path.run_mode == here.run_mode).for_each(|path| {
                path.estimated_tps = Some(tps);
            });
        }
        if let Some(need) = memory.filter(|_| is_this_machine) {
            let leave = self.node.view().borrow().would_leave(&need);
            answer.would_leave = leave.iter().map(ToString::to_string).collect();
        }
        Ok(answer)
    }

    /// How many requests at once fit.
    pub(crate) async fn concurrency(&self, parameters: &[(String, String)]) -> Result<Concurrency, Refusal> {
        let ready = self.ready().await?;
        let terms = advisor::plan_terms(&advisor::plan_request(parameters)?)?;
        let machine = ready.state.load().machine_with(&terms, &self.config)?;
        Ok(advisor::concurrency(&ready.book, &machine, parameters)?)
    }

    /// Repositories of the hub that hold GGUF files of a model of the catalogue; none before that is read.
    pub(crate) fn gguf_repositories(&self, name: &str) -> Vec<String> {
        self.ready.borrow().as_ref().map(|ready| ready.book.gguf_repositories(name)).unwrap_or_default()
    }

    /// Engines, and whether they are here.
    pub(crate) fn runtimes(&self) -> Runtimes {
        let found = [
            (Engine::LlamaCpp, self.config.llama_server.clone()),
            (Engine::Mlx, engine_program::on_path("mlx-openai-server")),
            (Engine::Vllm, engine_program::on_path("vllm")),
        ];
        let runtimes = found.map(|(engine, path)| Runtime {
            name: engine.as_str().to_owned(),
            label: engine.label().to_owned(),
            installed: path.is_some(),
            path: path.map(|path| path.display().to_string()),
        });
        Runtimes { runtimes: runtimes.to_vec(), warnings: vec![] }
    }

    /// Models that are here.
    pub(crate) async fn installed(&self) -> Result<Installed, Refusal> {
        let ready = self.ready().await?;
        let view = self.node.view().borrow().clone();
        let models = view.library.models().filter(is_here).map(|model| InstalledModel {
            name: model.key.id.as_str().to_owned(),
            variant: model.key.variant.as_str().to_owned(),
            runtime: Engine::LlamaCpp.as_str().to_owned(),
            catalog_model: ready.book.named(model.key.id.as_str()).map(str::to_owned),
            disk_size_gb: advisor::gib(model.size),
        });
        let problem =
            |model: &Arc<node::Model>| model.problem.as_ref().map(|problem| format!("{}: {problem}", model.key));
        let warnings = view.library.models().filter(|model| model.provider.is_local()).filter_map(problem).collect();
        Ok(Installed { models: models.collect(), warnings })
    }
}

/// Whether a model's files are on this machine.
fn is_here(model: &&Arc<node::Model>) -> bool {
    model.is_of_files() && model.present
}

impl Ready {
    async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("nobody closes it")
    }

    async fn list(self: &Arc<Self>, query: Query, config: &Config) -> Result<Kept, Refusal> {
        let state = self.state.load_full();
        let key = format!("{query:?}");
        let kept = || lock(&state.answers).get(&key).cloned();
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let _turn = self.turn().await;
        if let Some(kept) = kept() {
            return Ok(kept);
        }
        let analysed = self.analysed(&state, &query.terms, config).await?;
        let ready = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || analysed.answer(&ready.book, &query));
        let kept = made.await.expect("making an answer does not panic");
        lock(&state.answers).put(key, kept.clone());
        Ok(kept)
    }

    async fn analysed(
        self: &Arc<Self>,
        state: &Arc<State>,
        terms: &Terms,
        config: &Config,
    ) -> Result<Arc<Analysed>, Refusal> {
        let terms = Terms { max_context: terms.max_context.or(config.max_context), ..terms.clone() };
        let key = format!("{terms:?}");
        if let Some(analysed) = lock(&state.analyses).get(&key) {
            return Ok(Arc::clone(analysed));
        }
        let system = match terms.overrides() {
            Some(overrides) => Arc::new(overrides.apply(&state.system)?),
            None => Arc::clone(&state.system),
        };
        let machine = state.machine_with(&terms, config)?;
        let known = state.known.clone();
        let known = if terms.overrides().is_some() { known.elsewhere() } else { known };
        let ready = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || Analysed {
            analysis: Analysis::of(&ready.book, &machine, &terms, &known),
            system,
            machine,
        });
        let analysed = Arc::new(made.await.expect("reckoning does not panic"));
        lock(&state.analyses).put(key, Arc::clone(&analysed));
        Ok(analysed)
    }
}

impl Analysed {
    fn answer(&self, book: &Book, query: &Query) -> Kept {
        let (total, rows) = self.analysis.list(book, query);
        let rows: Vec<&FitRow> = rows.into_iter().map(|row| row.wire(book, &self.machine)).collect();
        Kept::json(json(&node_name(&self.system), &advisor::system_info(&self.system), total, query, &rows))
    }
}

impl State {
    fn of(system: Arc<System>, node: &node::Handle, config: &Config) -> Self {
        let view = node.view().borrow().clone();
        let mut held = MemoryUse::default();
        for instance in &view.instances {
            for (device, memory) in instance.holds().0 {
                held.entry(device).model += memory.total();
            }
        }
        // Weights that are only kept ready leave for whatever is loaded.
        for weights in &view.ready {
            held.entry(DeviceName::cpu()).model += weights.locked;
        }
        let mut known = Known::default();
        for model in view.library.models().filter(is_here) {
            let variants = known.installed.entry(model.key.id.as_str().to_lowercase()).or_default();
            variants.push((model.key.variant.as_str().to_owned(), node.speed_of(&model.key)));
        }
        if config.simulate.is_some() {
            known = known.elsewhere();
        }
        Self {
            machine: limited(advisor::machine(&system, &held), config),
            system,
            held,
            known,
            analyses: Mutex::new(LruCache::new(ANALYSES_KEPT)),
            answers: Mutex::new(LruCache::new(ANSWERS_KEPT)),
        }
    }

    /// The machine, with other hardware where that is meant.
    fn machine_with(&self, terms: &Terms, config: &Config) -> Result<Machine, OverrideError> {
        match terms.overrides() {
            Some(overrides) => Ok(limited(advisor::machine(&overrides.apply(&self.system)?, &self.held), config)),
            None => Ok(self.machine.clone()),
        }
    }

    /// Whether what was reckoned for the one does not hold for the other.
    fn differs_from(&self, other: &Self) -> bool {
        let moved = |a: ByteCount, b: ByteCount| {
            let change = a.saturating_sub(b).max(b.saturating_sub(a));
            change > CHANGE_LEAST.max(ByteCount::bytes(b.as_u64() / 50))
        };
        let (a, b) = (&self.machine, &other.machine);
        let accelerators = a.accelerators.len() != b.accelerators.len()
            || a.accelerators
                .iter()
                .zip(&b.accelerators)
                .any(|(a, b)| a.device != b.device || a.backend != b.backend || moved(a.memory, b.memory));
        accelerators || moved(a.ram, b.ram) || a.cpu != b.cpu || self.known != other.known
    }
}

/// Of a machine without accelerators, one that has one with so much memory.
fn with_memory(system: System, memory: Option<ByteCount>) -> Result<System, OverrideError> {
    match memory {
        Some(each) if system.accelerators.is_empty() => {
            Overrides { memory: Some(CardMemory { count: None, each }), ..Overrides::default() }.apply(&system)
        }
        _ => Ok(system),
    }
}

/// What the owner of the machine allows models.
fn limited(mut machine: Machine, config: &Config) -> Machine {
    // Where the CPU is preferred to what is there, engines are kept from accelerators.
    let is_there =
        |backend: &&Backend| backend.is_cpu() || machine.accelerators.iter().any(|device| device.backend == **backend);
    if config.backends.iter().find(is_there).is_some_and(|backend| backend.is_cpu()) {
        machine.accelerators.clear();
    }
    if let Some(ram) = config.ram {
        machine.ram = machine.ram.min(ram);
    }
    let all: ByteCount = machine.accelerators.iter().map(|device| device.memory).sum();
    if let Some(memory) = config.memory.filter(|memory| *memory < all) {
        for device in &mut machine.accelerators {
            let share = u128::from(memory.as_u64()) * u128::from(device.memory.as_u64()) / u128::from(all.as_u64());
            device.memory = u64::try_from(share).map_or(device.memory, ByteCount::bytes);
        }
    }
    machine
}

/// What is shown of a machine.
pub(crate) fn system_answer(system: &System) -> SystemAnswer {
    SystemAnswer {
        node: node_name(system),
        system: advisor::system_info(system),
        notes: system.notes.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn node_name(system: &System) -> NodeName {
    NodeName { name: system.node_name.clone(), os: system.os.clone() }
}

/// An answer with rows that were made before.
fn json(node: &NodeName, system: &api::SystemInfo, total: usize, query: &Query, rows: &[&FitRow]) -> Vec<u8> {
    /// [`api::FitList`], borrowed.
    #[derive(serde::Serialize)]
    struct Answer<'a> {
        node: &'a NodeName,
        system: &'a api::SystemInfo,
        total_models: usize,
        returned_models: usize,
        filters: &'a api::FitFilters,
        models: &'a [&'a FitRow],
    }
    let answer =
        Answer { node, system, total_models: total, returned_models: rows.len(), filters: &query.echo, models: rows };
    serde_json::to_vec(&answer).expect("a list is plain data")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
