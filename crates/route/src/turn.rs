//! Waiting for a place on a target, in turn.
//!
//! ```text
//!   wait ──▶ a place is free, nobody waits ──────────────────▶ Lease      one atomic step, no lock
//!     │
//!     └────▶ the queue ── a lease comes back, it is the turn ─▶ Lease      the place changes hands and is never free
//!              │ │ └───── the target closes ──────────────────▶ Closed     ask for the model again
//!              │ └─────── it was full already ────────────────▶ Full
//!              └───────── the caller drops the future: it leaves at once; a place given to it meanwhile goes on
//! ```
//!
//! While anybody waits, [`QUEUED`] is set in the target's word: then no lease is given past the queue, and whoever gives one
//! back comes here. It is set and cleared under the queue's lock only.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::queue::{Queue, Ticket};
use crate::target::{CLOSED, Lease, QUEUED, Target};

/// How many may wait for one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// All callers together; 0 where nobody is to wait.
    pub waiting_max: usize,
    /// Requests of one caller, so that the queue has room for others.
    pub per_caller_max: usize,
}

/// Why a place was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Too many wait already.
    #[error("{waiting} requests already wait for it (limit {limit}); try again in a while")]
    Full {
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// Too many of the same caller wait already.
    #[error("{waiting} of your requests already wait for it (limit {limit}); send the next when one is answered")]
    CallerFull {
        /// How many of the caller's wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// The target gives no more leases: the model has to be asked for again.
    #[error("it takes no more requests")]
    Closed,
}

/// Told when its turn has come: a place is its own, and it has to make the lease of it. Dropped when the target closes.
pub(crate) type Turn = oneshot::Sender<()>;

/// Somebody in the queue.
struct Waiting {
    target: Arc<Target>,
    /// `None` once it is known how it ended.
    ticket: Option<Ticket>,
    turn: oneshot::Receiver<()>,
}

impl Target {
    /// A lease for one request of this caller, at once or in turn. Bounds are looked at only where it has to wait.
    ///
    /// Cancel-safe: whoever drops the future has left the queue.
    ///
    /// # Errors
    ///
    /// When too many wait, and when the target is closed, also while it is waited for.
    pub async fn wait(self: &Arc<Self>, caller: u64, bounds: &QueueBounds) -> Result<Lease, NotServed> {
        let waiting = match self.lease() {
            Some(lease) => return Ok(lease),
            None => self.join(caller, bounds)?,
        };
        match waiting {
            Joined::Served(lease) => Ok(lease),
            Joined::Waits(waiting) => waiting.served().await,
        }
    }

    fn join(self: &Arc<Self>, caller: u64, bounds: &QueueBounds) -> Result<Joined, NotServed> {
        let mut queue = self.queue();
        let room = bounds.admit(&queue, caller);
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word & CLOSED != 0 {
                return Err(NotServed::Closed);
            }
            // A lease may have come back since the caller looked.
            if let Some(lease) = self.lease() {
                return Ok(Joined::Served(lease));
            }
            room?;
            if word & QUEUED != 0 {
                break;
            }
            // All places are taken in the same moment: the next that is given back is handed over.
            let is_full = word >= self.limit();
            if is_full && self.word.compare_exchange(word, word | QUEUED, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                break;
            }
        }
        let (turn, told) = oneshot::channel();
        let ticket = queue.join(caller, turn);
        Ok(Joined::Waits(Waiting { target: Arc::clone(self), ticket: Some(ticket), turn: told }))
    }

    /// A place came back while somebody waited for one: it goes to whoever's turn it is.
    pub(crate) fn hand_over(&self) {
        loop {
            let mut queue = self.queue();
            // A closed target gives no place, also not from hand to hand; those who wait are being sent away.
            let next = if self.is_closed() { None } else { queue.next() };
            self.forget_empty(&queue);
            let Some(turn) = next else {
                // Under the lock, so that nobody joins a queue before a place that is free.
                self.free_one();
                return;
            };
            drop(queue);
            if turn.send(()).is_ok() {
                return;
            }
            // It left in this moment; the place is still to be given.
        }
    }

    /// Sends everybody away: the target was closed.
    pub(crate) fn send_away(&self) {
        let sent_away = {
            let mut queue = self.queue();
            let all = queue.drain();
            self.forget_empty(&queue);
            all
        };
        // Those who wait are told by this, and without the lock.
        drop(sent_away);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        // In quiet times without a lock.
        if self.word.load(Ordering::Acquire) & QUEUED == 0 { 0 } else { self.queue().len() }
    }

    fn forget_empty(&self, queue: &Queue<Turn>) {
        if queue.is_empty() {
            self.word.fetch_and(!QUEUED, Ordering::AcqRel);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Turn>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined {
    Served(Lease),
    Waits(Waiting),
}

impl Waiting {
    async fn served(mut self) -> Result<Lease, NotServed> {
        let told = (&mut self.turn).await;
        self.ticket = None;
        told.map(|()| Lease::of_a_place_taken(&self.target)).map_err(|_dropped| NotServed::Closed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        {
            let mut queue = self.target.queue();
            let has_left = queue.leave(ticket);
            self.target.forget_empty(&queue);
            if has_left {
                return;
            }
        }
        // Its turn came in the moment it left: either the place is here already, or it will not be accepted any more.
        self.turn.close();
        if self.turn.try_recv().is_ok() {
            drop(Lease::of_a_place_taken(&self.target));
        }
    }
}

impl QueueBounds {
    fn admit(&self, queue: &Queue<Turn>, caller: u64) -> Result<(), NotServed> {
        let (all, own) = (queue.len(), queue.len_of(caller));
        if all >= self.waiting_max {
            return Err(NotServed::Full { waiting: all, limit: self.waiting_max });
        }
        if own >= self.per_caller_max {
            return Err(NotServed::CallerFull { waiting: own, limit: self.per_caller_max });
        }
        Ok(())
    }
}
