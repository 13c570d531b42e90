//! What was used reaches the store, whatever ends first.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use store::{Store, UsageQuery, UsageRow, UsageSums};
use telemetry::{Handle, Used};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{KeyId, ModelId};

const FOR_EVER: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

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
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snug.db");
    (folder, path)
}

fn used(key: i64) -> Used {
    Used {
        at: SystemTime::now(),
        key: Some(KeyId::new(key)),
        key_label: "notebook".into(),
        owner: "team".into(),
        model: ModelId::new("m"),
        endpoint: "chat_completions",
        is_ok: true,
        prompt_tokens: 10,
        completion_tokens: 3,
        cached_tokens: 2,
        duration: Duration::from_millis(70),
    }
}

async fn requests(store: &Store) -> u64 {
    let everything = UsageQuery { until_ms: i64::MAX, most: 10, ..UsageQuery::default() };
    store.usage(&everything).await.unwrap()[0].sums.requests
}

#[tokio::test]
async fn all_of_it_is_there_after_an_end() {
    let (_folder, path) = place();
    let house = House::at(&path).await;
    let telling: Vec<_> = (0..4)
        .map(|key| {
            let handle = house.handle.clone();
            std::thread::spawn(move || (0..1000).for_each(|_| handle.used(used(key))))
        })
        .collect();
    tokio::task::spawn_blocking(|| telling.into_iter().for_each(|thread| thread.join().unwrap())).await.unwrap();
    house.end().await;
    let store = Store::open(&path).await.unwrap();
    let by_key = UsageQuery { until_ms: i64::MAX, by_key: true, most: 10, ..UsageQuery::default() };
    let groups = store.usage(&by_key).await.unwrap();
    let sums = UsageSums {
        requests: 1000,
        errors: 0,
        prompt_tokens: 10_000,
        completion_tokens: 3000,
        cached_tokens: 2000,
        duration_ms: 70_000,
    };
    assert_eq!(groups.iter().map(|group| group.sums).collect::<Vec<_>>(), [sums; 4]);
}

/// As after `kill -9`: the keeper is never told to end.
#[tokio::test]
async fn it_is_written_soon() {
    let (_folder, path) = place();
    let house = House::at(&path).await;
    let other = Store::open(&path).await.unwrap();
    house.handle.used(used(1));
    timeout(FOR_EVER, async { while requests(&other).await == 0 {} }).await.unwrap();
    house.handle.used(used(1));
    timeout(FOR_EVER, async { while requests(&other).await == 1 {} }).await.unwrap();
    assert_eq!(requests(&other).await, 2, "each once");
    house.end().await;
}

#[tokio::test]
async fn minutes_of_last_week_become_hours_at_the_start() {
    let (_folder, path) = place();
    let store = Store::open(&path).await.unwrap();
    let ago = |past: Duration| {
        let ms = (SystemTime::now() - past).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        i64::try_from(ms).unwrap() / 3_600_000 * 3_600_000
    };
    let row = |at_ms| UsageRow {
        at_ms,
        key: None,
        key_label: String::new(),
        owner: String::new(),
        model: "m".to_owned(),
        endpoint: "e".to_owned(),
        sums: UsageSums { requests: 1, ..UsageSums::default() },
    };
    let (week, new, ancient) = (ago(HOUR * 24 * 7), ago(HOUR), ago(HOUR * 24 * 401));
    let minutes = |hour: i64| (0..60).map(move |minute| row(hour + minute * 60_000));
    store.add_usage(&minutes(week).chain(minutes(new)).chain(minutes(ancient)).collect::<Vec<_>>()).await.unwrap();
    let by_minute = UsageQuery {
        until_ms: i64::MAX,
        by_period: Some(store::UsagePeriod::Minute),
        most: 1000,
        ..UsageQuery::default()
    };
    assert_eq!(store.usage(&by_minute).await.unwrap().len(), 180);
    let house = House::at(&path).await;
    let rolled = async { while store.usage(&by_minute).await.unwrap().len() > 61 {} };
    timeout(FOR_EVER, rolled).await.unwrap();
    let groups = store.usage(&by_minute).await.unwrap();
    assert_eq!((groups[0].period_ms, groups[0].sums.requests, groups.len()), (Some(week), 60, 61));
    house.end().await;
}
