//! One instance, as the node's owner knows it.

use std::sync::Arc;
use std::time::Duration;

use engine::Status;
use placement::{Occupancy, Resident};
use route::{Blocker, Target};
use tokio::sync::oneshot;
use types::{InstanceId, MemoryUse, ModelKey};

use crate::demand::Waiter;
use crate::handle::{Loaded, NotUnloaded};
use crate::library::Model;
use crate::measurements::Start;
use crate::view::{InstanceView, holds};

/// One instance, as its owner knows it.
pub(crate) struct Running {
    pub(crate) id: InstanceId,
    pub(crate) model: Arc<Model>,
    pub(crate) start: Start,
    pub(crate) estimate: MemoryUse,
    pub(crate) handle: engine::Handle,
    pub(crate) status: Status,
    pub(crate) target: Option<Arc<Target>>,
    pub(crate) waiters: Vec<Waiter>,
    pub(crate) going: Going,
    /// Those who wait for its end.
    pub(crate) mourners: Vec<(ModelKey, oneshot::Sender<Result<ModelKey, NotUnloaded>>)>,
}

/// Whether an instance stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Going {
    Stays,
    /// It gets no new requests, because a load has waited long enough for its place; it may yet stay.
    Yields,
    /// It was told to end.
    Leaves,
}

impl Running {
    pub(crate) fn serves(&self) -> Option<&Arc<Target>> {
        self.target.as_ref().filter(|_| self.going == Going::Stays)
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
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

    pub(crate) fn holds(&self) -> MemoryUse {
        holds(&self.status, &self.estimate)
    }

    pub(crate) fn loaded(&self, load_time: Duration) -> Loaded {
        Loaded { model: self.model.key.clone(), context: self.status.context, load_time }
    }

    /// Ends it, after at most `drain` for the requests in flight.
    pub(crate) fn leave(&mut self, drain: Duration) {
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

    /// As `placement` sees it.
    pub(crate) fn resident(&self) -> Resident {
        Resident {
            id: self.id.clone(),
            model: self.model.key.clone(),
            holds: self.holds(),
            occupancy: self.occupancy(),
        }
    }

    /// As a caller is told of it whose way it is in.
    pub(crate) fn blocker(&self) -> Blocker {
        let occupancy = self.occupancy();
        let in_flight = match occupancy {
            Occupancy::Busy { in_flight, .. } => in_flight,
            _ => 0,
        };
        let (model, holds) = (self.model.key.clone(), self.holds().to_string());
        Blocker { model, reason: occupancy.as_str(), in_flight, holds }
    }

    /// As people are shown it.
    pub(crate) fn view(&self) -> InstanceView {
        InstanceView {
            id: self.id.clone(),
            model: Arc::clone(&self.model),
            status: self.status.clone(),
            estimate: self.estimate.clone(),
            target: self.target.clone(),
            leaving: self.going == Going::Leaves,
        }
    }
}
