//! One set of replicas: their circuits, what they read, and whose turn it is. The caller puts it behind a lock that is held
//! for each call, a few microseconds.

use std::time::Instant;

use crate::{Affinity, Balance, Candidate, Choice, Circuit, NoChoice, Permit, Prefix, Reason, Rules, choose};

/// What a replica has to do, as the caller counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Whether its engine takes requests.
    pub is_ready: bool,
    /// Requests it answers.
    pub in_flight: u64,
    /// Requests that wait for a place at it.
    pub waiting: u64,
    /// How many it answers at once.
    pub capacity: u64,
}

/// Replicas of one model, by number: the first is 0.
///
/// Every request that was sent ends in one of [`Self::succeeded`], [`Self::failed`] and [`Self::gave_up`], with the time
/// of its choice.
#[derive(Debug)]
pub struct Replicas {
    circuits: Vec<Circuit>,
    affinity: Affinity,
    balance: Balance,
    turn: usize,
    /// Kept for the next choice, so that none allocates.
    candidates: Vec<Candidate>,
}

impl Replicas {
    /// So many replicas of which nothing is known.
    pub fn new(count: usize, rules: Rules, balance: Balance, now: Instant) -> Self {
        Self {
            circuits: vec![Circuit::new(rules, now); count],
            affinity: Affinity::default(),
            balance,
            turn: 0,
            candidates: Vec::with_capacity(count),
        }
    }

    /// Chooses a replica for the next attempt at a request. `loads` are the replicas in order; `tried` are those at which
    /// the request failed already.
    ///
    /// # Errors
    ///
    /// When none may be asked, why.
    pub fn choose(
        &mut self,
        loads: impl IntoIterator<Item = Load>,
        prefix: &Prefix,
        tried: &[usize],
        now: Instant,
    ) -> Result<Choice, NoChoice> {
        self.candidates.clear();
        self.candidates.extend(self.circuits.iter().zip(loads).map(|(circuit, load)| {
            let Load { is_ready, in_flight, waiting, capacity } = load;
            Candidate { is_ready, permit: circuit.permits(now), in_flight, waiting, capacity }
        }));
        let read = self.affinity.longest(prefix).filter(|read| read.is_worth_it).map(|read| read.replica);
        let choice = choose(&self.candidates, read, tried, self.turn, &self.balance)?;
        self.turn = choice.index + 1;
        if choice.reason == Reason::Probe {
            self.circuits[choice.index].probe(now);
        }
        // Before the answer: the conversation's next request may come before this one has ended.
        self.affinity.remember(prefix, choice.index);
        Ok(choice)
    }

    /// The replica answered a request that was chosen for it at `begun`, whatever the answer was.
    pub fn succeeded(&mut self, replica: usize, begun: Instant, now: Instant) {
        if let Some(circuit) = self.circuits.get_mut(replica) {
            circuit.succeeded(begun, now);
        }
    }

    /// The replica did not answer a request that was chosen for it at `begun`.
    pub fn failed(&mut self, replica: usize, begun: Instant, now: Instant) {
        if let Some(circuit) = self.circuits.get_mut(replica) {
            circuit.failed(begun, now);
        }
    }

    /// A request that was chosen for the replica at `begun` ended before anything could be told: its client left, or it
    /// was not sent at all.
    pub fn gave_up(&mut self, replica: usize, begun: Instant, now: Instant) {
        if let Some(circuit) = self.circuits.get_mut(replica) {
            circuit.gave_up(begun, now);
        }
    }

    /// The replica has a new engine: it has read nothing, and has not failed.
    pub fn renew(&mut self, replica: usize, rules: Rules, now: Instant) {
        self.affinity.forget(replica);
        if let Some(circuit) = self.circuits.get_mut(replica) {
            *circuit = Circuit::new(rules, now);
        }
    }

    /// Whether a replica may be asked now; for showing it.
    pub fn permits(&self, replica: usize, now: Instant) -> Option<Permit> {
        self.circuits.get(replica).map(|circuit| circuit.permits(now))
    }
}
