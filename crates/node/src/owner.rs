//! The owner task: the one writer of everything the node knows.
//!
//! Everything that happens comes in as one [`Input`]; after each, [`Owner::advance`] lets waiting loads proceed as far as
//! they can, and what changed is published. Decisions are asked of `fit` and `placement`; processes belong to `engine`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::llama_cpp::ListedDevice;
use engine::{Folders, Instance, Launch, LogWatch, Policy, Records, Status};
use placement::{Decision, Occupancy, Resident};
use route::{Blocker, IdleSignal, Routes, Table, Target, Unavailable};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use types::{ByteCount, DeviceName, FailureClass, InstanceId, InstanceState, LoadFailure, MemoryUse, Mode, ModelKey};

use crate::demand::{Pending, Waiter};
use crate::handle::{Command, Handle, Loaded, NotUnloaded};
use crate::library::{Library, Model, Sources};
use crate::measurements::{Measurements, Start};
use crate::models_folder;
use crate::speeds::Speeds;
use crate::view::{InstanceView, View, WaitingView, holds};

/// Commands come from callers that wait, and those are bounded by `waiting_max`; this is room for bursts.
const INPUTS_MAX: usize = 1024;
/// Of the RAM there is, models may use this share unless told otherwise: the rest is the system's and everybody else's.
const RAM_SHARE_PERCENT: u64 = 90;
/// A crash loop that was cut is not begun again for this long, unless someone asks for it by hand.
const REST_AFTER_CRASHES: Duration = Duration::from_secs(60);
/// An instance that is unloaded by hand lets requests in flight go on for this long.
const UNLOAD_DRAIN: Duration = Duration::from_secs(300);
/// What a caller is told to wait where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How the node is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder for records, logs and measurements.
    pub data_dir: PathBuf,
    /// Where models are looked for.
    pub sources: Sources,
    /// The engine program, if one was found.
    pub llama_server: Option<PathBuf>,
    /// What models may use of accelerators together; `None` for all there is.
    pub memory: Option<ByteCount>,
    /// What models may use of RAM; `None` for nine tenths of what there is.
    pub ram: Option<ByteCount>,
    /// Largest context, tokens.
    pub context_max: Option<u64>,
    /// Most instances at once; `None` for no limit but memory.
    pub instances_max: Option<usize>,
    /// Unload after being unused for this long; `None` for never.
    pub idle_unload: Option<Duration>,
    /// How engines are treated.
    pub policy: Policy,
    /// Callers that may wait for loads at once.
    pub waiting_max: usize,
    /// How long one waits for others to make room.
    pub room_wait_max: Duration,
    /// Requests in flight on one instance.
    pub in_flight_max: u64,
    /// How long a load waits for busy instances before those get no new requests.
    pub patience: Duration,
}

/// The node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made or read.
    #[error("cannot use the data folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

/// The node; see the crate's text.
pub struct Node;

impl Node {
    /// Takes over engines that an earlier snug left running, then starts the owner in a task of `tracker`. Models are
    /// looked for and devices are asked for in the background.
    ///
    /// # Errors
    /// If the data folder cannot be used.
    pub async fn start(config: Config, table: Table, tracker: &TaskTracker) -> Result<Handle, StartError> {
        let folder = |name: &str| {
            let path = config.data_dir.join(name);
            std::fs::create_dir_all(&path)
                .map(|()| path.clone())
                .map_err(|error| StartError::Folder { path: path.clone(), error })
        };
        let logs = folder("logs")?;
        let records = Records::new(folder("instances")?);
        let folders = Folders { watch: LogWatch::new(&logs), logs, records };

        let (commands, inputs) = mpsc::channel(INPUTS_MAX);
        let (changes, changed) = mpsc::channel(INPUTS_MAX);
        let library = Library::scan(&config.sources);
        let (view, view_reader) = watch::channel(Arc::default());
        let handle = Handle {
            commands: commands.clone(),
            view: view_reader,
            left: Arc::default(),
            speeds: Arc::default(),
            room_wait_max: config.room_wait_max,
            load_wait_max: config.policy.patience.load + config.policy.patience.stop,
        };

        let mut owner = Owner {
            measurements: Measurements::open(config.data_dir.join("measurements.json")),
            library: Arc::new(library),
            instances: Vec::new(),
            pending: VecDeque::new(),
            resting: HashMap::new(),
            devices: None,
            idle: Arc::default(),
            left: Arc::clone(&handle.left),
            speeds: Arc::clone(&handle.speeds),
            changes,
            folders,
            table,
            view,
            tracker: tracker.clone(),
            config,
        };
        owner.adopt().await;
        owner.publish();
        models_folder::watch((*owner.library).clone(), owner.config.sources.clone(), commands.clone(), tracker);
        ask_for_devices(owner.config.llama_server.clone(), commands, tracker);
        tracker.spawn(owner.run(inputs, changed));
        Ok(handle)
    }
}

