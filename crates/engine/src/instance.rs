//! The owner of one engine process.
//!
//! One task holds the process, its log and its record; it turns everything that happens into an
//! [`Event`](crate::lifecycle::Event), asks [`step`] what follows, and does that. What others may know is published as
//! [`Status`]; what they may want comes in through [`Handle`].

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use types::{ByteCount, FailureClass, InstanceId, InstanceState, LoadFailure, LoadPhase, MemoryUse, ModelKey};

use crate::lifecycle::{Effect, Event, Exit, Life, Patience, Phase, step};
use crate::llama_cpp::{Diagnosis, Observation};
use crate::log_file::{LogFile, LogWatch};
use crate::process::{Ended, Identity, Process, find_by_environment, resident_bytes};
use crate::prompt_cache::{PromptCache, PromptCaches};
use crate::{Adapter, Programs, Record, Records, Spec, probe, slots, stable_hash};

/// The engine's environment variable that names its instance: it finds engines whose process id was never written down.
const INSTANCE_VARIABLE: &str = "SNUG_INSTANCE";
/// Variables that would change what the command line says, or lock us out.
const ENGINE_VARIABLE_PREFIXES: &[&str] = &["LLAMA_ARG_", "LLAMA_API_KEY"];
/// While loading: how often the share that is in memory is looked at.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);
/// While loading: every so many looks the engine is probed even if its output did not say that it listens.
const PROBE_EVERY: u32 = 4;
/// How often an engine to be adopted is asked whether it serves; each has the probe's own patience.
const ADOPTION_PROBES: u32 = 3;
/// While serving: how often the size of the log is looked at.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);
/// Commands are few: a stop, and the news that nobody uses the engine any more.
const COMMANDS_MAX: usize = 8;

/// Something that is awaited beside everything else, and kept across turns.
type Awaited<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// A fresh id.
    pub id: InstanceId,
    /// The model it will serve.
    pub model: ModelKey,
    /// The context a caller asked for, for the failure report; `None` where nobody asked.
    pub context_requested: Option<u64>,
    /// The engine programs; which of them it needs, `spec` says.
    pub programs: Programs,
    /// How it is started.
    pub spec: Spec,
    /// What it is expected to hold.
    pub estimate: MemoryUse,
}

/// How instances are treated on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Time limits and restarts.
    pub patience: Patience,
    /// Size at which a log is rotated; one older generation of at most this size is kept beside it.
    pub log_size_max: ByteCount,
    /// What the prompt caches of models that left may take on disk together; nothing is kept if it is zero.
    pub prompt_cache_max: ByteCount,
}

/// Where instances keep their files.
#[derive(Clone)]
pub struct Folders {
    /// Log files, one per model.
    pub logs: PathBuf,
    /// Records for adoption.
    pub records: Records,
    /// Tells of growing logs.
    pub watch: LogWatch,
    /// What is kept of prompts while their model is not loaded.
    pub prompt_caches: PromptCaches,
}

/// What others may know of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Its state.
    pub state: InstanceState,
    /// The phase of its load while it loads.
    pub phase: Option<LoadPhase>,
    /// 0 to 1; 1 once ready.
    pub progress: f64,
    /// Its process, while one runs.
    pub pid: Option<u32>,
    /// Where it listens, while a process runs.
    pub address: Option<SocketAddr>,
    /// What it reported to hold; empty until ready.
    pub memory: MemoryUse,
    /// Tokens of context per slot; what was asked for until the engine says.
    pub context: u64,
    /// From spawn to ready.
    pub load_time: Option<Duration>,
    /// Restarts since it was last forgiven.
    pub restarts: u32,
    /// Whether it outlived an earlier snug.
    pub adopted: bool,
    /// Why it ended, if it ended by itself: the last time, also while it is being started again.
    pub failure: Option<LoadFailure>,
    /// Nothing more will happen.
    pub over: bool,
}

/// The way to an instance's owner. Dropping all handles leaves the engine running.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

