//! One ready instance, and the leases on it. How one is waited for: `turn`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use types::{InstanceId, ModelKey};

use crate::queue::Queue;
use crate::turn::Turn;

/// The highest bit of the word says that the target is closed.
pub(crate) const CLOSED: u64 = 1 << 63;
/// The next one, that somebody waits for a place.
pub(crate) const QUEUED: u64 = 1 << 62;
/// The others are the number of leases out.
const LEASES: u64 = QUEUED - 1;

/// One ready instance: where it listens, and who is using it.
#[derive(Debug)]
pub struct Target {
    instance: InstanceId,
    model: ModelKey,
    address: SocketAddr,
    /// The most leases at once: at least one, and below any word with a flag.
    limit: u64,
    /// Leases out, [`CLOSED`] and [`QUEUED`].
    pub(crate) word: AtomicU64,
    /// Who waits for a place.
    pub(crate) queue: Mutex<Queue<Turn>>,
    /// Nanoseconds from `born` to the end of the last lease (or the last lease's start, while one is out).
    last_used: AtomicU64,
    born: Instant,
    /// Told when the last lease comes back, if someone waits for targets to become idle.
    idle: Arc<IdleSignal>,
    /// Told when it is closed.
    closed: Notify,
    /// Done when it is closed.
    hooks: Hooks,
}

/// What is done once when a target is closed.
#[derive(Default)]
struct Hooks(Mutex<Vec<Box<dyn FnOnce() + Send>>>);

impl Hooks {
    fn add(&self, hook: Box<dyn FnOnce() + Send>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(hook);
    }

    fn run(&self) {
        // Run without the lock: a hook may close connections, and that may do anything.
        let hooks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        hooks.into_iter().for_each(|hook| hook());
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// Tells an owner of targets that one of them became idle, but only while the owner wants to know: in quiet times the end
/// of a request wakes nobody.
///
/// The owner first says that it wants to know, then looks at its targets, then waits; so no end goes unseen.
#[derive(Debug, Default)]
pub struct IdleSignal {
    wanted: AtomicBool,
    notify: Notify,
}

impl IdleSignal {
    /// Says whether idle targets are to be told of from now on.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// Waits until a target became idle. Cancel-safe.
    pub async fn told(&self) {
        self.notify.notified().await;
    }

    fn tell(&self) {
        if self.wanted.load(Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }
}

/// A snapshot of how a target is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetLoad {
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Time since the last lease was given or came back.
    pub unused_for: Duration,
}

impl Target {
    /// A target that nobody uses yet, for at most `limit` requests at once (at least one). `idle` is told when its last
    /// lease comes back.
    pub fn new(
        instance: InstanceId,
        model: ModelKey,
        address: SocketAddr,
        idle: Arc<IdleSignal>,
        limit: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            instance,
            model,
            address,
            limit: limit.clamp(1, LEASES),
            word: AtomicU64::new(0),
            queue: Mutex::default(),
            last_used: AtomicU64::new(0),
            born: Instant::now(),
            idle,
            closed: Notify::new(),
            hooks: Hooks::default(),
        })
    }

    /// The instance behind it.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The model it serves.
    pub fn model(&self) -> &ModelKey {
        &self.model
    }

    /// Where its engine listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The most requests it has in flight at once.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// A lease for one request, or `None` once the target is closed, all its places are taken, or others wait for one.
    pub fn lease(self: &Arc<Self>) -> Option<Lease> {
        // A word with a flag is beyond any limit.
        let one_more = |word| (word < self.limit).then_some(word + 1);
        self.word.try_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Lease::of_a_place_taken(self))
    }

    /// Closes the target if no lease is out and nobody waits for one. True if this call closed it: from then on no lease is
    /// given.
    pub fn close(&self) -> bool {
        let closed = self.word.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if closed {
            self.tell_closed();
        }
        closed
    }

    /// Closes the target to new leases whether or not some are out: for a stop that was asked for, or a dead engine. Whoever
    /// waits is sent away.
    pub fn close_to_new(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
        self.send_away();
        self.tell_closed();
    }

    /// Does `act` when it is closed the next time; at once if it is. For what is kept for later requests and keeps the
    /// engine from ending.
    pub fn when_closed(&self, act: impl FnOnce() + Send + 'static) {
        self.hooks.add(Box::new(act));
        // A close between the caller's look and the line above has not seen the hook.
        if self.is_closed() {
            self.hooks.run();
        }
    }

    fn tell_closed(&self) {
        self.closed.notify_waiters();
        self.hooks.run();
    }

    /// Gives leases again after [`Self::close_to_new`], for when the one it was to make room for no longer waits.
    pub fn reopen(&self) {
        self.word.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// Waits until it gives no more leases. Cancel-safe.
    pub async fn closed(&self) {
        let mut told = std::pin::pin!(self.closed.notified());
        // Listening begins before the look, so that a close in between is not missed.
        told.as_mut().enable();
        if !self.is_closed() {
            told.await;
        }
    }

    /// Whether it gives no more leases.
    pub fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// How it is used now.
    pub fn load(&self) -> TargetLoad {
        let last_used = Duration::from_nanos(self.last_used.load(Ordering::Relaxed));
        TargetLoad {
            in_flight: self.word.load(Ordering::SeqCst) & LEASES,
            waiting: self.waiting(),
            unused_for: self.born.elapsed().saturating_sub(last_used),
        }
    }

    /// One place is free again, and nobody is there to take it.
    pub(crate) fn free_one(&self) {
        // Sequentially consistent with the owner's "I want to know, now let me look": one of the two sees the other.
        let before = self.word.fetch_sub(1, Ordering::SeqCst);
        self.tell_if_idle(before);
    }

    fn tell_if_idle(&self, before: u64) {
        if before & LEASES == 1 {
            self.idle.tell();
        }
    }

    fn touch(&self) {
        let nanos = u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_used.fetch_max(nanos, Ordering::Relaxed);
    }
}

