//! Waiting for a place: nobody is lost, no place is, and whoever floods waits behind itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use route::{IdleSignal, Lease, NotServed, QueueBounds, Target};
use tokio::task::JoinSet;
use types::{InstanceId, ModelId, ModelKey, Variant};

const MANY: QueueBounds = QueueBounds { waiting_max: 1000, per_caller_max: 1000 };

fn target_for(limit: u64) -> Arc<Target> {
    target_that_tells(limit, Arc::default())
}

fn target_that_tells(limit: u64, idle: Arc<IdleSignal>) -> Arc<Target> {
    let key = ModelKey { id: ModelId::new("m"), variant: Variant::new("Q4_0") };
    Target::new(InstanceId::new("i"), key, "127.0.0.1:1".parse().unwrap(), idle, limit)
}

/// A request that waits, as far as it is driven by hand.
struct Request(Pin<Box<dyn Future<Output = Result<Lease, NotServed>> + Send>>);

impl Request {
    /// Joins the queue, unless it is served at once.
    fn new(target: &Arc<Target>, caller: u64, bounds: QueueBounds) -> (Self, Option<Result<Lease, NotServed>>) {
        let target = Arc::clone(target);
        let mut request = Self(Box::pin(async move { target.wait(caller, &bounds).await }));
        let answer = request.poll();
        (request, answer)
    }

    /// One that has to wait.
    fn waiting(target: &Arc<Target>, caller: u64) -> Self {
        let (request, answer) = Self::new(target, caller, MANY);
        assert!(answer.is_none(), "{answer:?}");
        request
    }

    fn poll(&mut self) -> Option<Result<Lease, NotServed>> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}

/// In flight and waiting.
fn load(target: &Target) -> (u64, usize) {
    let load = target.load();
    (load.in_flight, load.waiting)
}

#[test]
fn a_place_goes_from_hand_to_hand() {
    let target = target_for(1);
    let first = target.lease().unwrap();
    let mut flood = [(); 3].map(|()| Request::waiting(&target, 1));
    let mut other = Request::waiting(&target, 2);
    assert_eq!(load(&target), (1, 4));
    drop(first);
    assert_eq!(load(&target), (1, 3), "taken already by whoever's turn it is");
    assert!(target.lease().is_none(), "nobody overtakes");
    let lease = flood[0].poll().unwrap().unwrap();
    assert!(other.poll().is_none());
    drop(lease);
    assert!(flood[1].poll().is_none());
    let lease = other.poll().unwrap().unwrap();
    assert!(!target.close());
    drop(lease);
    for request in &mut flood[1..] {
        drop(request.poll().unwrap().unwrap());
    }
    assert_eq!(load(&target), (0, 0));
    assert!(target.lease().is_some());
    assert!(target.close());
}

#[test]
fn who_leaves_is_gone_at_once() {
    let target = target_for(1);
    let lease = target.lease().unwrap();
    let (first, mut second) = (Request::waiting(&target, 1), Request::waiting(&target, 1));
    drop(first);
    assert_eq!(load(&target), (1, 1));
    drop(lease);
    drop(second.poll().unwrap().unwrap());
    let lease = target.lease().unwrap();
    drop(Request::waiting(&target, 1));
    drop(lease);
    assert_eq!(load(&target), (0, 0));
    assert!(target.close());
}

#[test]
fn a_place_given_to_one_that_leaves_goes_on() {
    let idle: Arc<IdleSignal> = Arc::default();
    let target = target_that_tells(1, Arc::clone(&idle));
    let lease = target.lease().unwrap();
    let (first, mut second) = (Request::waiting(&target, 1), Request::waiting(&target, 2));
    drop(lease);
    assert!(!target.close(), "the place is given, though nobody has looked yet");
    drop(first);
    let lease = second.poll().unwrap().unwrap();
    let third = Request::waiting(&target, 3);
    drop(lease);
    idle.want(true);
    drop(third);
    assert_eq!(load(&target), (0, 0));
    let mut told = std::pin::pin!(idle.told());
    let told = told.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(told.is_ready(), "the last one out tells that it is idle");
    assert!(target.close());
}

