//! What others hold: a place to put what happened, and the window to read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ledger::Ledger;
use crate::recent::Recent;
use crate::{ANSWERS_MAX, Answer, Averages, SWAPS_MAX, Swap, Totals, Used, keeper};

/// Begins to remember, in a task of `tracker` until `stop`: reads back what `store` has of the window, writes what
/// comes. What came before `stop` is written before the task ends.
pub fn start(store: Store, tracker: &TaskTracker, stop: CancellationToken) -> Handle {
    let handle = Handle(Arc::new(Shared {
        inbox: Mutex::default(),
        ledger: Mutex::default(),
        recent: Mutex::new(Recent::new()),
        news: Notify::new(),
        restored: CancellationToken::new(),
    }));
    tracker.spawn(keeper::keep(handle.clone(), store, stop));
    handle
}

/// A cheap handle on what happened lately.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    inbox: Mutex<Inbox>,
    /// What was used and is not in the store.
    ledger: Mutex<Ledger>,
    recent: Mutex<Recent>,
    /// Something came into an empty inbox or ledger.
    news: Notify,
    /// Cancelled once what the store had is here.
    restored: CancellationToken,
}

/// What nobody has looked at yet.
#[derive(Default)]
struct Inbox {
    answers: VecDeque<Answer>,
    swaps: VecDeque<Swap>,
    /// Answers that had to go, for there were too many.
    lost: u64,
}

impl Handle {
    /// An answer was completed. Never waits; where answers come faster than they are looked at, the oldest goes.
    pub fn answered(&self, answer: Answer) {
        let mut inbox = lock(&self.0.inbox);
        let was_empty = inbox.is_empty();
        if inbox.answers.len() == ANSWERS_MAX as usize {
            inbox.answers.pop_front();
            inbox.lost += 1;
        }
        inbox.answers.push_back(answer);
        drop(inbox);
        self.tell(was_empty);
    }

    /// A request was answered. Never waits; what was used adds up until the store has it, within a second.
    pub fn used(&self, used: Used) {
        let mut ledger = lock(&self.0.ledger);
        let was_empty = ledger.is_empty();
        ledger.used(used);
        drop(ledger);
        self.tell(was_empty);
    }

    /// One model made room for another. Never waits.
    pub fn swapped(&self, swap: Swap) {
        let mut inbox = lock(&self.0.inbox);
        let was_empty = inbox.is_empty();
        if inbox.swaps.len() == SWAPS_MAX as usize {
            inbox.swaps.pop_front();
        }
        inbox.swaps.push_back(swap);
        drop(inbox);
        self.tell(was_empty);
    }

    /// Waits until what the store had is here: some moments after the start.
    pub async fn restored(&self) {
        self.0.restored.cancelled().await;
    }

    /// Answers that ended within `window` before now, at most [`crate::RETENTION`] and [`crate::ANSWERS_MAX`] of them,
    /// the oldest first.
    pub fn history(&self, window: Duration) -> Vec<Answer> {
        self.read(|recent, now| recent.history(window, now))
    }

    /// The last swaps, at most [`crate::SWAPS_MAX`], the oldest first.
    pub fn swaps(&self) -> Vec<Swap> {
        self.read(|recent, _| recent.swaps.iter().cloned().collect())
    }

    /// Averages over the last five minutes.
    pub fn averages(&self) -> Averages {
        self.read(|recent, now| recent.averages(now))
    }

    /// What was counted since the start.
    pub fn totals(&self) -> Totals {
        self.read(|recent, _| recent.totals())
    }

    /// What the store had is here, as far as it could be read.
    pub(crate) fn now_restored(&self) {
        self.0.restored.cancel();
    }

    /// Waits until something came, for one who then looks.
    pub(crate) async fn news(&self) {
        self.0.news.notified().await;
    }

    /// What was used since the last time this was asked.
    pub(crate) fn take_ledger(&self) -> Ledger {
        std::mem::take(&mut *lock(&self.0.ledger))
    }

    /// The store did not take it.
    pub(crate) fn put_back(&self, earlier: Ledger) {
        lock(&self.0.ledger).put_back(earlier);
    }

    /// The window with all that came until now.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&mut Recent, SystemTime) -> T) -> T {
        let mut recent = lock(&self.0.recent);
        let Inbox { answers, swaps, lost } = std::mem::take(&mut *lock(&self.0.inbox));
        answers.into_iter().for_each(|answer| recent.answered(answer));
        swaps.into_iter().for_each(|swap| recent.swapped(swap));
        recent.lost(lost);
        let now = SystemTime::now();
        recent.forget(now);
        look(&mut recent, now)
    }

    /// Wakes the keeper once for all that comes until it looks: to wake it for each answer costs whoever serves.
    fn tell(&self, was_empty: bool) {
        if was_empty {
            self.0.news.notify_one();
        }
    }
}

impl Inbox {
    fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.swaps.is_empty()
    }
}

/// What is behind it is whole even if a thread panicked beside it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