/// The right to use a target for one request; while it lives, the target is busy. Ends when dropped.
#[derive(Debug)]
pub struct Lease {
    target: Arc<Target>,
}

impl Lease {
    /// The lease of a place that is counted already.
    pub(crate) fn of_a_place_taken(target: &Arc<Target>) -> Self {
        target.touch();
        Self { target: Arc::clone(target) }
    }

    /// What it is a lease on.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target.touch();
        // Sequentially consistent for the same reason as in `free_one`.
        let one_less = |word| (word & QUEUED == 0).then_some(word - 1);
        match self.target.word.try_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(before) => self.target.tell_if_idle(before),
            Err(_queued) => self.target.hand_over(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{ModelId, Variant};

    fn target() -> Arc<Target> {
        target_for(8)
    }

    fn target_for(limit: u64) -> Arc<Target> {
        let key = ModelKey { id: ModelId::new("m"), variant: Variant::new("Q4_0") };
        Target::new(InstanceId::new("i1"), key, "127.0.0.1:1".parse().unwrap(), Arc::default(), limit)
    }

    #[test]
    fn a_busy_target_does_not_close() {
        let target = target();
        let lease = target.lease().unwrap();
        assert!(!target.close());
        drop(lease);
        assert!(target.close());
        assert!(target.lease().is_none());
        assert!(!target.close(), "closing is done once, by one caller");
    }

    #[test]
    fn leases_are_bounded() {
        let target = target_for(1);
        let _one = target.lease().unwrap();
        assert!(target.lease().is_none());
    }

    #[test]
    fn a_forced_close_lets_leases_come_back() {
        let target = target();
        let lease = target.lease().unwrap();
        target.close_to_new();
        assert!(target.lease().is_none());
        assert_eq!(target.load().in_flight, 1);
        drop(lease);
        assert_eq!(target.load().in_flight, 0);
        target.reopen();
        assert!(target.lease().is_some());
    }

    #[test]
    fn what_is_kept_for_a_target_goes_when_it_is_closed() {
        let target = target();
        let gone = Arc::new(AtomicU64::new(0));
        let count = || {
            let gone = Arc::clone(&gone);
            move || {
                gone.fetch_add(1, Ordering::SeqCst);
            }
        };
        target.when_closed(count());
        assert_eq!(gone.load(Ordering::SeqCst), 0);
        target.close_to_new();
        assert_eq!(gone.load(Ordering::SeqCst), 1, "done at the close, once");
        target.when_closed(count());
        assert_eq!(gone.load(Ordering::SeqCst), 2, "done at once on a closed one");
    }

    #[tokio::test]
    async fn only_who_wants_to_know_is_told() {
        let idle: Arc<IdleSignal> = Arc::default();
        let key = ModelKey { id: ModelId::new("m"), variant: Variant::new("") };
        let target = Target::new(InstanceId::new("i"), key, "127.0.0.1:1".parse().unwrap(), Arc::clone(&idle), 8);
        drop(target.lease());
        let quiet = tokio::time::timeout(Duration::from_millis(20), idle.told()).await;
        assert!(quiet.is_err(), "told although nobody wanted to know");
        idle.want(true);
        drop(target.lease());
        tokio::time::timeout(Duration::from_secs(10), idle.told()).await.unwrap();
    }

    #[test]
    fn closing_races_with_leasing_and_exactly_one_wins() {
        for _ in 0..200 {
            let target = target();
            let (leased, closed) = std::thread::scope(|scope| {
                let lease = scope.spawn(|| target.lease());
                let close = scope.spawn(|| target.close());
                let lease = lease.join().unwrap();
                (lease.is_some(), close.join().unwrap())
            });
            assert!(leased || closed);
            if leased && closed {
                // Possible only if the lease came back before the close; here it is dropped after both joined.
                panic!("a lease was given on a target that closed under it");
            }
        }
    }
}
