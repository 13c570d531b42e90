//! What is known of those who may answer for a route: which of them fail, which have read what, how much each has to do.
//!
//! Shared by all serving threads, and kept over a change of the configuration for routes that stay as they are.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use balance::{Balance, Load, NoChoice, Prefix, Replicas, Rules};
use route::{Chain, Member, Target};
use types::InstanceId;

/// More routes than anybody configures; beyond that what is known is forgotten, which costs nothing but affinity.
const SPREADS_MAX: usize = 4096;

/// All spreads, and what providers have to do.
#[derive(Default)]
pub(crate) struct Spreads {
    by_step: Mutex<HashMap<(String, usize), Arc<Spread>>>,
    providers: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

/// The members of one step of a route.
pub(crate) struct Spread {
    /// What it was made for.
    members: Vec<String>,
    known: Mutex<Known>,
}

struct Known {
    replicas: Replicas,
    /// The engine that each member had when it was last looked at.
    engines: Vec<Option<InstanceId>>,
}

/// One member at this moment.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) load: Load,
    /// The ready engine of a model of this machine.
    pub(crate) target: Option<Arc<Target>>,
}

/// One attempt at a member. Dropped without a word of how it went, it was given up.
pub(crate) struct Attempt {
    spread: Arc<Spread>,
    /// The member's number.
    pub(crate) index: usize,
    begun: Instant,
    is_over: bool,
}

impl Spreads {
    /// What is known of a step's members.
    pub(crate) fn of(&self, chain: &Chain, step: usize) -> Arc<Spread> {
        let members: Vec<String> = chain.steps[step].members.iter().map(describe).collect();
        let mut by_step = lock(&self.by_step);
        if by_step.len() >= SPREADS_MAX {
            by_step.clear();
        }
        let known = by_step.entry((chain.id.clone(), step)).or_insert_with(|| Arc::new(Spread::new(members.clone())));
        if known.members != members {
            *known = Arc::new(Spread::new(members));
        }
        Arc::clone(known)
    }

    /// How many requests a provider has.
    pub(crate) fn in_flight(&self, provider: &str) -> Arc<AtomicU64> {
        let mut providers = lock(&self.providers);
        match providers.get(provider) {
            Some(count) => Arc::clone(count),
            None => Arc::clone(providers.entry(provider.to_owned()).or_default()),
        }
    }
}

impl Spread {
    fn new(members: Vec<String>) -> Self {
        let replicas = Replicas::new(members.len(), Rules::default(), Balance::default(), Instant::now());
        let engines = vec![None; members.len()];
        Self { members, known: Mutex::new(Known { replicas, engines }) }
    }

    /// Chooses the next member to ask. One with another engine than the last time has failed nobody, and read nothing.
    pub(crate) fn choose(
        self: &Arc<Self>,
        standings: &[Standing],
        prefix: &Prefix,
        tried: &[usize],
    ) -> Result<Attempt, NoChoice> {
        let now = Instant::now();
        let choice = {
            let mut known = lock(&self.known);
            let Known { replicas, engines } = &mut *known;
            for (index, (engine, standing)) in engines.iter_mut().zip(standings).enumerate() {
                let Some(target) = &standing.target else { continue };
                if engine.as_ref() != Some(target.instance()) && engine.replace(target.instance().clone()).is_some() {
                    replicas.renew(index, Rules::default(), now);
                }
            }
            replicas.choose(standings.iter().map(|standing| standing.load), prefix, tried, now)?
        };
        Ok(self.attempt(choice.index, now))
    }

    /// An attempt at a member that was not chosen but is all there is.
    pub(crate) fn attempt(self: &Arc<Self>, index: usize, begun: Instant) -> Attempt {
        Attempt { spread: Arc::clone(self), index, begun, is_over: false }
    }
}

impl Attempt {
    /// An answer came.
    pub(crate) fn succeeded(mut self) {
        self.is_over = true;
        lock(&self.spread.known).replicas.succeeded(self.index, self.begun, Instant::now());
    }

    /// None came.
    pub(crate) fn failed(mut self) {
        self.is_over = true;
        lock(&self.spread.known).replicas.failed(self.index, self.begun, Instant::now());
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.is_over {
            lock(&self.spread.known).replicas.gave_up(self.index, self.begun, Instant::now());
        }
    }
}

/// What tells one member from another.
fn describe(member: &Member) -> String {
    match member {
        Member::Local(local) => local.name.clone(),
        Member::Remote(remote) => format!("{}/{}", remote.provider.name, remote.model),
    }
}

/// What is behind it is whole even if a thread panicked beside it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
