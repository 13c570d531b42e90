//! What the node shows: an immutable picture, published whenever something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use engine::Status;
use placement::{Decision, Occupancy};
use route::Target;
use types::{ByteCount, DeviceName, InstanceId, MemoryUse, ModelId, ModelKey};

use crate::choice::Choice;
use crate::handle::KeepFor;
use crate::library::{Library, Model};

/// The node at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The models found.
    pub library: Arc<Library>,
    /// What runs, in the order in which it was started.
    pub instances: Vec<InstanceView>,
    /// Loads that wait for room, in their order.
    pub waiting: Vec<WaitingView>,
    /// Weights that are in RAM for models that are not loaded, or on their way there.
    pub ready: Vec<ReadyView>,
    /// Models that others run and somebody asked to be loaded.
    pub provided: Vec<Arc<Model>>,
    /// Models that were pinned at run time; see [`View::is_pinned`].
    pub pinned: Arc<BTreeSet<ModelId>>,
    /// What models may use of each device, with none loaded and none ready.
    pub capacity: BTreeMap<DeviceName, ByteCount>,
    /// What is missing before models can be loaded, by name.
    pub not_ready: Vec<&'static str>,
    /// After how long unused instances go where nobody has said otherwise; `None` for never.
    pub idle_unload: Option<Duration>,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// Its model.
    pub model: Arc<Model>,
    /// What its owner says of it.
    pub status: Status,
    /// What it was estimated to hold.
    pub estimate: MemoryUse,
    /// Where requests go, once it is ready.
    pub target: Option<Arc<Target>>,
    /// Whether it is on its way out.
    pub leaving: bool,
    /// Whether it stays whatever happens.
    pub pinned: bool,
    /// How long it stays without being used.
    pub keep: KeepFor,
    /// Why this variant, if it was chosen.
    pub choice: Option<Choice>,
}

/// Weights in RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyView {
    /// Whose.
    pub model: ModelKey,
    /// How far they are.
    pub state: ReadyState,
    /// The files' length together.
    pub bytes: ByteCount,
    /// How much of that nobody can take away, as measured.
    pub locked: ByteCount,
    /// Why they are not locked and what helps, if they are not.
    pub note: Option<String>,
    /// Whether the model is pinned: then they are the last to go.
    pub pinned: bool,
    /// How long they have not been used.
    pub unused_for: Duration,
}

/// How far weights are on their way into RAM, or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyState {
    /// They are being read and locked.
    Locking,
    /// They are there.
    Ready,
    /// They are being given up.
    Leaving,
}

/// One load that waits for room.
#[derive(Clone, Debug)]
pub struct WaitingView {
    /// Its model.
    pub model: ModelKey,
    /// What it needs.
    pub needs: MemoryUse,
    /// How many callers wait for it.
    pub callers: usize,
    /// What is in its way.
    pub blockers: Vec<route::Blocker>,
}

impl View {
    /// What is free of each device, in words: `3.1 GiB on CPU`.
    pub fn free_text(&self) -> String {
        let held = |device: &DeviceName| -> ByteCount {
            let weights = self.ready.iter().filter(|_| device.is_cpu()).map(|weights| self.beside(weights));
            self.instances.iter().map(|instance| instance.holds().on(device)).chain(weights).sum()
        };
        let free = |(device, capacity): (&DeviceName, &ByteCount)| {
            format!("{} on {device}", capacity.saturating_sub(held(device)))
        };
        self.capacity.iter().map(free).collect::<Vec<_>>().join(", ")
    }

    /// The model that a name means, as it was decided for those who wait: a bare id means its variant that runs, else the
    /// one that is waited for, else one that is ready, else the default one.
    pub fn meant_by(&self, name: &str) -> Option<ModelKey> {
        let model = self.library.find(name)?;
        let running = self.instances.iter().filter(|one| !one.leaving).map(|one| &one.model.key);
        let waiting = self.waiting.iter().map(|one| &one.model);
        let ready = self.ready.iter().filter(|one| one.state == ReadyState::Ready).map(|one| &one.model);
        let meant = running.chain(waiting).chain(ready).find(|key| key.id.as_str() == name);
        Some(meant.unwrap_or(&model.key).clone())
    }