fn ask_for_devices(program: Option<PathBuf>, commands: mpsc::Sender<Command>, tracker: &TaskTracker) {
    tracker.spawn(async move {
        let devices = match program {
            Some(program) => engine::llama_cpp::list_devices(&program).await,
            None => Vec::new(),
        };
        let _stopped = commands.send(Command::Devices(devices)).await;
    });
}

/// One instance, as its owner knows it.
struct Running {
    id: InstanceId,
    model: Arc<Model>,
    start: Start,
    estimate: MemoryUse,
    handle: engine::Handle,
    status: Status,
    target: Option<Arc<Target>>,
    waiters: Vec<Waiter>,
    going: Going,
    /// Those who wait for its end.
    mourners: Vec<(ModelKey, oneshot::Sender<Result<ModelKey, NotUnloaded>>)>,
}

/// Whether an instance stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    Stays,
    /// It gets no new requests, because a load has waited long enough for its place; it may yet stay.
    Yields,
    /// It was told to end.
    Leaves,
}

impl Running {
    fn serves(&self) -> Option<&Arc<Target>> {
        self.target.as_ref().filter(|_| self.going == Going::Stays)
    }

    fn occupancy(&self) -> Occupancy {
        if self.going == Going::Leaves || self.status.over {
            return Occupancy::Leaving;
        }
        if self.model.settings.pinned {
            return Occupancy::Pinned;
        }
        match &self.target {
            None => Occupancy::Loading,
            Some(target) => match target.load() {
                load if load.in_flight == 0 => Occupancy::Idle { since: load.unused_for },
                load => Occupancy::Busy { in_flight: load.in_flight, since: load.unused_for },
            },
        }
    }

    fn holds(&self) -> MemoryUse {
        holds(&self.status, &self.estimate)
    }

    fn loaded(&self, load_time: Duration) -> Loaded {
        Loaded { model: self.model.key.clone(), context: self.status.context, load_time }
    }

    /// Ends it, after at most `drain` for the requests in flight.
    fn leave(&mut self, drain: Duration) {
        self.going = Going::Leaves;
        let in_flight = self.target.as_ref().map_or(0, |target| {
            target.close_to_new();
            target.load().in_flight
        });
        self.handle.stop(drain);
        if in_flight == 0 {
            self.handle.drained();
        }
    }
}

struct Owner {
    config: Config,
    library: Arc<Library>,
    instances: Vec<Running>,
    pending: VecDeque<Pending>,
    /// Models whose crash loop was cut, and until when they rest.
    resting: HashMap<ModelKey, (LoadFailure, Instant)>,
    /// What the engine sees; `None` until it has said.
    devices: Option<Vec<ListedDevice>>,
    measurements: Measurements,
    folders: Folders,
    table: Table,
    view: watch::Sender<Arc<View>>,
    /// Told by targets when they become idle.
    idle: Arc<IdleSignal>,
    /// Told by callers that gave up.
    left: Arc<Notify>,
    speeds: Arc<Speeds>,
    /// Where instances tell that their status changed.
    changes: mpsc::Sender<InstanceId>,
    tracker: TaskTracker,
}