#[derive(Debug)]
enum Command {
    Stop { drain: Duration },
    Drained,
    Retire,
}

impl Handle {
    /// Its status, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Ends it though nobody is in a hurry: what it holds of prompts is kept for its next start. For one that nobody
    /// uses; else see [`Handle::stop`]. Watch the status for its end.
    pub fn retire(&self) {
        self.tell(Command::Retire);
    }

    /// Ends it: requests in flight have `drain`, then TERM, then KILL. What it holds of prompts is kept if they end in
    /// time; without any time nothing is waited for. Watch the status for its end.
    pub fn stop(&self, drain: Duration) {
        self.tell(Command::Stop { drain });
    }

    /// Nobody uses it any more, so a stop need not wait longer.
    pub fn drained(&self) {
        self.tell(Command::Drained);
    }

    /// Whether its owner has ended, in whatever way.
    pub fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    fn tell(&self, command: Command) {
        // A full queue already holds a stop; a closed one belongs to an instance that is over.
        let _already_told = self.commands.try_send(command);
    }
}

/// The owner of one engine process; see the module's text.
pub struct Instance {
    launch: Launch,
    policy: Policy,
    folders: Folders,
    life: Life,
    process: Option<Process>,
    log: Option<LogFile>,
    diagnosis: Diagnosis,
    port_taken: bool,
    spawned_at: Instant,
    ready_at: Option<Instant>,
    deadline: Option<Instant>,
    probe: Option<Awaited<bool>>,
    prompt_cache: Option<PromptCache>,
    /// The prompt cache is being saved or restored.
    errand: Option<Awaited<Event>>,
    status: watch::Sender<Status>,
}

impl Instance {
    /// Starts an engine in a task of `tracker`.
    pub fn start(launch: Launch, policy: Policy, folders: Folders, tracker: &TaskTracker) -> Handle {
        let instance = Self::new(launch, policy, folders);
        instance.run(Event::Start, tracker)
    }

    /// Takes over the engine that `record` tells of, if it still runs and serves; else ends what is left of it, forgets
    /// the record and returns `None`.
    ///
    /// `programs` are what it is started again with, should it crash.
    pub async fn adopt(
        record: Record,
        programs: Programs,
        policy: Policy,
        folders: Folders,
        tracker: &TaskTracker,
    ) -> Option<Handle> {
        let identity = match record.process.clone() {
            Some(identity) => identity.is_alive().then_some(identity),
            None => find_by_environment(INSTANCE_VARIABLE, record.id.as_str()),
        };
        let process = identity.and_then(|identity| Process::adopt(identity).ok());
        let Some(mut process) = process else {
            folders.records.remove(&record.id);
            return None;
        };
        let serves = record.load_time.is_some() && answers(&record).await;
        if !serves {
            tracing::info!(
                engine.id = %record.id, model = %record.model,
                "ending an engine of an earlier snug that had not loaded its model or does not answer"
            );
            process.signal(Signal::KILL);
            let _gone = tokio::time::timeout(policy.patience.stop, process.ended()).await;
            folders.records.remove(&record.id);
            return None;
        }
        let launch = Launch {
            id: record.id,
            model: record.model,
            context_requested: None,
            programs,
            spec: record.spec,
            estimate: record.estimate,
        };
        let mut instance = Self::new(launch, policy, folders);
        instance.status.send_modify(|status| {
            status.adopted = true;
            status.address = Some(record.address);
            status.memory = record.memory;
            status.context = record.context;
            status.load_time = record.load_time;
        });
        instance.ready_at = Some(Instant::now());
        instance.log = instance.open_log().map(|(log, _)| log);
        // Had the model's file changed since its start, this would be another folder than the one it saves into.
        instance.prompt_cache = instance.prompts();
        instance.process = Some(process);
        Some(instance.run(Event::Adopted, tracker))
    }

