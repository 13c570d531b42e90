//! One ready instance, and the leases on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use types::{InstanceId, ModelKey};

/// The highest bit of the lease count says that the target is closed.
const CLOSED: u64 = 1 << 63;

/// One ready instance: where it listens, and who is using it.
#[derive(Debug)]
pub struct Target {
    instance: InstanceId,
    model: ModelKey,
    address: SocketAddr,
    /// Leases out, and [`CLOSED`].
    leases: AtomicU64,
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
    /// Time since the last lease was given or came back.
    pub unused_for: Duration,
}

impl Target {
    /// A target that nobody uses yet. `idle` is told when its last lease comes back.
    pub fn new(instance: InstanceId, model: ModelKey, address: SocketAddr, idle: Arc<IdleSignal>) -> Arc<Self> {
        Arc::new(Self {
            instance,
            model,
            address,
            leases: AtomicU64::new(0),
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

    /// A lease for one request, or `None` once the target is closed or `limit` requests are in flight.
    pub fn lease(self: &Arc<Self>, limit: u64) -> Option<Lease> {
        self.leases
            .try_update(Ordering::AcqRel, Ordering::Acquire, |leases| {
                (leases & CLOSED == 0 && leases < limit).then_some(leases + 1)
            })
            .ok()?;
        self.touch();
        Some(Lease { target: Arc::clone(self) })
    }

    /// Closes the target if no lease is out. True if this call closed it: from then on no lease is given.
    pub fn close(&self) -> bool {
        let closed = self.leases.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if closed {
            self.tell_closed();
        }
        closed
    }

    /// Closes the target to new leases whether or not some are out: for a stop that was asked for, or a dead engine.
    pub fn close_to_new(&self) {
        self.leases.fetch_or(CLOSED, Ordering::AcqRel);
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
        self.leases.fetch_and(!CLOSED, Ordering::AcqRel);
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
        self.leases.load(Ordering::Acquire) & CLOSED != 0
    }

    /// How it is used now.
    pub fn load(&self) -> TargetLoad {
        let last_used = Duration::from_nanos(self.last_used.load(Ordering::Relaxed));
        TargetLoad {
            in_flight: self.leases.load(Ordering::SeqCst) & !CLOSED,
            unused_for: self.born.elapsed().saturating_sub(last_used),
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
    /// What it is a lease on.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target.touch();
        // Sequentially consistent with the owner's "I want to know, now let me look": one of the two sees the other.
        let before = self.target.leases.fetch_sub(1, Ordering::SeqCst);
        if before & !CLOSED == 1 {
            self.target.idle.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{ModelId, Variant};

    fn target() -> Arc<Target> {
        let key = ModelKey { id: ModelId::new("m"), variant: Variant::new("Q4_0") };
        Target::new(InstanceId::new("i1"), key, "127.0.0.1:1".parse().unwrap(), Arc::default())
    }

    #[test]
    fn a_busy_target_does_not_close() {
        let target = target();
        let lease = target.lease(8).unwrap();
        assert!(!target.close());
        drop(lease);
        assert!(target.close());
        assert!(target.lease(8).is_none());
        assert!(!target.close(), "closing is done once, by one caller");
    }

    #[test]
    fn leases_are_bounded() {
        let target = target();
        let _one = target.lease(1).unwrap();
        assert!(target.lease(1).is_none());
    }

    #[test]
    fn a_forced_close_lets_leases_come_back() {
        let target = target();
        let lease = target.lease(8).unwrap();
        target.close_to_new();
        assert!(target.lease(8).is_none());
        assert_eq!(target.load().in_flight, 1);
        drop(lease);
        assert_eq!(target.load().in_flight, 0);
        target.reopen();
        assert!(target.lease(8).is_some());
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
        let target = Target::new(InstanceId::new("i"), key, "127.0.0.1:1".parse().unwrap(), Arc::clone(&idle));
        drop(target.lease(8));
        let quiet = tokio::time::timeout(Duration::from_millis(20), idle.told()).await;
        assert!(quiet.is_err(), "told although nobody wanted to know");
        idle.want(true);
        drop(target.lease(8));
        tokio::time::timeout(Duration::from_secs(10), idle.told()).await.unwrap();
    }

    #[test]
    fn closing_races_with_leasing_and_exactly_one_wins() {
        for _ in 0..200 {
            let target = target();
            let (leased, closed) = std::thread::scope(|scope| {
                let lease = scope.spawn(|| target.lease(8));
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
