//! One instance, as the node's owner knows it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Status;
use placement::{Occupancy, Resident};
use route::{Blocker, Target};
use tokio::sync::oneshot;
use types::{ByteCount, DeviceName, InstanceId, InstanceState, MemoryUse, ModelKey};

use crate::choice::Choice;
use crate::demand::{Displaced, Waiter};
use crate::handle::{KeepFor, Loaded, NotUnloaded, Unloaded};
use crate::library::Model;
use crate::measurements::Start;
use crate::ready::Afterwards;
use crate::view::{InstanceView, holds, occupancy};

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
    /// Whether the configuration took its model away while it ran.
    pub(crate) is_unnamed: bool,
    /// Those who wait for its end.
    pub(crate) mourners: Vec<(ModelKey, oneshot::Sender<Result<Unloaded, NotUnloaded>>)>,
    /// Whether it is to stay whatever happens.
    pub(crate) pinned: bool,
    /// How long it stays without being used.
    pub(crate) keep: KeepFor,
    /// Why this variant, if it was chosen.
    pub(crate) choice: Option<Choice>,
    /// Those that left for it, until it is ready.
    pub(crate) displaced: Vec<Displaced>,
    /// For whom it leaves or yields, and since when.
    pub(crate) leaves_for: Option<(ModelKey, Instant)>,
    /// What becomes of its weights when it leaves.
    pub(crate) afterwards: Afterwards,
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
    /// Whether it is what a caller wants who asks for this context.
    pub(crate) fn suits(&self, context: Option<u64>) -> bool {
        self.going == Going::Stays && context.is_none_or(|context| context == self.start.spec.context)
    }

    /// Serves callers at once, or has them wait for the end of its load.
    pub(crate) fn take_over(&mut self, waiters: Vec<Waiter>) {
        match &self.target {
            Some(target) => {
                let loaded = self.loaded(Duration::ZERO);
                waiters.into_iter().for_each(|waiter| waiter.serve(target, &loaded));
            }
            None => self.waiters.extend(waiters),
        }
    }

    /// Whether requests go nowhere yet, or to a process that was since replaced: its restart may be over before the owner
    /// has looked.
    pub(crate) fn serves_elsewhere(&self) -> bool {
        self.target.as_ref().map(|target| target.address()) != self.status.address
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        let leaving = self.going == Going::Leaves || self.status.over;
        occupancy(leaving, self.pinned, self.target.as_deref())
    }

    /// When somebody used it last; now, where nobody could yet.
    pub(crate) fn last_used(&self) -> Instant {
        let now = Instant::now();
        self.target.as_ref().and_then(|target| now.checked_sub(target.load().unused_for)).unwrap_or(now)
    }

    pub(crate) fn holds(&self) -> MemoryUse {
        holds(&self.status, &self.estimate)
    }

    /// What of [`Self::holds`] is gone from the machine's free memory by now: while it loads a part, without a process
    /// nothing.
    pub(crate) fn has_taken(&self, device: &DeviceName) -> ByteCount {
        self.taken_of(self.holds().on(device))
    }

    /// The same of the weights it has in RAM.
    pub(crate) fn weights_taken(&self) -> ByteCount {
        self.taken_of(self.holds().0.get(&DeviceName::cpu()).map(|memory| memory.model).unwrap_or_default())
    }

    fn taken_of(&self, holds: ByteCount) -> ByteCount {
        if self.status.pid.is_none() {
            return ByteCount::ZERO;
        }
        if self.status.state != InstanceState::Loading {
            return holds;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1")]
        let percent = (self.status.progress * 100.0) as u64;
        ByteCount::bytes(holds.as_u64() / 100 * percent)
    }

    pub(crate) fn loaded(&self, load_time: Duration) -> Loaded {
        let (model, choice) = (self.model.key.clone(), self.choice.clone());
        Loaded { model, context: self.status.context, load_time, choice }
    }

    /// Ends it, after at most `drain` for the requests in flight.
    pub(crate) fn leave(&mut self, drain: Duration) {
        self.going = Going::Leaves;
        let in_flight = self.target.as_ref().map_or(0, |target| {
            target.close_to_new();
            target.load().in_flight
        });
        match in_flight {
            0 => self.handle.retire(),
            _ => self.handle.stop(drain),
        }
    }

    /// Ends it now, whatever is in flight; nothing is kept of its prompts.
    pub(crate) fn leave_at_once(&mut self) {
        self.going = Going::Leaves;
        if let Some(target) = &self.target {
            target.close_to_new();
        }
        self.handle.stop(Duration::ZERO);
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
            pinned: self.pinned,
            keep: self.keep,
            choice: self.choice.clone(),
        }
    }
}
