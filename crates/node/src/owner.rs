//! The owner task: the one writer of everything the node knows.
//!
//! After everything that happens, [`Owner::advance`] lets waiting loads proceed as far as
//! they can, and what changed is published. Decisions are asked of `fit` and `placement`; processes belong to `engine`.

mod by_hand;
mod choosing;
mod reconfigured;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::llama_cpp::ListedDevice;
use engine::{Adapter, Folders, Instance, Launch};
use placement::{Decision, Occupancy};
use route::{Blocker, IdleSignal, Routes, Table, Target, Unavailable};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;
use types::{
    ByteCount, DeviceName, FailureClass, InstanceId, InstanceState, LoadFailure, MemoryUse, ModelId, ModelKey,
};

use crate::demand::{Displaced, Pending, Waiter};
use crate::handle::{Command, Handle, KeepFor, Swap, Unloaded};
use crate::library::{Library, Model};
use crate::measurements::{Measurements, Start};
use crate::node::{Config, Waits};
use crate::ready::{self, Afterwards, Ready};
use crate::running::{Going, Running};
use crate::speeds::Speeds;
use crate::view::{View, WaitingView};
use crate::{devices, ledger, routes, sizing};

/// A crash loop that was cut is not begun again for this long, unless someone asks for it by hand.
const REST_AFTER_CRASHES: Duration = Duration::from_secs(60);
/// A load that failed is not tried again for this long by requests: each try could evict a model that works.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// What a caller is told to wait where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The same where a pinned model is in the way: it takes a person to unload it.
const RETRY_AFTER_UNPINNED: Duration = Duration::from_secs(60);
/// Of a busy instance that goes within less than this once it is idle, the owner has itself told when that is.
const TOLD_BELOW: Duration = Duration::from_secs(1);
/// While loads wait: how often the machine is looked at anew. Memory that other programs give back is told by nobody.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// The owner's state; see the module's text.
pub(crate) struct Owner {
    config: Config,
    library: Arc<Library>,
    instances: Vec<Running>,
    pending: VecDeque<Pending>,
    /// Models that failed to load or whose crash loop was cut, why, and until when they rest.
    resting: HashMap<ModelKey, (LoadFailure, Instant)>,
    /// Models that are pinned at run time.
    pinned: Arc<BTreeSet<ModelId>>,
    /// Weights in RAM.
    ready: Ready,
    /// Models that others run and somebody asked to be loaded, in that order.
    provided: Vec<ModelKey>,
    /// Variants of which nothing is left and whose files are about to be deleted: how they rest.
    discarded: HashMap<ModelKey, by_hand::Rest>,
    /// Variants of which something is left that is to go, and who waits for that. They rest too.
    discards: Vec<(ModelKey, oneshot::Sender<()>)>,
    /// Those who wait until what they asked for is shown.
    to_be_shown: Vec<oneshot::Sender<()>>,
    swaps: broadcast::Sender<Swap>,
    /// What the engine sees; `None` until it has said.
    devices: Option<Vec<ListedDevice>>,
    /// What models may use of each device, as it was when this turn began.
    capacity: BTreeMap<DeviceName, ByteCount>,
    /// What the published routes were made from.
    routed: Option<routes::Basis>,
    measurements: Measurements,
    folders: Folders,
    table: Table,
    view: watch::Sender<Arc<View>>,
    /// How long callers wait.
    waits: watch::Sender<Waits>,
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
    #[expect(clippy::too_many_arguments, reason = "made in one place, out of what that place has just gathered")]
    pub(crate) fn new(
        config: Config,
        library: Library,
        folders: Folders,
        table: Table,
        view: watch::Sender<Arc<View>>,
        waits: watch::Sender<Waits>,
        handle: &Handle,
        changes: mpsc::Sender<InstanceId>,
        ready: Ready,
        tracker: TaskTracker,
    ) -> Self {
        Self {
            pinned: Arc::new(config.pinned.clone()),
            ready,
            provided: Vec::new(),
            discarded: HashMap::new(),
            discards: Vec::new(),
            to_be_shown: Vec::new(),
            swaps: handle.swaps.clone(),
            measurements: Measurements::open(config.data_dir.join("measurements.json")),
            library: Arc::new(library),
            instances: Vec::new(),
            pending: VecDeque::new(),
            resting: HashMap::new(),
            devices: None,
            capacity: BTreeMap::new(),
            routed: None,
            idle: Arc::default(),
            left: Arc::clone(&handle.left),
            speeds: Arc::clone(&handle.speeds),
            changes,
            folders,
            table,
            view,
            waits,
            tracker,
            config,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn library(&self) -> &Library {
        &self.library
    }

    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut changed: mpsc::Receiver<InstanceId>,
        mut weights: mpsc::Receiver<ready::Event>,
    ) {
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
                Some(event) = weights.recv() => self.ready.told(event),
                () = self.idle.told() => self.drained(),
                () = self.left.notified() => {}
                () = tokio::time::sleep_until(wake.into()) => self.unload_idle(),
            }
            self.look_at_the_machine();
            self.advance();
            self.settle_weights();
            self.publish();
            self.tell_who_waits();
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Want { name, context, waiter } => self.want(&name, context, waiter),
            Command::Unload { name, reply } => self.unload(&name, reply),
            Command::Pin { name, pinned, reply, shown } => {
                self.to_be_shown.push(shown);
                let _left = reply.send(self.pin(&name, pinned));
            }
            Command::KeepFor { name, keep, shown } => {
                self.keep_for(&name, keep);
                self.to_be_shown.push(shown);
            }
            Command::KeepReady { models, shown } => {
                self.ready.want(models);
                self.to_be_shown.push(shown);
            }
            Command::Discard { model, gone } => self.discard(model, gone),
            Command::DiscardIfUnused { model, discarded } => {
                let _left = discarded.send(self.discard_if_unused(&model));
            }
            Command::Found { library, config, shown } => self.found(library, config, shown),
            Command::Devices(devices) => self.devices_listed(devices),
            Command::Stop { .. } => unreachable!("handled where the loop can end"),
        }
    }

    /// The models have changed, and perhaps the configuration. One whose file is another now need not rest for what the
    /// old one did.
    fn found(&mut self, library: Library, config: Option<Box<Config>>, shown: Option<oneshot::Sender<()>>) {
        let before = std::mem::replace(&mut self.library, Arc::new(library));
        let same = |key: &ModelKey| before.get(key) == self.library.get(key);
        self.resting.retain(|key, _| same(key));
        self.provided.retain(|key| self.library.get(key).is_some_and(|model| !model.provider.is_local()));
        self.ready.library_changed(&before, &self.library);
        if let Some(config) = config {
            self.reconfigured(*config, &before);
        }
        if let Some(shown) = shown {
            self.lift_rests();
            self.to_be_shown.push(shown);
        }
    }

    /// The engine has said what it sees. What was adopted holds memory already; that is models' memory too.
    fn devices_listed(&mut self, mut devices: Vec<ListedDevice>) {
        for device in &mut devices {
            let held: ByteCount = self.instances.iter().map(|instance| instance.status.memory.on(&device.name)).sum();
            device.free = device.total.min(device.free + held);
            tracing::info!(device = %device.name, total = %device.total, free = %device.free, "{}", device.description);
        }
        let used = devices::preferred(devices, &self.config.backends);
        self.devices = Some(devices::as_said(used, &self.config.vram));
    }

    /// Kept to the devices that are used.
    fn with_devices(&self, mut spec: engine::Spec) -> engine::Spec {
        if spec.adapter != Adapter::LlamaServer {
            return spec;
        }
        let used = self.devices.as_deref().unwrap_or_default();
        let argument = devices::argument(used, &self.config.backends, &spec.extra_args);
        spec.extra_args.extend(argument);
        spec
    }

    // ---- wishes ----

    fn want(&mut self, name: &str, context: Option<u64>, waiter: Waiter) {
        let Some(model) = self.resolve(name) else {
            waiter.refuse(Unavailable::NotFound { name: name.to_owned(), known: self.library.some_names() });
            return;
        };
        if !model.provider.is_local() {
            self.provide(&model, waiter);
            return;
        }
        let by_hand = matches!(waiter, Waiter::Load(_));
        let full = self.waiting() >= self.config.waiting_max;
        if let Some(instance) = self.instances.iter_mut().find(|one| one.model.key == model.key && one.suits(context)) {
            match instance.target {
                None if full => waiter.refuse(self.queue_full()),
                _ => instance.take_over(vec![waiter]),
            }
            return;
        }
        let (model, choice, open) = self.choose_where_open(name, model, context, by_hand);
        if self.is_discarded(&model.key) {
            waiter.refuse(was_unloaded(&model.key));
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
            let same_model = *pending.key() == model.key && pending.open == open;
            same_model && (context.is_none() || pending.context_requested == context)
        };
        if full {
            waiter.refuse(self.queue_full());
        } else if let Some(pending) = self.pending.iter_mut().find(joined) {
            pending.waiters.push(waiter);
        } else {
            self.pending.push_back(Pending {
                spec: sizing::spec_of(&model),
                model,
                need: MemoryUse::default(),
                context_requested: context,
                waiters: vec![waiter],
                since: Instant::now(),
                blockers: Vec::new(),
                open,
                choice,
                displaced: Vec::new(),
                keep: KeepFor::Default,
            });
        }
    }

    fn waiting(&self) -> usize {
        let loading = self.instances.iter().flat_map(|instance| &instance.waiters);
        let pending = self.pending.iter().flat_map(|pending| &pending.waiters);
        loading.chain(pending).filter(|waiter| waiter.is_there()).count()
    }

    fn queue_full(&self) -> Unavailable {
        Unavailable::QueueFull { waiting: self.waiting(), limit: self.config.waiting_max, retry_after: RETRY_AFTER }
    }

    /// The model that a name means: of several variants one that runs, else one that is waited for, else one that is
    /// ready, else the default one.
    fn resolve(&self, name: &str) -> Option<Arc<Model>> {
        let runs = |one: &&Running| one.model.key.id.as_str() == name && one.going != Going::Leaves;
        let waits = || self.pending.iter().find(|pending| pending.key().id.as_str() == name);
        if self.library.find(name).is_some_and(|model| model.key.id.as_str() == name)
            && !self.instances.iter().any(|one| runs(&one))
            && let Some(pending) = waits()
        {
            return Some(Arc::clone(&pending.model));
        }
        routes::resolve(&self.library, &self.instances, &self.ready.keys(), name)
    }

    fn look_at_the_machine(&mut self) {
        let devices = self.devices.as_deref().unwrap_or_default();
        self.capacity = ledger::capacity(&self.config, devices, &self.instances, &self.ready);
    }

    /// The machine as `placement` sees it for a load of `model` that needs `need`.
    fn snapshot(&self, model: &ModelKey, need: &MemoryUse) -> placement::Snapshot {
        let is_pinned = |model: &Model| model.is_pinned(&self.pinned);
        let kept = self.ready.weights(&self.instances, Some((model, need)), is_pinned);
        ledger::snapshot(&self.config, self.capacity.clone(), &self.instances, kept)
    }

    // ---- loads ----

    /// Lets waiting loads proceed, first come first served.
    fn advance(&mut self) {
        for instance in &mut self.instances {
            instance.waiters.retain(Waiter::is_there);
        }
        for pending in &mut self.pending {
            pending.waiters.retain(Waiter::is_there);
        }
        self.pending.retain(|pending| !pending.waiters.is_empty());
        self.listen_for_idle();
        self.end_unnamed();
        if self.devices.is_none() {
            return;
        }
        self.choose_what_was_left_open();
        let mut queue = std::mem::take(&mut self.pending);
        let mut yielding: Vec<(InstanceId, ModelKey)> = Vec::new();
        let mut blocked = false;
        while let Some(mut pending) = queue.pop_front() {
            let own = self.instances.iter().position(|one| one.model.key == *pending.key());
            if let Some(index) = own.filter(|&index| self.instances[index].suits(pending.context_requested)) {
                self.instances[index].take_over(pending.waiters);
                continue;
            }
            if self.is_discarded(pending.key()) {
                let reason = was_unloaded(pending.key());
                pending.refuse(&reason);
                continue;
            }
            if let Some(absence) = pending.model.absence() {
                let failure = pending.failure(FailureClass::FileNotFound, absence);
                pending.fail(&failure);
                continue;
            }
            let sized = sizing::size_up(&mut pending, &self.capacity, self.config.context_max, &self.measurements);
            if let Err(failure) = sized {
                pending.fail(&failure);
                continue;
            }
            if let Some(index) = own {
                pending.blockers = vec![self.instances[index].blocker()];
                // The old one has to be gone first: it is going already, or it is asked to for another context.
                if pending.context_requested.is_some() {
                    let id = self.instances[index].id.clone();
                    self.replace(&id);
                    yielding.push((id, pending.key().clone()));
                }
                self.pending.push_back(pending);
                blocked = true;
                continue;
            }
            let snapshot = self.snapshot(pending.key(), &pending.need);
            let decision = placement::admit(&snapshot, &pending.need);
            let in_the_way = match &decision {
                Decision::Start { evict, .. } => evict.as_slice(),
                Decision::Wait { blockers, .. } => blockers.as_slice(),
                _ => &[],
            };
            if !in_the_way.is_empty() && pending.takes_only_what_is_free() {
                let blockers = self.blockers(in_the_way);
                let reason = no_room(&pending, &snapshot, blockers, RETRY_AFTER);
                pending.refuse(&reason);
                continue;
            }
            match decision {
                // Behind a load that waits, only what needs nobody to leave may pass.
                Decision::Start { evict, release } if evict.is_empty() && release.is_empty() => self.start(pending),
                Decision::Start { evict, release } => {
                    pending.blockers = self.blockers(&evict);
                    if !blocked {
                        release.iter().for_each(|key| self.ready.make_room(key));
                        self.evict(&evict, pending.key());
                    }
                    blocked = true;
                    self.pending.push_back(pending);
                }
                Decision::Wait { drain, blockers } => {
                    pending.blockers = self.blockers(&blockers);
                    if !blocked && pending.since.elapsed() >= self.config.patience {
                        yielding.extend(drain.into_iter().map(|id| (id, pending.key().clone())));
                    }
                    blocked = true;
                    self.pending.push_back(pending);
                }
                Decision::Barred { pinned } => {
                    let reason = no_room(&pending, &snapshot, self.blockers(&pinned), RETRY_AFTER_UNPINNED);
                    pending.refuse(&reason);
                }
                Decision::Refuse { short } => {
                    let failure = sizing::refusal(&pending, &short);
                    pending.fail(&failure);
                }
            }
        }
        self.settle_yielding(&yielding);
    }

    fn blockers(&self, ids: &[InstanceId]) -> Vec<Blocker> {
        self.instances.iter().filter(|instance| ids.contains(&instance.id)).map(Running::blocker).collect()
    }

    /// Has the ends of requests told while anybody waits for one, and looks for those that came before.
    fn listen_for_idle(&mut self) {
        let leaving = self.instances.iter().any(|instance| instance.going != Going::Stays || instance.is_unnamed);
        let goes_soon = self.instances.iter().any(|one| self.idle_limit(one).is_some_and(|limit| limit < TOLD_BELOW));
        self.idle.want(leaving || goes_soon || !self.pending.is_empty());
        if leaving {
            self.drained();
        }
    }

    /// An idle instance leaves for its own successor with another context; a busy one yields to it.
    fn replace(&mut self, id: &InstanceId) {
        if let Some(instance) = self.instances.iter_mut().find(|one| one.id == *id)
            && instance.going == Going::Stays
            && instance.target.as_ref().is_some_and(|target| target.close())
        {
            instance.leave(Duration::ZERO);
        }
    }

    /// Closes instances that have to make way to new requests, and reopens those that need not any more. Callers that
    /// queued behind a reopened one are then served by it.
    fn settle_yielding(&mut self, yielding: &[(InstanceId, ModelKey)]) {
        for instance in &mut self.instances {
            let Some(target) = &instance.target else { continue };
            let for_whom = yielding.iter().find(|(id, _)| *id == instance.id).map(|(_, key)| key);
            match (instance.going, for_whom) {
                (Going::Stays, Some(for_whom)) => {
                    tracing::info!(
                        model = %instance.model.key, "takes no new requests: another model has waited for its place"
                    );
                    target.close_to_new();
                    instance.going = Going::Yields;
                    instance.leaves_for = Some((for_whom.clone(), Instant::now()));
                    if target.load().in_flight == 0 {
                        instance.leave(Duration::ZERO);
                    }
                }
                (Going::Yields, None) => {
                    target.reopen();
                    instance.going = Going::Stays;
                    instance.leaves_for = None;
                    let key = &instance.model.key;
                    let behind =
                        self.pending.iter().position(|one| one.key() == key && one.context_requested.is_none());
                    if let Some(pending) = behind.and_then(|index| self.pending.remove(index)) {
                        instance.take_over(pending.waiters);
                    }
                }
                _ => {}
            }
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
                instance.leaves_for = Some((for_whom.clone(), Instant::now()));
                instance.leave(Duration::ZERO);
            }
        }
    }

    fn start(&mut self, pending: Pending) {
        if let Err(missing) = self.config.programs.of(&pending.spec.adapter) {
            let failure = pending.failure(FailureClass::BackendError, missing);
            pending.fail(&failure);
            return;
        }
        let Pending { model, spec, need, context_requested, waiters, choice, displaced, keep, .. } = pending;
        let id = instance_id();
        tracing::info!(
            engine.id = %id, model = %model.key, context = spec.context, slots = spec.slots,
            gpu_layers = spec.gpu_layers, needs = %need, "loading {}", model.key
        );
        let launch = Launch {
            id: id.clone(),
            model: model.key.clone(),
            context_requested,
            programs: self.config.programs.clone(),
            spec: self.with_devices(spec.clone()),
            estimate: need.clone(),
        };
        let handle = Instance::start(launch, self.config.policy, self.folders.clone(), &self.tracker);
        self.watch_instance(id.clone(), &handle);
        let start = Start { file_size: model.size, spec };
        if let Some(choice) = &choice {
            tracing::info!(model = %model.key, "{}", choice.reason);
        }
        self.instances.push(Running {
            id,
            pinned: model.is_pinned(&self.pinned),
            keep,
            choice,
            displaced,
            leaves_for: None,
            afterwards: Afterwards::AsWanted,
            model,
            start,
            estimate: need,
            status: handle.status().borrow().clone(),
            handle,
            target: None,
            waiters,
            going: Going::Stays,
            is_unnamed: false,
            mourners: Vec::new(),
        });
    }

    /// Takes over what an earlier snug left running.
    pub(crate) async fn adopt(&mut self) {
        self.look_for_engines().await;
        self.look_at_the_machine();
    }

    async fn look_for_engines(&mut self) {
        let records = match self.folders.records.all() {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "cannot look for engines of an earlier snug");
                return;
            }
        };
        let adoptions = records.into_iter().map(|record| {
            let (policy, folders, tracker) = (self.config.policy, self.folders.clone(), self.tracker.clone());
            let programs = self.config.programs.clone();
            async move {
                let handle = Instance::adopt(record.clone(), programs, policy, folders, &tracker).await?;
                Some((record, handle))
            }
        });
        for (record, handle) in futures_util::future::join_all(adoptions).await.into_iter().flatten() {
            let found = self.library.get(&record.model);
            let Some(model) = found.filter(|model| model.path == record.spec.model) else {
                tracing::info!(model = %record.model, "ending an engine whose model is gone");
                handle.stop(Duration::ZERO);
                continue;
            };
            if record.spec.adapter != model.settings.adapter || record.spec.listen != model.settings.listen {
                tracing::info!(model = %record.model, "ending an engine whose port or program is another by now");
                handle.stop(Duration::ZERO);
                continue;
            }
            tracing::info!(engine.id = %record.id, model = %record.model, "found a running engine, no reload");
            let status = handle.status().borrow().clone();
            let target = status.address.map(|address| {
                Target::new(
                    record.id.clone(),
                    model.key.clone(),
                    address,
                    Arc::clone(&self.idle),
                    self.config.in_flight_max,
                )
            });
            self.watch_instance(record.id.clone(), &handle);
            self.instances.push(Running {
                id: record.id,
                pinned: model.is_pinned(&self.pinned),
                keep: KeepFor::Default,
                choice: None,
                displaced: Vec::new(),
                leaves_for: None,
                afterwards: Afterwards::AsWanted,
                start: Start { file_size: model.size, spec: record.spec },
                model,
                estimate: record.estimate,
                status,
                handle,
                target,
                waiters: Vec::new(),
                going: Going::Stays,
                is_unnamed: false,
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
            // The last is for an end that no status told.
            let _stopped = changes.send(id).await;
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
        } else if instance.handle.is_gone() {
            // Its task ended without an end of its life, which only a panic does. Nobody may wait for it.
            let instance = self.instances.remove(index);
            tracing::error!(engine.id = %instance.id, model = %instance.model.key, "lost the engine's owner");
            self.buried(instance);
        } else if instance.status.state == InstanceState::Ready && instance.serves_elsewhere() {
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
        let (id, key) = (instance.id.clone(), instance.model.key.clone());
        let target = Target::new(id, key, address, Arc::clone(&self.idle), self.config.in_flight_max);
        let load_time = instance.status.load_time.unwrap_or_default();
        let loaded = instance.loaded(load_time);
        for waiter in instance.waiters.drain(..) {
            waiter.serve(&target, &loaded);
        }
        if let Some(dead) = instance.target.replace(target) {
            dead.close_to_new();
            instance.going = Going::Stays;
        }
        for Displaced { model, since } in instance.displaced.drain(..) {
            let swap = Swap { from: model, to: instance.model.key.clone(), time: since.elapsed() };
            tracing::info!(from = %swap.from, to = %swap.to, "swapped in {} ms", swap.time.as_millis());
            let _nobody_listens = self.swaps.send(swap);
        }
        self.ready.release(&instance.model.key);
        let (key, start, memory) = (instance.model.key.clone(), instance.start.clone(), instance.status.memory.clone());
        self.measurements.loaded(key, start, memory, load_time);
        self.measurements.save();
    }

    /// An instance is gone for good.
    fn buried(&mut self, mut instance: Running) {
        self.ready.leaves(&mut instance);
        if let Some(target) = &instance.target {
            target.close_to_new();
        }
        let key = instance.model.key.clone();
        self.keep_speed(&key, &instance.start);
        let failure = instance.status.failure.filter(|_| instance.status.state == InstanceState::Failed);
        if let Some(failure) = &failure {
            let rest = if instance.status.restarts > 0 { REST_AFTER_CRASHES } else { REST_AFTER_FAILURE };
            self.resting.insert(key, (failure.clone(), Instant::now() + rest));
        }
        for waiter in instance.waiters {
            waiter.refuse(match &failure {
                Some(failure) => Unavailable::LoadFailed(Box::new(failure.clone())),
                None => was_unloaded(&instance.model.key),
            });
        }
        if let Some((for_whom, since)) = instance.leaves_for {
            self.displaced(Displaced { model: instance.model.key.clone(), since }, &for_whom);
        }
        for (model, mourner) in instance.mourners {
            let kept = self.ready.has(&model);
            let _left = mourner.send(Ok(Unloaded { model, kept }));
        }
        self.ready.try_again();
    }

    /// Keeps for the load that it left for that it did, if that load still goes on.
    fn displaced(&mut self, displaced: Displaced, for_whom: &ModelKey) {
        if displaced.model == *for_whom {
            return;
        }
        let waiting = self.pending.iter_mut().find(|one| one.key() == for_whom).map(|one| &mut one.displaced);
        let loading = self.instances.iter_mut().find(|one| one.model.key == *for_whom && one.target.is_none());
        if let Some(list) = waiting.or(loading.map(|one| &mut one.displaced)) {
            list.push(displaced);
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
        let unloads = self.instances.iter().filter_map(|instance| {
            let limit = self.idle_limit(instance)?;
            match instance.occupancy() {
                Occupancy::Idle { since } => now.checked_add(limit.saturating_sub(since)),
                // Nobody tells when it becomes idle; it is looked at again when it could be due at the earliest.
                Occupancy::Busy { .. } if limit >= TOLD_BELOW => now.checked_add(limit),
                _ => None,
            }
        });
        let patience = self.pending.iter().map(|pending| pending.since + self.config.patience).filter(|&at| at > now);
        let look = (!self.pending.is_empty()).then(|| now + LOOK_PERIOD);
        unloads
            .chain(patience)
            .chain(look)
            .min()
            .unwrap_or(now + Duration::from_secs(3600))
            .max(now + Duration::from_millis(1))
    }

    /// After how long an instance goes if nobody uses it.
    fn idle_limit(&self, instance: &Running) -> Option<Duration> {
        idle_limit(instance, self.config.idle_unload)
    }

    fn unload_idle(&mut self) {
        for instance in &mut self.instances {
            let Some(limit) = idle_limit(instance, self.config.idle_unload) else { continue };
            let unused = matches!(instance.occupancy(), Occupancy::Idle { since } if since >= limit);
            if unused && instance.target.as_ref().is_some_and(|target| target.close()) {
                tracing::info!(model = %instance.model.key, "unloading: unused for {} s", limit.as_secs_f32());
                instance.leave(Duration::ZERO);
            }
        }
    }

    // ---- what others see ----

    /// Brings weights into RAM and has them leave, as far as that is due.
    fn settle_weights(&mut self) {
        for instance in self.instances.iter_mut().filter(|instance| instance.going == Going::Leaves) {
            self.ready.leaves(instance);
        }
        let discarded = self.all_discarded();
        self.ready.settle(&ready::Around {
            library: &self.library,
            instances: &self.instances,
            loads: &self.pending,
            ram: self.capacity.get(&DeviceName::cpu()).copied().unwrap_or_default(),
            pinned: &self.pinned,
            discarded: &discarded,
        });
    }

    /// Tells those who waited for what is shown by now, or gone.
    fn tell_who_waits(&mut self) {
        for shown in self.to_be_shown.drain(..) {
            let _left = shown.send(());
        }
        for (key, gone) in std::mem::take(&mut self.discards) {
            if self.ready.is_gone(&key) && !self.instances.iter().any(|one| one.model.key == key) {
                self.rest(key);
                let _left = gone.send(());
            } else {
                self.discards.push((key, gone));
            }
        }
    }

    pub(crate) fn publish(&mut self) {
        let basis = routes::Basis::of(&self.library, &self.instances, self.ready.keys(), self.provided.clone());
        if !self.routed.as_ref().is_some_and(|routed| routed.is_same_as(&basis)) {
            self.table.publish(basis.routes(&self.instances));
            self.routed = Some(basis);
        }
        self.view.send_replace(Arc::new(View {
            library: Arc::clone(&self.library),
            instances: self.instances.iter().map(Running::view).collect(),
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
            ready: self.ready.view(&self.pinned),
            provided: self.provided.iter().filter_map(|key| self.library.get(key)).collect(),
            pinned: Arc::clone(&self.pinned),
            capacity: self.capacity.clone(),
            not_ready: self.devices.is_none().then_some("devices").into_iter().collect(),
            idle_unload: self.config.idle_unload,
        }));
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
        self.ready.end();
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
            // Those that leave already may have been given more time than there is now.
            if drain.is_zero() {
                instance.leave_at_once();
            } else {
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

/// What is said of a load for which there is no room beside these.
fn no_room(
    pending: &Pending,
    snapshot: &placement::Snapshot,
    blockers: Vec<Blocker>,
    retry_after: Duration,
) -> Unavailable {
    let (needed, free) = (pending.need.to_string(), ledger::free_text(snapshot));
    Unavailable::NoRoom { model: pending.key().clone(), needed, free, blockers, retry_after }
}

/// After how long an instance goes if nobody uses it; `usually` is what is configured for all.
fn idle_limit(instance: &Running, usually: Option<Duration>) -> Option<Duration> {
    instance.keep.limit(usually.filter(|_| !instance.model.settings.keep_loaded))
}

/// What those are told who waited for a model that was unloaded instead.
fn was_unloaded(model: &ModelKey) -> Unavailable {
    Unavailable::Unloaded { model: model.clone() }
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
