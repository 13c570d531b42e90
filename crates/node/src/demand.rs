//! Who wants what: callers that wait for a model, and the loads they wait for.

use std::sync::Arc;
use std::time::Instant;

use route::{Lease, Target, Unavailable};
use tokio::sync::oneshot;
use types::{FailureClass, LoadFailure, MemoryUse, ModelKey};

use crate::choice::Choice;
use crate::handle::{KeepFor, Loaded};
use crate::library::Model;

/// Someone who waits for a model to be ready.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A request that needs a place in the engine.
    Request(oneshot::Sender<Result<Lease, Unavailable>>),
    /// A person or program that wants it loaded.
    Load(oneshot::Sender<Result<Loaded, Unavailable>>),
    /// The same, but only if nobody has to leave for it.
    Preload(oneshot::Sender<Result<Loaded, Unavailable>>),
}

impl Waiter {
    /// Whether it still waits.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            Self::Request(reply) => !reply.is_closed(),
            Self::Load(reply) | Self::Preload(reply) => !reply.is_closed(),
        }
    }

    /// It is ready.
    pub(crate) fn serve(self, target: &Arc<Target>, loaded: &Loaded) {
        match self {
            Self::Request(reply) => {
                let lease = target.lease().ok_or_else(|| Unavailable::Busy { target: Arc::clone(target) });
                // A caller that left in this moment drops the lease, which is all there is to do.
                let _left = reply.send(lease);
            }
            Self::Load(reply) | Self::Preload(reply) => {
                let _left = reply.send(Ok(loaded.clone()));
            }
        }
    }

    /// It will not be ready.
    pub(crate) fn refuse(self, reason: Unavailable) {
        match self {
            Self::Request(reply) => {
                let _left = reply.send(Err(reason));
            }
            Self::Load(reply) | Self::Preload(reply) => {
                let _left = reply.send(Err(reason));
            }
        }
    }
}

/// A load that was decided and waits for room.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Which model.
    pub(crate) model: Arc<Model>,
    /// How it will be started.
    pub(crate) spec: engine::Spec,
    /// What it needs.
    pub(crate) need: MemoryUse,
    /// The context asked for by an explicit load.
    pub(crate) context_requested: Option<u64>,
    /// Who waits for it.
    pub(crate) waiters: Vec<Waiter>,
    /// Since when.
    pub(crate) since: Instant,
    /// What is in its way, as last seen.
    pub(crate) blockers: Vec<route::Blocker>,
    /// Whether the variant is yet to be chosen: what there is to choose by is not known.
    pub(crate) open: bool,
    /// Why this variant, if it was chosen.
    pub(crate) choice: Option<Choice>,
    /// Those that left for it.
    pub(crate) displaced: Vec<Displaced>,
    /// How long it is to stay without being used.
    pub(crate) keep: KeepFor,
}

/// A model that left for another.
#[derive(Clone, Debug)]
pub(crate) struct Displaced {
    pub(crate) model: ModelKey,
    /// When that was decided.
    pub(crate) since: Instant,
}

impl Pending {
    /// Its model's key.
    pub(crate) fn key(&self) -> &ModelKey {
        &self.model.key
    }

    /// Whether nobody is to leave for it.
    pub(crate) fn takes_only_what_is_free(&self) -> bool {
        self.waiters.iter().all(|waiter| matches!(waiter, Waiter::Preload(_)))
    }

    /// This load failed before there was an engine.
    pub(crate) fn failure(&self, class: FailureClass, message: impl Into<String>) -> LoadFailure {
        LoadFailure {
            model: self.key().clone(),
            context_requested: self.context_requested,
            class,
            message: message.into(),
            engine_log: String::new(),
        }
    }

    /// Answers all waiters with the same failure.
    pub(crate) fn fail(self, failure: &LoadFailure) {
        self.refuse(&Unavailable::LoadFailed(Box::new(failure.clone())));
    }

    /// Answers all waiters with the same reason.
    pub(crate) fn refuse(self, reason: &Unavailable) {
        for waiter in self.waiters {
            waiter.refuse(reason.clone());
        }
    }
}