impl Owner {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut changed: mpsc::Receiver<InstanceId>) {
        loop {
            let wake = self.next_wake();
            // Each arm waits on a channel or a stored permit: nothing is lost when another arm is taken.
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop { keep_engines, drain, reply }) => {
                        self.stop(keep_engines, drain, &mut changed).await;
                        let _gone = reply.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(id) = changed.recv() => self.instance_changed(&id),
                () = self.idle.told() => self.drained(),
                () = self.left.notified() => {}
                () = tokio::time::sleep_until(wake.into()) => self.unload_idle(),
            }
            self.advance();
            self.publish();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Want { name, context, waiter } => self.want(&name, context, waiter),
            Command::Unload { name, reply } => self.unload(&name, reply),
            Command::Found(library) => self.library = Arc::new(library),
            Command::Devices(devices) => self.devices_listed(devices),
            Command::Stop { .. } => unreachable!("handled where the loop can end"),
        }
    }

    /// The engine has said what it sees. What was adopted holds memory already; that is models' memory too.
    fn devices_listed(&mut self, mut devices: Vec<ListedDevice>) {
        for device in &mut devices {
            let held: ByteCount = self.instances.iter().map(|instance| instance.status.memory.on(&device.name)).sum();
            device.free = device.total.min(device.free + held);
            tracing::info!(device = %device.name, total = %device.total, free = %device.free, "{}", device.description);
        }
        self.devices = Some(devices);
    }

    // ---- wishes ----

    fn want(&mut self, name: &str, context: Option<u64>, waiter: Waiter) {
        let Some(model) = self.resolve(name) else {
            waiter.refuse(Unavailable::NotFound { name: name.to_owned(), known: self.library.some_names() });
            return;
        };
        let by_hand = matches!(waiter, Waiter::Load(_));
        if let Some(instance) =
            self.instances.iter_mut().find(|one| one.model.key == model.key && one.going == Going::Stays)
            && context.is_none_or(|context| context == instance.start.spec.context)
        {
            match instance.serves() {
                Some(target) => waiter.serve(target, &instance.loaded(Duration::ZERO), self.config.in_flight_max),
                None => self.join_instance(&model.key, waiter),
            }
            return;
        }
        if by_hand {
            self.resting.remove(&model.key);
        } else if let Some((failure, until)) = self.resting.get(&model.key) {
            if let Some(retry_after) = until.checked_duration_since(Instant::now()) {
                waiter.refuse(Unavailable::Resting { failure: Box::new(failure.clone()), retry_after });
                return;
            }
            self.resting.remove(&model.key);
        }
        let joined = |pending: &&mut Pending| {
            *pending.key() == model.key && (context.is_none() || pending.context_requested == context)
        };
        if self.waiting() >= self.config.waiting_max {
            waiter.refuse(self.queue_full());
        } else if let Some(pending) = self.pending.iter_mut().find(joined) {
            pending.waiters.push(waiter);
        } else {
            self.pending.push_back(Pending {
                spec: spec_of(&model),
                model,
                need: MemoryUse::default(),
                context_requested: context,
                waiters: vec![waiter],
                since: Instant::now(),
                blockers: Vec::new(),
            });
        }
    }

    fn join_instance(&mut self, key: &ModelKey, waiter: Waiter) {
        if self.waiting() >= self.config.waiting_max {
            waiter.refuse(self.queue_full());
        } else if let Some(instance) =
            self.instances.iter_mut().find(|one| one.model.key == *key && one.going == Going::Stays)
        {
            instance.waiters.push(waiter);
        }
    }

    fn waiting(&self) -> usize {
        let loading: usize = self.instances.iter().map(|instance| instance.waiters.len()).sum();
        let pending: usize = self.pending.iter().map(|pending| pending.waiters.len()).sum();
        loading + pending
    }

    fn queue_full(&self) -> Unavailable {
        Unavailable::QueueFull { waiting: self.waiting(), limit: self.config.waiting_max, retry_after: RETRY_AFTER }
    }

    fn unload(&mut self, name: &str, reply: oneshot::Sender<Result<ModelKey, NotUnloaded>>) {
        let Some(model) = self.resolve(name) else {
            let _left = reply.send(Err(NotUnloaded::NotFound { name: name.to_owned() }));
            return;
        };
        let drain = UNLOAD_DRAIN;
        match self.instances.iter_mut().find(|one| one.model.key == model.key) {
            Some(instance) => {
                instance.mourners.push((model.key.clone(), reply));
                instance.leave(drain);
            }
            None => {
                let _left = reply.send(Ok(model.key.clone()));
            }
        }
    }

    /// The model that a name means: a bare id means its variant that runs, else its default one.
    fn resolve(&self, name: &str) -> Option<Arc<Model>> {
        let model = self.library.find(name)?;
        if model.key.id.as_str() != name {
            return Some(model);
        }
        let running = self.instances.iter().find(|one| one.model.key.id == model.key.id && one.going == Going::Stays);
        Some(running.map_or(model, |instance| Arc::clone(&instance.model)))
    }

    // ---- loads ----

    /// Lets waiting loads proceed, first come first served.
    fn advance(&mut self) {
        self.listen_for_idle();
        if self.devices.is_none() {
            return;
        }
        for pending in &mut self.pending {
            pending.waiters.retain(Waiter::is_there);
        }
        self.pending.retain(|pending| !pending.waiters.is_empty());
        let mut queue = std::mem::take(&mut self.pending);
        let mut yielding: Vec<InstanceId> = Vec::new();
        let mut blocked = false;
        while let Some(mut pending) = queue.pop_front() {
            if let Some(instance) = self.instances.iter().find(|one| one.model.key == *pending.key()) {
                // It was replaced by itself: wait until the old one is gone, and see that it goes.
                let id = instance.id.clone();
                self.replace(&id, &pending);
                yielding.push(id);
                self.pending.push_back(pending);
                blocked = true;
                continue;
            }
            if let Err(failure) = self.size_up(&mut pending) {
                pending.fail(&failure);
                continue;
            }
            match placement::admit(&self.snapshot(), &pending.need) {
                // Behind a load that waits, only what needs nobody to leave may pass.
                Decision::Start { evict } if evict.is_empty() => self.start(pending),
                Decision::Start { evict } if !blocked => {
                    self.evict(&evict, pending.key());
                    blocked = true;
                    self.pending.push_back(pending);
                }
                Decision::Start { .. } => self.pending.push_back(pending),
                Decision::Wait { drain, blockers } => {
                    pending.blockers = self.blockers(&blockers);
                    if !blocked && pending.since.elapsed() >= self.config.patience {
                        yielding.extend(drain);
                    }
                    blocked = true;
                    self.pending.push_back(pending);
                }
                Decision::Refuse { short } => {
                    let failure = self.refused(&pending, &short);
                    pending.fail(&failure);
                }
            }
        }
        self.settle_yielding(&yielding);
    }

    /// Has the ends of requests told while anybody waits for one, and looks for those that came before.
    fn listen_for_idle(&mut self) {
        let leaving = self.instances.iter().any(|instance| instance.going != Going::Stays);
        self.idle.want(leaving || !self.pending.is_empty());
        if leaving {
            self.drained();
        }
    }

    /// An instance stands in the way of its own successor (another context was asked for, or it is going already).
    fn replace(&mut self, id: &InstanceId, pending: &Pending) {
        let drain = UNLOAD_DRAIN;
        let Some(instance) = self.instances.iter_mut().find(|one| one.id == *id) else { return };
        let other_start = pending.context_requested.is_some_and(|context| context != instance.start.spec.context);
        if instance.going == Going::Stays && other_start {
            let idle = instance.target.as_ref().is_some_and(|target| target.close());
            if idle {
                instance.leave(drain);
            }
        }
        if instance.going == Going::Yields
            && instance.target.as_ref().is_some_and(|target| target.load().in_flight == 0)
        {
            instance.leave(Duration::ZERO);
        }
    }

    /// Closes instances that have to make way to new requests, and reopens those that need not any more.
    fn settle_yielding(&mut self, yielding: &[InstanceId]) {
        let mut reopened = Vec::new();
        for instance in &mut self.instances {
            let Some(target) = &instance.target else { continue };
            let wanted = yielding.contains(&instance.id);
            match instance.going {
                Going::Stays if wanted => {
                    tracing::info!(model = %instance.model.key, "takes no new requests: another model has waited for its place");
                    target.close_to_new();
                    instance.going = Going::Yields;
                    if target.load().in_flight == 0 {
                        instance.leave(Duration::ZERO);
                    }
                }
                Going::Yields if !wanted => {
                    target.reopen();
                    instance.going = Going::Stays;
                    reopened.push(instance.model.key.clone());
                }
                _ => {}
            }
        }
        // Callers that came meanwhile queued behind it; it serves them now.
        for key in reopened {
            let position = self.pending.iter().position(|pending| *pending.key() == key);
            if let Some(pending) = position.and_then(|index| self.pending.remove(index))
                && let Some(instance) = self.instances.iter().find(|one| one.model.key == key)
                && let Some(target) = instance.serves()
            {
                for waiter in pending.waiters {
                    waiter.serve(target, &instance.loaded(Duration::ZERO), self.config.in_flight_max);
                }
            }
        }
    }

    /// Decides how a pending load is started and what it will hold.
    fn size_up(&self, pending: &mut Pending) -> Result<(), LoadFailure> {
        let model = &pending.model;
        let machine = fit::Machine { capacity: self.capacity() };
        let failure = |class, message| LoadFailure {
            model: model.key.clone(),
            context_requested: pending.context_requested,
            class,
            message,
            engine_log: String::new(),
        };
        let settings = &model.settings;
        let mut spec = spec_of(model);
        match &model.facts {
            Some(facts) => {
                let wish = wish(model, pending.context_requested, self.config.context_max);
                let plan = fit::plan(facts, &wish, &machine).map_err(|misfit| failure(misfit.class, misfit.message))?;
                let offloaded: u32 = plan.setting.offload.iter().map(|(_, layers)| layers).sum();
                let all = u32::try_from(facts.layers.len()).unwrap_or(u32::MAX);
                spec.context = plan.setting.context;
                spec.slots = plan.setting.slots;
                // The engine counts its output layer as one more.
                spec.gpu_layers = if offloaded > 0 && offloaded == all { all + 1 } else { offloaded };
                pending.need = plan.memory;
            }
            None => {
                // We cannot read the file; the engine may, being newer, or will say what is wrong with it.
                spec.context = pending.context_requested.or(settings.context).unwrap_or(2048);
                spec.slots = settings.slots.unwrap_or(1);
                let ram = pending.need.entry(DeviceName::cpu());
                ram.model = model.size;
            }
        }
        let start = Start { file_size: model.size, spec: spec.clone() };
        if let Some(measured) = self.measurements.memory(&model.key, &start) {
            pending.need = fit::with_overhead(measured);
        }
        pending.spec = spec;
        Ok(())
    }

    fn refused(&self, pending: &Pending, short: &[placement::Shortage]) -> LoadFailure {
        let class = if short.iter().any(|shortage| !shortage.device.is_cpu()) {
            FailureClass::InsufficientVram
        } else {
            FailureClass::InsufficientRam
        };
        let one = |shortage: &placement::Shortage| {
            format!("{} needed on {}, models may use {}", shortage.needed, shortage.device, shortage.capacity)
        };
        LoadFailure {
            model: pending.key().clone(),
            context_requested: pending.context_requested,
            class,
            message: short.iter().map(one).collect::<Vec<_>>().join("; "),
            engine_log: String::new(),
        }
    }

    fn evict(&mut self, ids: &[InstanceId], for_whom: &ModelKey) {
        for instance in &mut self.instances {
            if !ids.contains(&instance.id) {
                continue;
            }
            // A request may have come in this moment; then it is not idle any more, and all is decided anew.
            if instance.target.as_ref().is_some_and(|target| target.close()) {
                tracing::info!(model = %instance.model.key, %for_whom, "leaves to make room");
                instance.leave(Duration::ZERO);
            }
        }
    }

    fn start(&mut self, pending: Pending) {
        let Pending { model, spec, need, context_requested, waiters, .. } = pending;
        let Some(program) = self.config.llama_server.clone() else {
            let failure = LoadFailure {
                model: model.key.clone(),
                context_requested,
                class: FailureClass::BackendError,
                message:
                    "no llama-server was found on PATH, in the configuration (engine.llama_server) or in the data \
                          folder; run the set-up or install llama.cpp"
                        .to_owned(),
                engine_log: String::new(),
            };
            for waiter in waiters {
                waiter.refuse(Unavailable::LoadFailed(Box::new(failure.clone())));
            }
            return;
        };
        let id = instance_id();
        tracing::info!(
            engine.id = %id, model = %model.key, context = spec.context, slots = spec.slots,
            gpu_layers = spec.gpu_layers, needs = %need, "loading {}", model.key
        );
        let launch = Launch {
            id: id.clone(),
            model: model.key.clone(),
            context_requested,
            program,
            spec: spec.clone(),
            estimate: need.clone(),
        };
        let handle = Instance::start(launch, self.config.policy, self.folders.clone(), &self.tracker);
        self.watch_instance(id.clone(), &handle);
        let start = Start { file_size: model.size, spec };
        self.instances.push(Running {
            id,
            model,
            start,
            estimate: need,
            status: handle.status().borrow().clone(),
            handle,
            target: None,
            waiters,
            going: Going::Stays,
            mourners: Vec::new(),
        });
    }

    /// Takes over what an earlier snug left running.
    async fn adopt(&mut self) {
        let records = match self.folders.records.all() {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "cannot look for engines of an earlier snug");
                return;
            }
        };
        let adoptions = records.into_iter().map(|record| {
            let (policy, folders, tracker) = (self.config.policy, self.folders.clone(), self.tracker.clone());
            let program = self.config.llama_server.clone().unwrap_or_default();
            async move {
                let handle = Instance::adopt(record.clone(), program, policy, folders, &tracker).await?;
                Some((record, handle))
            }
        });
        for (record, handle) in futures_util::future::join_all(adoptions).await.into_iter().flatten() {
            let Some(model) = self.library.find(&record.model.to_string()) else {
                tracing::info!(model = %record.model, "ending an engine whose model is gone");
                handle.stop(Duration::ZERO);
                continue;
            };
            tracing::info!(engine.id = %record.id, model = %record.model, "found a running engine, no reload");
            let status = handle.status().borrow().clone();
            let target = status
                .address
                .map(|address| Target::new(record.id.clone(), model.key.clone(), address, Arc::clone(&self.idle)));
            self.watch_instance(record.id.clone(), &handle);
            self.instances.push(Running {
                id: record.id,
                start: Start { file_size: model.size, spec: record.spec },
                model,
                estimate: record.estimate,
                status,
                handle,
                target,
                waiters: Vec::new(),
                going: Going::Stays,
                mourners: Vec::new(),
            });
        }
    }

    /// Has the owner told whenever the instance's status changes.
    fn watch_instance(&self, id: InstanceId, handle: &engine::Handle) {
        let (mut status, changes) = (handle.status(), self.changes.clone());
        self.tracker.spawn(async move {
            // The first look is for what happened before this task ran.
            while changes.send(id.clone()).await.is_ok() && status.changed().await.is_ok() {}
        });
    }

    // ---- what instances tell ----

    fn instance_changed(&mut self, id: &InstanceId) {
        let Some(index) = self.instances.iter().position(|one| one.id == *id) else { return };
        let instance = &mut self.instances[index];
        instance.status = instance.handle.status().borrow().clone();
        if instance.status.over {
            let instance = self.instances.remove(index);
            self.buried(instance);
        } else if instance.status.state == InstanceState::Ready && instance.target.is_none() {
            self.became_ready(index);
        } else if instance.status.state != InstanceState::Ready
            && instance.going != Going::Leaves
            && let Some(target) = instance.target.take()
        {
            // It crashed and is being started again; requests wait for it like for any load.
            target.close_to_new();
            instance.going = Going::Stays;
        }
    }

    fn became_ready(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        let Some(address) = instance.status.address else { return };
        let target = Target::new(instance.id.clone(), instance.model.key.clone(), address, Arc::clone(&self.idle));
        let load_time = instance.status.load_time.unwrap_or_default();
        let loaded = instance.loaded(load_time);
        for waiter in instance.waiters.drain(..) {
            waiter.serve(&target, &loaded, self.config.in_flight_max);
        }
        instance.target = Some(target);
        let (key, start, memory) = (instance.model.key.clone(), instance.start.clone(), instance.status.memory.clone());
        self.measurements.loaded(key, start, memory, load_time);
        self.measurements.save();
    }

    /// An instance is gone for good.
    fn buried(&mut self, instance: Running) {
        if let Some(target) = &instance.target {
            target.close_to_new();
        }
        let key = instance.model.key.clone();
        self.keep_speed(&key, &instance.start);
        let failure = instance.status.failure.filter(|_| instance.status.state == InstanceState::Failed);
        if let Some(failure) = &failure
            && instance.status.restarts > 0
        {
            self.resting.insert(key, (failure.clone(), Instant::now() + REST_AFTER_CRASHES));
        }
        for waiter in instance.waiters {
            waiter.refuse(match &failure {
                Some(failure) => Unavailable::LoadFailed(Box::new(failure.clone())),
                None => Unavailable::StillLoading {
                    model: instance.model.key.clone(),
                    state: "unloaded".to_owned(),
                    waited: Duration::ZERO,
                    retry_after: Duration::from_secs(1),
                },
            });
        }
        for (key, mourner) in instance.mourners {
            let _left = mourner.send(Ok(key));
        }
    }

    /// Keeps how fast a model ran beside what it held.
    fn keep_speed(&mut self, key: &ModelKey, start: &Start) {
        if let Some(tokens_per_second) = self.speeds.get(key) {
            self.measurements.ran(key, start, tokens_per_second);
        }
    }

    /// Some target became idle: if it was to leave, it need not wait longer.
    fn drained(&mut self) {
        for instance in &mut self.instances {
            let idle = instance.target.as_ref().is_some_and(|target| target.load().in_flight == 0);
            match instance.going {
                Going::Leaves if idle => instance.handle.drained(),
                Going::Yields if idle => instance.leave(Duration::ZERO),
                _ => {}
            }
        }
    }

    // ---- time ----

    /// When something is due next: an idle unload, or the end of a load's patience.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let unloads = self.config.idle_unload.into_iter().flat_map(|limit| {
            self.instances.iter().filter_map(move |instance| match instance.occupancy() {
                Occupancy::Idle { since } => Some(now + limit.saturating_sub(since)),
                // Nobody tells when it becomes idle; it is looked at again when it could be due at the earliest.
                Occupancy::Busy { .. } => Some(now + limit),
                _ => None,
            })
        });
        let patience = self.pending.iter().map(|pending| pending.since + self.config.patience).filter(|&at| at > now);
        unloads.chain(patience).min().unwrap_or(now + Duration::from_secs(3600)).max(now + Duration::from_millis(1))
    }

    fn unload_idle(&mut self) {
        let Some(limit) = self.config.idle_unload else { return };
        for instance in &mut self.instances {
            let unused = matches!(instance.occupancy(), Occupancy::Idle { since } if since >= limit);
            if unused && instance.target.as_ref().is_some_and(|target| target.close()) {
                tracing::info!(model = %instance.model.key, "unloading: unused for {} s", limit.as_secs());
                instance.leave(Duration::ZERO);
            }
        }
    }

    // ---- the ledger ----

    fn capacity(&self) -> BTreeMap<DeviceName, ByteCount> {
        let held: ByteCount = self.instances.iter().map(|instance| instance.holds().on(&DeviceName::cpu())).sum();
        let ram = self.config.ram.unwrap_or_else(|| match hardware::ram() {
            Some(ram) => {
                let share = ByteCount::bytes(ram.total.as_u64() / 100 * RAM_SHARE_PERCENT);
                share.min(ram.available + held)
            }
            None => ByteCount::bytes(u64::MAX),
        });
        let devices = self.devices.as_deref().unwrap_or_default();
        let all: ByteCount = devices.iter().map(|device| device.total).sum();
        let limited = |device: &ListedDevice| match self.config.memory {
            Some(limit) if limit < all => {
                let share = u128::from(limit.as_u64()) * u128::from(device.total.as_u64()) / u128::from(all.as_u64());
                ByteCount::bytes(u64::try_from(share).unwrap_or(u64::MAX))
            }
            _ => device.free,
        };
        let accelerators = devices.iter().map(|device| (device.name.clone(), limited(device)));
        std::iter::once((DeviceName::cpu(), ram)).chain(accelerators).collect()
    }

    fn snapshot(&self) -> placement::Snapshot {
        let resident = |instance: &Running| Resident {
            id: instance.id.clone(),
            model: instance.model.key.clone(),
            holds: instance.holds(),
            occupancy: instance.occupancy(),
        };
        placement::Snapshot {
            capacity: self.capacity(),
            residents: self.instances.iter().map(resident).collect(),
            instances_max: self.config.instances_max,
        }
    }

    fn blockers(&self, ids: &[InstanceId]) -> Vec<Blocker> {
        let blocker = |instance: &Running| {
            let occupancy = instance.occupancy();
            Blocker {
                model: instance.model.key.clone(),
                reason: occupancy.as_str(),
                in_flight: match occupancy {
                    Occupancy::Busy { in_flight, .. } => in_flight,
                    _ => 0,
                },
                holds: instance.holds().to_string(),
            }
        };
        self.instances.iter().filter(|instance| ids.contains(&instance.id)).map(blocker).collect()
    }

    // ---- what others see ----

    fn publish(&self) {
        self.table.publish(self.routes());
        self.view.send_replace(Arc::new(View {
            library: Arc::clone(&self.library),
            instances: self.instances.iter().map(instance_view).collect(),
            waiting: self
                .pending
                .iter()
                .map(|pending| WaitingView {
                    model: pending.key().clone(),
                    needs: pending.need.clone(),
                    callers: pending.waiters.len(),
                    blockers: pending.blockers.clone(),
                })
                .collect(),
            capacity: self.capacity(),
            not_ready: self.devices.is_none().then_some("devices").into_iter().collect(),
        }));
    }

    fn routes(&self) -> Routes {
        let listings: HashMap<_, _> = self
            .library
            .models()
            .map(|model| {
                let instance = self.instances.iter().find(|one| one.model.key == model.key);
                (model.key.clone(), Arc::new(listing(&self.library, model, instance)))
            })
            .collect();
        let mut routes = Routes::default();
        for name in self.library.names() {
            let Some(model) = self.resolve(name) else { continue };
            let Some(listing) = listings.get(&model.key) else { continue };
            let instance = self.instances.iter().find(|one| one.model.key == model.key && one.going == Going::Stays);
            let target = instance.and_then(|instance| instance.target.clone());
            routes.by_name.insert(name.to_owned(), route::Route { listing: Arc::clone(listing), target });
        }
        for id in self.library.ids() {
            if let Some(route) = routes.by_name.get(id.as_str()) {
                routes.listed.push(Arc::clone(&route.listing));
            }
        }
        routes
    }

    // ---- the end ----

    async fn stop(&mut self, keep_engines: bool, drain: Duration, changed: &mut mpsc::Receiver<InstanceId>) {
        for pending in std::mem::take(&mut self.pending) {
            for waiter in pending.waiters {
                waiter.refuse(Unavailable::Stopping);
            }
        }
        for instance in &mut self.instances {
            for waiter in instance.waiters.drain(..) {
                waiter.refuse(Unavailable::Stopping);
            }
        }
        self.table.publish(Routes::default());
        for (key, start) in
            self.instances.iter().map(|one| (one.model.key.clone(), one.start.clone())).collect::<Vec<_>>()
        {
            self.keep_speed(&key, &start);
        }
        let _saved = self.measurements.save().await;
        if keep_engines {
            // An engine that is still loading cannot be adopted; one that is ready is left to the next snug.
            self.instances.retain(|instance| instance.target.is_none() || instance.going == Going::Leaves);
        }
        for instance in &mut self.instances {
            if instance.going != Going::Leaves {
                instance.leave(drain);
            }
        }
        self.listen_for_idle();
        // Bounded: a draining engine is asked to end after `drain`, then killed after its patience, again and again.
        while !self.instances.is_empty() {
            tokio::select! {
                Some(id) = changed.recv() => self.instance_changed(&id),
                () = self.idle.told() => self.drained(),
            }
        }
    }
}