    /// Whether a model stays whatever happens: by its entry, or since somebody pinned it.
    pub fn is_pinned(&self, model: &Model) -> bool {
        model.is_pinned(&self.pinned)
    }

    /// The weights of `model` that are in RAM without it being loaded, or on their way there or out.
    pub fn ready_of(&self, model: &ModelKey) -> Option<&ReadyView> {
        self.ready.iter().find(|weights| weights.model == *model)
    }

    /// What weights hold of RAM beside the instance of their own model.
    fn beside(&self, weights: &ReadyView) -> ByteCount {
        let own = self.instances.iter().find(|one| one.model.key == weights.model);
        let mapped = own.and_then(|one| Some(one.holds().0.get(&DeviceName::cpu())?.model));
        weights.locked.saturating_sub(mapped.unwrap_or_default())
    }

    /// Models that are loaded now and would have to leave for one that needs `need`, the first to go first; those that
    /// are pinned stay. None where it fits beside them, or does not fit at all.
    pub fn would_leave(&self, need: &MemoryUse) -> Vec<ModelKey> {
        let resident = |one: &InstanceView| placement::Resident {
            id: one.id.clone(),
            model: one.model.key.clone(),
            holds: one.holds(),
            occupancy: occupancy(one.leaving || one.status.over, one.pinned, one.target.as_deref()),
        };
        let weights = |one: &ReadyView| placement::Weights {
            model: one.model.clone(),
            bytes: self.beside(one),
            unused_for: one.unused_for,
            pinned: one.pinned,
            leaving: one.state == ReadyState::Leaving,
        };
        let snapshot = placement::Snapshot {
            capacity: self.capacity.clone(),
            residents: self.instances.iter().map(resident).collect(),
            kept: self.ready.iter().map(weights).collect(),
            instances_max: None,
        };
        let leave = match placement::admit(&snapshot, need) {
            Decision::Start { evict, .. } => evict,
            Decision::Wait { blockers, .. } => blockers,
            Decision::Barred { .. } | Decision::Refuse { .. } => vec![],
        };
        let model = |id: &InstanceId| self.instances.iter().find(|one| one.id == *id).map(|one| one.model.key.clone());
        leave.iter().filter_map(model).collect()
    }

    /// In how long `instance` will go if nobody uses it; `None` if it stays.
    pub fn goes_in(&self, instance: &InstanceView) -> Option<Duration> {
        let limit = instance.keep.limit(self.idle_unload).filter(|_| !instance.pinned)?;
        let unused_for = match &instance.target {
            Some(target) if target.load().in_flight == 0 => target.load().unused_for,
            _ => Duration::ZERO,
        };
        Some(limit.saturating_sub(unused_for))
    }

    /// The instance of `model` that is not on its way out, if there is one.
    pub fn instance_of(&self, model: &ModelKey) -> Option<&InstanceView> {
        self.instances.iter().find(|instance| instance.model.key == *model && !instance.leaving)
    }
}

impl InstanceView {
    /// What it holds: as reported once it is ready, as estimated until then.
    pub fn holds(&self) -> MemoryUse {
        holds(&self.status, &self.estimate)
    }
}

/// What an instance is doing, as far as leaving is concerned.
pub(crate) fn occupancy(leaving: bool, pinned: bool, target: Option<&Target>) -> Occupancy {
    if leaving {
        return Occupancy::Leaving;
    }
    if pinned {
        return Occupancy::Pinned;
    }
    match target.map(Target::load) {
        None => Occupancy::Loading,
        Some(load) if load.in_flight == 0 => Occupancy::Idle { since: load.unused_for },
        Some(load) => Occupancy::Busy { in_flight: load.in_flight, since: load.unused_for },
    }
}

/// What an instance holds: its own report, with what the engine takes beside its buffers, once there is one.
pub(crate) fn holds(status: &Status, estimate: &MemoryUse) -> MemoryUse {
    if status.load_time.is_some() && !status.memory.0.is_empty() {
        fit::with_overhead(&status.memory)
    } else {
        estimate.clone()
    }
}
