//! Memory, its copy in a real store, and what is left of both after an end.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use store::Store;
use telemetry::{ANSWERS_MAX, Answer, Handle, Swap};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{ModelId, ModelKey, Variant};

const HOUR: Duration = Duration::from_hours(1);
const FOR_EVER: Duration = Duration::from_mins(1);

struct House {
    handle: Handle,
    store: Store,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl House {
    async fn at(path: &Path) -> Self {
        let store = Store::open(path).await.unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { handle: telemetry::start(store.clone(), &tracker, stop.clone()), store, tracker, stop }
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        timeout(FOR_EVER, self.tracker.wait()).await.unwrap();
        self.store.close().await;
    }

    /// The whole history, with what the store had.
    async fn history(&self) -> Vec<Answer> {
        timeout(FOR_EVER, self.handle.restored()).await.unwrap();
        self.handle.history(HOUR)
    }
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snug.db");
    (folder, path)
}

fn key(id: &str) -> ModelKey {
    ModelKey { id: ModelId::new(id), variant: Variant::new("Q4_0") }
}

/// In whole milliseconds, as the store keeps them.
fn ago(past: Duration) -> SystemTime {
    let since_1970 = (SystemTime::now() - past).duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(since_1970.as_millis()).unwrap())
}

fn answer(at: SystemTime) -> Answer {
    Answer {
        model: key("m"),
        at,
        prompt_tokens: 31,
        completion_tokens: 80,
        prompt_tokens_per_second: 200.0,
        generation_tokens_per_second: 50.0,
        latency: Duration::from_millis(150),
        total_time: Duration::from_millis(1800),
        prompt_time: Duration::from_millis(140),
        generation_time: Duration::from_millis(1600),
    }
}

#[tokio::test]
async fn a_restart_forgets_only_what_is_old() {
    let (_folder, path) = place();
    let house = House::at(&path).await;
    let answers = [ago(Duration::from_mins(70)), ago(Duration::from_mins(40)), ago(Duration::from_secs(1))].map(answer);
    let swap = Swap { at: ago(HOUR * 30), from: key("a"), to: key("b"), time: Duration::from_millis(350) };
    answers.iter().cloned().for_each(|answer| house.handle.answered(answer));
    house.handle.swapped(swap.clone());
    assert_eq!(house.handle.history(HOUR), answers[1..], "at once, written or not");
    assert_eq!(house.handle.history(Duration::from_mins(5)), answers[2..]);
    house.end().await;

    let house = House::at(&path).await;
    assert_eq!(house.history().await, answers[1..]);
    assert_eq!(house.handle.swaps(), std::slice::from_ref(&swap));
    assert_eq!(house.handle.averages().tokens_per_second, 50.0);
    assert_eq!(house.handle.totals(), telemetry::Totals::default(), "totals begin anew");
    let newest = answer(ago(Duration::ZERO));
    house.handle.answered(newest.clone());
    house.end().await;

    let house = House::at(&path).await;
    let history = house.history().await;
    assert_eq!(history.last(), Some(&newest));
    assert_eq!(history.len(), 3, "nothing was written twice");
    assert_eq!(house.handle.swaps(), [swap]);
    house.end().await;
}

/// As after `kill -9`: the keeper is never told to end.
#[tokio::test]
async fn what_happened_is_written_soon() {
    let (_folder, path) = place();
    let house = House::at(&path).await;
    let (other, began) = (Store::open(&path).await.unwrap(), std::time::Instant::now());
    house.handle.answered(answer(ago(Duration::ZERO)));
    let written = async { while other.inferences_since(0, 10).await.unwrap().is_empty() {} };
    timeout(FOR_EVER, written).await.unwrap();
    // A second on a machine that has nothing else to do; far less than the next reason to write.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert_eq!(other.inferences_since(0, 10).await.unwrap().len(), 1);
    house.end().await;
}

#[tokio::test]
async fn a_store_that_fails_takes_no_answer_along() {
    let (_folder, path) = place();
    let house = House::at(&path).await;
    house.store.close().await;
    let told = answer(ago(Duration::ZERO));
    house.handle.answered(told.clone());
    assert_eq!(house.handle.history(HOUR), [told]);
    house.end().await;
}

/// On one thread nobody can look at the inbox meanwhile.
#[tokio::test]
async fn what_comes_too_fast_is_counted() {
    let (_folder, path) = place();
    let house = House::at(&path).await;
    let now = ago(Duration::ZERO);
    for _ in 0..ANSWERS_MAX + 5 {
        house.handle.answered(answer(now));
    }
    let totals = house.handle.totals();
    assert_eq!((totals.answers, totals.lost), (u64::from(ANSWERS_MAX), 5));
    house.end().await;
    let house = House::at(&path).await;
    assert_eq!(house.history().await.len(), ANSWERS_MAX as usize, "all of them in one go");
    house.end().await;
}