fn instance_view(instance: &Running) -> InstanceView {
    InstanceView {
        id: instance.id.clone(),
        model: Arc::clone(&instance.model),
        status: instance.status.clone(),
        estimate: instance.estimate.clone(),
        target: instance.target.clone(),
        leaving: instance.going == Going::Leaves,
    }
}

/// What is asked of `fit` for a model: its settings, and the context that a caller wants.
pub fn wish(model: &Model, context: Option<u64>, context_max: Option<u64>) -> fit::Wish {
    let settings = &model.settings;
    let stretches = |argument: &String| argument.contains("rope") || argument.contains("yarn");
    fit::Wish {
        context: context.or(settings.context),
        context_max,
        slots: settings.slots,
        gpu_layers: settings.gpu_layers,
        cache_type_k: settings.cache_type_k,
        cache_type_v: settings.cache_type_v,
        all_outputs: settings.embeddings || model.mode != Mode::Chat,
        stretched: settings.extra_args.iter().any(stretches),
    }
}

/// What the settings say; context, slots and layers are decided when the machine's state is known.
fn spec_of(model: &Model) -> engine::Spec {
    let settings = &model.settings;
    engine::Spec {
        model: model.path.clone(),
        mmproj: model.mmproj.clone(),
        alias: model.key.id.as_str().to_owned(),
        mode: model.mode,
        context: 0,
        slots: 1,
        gpu_layers: 0,
        cache_type_k: settings.cache_type_k,
        cache_type_v: settings.cache_type_v,
        embeddings: settings.embeddings,
        pooling: settings.pooling,
        chat_template_file: settings.chat_template_file.clone(),
        extra_args: settings.extra_args.clone(),
    }
}