    fn new(launch: Launch, policy: Policy, folders: Folders) -> Self {
        let launch_diagnosis = launch.spec.adapter.diagnosis();
        let (status, _) = watch::channel(Status {
            state: InstanceState::Starting,
            phase: None,
            progress: 0.0,
            pid: None,
            address: None,
            memory: MemoryUse::default(),
            context: launch.spec.context,
            load_time: None,
            restarts: 0,
            adopted: false,
            failure: None,
            over: false,
        });
        Self {
            launch,
            policy,
            folders,
            life: Life::new(),
            process: None,
            log: None,
            diagnosis: launch_diagnosis,
            port_taken: false,
            spawned_at: Instant::now(),
            ready_at: None,
            deadline: None,
            probe: None,
            prompt_cache: None,
            errand: None,
            status,
        }
    }

    fn run(mut self, first: Event, tracker: &TaskTracker) -> Handle {
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        self.handle(first);
        let handle = Handle { commands: sender, status: self.status.subscribe() };
        tracker.spawn(self.live(commands));
        handle
    }

    async fn live(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut looks: u32 = 0;
        let mut is_wanted = true;
        while !self.life.is_over() {
            let loading = matches!(self.life.phase, Phase::Loading(_));
            let look = tokio::time::sleep(if loading { PROGRESS_PERIOD } else { UPKEEP_PERIOD });
            // Every arm is cancel-safe: it waits for a state that stays (an exit, a deadline, a told growth) or for a
            // channel; a probe and an errand are kept in `self` across turns.
            let event = tokio::select! {
                command = commands.recv(), if is_wanted => match command {
                    Some(Command::Stop { drain }) => Some(Event::Stop { drain }),
                    Some(Command::Drained) => Some(Event::Drained),
                    Some(Command::Retire) => Some(Event::Retire),
                    // Nobody is left who could want anything. An engine that was told to end is seen to its end; any
                    // other is left to the next snug.
                    None if self.life.is_ending() => {
                        is_wanted = false;
                        None
                    }
                    None => return,
                },
                ended = ended(&mut self.process) => Some(self.buried(ended)),
                () = until(self.deadline) => Some(Event::Deadline),
                () = grown(self.log.as_ref()) => {
                    self.read_log();
                    None
                },
                healthy = answered(&mut self.probe) => {
                    self.probe = None;
                    (healthy && loading).then_some(Event::Healthy)
                }
                event = answered(&mut self.errand) => {
                    self.errand = None;
                    Some(event)
                }
                () = look => {
                    looks = looks.wrapping_add(1);
                    self.look(loading, looks);
                    None
                }
            };
            if let Some(event) = event {
                self.handle(event);
            }
        }
    }