#[test]
fn a_close_sends_everybody_away() {
    let target = target_for(1);
    let lease = target.lease().unwrap();
    let mut waiting = [1, 1, 2].map(|caller| Request::waiting(&target, caller));
    assert!(!target.close(), "busy");
    target.close_to_new();
    assert_eq!(load(&target), (1, 0));
    for request in &mut waiting {
        assert_eq!(request.poll().unwrap().unwrap_err(), NotServed::Closed);
    }
    let (_, answer) = Request::new(&target, 1, MANY);
    assert_eq!(answer.unwrap().unwrap_err(), NotServed::Closed);
    target.reopen();
    let mut next = Request::waiting(&target, 1);
    drop(lease);
    assert!(next.poll().unwrap().is_ok());
}

#[test]
fn the_queue_is_bounded() {
    let bounds = QueueBounds { waiting_max: 3, per_caller_max: 2 };
    let target = target_for(1);
    let (_, lease) = Request::new(&target, 1, QueueBounds { waiting_max: 0, per_caller_max: 0 });
    let lease = lease.unwrap().unwrap();
    let kept = [1, 1].map(|caller| Request::new(&target, caller, bounds));
    let refused = |caller| Request::new(&target, caller, bounds).1.unwrap().unwrap_err();
    assert_eq!(refused(1), NotServed::CallerFull { waiting: 2, limit: 2 });
    let other = Request::new(&target, 2, bounds);
    assert!(other.1.is_none());
    assert_eq!(refused(3), NotServed::Full { waiting: 3, limit: 3 });
    drop(kept);
    assert!(Request::new(&target, 3, bounds).1.is_none());
    drop((lease, other));
    assert_eq!(load(&target), (0, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Asks(u64),
    Looks(prop::sample::Index),
    Leaves(prop::sample::Index),
    Ends(prop::sample::Index),
    Closes,
    ClosesToNew,
    Reopens,
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..4_u64).prop_map(Step::Asks),
        4 => which().prop_map(Step::Looks),
        2 => which().prop_map(Step::Leaves),
        4 => which().prop_map(Step::Ends),
        1 => Just(Step::Closes),
        1 => Just(Step::ClosesToNew),
        3 => Just(Step::Reopens),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no more leases than places, no place is free while somebody waits, a target in
    /// use does not close, and in the end everything is given back.
    #[test]
    fn no_place_is_lost(limit in 1..4_u64, steps in prop::collection::vec(step(), 1..150)) {
        let target = target_for(limit);
        let mut asking: Vec<Request> = vec![];
        let mut leases: Vec<Lease> = vec![];
        for step in steps {
            match step {
                Step::Asks(caller) => match Request::new(&target, caller, MANY) {
                    (request, None) => asking.push(request),
                    (_, Some(Ok(lease))) => leases.push(lease),
                    (_, Some(Err(error))) => prop_assert!(error == NotServed::Closed && target.is_closed()),
                },
                Step::Looks(which) if !asking.is_empty() => {
                    let index = which.index(asking.len());
                    match asking[index].poll() {
                        None => {}
                        Some(Ok(lease)) => {
                            leases.push(lease);
                            drop(asking.swap_remove(index));
                        }
                        Some(Err(error)) => {
                            prop_assert_eq!(error, NotServed::Closed);
                            drop(asking.swap_remove(index));
                        }
                    }
                }
                Step::Leaves(which) if !asking.is_empty() => drop(asking.swap_remove(which.index(asking.len()))),
                Step::Ends(which) if !leases.is_empty() => drop(leases.swap_remove(which.index(leases.len()))),
                Step::Closes => {
                    let before = load(&target);
                    let was_closed = target.is_closed();
                    prop_assert_eq!(target.close(), before == (0, 0) && !was_closed);
                }
                Step::ClosesToNew => target.close_to_new(),
                Step::Reopens => target.reopen(),
                Step::Looks(_) | Step::Leaves(_) | Step::Ends(_) => {}
            }
            let (in_flight, waiting) = load(&target);
            prop_assert!(in_flight <= limit);
            prop_assert!(in_flight >= u64::try_from(leases.len()).unwrap());
            prop_assert!(waiting == 0 || in_flight == limit, "a place is free and {waiting} wait");
            prop_assert!(waiting == 0 || !target.is_closed());
        }
        drop((asking, leases));
        prop_assert_eq!(load(&target), (0, 0));
        target.reopen();
        prop_assert!(target.close());
    }

    /// Others flood; one request of a quiet caller waits for as many hand-overs as there are callers, however many wait.
    #[test]
    fn who_floods_waits_behind_itself(limit in 1..6_u64, floods in prop::collection::vec(1..40_u64, 1..6)) {
        let target = target_for(limit);
        let mut leases: Vec<Lease> = (0..limit).map(|_| target.lease().unwrap()).collect();
        let mut flood: Vec<Request> = vec![];
        for (caller, requests) in floods.iter().enumerate() {
            flood.extend((0..*requests).map(|_| Request::waiting(&target, u64::try_from(caller).unwrap())));
        }
        let mut quiet = Request::waiting(&target, 99);
        for hand_over in 1.. {
            drop(leases.remove(0));
            if quiet.poll().is_some() {
                break;
            }
            prop_assert!(hand_over <= floods.len(), "{hand_over} hand-overs, {} callers", floods.len() + 1);
            let served = flood.iter_mut().position(|request| request.poll().map(|lease| leases.push(lease.unwrap())).is_some());
            drop(flood.swap_remove(served.unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_under_many_threads() {
    many_threads(1, false).await;
    many_threads(3, false).await;
    many_threads(1, true).await;
    many_threads(3, true).await;
}

/// Callers that leave in the middle, of a target that closes and opens under them, or does not: a close would wake those
/// who were forgotten.
async fn many_threads(limit: u64, closes: bool) {
    const EACH: u64 = 2000;
    let target = target_for(limit);
    let in_use = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for caller in 0..16_u64 {
        let (target, in_use) = (Arc::clone(&target), Arc::clone(&in_use));
        tasks.spawn(async move {
            let (mut served, mut turned_away) = (0_u64, 0_u64);
            while served < EACH {
                let patience = async {
                    // Some leave at once, some after a while, most stay.
                    match (caller + served + turned_away) % 5 {
                        0 => {}
                        1 => tokio::task::yield_now().await,
                        _ => std::future::pending().await,
                    }
                };
                let lease = tokio::select! {
                    biased;
                    lease = target.wait(caller % 4, &MANY) => lease,
                    () = patience => {
                        turned_away += 1;
                        continue;
                    }
                };
                match lease {
                    Ok(lease) => {
                        assert!(in_use.fetch_add(1, Ordering::SeqCst) < limit, "more leases than places");
                        if served % 3 == 0 {
                            tokio::task::yield_now().await;
                        }
                        in_use.fetch_sub(1, Ordering::SeqCst);
                        drop(lease);
                        served += 1;
                    }
                    Err(NotServed::Closed) => {
                        turned_away += 1;
                        tokio::task::yield_now().await;
                    }
                    Err(full) => panic!("{full}"),
                }
            }
        });
    }
    let closing = {
        let target = Arc::clone(&target);
        async move {
            if !closes {
                std::future::pending::<()>().await;
            }
            loop {
                target.close_to_new();
                tokio::task::yield_now().await;
                target.reopen();
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    };
    tokio::select! {
        () = closing => unreachable!("it goes on for ever"),
        done = tokio::time::timeout(Duration::from_secs(30), all) => done.expect("somebody waits for ever"),
    }
    target.reopen();
    assert_eq!(load(&target), (0, 0));
    assert!(target.close());
}