fn listing(library: &Library, model: &Model, instance: Option<&Running>) -> route::Listing {
    let variants = library.variants_of(&model.key.id);
    let state = match instance {
        None => "Unloaded",
        Some(instance) if instance.going == Going::Leaves => "Unloading",
        Some(_) => "Loaded",
    };
    let context = instance.map(|instance| instance.status.context).filter(|&context| context > 0);
    api::Model {
        id: model.key.id.as_str().to_owned(),
        object: "model".to_owned(),
        created: model.modified,
        owned_by: "snug".to_owned(),
        permission: Vec::new(),
        backend: "llamacpp".to_owned(),
        port: instance.and_then(|instance| Some(instance.status.address?.port())),
        model_type: match model.mode {
            Mode::Chat => "lm",
            Mode::Embedding => "embeddings",
            Mode::Rerank => "rerank",
        }
        .to_owned(),
        context_length: context.or(model.settings.context).or(model.context_native),
        quantization: Some(model.key.variant.as_str().to_owned()).filter(|variant| !variant.is_empty()),
        variants,
        supports_function_calling: model.knows_tools,
        enabled: true,
        state: state.to_owned(),
    }
}

/// A fresh id: the time is in it, so that ids sort by age, and chance, so that two snugs do not meet.
fn instance_id() -> InstanceId {
    let millis =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let mut random = [0; 4];
    // Without a source of chance the time alone still makes it unique within one machine.
    let _time_is_enough = getrandom::fill(&mut random);
    InstanceId::new(format!("{millis:011x}-{:08x}", u32::from_be_bytes(random)))
}