    /// One event through the pure life, its effects done, the outcome published.
    fn handle(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let before = self.life;
            let (life, effects) = step(self.life, event, &self.policy.patience);
            self.life = life;
            for effect in effects {
                match effect {
                    Effect::Spawn => next = Some(self.spawn()),
                    Effect::Deadline(after) => self.deadline = Instant::now().checked_add(after),
                    Effect::DeadlineNoLaterThan(after) => {
                        let at = Instant::now().checked_add(after);
                        self.deadline = self.deadline.into_iter().chain(at).min();
                    }
                    Effect::NoDeadline => self.deadline = None,
                    Effect::Terminate => self.signal(Signal::TERM),
                    Effect::Kill => self.signal(Signal::KILL),
                    Effect::Save => next = self.save(),
                    Effect::Restore => next = self.restore(),
                }
            }
            if before.phase != life.phase {
                self.entered(before.phase, event);
            }
        }
    }

    /// What changes with the phase, beyond the effects.
    fn entered(&mut self, before: Phase, event: Event) {
        let phase = self.life.phase;
        tracing::debug!(engine.id = %self.launch.id, model = %self.launch.model, ?before, ?phase, "instance");
        if phase == Phase::Ready && before == Phase::Restoring {
            self.became_ready();
        }
        if matches!(before, Phase::Saving | Phase::Restoring) {
            self.errand = None;
            self.end_errand(before, event);
        }
        if self.life.is_over() {
            self.folders.records.remove(&self.launch.id);
            self.prompt_cache.iter().for_each(PromptCache::close);
        }
        if let Event::Deadline = event
            && let Phase::Killing(crate::lifecycle::Afterwards::Failed(class)) = phase
        {
            let limit = self.policy.patience.load.as_secs();
            self.fail(class, format!("the engine was not ready within {limit} s and was ended"));
        }
        let life = self.life;
        let process = self.process.as_ref().map(|process| process.identity().pid);
        self.status.send_modify(|status| {
            status.state = life.state();
            status.restarts = life.restarts;
            status.over = life.is_over();
            status.pid = process;
            status.phase = match life.phase {
                Phase::Loading(phase) => Some(phase),
                Phase::Restoring => Some(LoadPhase::WarmUp),
                _ => None,
            };
            status.progress = match life.phase {
                Phase::Loading(phase) => status.progress.max(progress_floor(phase)),
                Phase::Restoring => status.progress,
                Phase::Ready | Phase::Draining | Phase::Saving | Phase::Terminating => 1.0,
                _ => 0.0,
            };
            if process.is_none() {
                status.address = None;
            }
        });
    }

    /// Begins to save what the engine holds of prompts; an event if there is nothing to wait for.
    fn save(&mut self) -> Option<Event> {
        let status = self.status.borrow();
        let (Some(cache), Some(address)) = (self.prompt_cache.clone(), status.address) else {
            return Some(Event::Saved);
        };
        let tokens = status.context.saturating_mul(u64::from(self.launch.spec.slots)).max(1);
        let kv: ByteCount = status.memory.0.values().map(|memory| memory.kv).sum();
        let per_token = ByteCount::bytes(kv.as_u64().div_ceil(tokens));
        let model = self.launch.model.clone();
        self.errand = Some(Box::pin(async move {
            slots::save(model, address, cache, per_token).await;
            Event::Saved
        }));
        None
    }

    /// Begins to bring back what was kept of prompts; an event if there is nothing to wait for.
    fn restore(&mut self) -> Option<Event> {
        let address = self.status.borrow().address;
        let (Some(cache), Some(address)) = (self.prompt_cache.clone(), address) else {
            return Some(Event::Restored);
        };
        let slots = cache.found();
        if slots.is_empty() {
            return Some(Event::Restored);
        }
        let model = self.launch.model.clone();
        self.errand = Some(Box::pin(async move {
            slots::restore(model, address, cache, slots).await;
            Event::Restored
        }));
        None
    }

    /// Saving or restoring is over, by itself or because nobody waits any longer.
    fn end_errand(&self, what: Phase, event: Event) {
        let Some(cache) = &self.prompt_cache else { return };
        match (what, event) {
            (Phase::Saving, Event::Saved) | (Phase::Restoring, Event::Restored) => {}
            (Phase::Saving, _) => {
                tracing::debug!(engine.id = %self.launch.id, "left before all of its prompts were saved");
                cache.drop_unfinished();
            }
            // Too slow to be worth it.
            (_, Event::Deadline) => cache.forget_all(),
            _ => {}
        }
    }

    fn became_ready(&mut self) {
        self.read_log();
        if let Some(log) = &mut self.log {
            log.unfollow();
        }
        self.probe = None;
        self.ready_at = Some(Instant::now());
        let load_time = self.spawned_at.elapsed();
        self.status.send_modify(|status| {
            status.load_time = Some(load_time);
            status.failure = None;
        });
        self.write_record();
        let status = self.status.borrow();
        tracing::info!(
            engine.id = %self.launch.id, model = %self.launch.model, load_ms = load_time.as_millis(),
            memory = %status.memory, context = status.context, "{} is ready", self.launch.model
        );
    }

    /// Starts the process. Its event tells how that went.
    fn spawn(&mut self) -> Event {
        self.diagnosis = self.launch.spec.adapter.diagnosis();
        self.port_taken = false;
        self.ready_at = None;
        self.spawned_at = Instant::now();
        self.status.send_modify(|status| {
            status.memory = MemoryUse::default();
            status.load_time = None;
            status.adopted = false;
        });
        match self.try_spawn() {
            Ok(process) => {
                self.process = Some(process);
                self.write_record();
                Event::Spawned
            }
            Err(error) => {
                let message = format!("cannot start the engine: {error}");
                self.fail(FailureClass::BackendError, message);
                Event::SpawnFailed(FailureClass::BackendError)
            }
        }
    }

    fn try_spawn(&mut self) -> io::Result<Process> {
        let program = self.launch.programs.of(&self.launch.spec.adapter).map_err(io::Error::other)?.to_owned();
        let listen = match self.launch.spec.listen {
            Some(listen) => still_free(listen)?,
            None => free_address()?,
        };
        let address = reached_at(listen);
        self.status.send_modify(|status| status.address = Some(address));
        // Written before the process exists: should we be killed right after its start, it is found by its environment.
        self.write_record();
        self.prompt_cache = self.prompts();
        let slots_folder = self.prompt_cache.as_ref().and_then(|cache| {
            let failed = |error: &io::Error| tracing::warn!(model = %self.launch.model, %error, "prompts are not kept");
            cache.prepare().inspect_err(failed).ok()
        });
        let Launch { spec, programs, .. } = &self.launch;
        let arguments = spec.adapter.arguments(spec, programs, listen, slots_folder).map_err(io::Error::other)?;
        let mut command = tokio::process::Command::new(&program);
        command.args(arguments);
        command.stdin(Stdio::null()).process_group(0);
        command.env(INSTANCE_VARIABLE, self.launch.id.as_str());
        for (name, _) in std::env::vars_os() {
            let engines = |prefix: &&str| name.to_str().is_some_and(|name| name.starts_with(prefix));
            if ENGINE_VARIABLE_PREFIXES.iter().any(engines) {
                command.env_remove(&name);
            }
        }
        command.envs(spec.adapter.environment(spec));
        self.log = None;
        match self.open_log() {
            Some((mut log, writer)) => {
                log.follow();
                command.stdout(writer.try_clone()?).stderr(writer);
                self.log = Some(log);
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        let child =
            command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
        let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
        let identity = Identity::of(pid).unwrap_or(Identity { pid, started: String::new() });
        Ok(Process::Child { child, identity })
    }

    fn prompts(&self) -> Option<PromptCache> {
        let Launch { spec, programs, .. } = &self.launch;
        self.folders.prompt_caches.of(spec, programs.of(&spec.adapter).ok()?)
    }

    fn open_log(&self) -> Option<(LogFile, std::fs::File)> {
        let path = self.folders.logs.join(log_name(&self.launch.model));
        LogFile::open(&path, self.policy.log_size_max, &self.folders.watch)
            .inspect_err(|error| {
                tracing::warn!(log.path = %path.display(), %error, "the engine runs without a log");
            })
            .ok()
    }

    /// The process ended: what does its output say?
    fn buried(&mut self, ended: Ended) -> Event {
        self.process = None;
        self.probe = None;
        let (diagnosis, mut port_taken) = (&mut self.diagnosis, self.port_taken);
        if let Some(log) = &mut self.log {
            log.finish(|line| port_taken |= diagnosis.read(line) == Some(Observation::PortTaken));
        }
        self.log = None;
        let ready_for = self.ready_at.map(|at| at.elapsed());
        let class = if ready_for.is_some() && self.diagnosis.class().is_none() {
            FailureClass::BackendError
        } else {
            self.diagnosis.class().unwrap_or(FailureClass::Unknown)
        };
        let how = match ended {
            Ended { signal: Some(9), .. } => {
                "was killed (signal 9), perhaps by the kernel for want of memory".to_owned()
            }
            Ended { signal: Some(signal), .. } => format!("crashed (signal {signal})"),
            Ended { code: Some(code), .. } => format!("ended with exit code {code}"),
            _ => "ended".to_owned(),
        };
        let wished =
            matches!(self.life.phase, Phase::Draining | Phase::Saving | Phase::Terminating | Phase::Killing(_));
        if !wished {
            if ready_for.is_some() || self.life.phase == Phase::Restoring {
                // What it died of may have been among what was brought back.
                self.prompt_cache.iter().for_each(PromptCache::forget_all);
            }
            let port = self.launch.spec.listen.filter(|_| port_taken).map(taken);
            let when = if ready_for.is_some() { "while serving" } else { "while loading" };
            let cause =
                port.as_deref().or(self.diagnosis.cause()).map(|cause| format!(": {cause}")).unwrap_or_default();
            self.fail(class, format!("the engine {how} {when}{cause}"));
        }
        // On a port of its own it would only meet the same program again.
        port_taken &= self.launch.spec.listen.is_none();
        Event::Exited(Exit { class, by_signal: ended.signal.is_some(), port_taken, ready_for })
    }

    /// Keeps why it failed, and says so once.
    fn fail(&mut self, class: FailureClass, message: String) {
        tracing::warn!(engine.id = %self.launch.id, model = %self.launch.model, %class, "{message}");
        let failure = LoadFailure {
            model: self.launch.model.clone(),
            context_requested: self.launch.context_requested,
            class,
            message,
            engine_log: self.diagnosis.excerpt(),
        };
        self.status.send_modify(|status| status.failure = Some(failure));
    }

    /// Reads what the engine wrote since the last time.
    fn read_log(&mut self) {
        let Some(mut log) = self.log.take() else { return };
        let mut observations = Vec::new();
        let read = log.read_lines(|line| observations.extend(self.diagnosis.read(line)));
        if let Err(error) = read {
            tracing::debug!(engine.id = %self.launch.id, %error, "cannot read the engine's log");
        }
        self.log = Some(log);
        for observation in observations {
            self.observed(observation);
        }
    }

    fn observed(&mut self, observation: Observation) {
        match observation {
            Observation::Phase(phase) => self.handle(Event::Progressed(phase)),
            Observation::Buffer(buffer) => self.status.send_modify(|status| buffer.add_to(&mut status.memory)),
            Observation::ContextPerSlot(tokens) => self.status.send_modify(|status| status.context = tokens),
            Observation::Listening => self.start_probe(),
            Observation::PortTaken => self.port_taken = true,
            Observation::Sign(_) => {}
        }
    }

    fn start_probe(&mut self) {
        let address = self.status.borrow().address;
        if let (Phase::Loading(_), Some(address)) = (self.life.phase, address) {
            let adapter = self.launch.spec.adapter.clone();
            self.probe = Some(Box::pin(async move { probe::is_healthy(address, &adapter).await }));
        }
    }

    /// The look now and then: progress while loading, upkeep while serving.
    fn look(&mut self, loading: bool, looks: u32) {
        if loading {
            self.read_log();
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.rotate_if_large()
        {
            tracing::warn!(engine.id = %self.launch.id, %error, "could not rotate the engine's log");
        }
        if !loading {
            return;
        }
        if looks.is_multiple_of(PROBE_EVERY) && self.probe.is_none() {
            self.start_probe();
        }
        let expected = self.launch.estimate.total().as_u64();
        let resident = self.process.as_ref().and_then(|process| resident_bytes(process.identity().pid));
        if let Some(resident) = resident
            && expected > 0
        {
            #[expect(clippy::cast_precision_loss, reason = "a share between 0 and 1")]
            let share = (resident as f64 / expected as f64).min(0.95);
            if share > self.status.borrow().progress {
                self.status.send_modify(|status| status.progress = share);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    fn write_record(&self) {
        let status = self.status.borrow();
        let Some(address) = status.address else { return };
        self.folders.records.write(&Record {
            id: self.launch.id.clone(),
            model: self.launch.model.clone(),
            spec: self.launch.spec.clone(),
            address,
            estimate: self.launch.estimate.clone(),
            process: self.process.as_ref().map(|process| process.identity().clone()),
            memory: status.memory.clone(),
            context: status.context,
            load_time: status.load_time,
        });
    }
}

/// The least progress that reaching a phase means.
const fn progress_floor(phase: LoadPhase) -> f64 {
    match phase {
        LoadPhase::Spawned => 0.0,
        LoadPhase::Metadata => 0.02,
        LoadPhase::Weights => 0.05,
        LoadPhase::Context => 0.8,
        LoadPhase::WarmUp => 0.9,
    }
}

/// The log's file name for a model: its key with what does not belong into a file name replaced. Where that loses
/// something, a hash follows: two engines must never write into one log, and each read the other's reports.
fn log_name(model: &ModelKey) -> String {
    const CHARACTERS_MAX: usize = 150;
    let key = model.to_string();
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = key.chars().take(CHARACTERS_MAX).map(|c| if safe(c) { c } else { '_' }).collect();
    let is_plain = |part: &str| part.chars().all(safe);
    if is_plain(model.id.as_str()) && is_plain(model.variant.as_str()) && name.len() == key.len() {
        return format!("{name}.log");
    }
    format!("{name}-{:016x}.log", stable_hash(key.as_bytes()))
}

/// Whether the engine that was written down serves its model. One that is busy on a busy machine may need a moment, and a
/// loaded model is worth it.
async fn answers(record: &Record) -> bool {
    let adapter: &Adapter = &record.spec.adapter;
    for _ in 0..ADOPTION_PROBES {
        let healthy = probe::is_healthy(record.address, adapter).await;
        if healthy && (!adapter.names_its_file() || probe::serves(record.address, &record.spec.model).await) {
            return true;
        }
    }
    false
}

/// Where one that listens on `listen` is reached from here.
fn reached_at(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, listen.port()).into(),
        _ => listen,
    }
}

/// The address that was asked for, if nobody listens there. The engine may not notice: two programs of one user may
/// share a port if both allow it, and then each gets some of the requests.
fn still_free(listen: SocketAddr) -> io::Result<SocketAddr> {
    match std::net::TcpListener::bind(listen) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(io::Error::new(error.kind(), taken(listen))),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}"))),
        Ok(_) => Ok(listen),
    }
}

fn taken(listen: SocketAddr) -> String {
    format!("port {} on {} is taken by another program", listen.port(), listen.ip())
}

/// An address on loopback that nobody listens on now. Somebody may take it before the engine does; then the engine says
/// so and is started again on another.
fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

async fn ended(process: &mut Option<Process>) -> Ended {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn grown(log: Option<&LogFile>) {
    match log {
        Some(log) => log.grown().await,
        None => std::future::pending().await,
    }
}

async fn answered<T>(awaited: &mut Option<Awaited<T>>) -> T {
    match awaited {
        Some(awaited) => awaited.as_mut().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{ModelId, Variant};

    fn check(id: &str, variant: &str, expected: &str) {
        let key = ModelKey { id: ModelId::new(id), variant: Variant::new(variant) };
        assert_eq!(log_name(&key), expected);
    }

    #[test]
    fn a_log_is_named_for_its_model_and_no_other() {
        check("SmolLM2-135M-Instruct", "Q4_1", "SmolLM2-135M-Instruct_Q4_1.log");
        check("qwen/qwen3", "Q8_0", "qwen_qwen3_Q8_0-1ed14b696601696b.log");
        check("通义", "", "__-07eb0a751ff0a5c8.log");
        check("文心", "", "__-c790bdb9fd1ace6b.log");
        let long = ModelKey { id: ModelId::new("界".repeat(500)), variant: Variant::new("") };
        assert!(log_name(&long).len() < 200);
    }
}
