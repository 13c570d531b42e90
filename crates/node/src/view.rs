//! What the node shows: an immutable picture, published whenever something changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Status;
use placement::{Decision, Occupancy};
use route::Target;
use types::{ByteCount, DeviceName, InstanceId, MemoryUse, ModelKey};

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
    /// What models may use of each device.
    pub capacity: BTreeMap<DeviceName, ByteCount>,
    /// What is missing before models can be loaded, by name.
    pub not_ready: Vec<&'static str>,
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
            self.instances.iter().map(|instance| instance.holds().on(device)).sum()
        };
        let free = |(device, capacity): (&DeviceName, &ByteCount)| {
            format!("{} on {device}", capacity.saturating_sub(held(device)))
        };
        self.capacity.iter().map(free).collect::<Vec<_>>().join(", ")
    }

    /// The model that a name means, as it was decided for those who wait: a bare id means its variant that runs.
    pub fn meant_by(&self, name: &str) -> Option<ModelKey> {
        let model = self.library.find(name)?;
        let runs = |one: &&InstanceView| one.model.key.id.as_str() == name && !one.leaving;
        Some(self.instances.iter().find(runs).map_or_else(|| model.key.clone(), |one| one.model.key.clone()))
    }

    /// Models that are loaded now and would have to leave for one that needs `need`, the first to go first; those that
    /// are pinned stay. None where it fits beside them, or does not fit at all.
    pub fn would_leave(&self, need: &MemoryUse) -> Vec<ModelKey> {
        let resident = |one: &InstanceView| placement::Resident {
            id: one.id.clone(),
            model: one.model.key.clone(),
            holds: one.holds(),
            occupancy: occupancy(one.leaving || one.status.over, &one.model, one.target.as_deref()),
        };
        let snapshot = placement::Snapshot {
            capacity: self.capacity.clone(),
            residents: self.instances.iter().map(resident).collect(),
            instances_max: None,
        };
        let leave = match placement::admit(&snapshot, need) {
            Decision::Start { evict } => evict,
            Decision::Wait { blockers, .. } => blockers,
            Decision::Barred { .. } | Decision::Refuse { .. } => vec![],
        };
        let model = |id: &InstanceId| self.instances.iter().find(|one| one.id == *id).map(|one| one.model.key.clone());
        leave.iter().filter_map(model).collect()
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
pub(crate) fn occupancy(leaving: bool, model: &Model, target: Option<&Target>) -> Occupancy {
    if leaving {
        return Occupancy::Leaving;
    }
    if model.settings.pinned {
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
