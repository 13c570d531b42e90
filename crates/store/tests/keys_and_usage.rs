//! API keys and what was used, in a real file.

use std::path::PathBuf;

use store::{ApiKeyColumns, ApiKeyRow, Store, UsageGroup, UsagePeriod, UsageQuery, UsageRow, UsageSums};
use tempfile::TempDir;
use types::KeyId;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Some midnight.
const MIDNIGHT: i64 = 19_700 * DAY;

async fn store() -> (TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snug.db");
    let store = Store::open(&path).await.unwrap();
    (folder, path, store)
}

fn key(label: &str, expires_ms: Option<i64>) -> ApiKeyColumns {
    ApiKeyColumns {
        hash: format!("hash of {label}"),
        prefix: "snug-012345".to_owned(),
        label: label.to_owned(),
        owner: String::new(),
        created_ms: 7,
        expires_ms,
        last_used_ms: None,
        scope: "{}".to_owned(),
        limits: "{}".to_owned(),
    }
}

fn used(at_ms: i64, key: i64, model: &str, endpoint: &str, requests: u64) -> UsageRow {
    UsageRow {
        at_ms,
        key: (key > 0).then(|| KeyId::new(key)),
        key_label: if key > 0 { format!("key {key}") } else { String::new() },
        owner: if key > 1 { "team".to_owned() } else { String::new() },
        model: model.to_owned(),
        endpoint: endpoint.to_owned(),
        sums: sums(requests),
    }
}

fn sums(requests: u64) -> UsageSums {
    UsageSums {
        requests,
        errors: requests / 2,
        prompt_tokens: requests * 10,
        completion_tokens: requests * 3,
        cached_tokens: requests,
        duration_ms: requests * 100,
    }
}

fn everything() -> UsageQuery {
    UsageQuery { until_ms: i64::MAX, most: 1000, ..UsageQuery::default() }
}

#[tokio::test]
async fn keys_are_kept_changed_and_forgotten() {
    let (_folder, path, store) = store().await;
    let (one, two) = (key("one", None), key("two", Some(100)));
    assert_eq!(store.add_api_key(&one).await.unwrap(), KeyId::new(1));
    assert_eq!(store.add_api_key(&two).await.unwrap(), KeyId::new(2));
    store.add_api_key(&one).await.expect_err("a hash is there once");
    let changed = ApiKeyColumns { label: "first".to_owned(), owner: "team".to_owned(), scope: "s".to_owned(), ..one };
    store.update_api_key(KeyId::new(1), &changed).await.unwrap();
    store.update_api_key(KeyId::new(9), &changed).await.unwrap();
    store.touch_api_keys(&[(KeyId::new(1), 50), (KeyId::new(9), 50)]).await.unwrap();
    store.touch_api_keys(&[(KeyId::new(1), 40)]).await.unwrap();
    store.close().await;

    let store = Store::open(&path).await.unwrap();
    let first = ApiKeyRow { id: KeyId::new(1), key: ApiKeyColumns { last_used_ms: Some(50), ..changed } };
    assert_eq!(store.api_keys().await.unwrap(), [first.clone(), ApiKeyRow { id: KeyId::new(2), key: two }]);
    store.delete_api_keys(&[KeyId::new(2), KeyId::new(9)]).await.unwrap();
    assert_eq!(store.api_keys().await.unwrap(), [first]);
    let id = store.add_api_key(&key("three", None)).await.unwrap();
    assert_ne!(id, KeyId::new(2), "no number is given twice");
}

#[tokio::test]
async fn usage_adds_up_by_minute() {
    let (_folder, path, store) = store().await;
    store.add_usage(&[used(MIDNIGHT + 1, 1, "m", "chat_completions", 2)]).await.unwrap();
    store.add_usage(&[]).await.unwrap();
    store
        .add_usage(&[
            UsageRow { key_label: "renamed".to_owned(), ..used(MIDNIGHT + 59_999, 1, "m", "chat_completions", 3) },
            used(MIDNIGHT + MINUTE, 1, "m", "chat_completions", 4),
        ])
        .await
        .unwrap();
    store.close().await;
    let store = Store::open(&path).await.unwrap();
    let by_minute = UsageQuery { by_period: Some(UsagePeriod::Minute), by_key: true, ..everything() };
    let group = |period_ms, label: &str, sums| UsageGroup {
        period_ms: Some(period_ms),
        key: Some(Some(KeyId::new(1))),
        key_label: Some(label.to_owned()),
        owner: None,
        model: None,
        endpoint: None,
        sums,
    };
    let mut first = sums(2);
    first.add(&sums(3));
    let expected = [group(MIDNIGHT, "renamed", first), group(MIDNIGHT + MINUTE, "key 1", sums(4))];
    assert_eq!(store.usage(&by_minute).await.unwrap(), expected);
}

/// What a group is called, and its requests.
fn named(group: &UsageGroup) -> (String, u64) {
    let period = group.period_ms.map(|ms| ((ms - MIDNIGHT) / HOUR).to_string());
    let key = group.key.map(|key| key.map_or("nobody".to_owned(), |id| id.to_string()));
    let names = [period, key, group.owner.clone(), group.model.clone(), group.endpoint.clone()];
    (names.into_iter().flatten().collect::<Vec<_>>().join(" "), group.sums.requests)
}

#[tokio::test]
async fn usage_is_grouped_and_narrowed_as_asked() {
    let (_folder, _path, store) = store().await;
    store
        .add_usage(&[
            used(MIDNIGHT, 0, "m", "chat_completions", 1),
            used(MIDNIGHT + 5 * MINUTE, 1, "m", "chat_completions", 2),
            used(MIDNIGHT + HOUR, 1, "n", "embeddings", 4),
            used(MIDNIGHT + HOUR + MINUTE, 2, "n", "chat_completions", 8),
            used(MIDNIGHT + DAY, 2, "m", "chat_completions", 16),
        ])
        .await
        .unwrap();
    let check = async |query: UsageQuery, expected: &[(&str, u64)]| {
        let seen: Vec<_> = store.usage(&query).await.unwrap().iter().map(named).collect();
        let expected: Vec<_> = expected.iter().map(|(name, requests)| ((*name).to_owned(), *requests)).collect();
        assert_eq!(seen, expected, "{query:?}");
    };
    check(everything(), &[("", 31)]).await;
    check(UsageQuery { by_key: true, ..everything() }, &[("2", 24), ("1", 6), ("nobody", 1)]).await;
    check(UsageQuery { by_owner: true, ..everything() }, &[("team", 24), ("", 7)]).await;
    check(UsageQuery { by_model: true, ..everything() }, &[("m", 19), ("n", 12)]).await;
    check(UsageQuery { by_endpoint: true, ..everything() }, &[("chat_completions", 27), ("embeddings", 4)]).await;
    check(
        UsageQuery { by_model: true, by_key: true, key: Some(KeyId::new(1)), ..everything() },
        &[("1 n", 4), ("1 m", 2)],
    )
    .await;
    let by = |period| UsageQuery { by_period: Some(period), ..everything() };
    check(by(UsagePeriod::Hour), &[("0", 3), ("1", 12), ("24", 16)]).await;
    check(by(UsagePeriod::Day), &[("0", 15), ("24", 16)]).await;
    check(
        UsageQuery { by_key: true, ..by(UsagePeriod::Day) },
        &[("0 2", 8), ("0 1", 6), ("0 nobody", 1), ("24 2", 16)],
    )
    .await;
    check(UsageQuery { since_ms: MIDNIGHT + 1, until_ms: MIDNIGHT + DAY, ..everything() }, &[("", 14)]).await;
    check(UsageQuery { owner: Some("team".to_owned()), model: Some("m".to_owned()), ..everything() }, &[("", 16)])
        .await;
    check(UsageQuery { endpoint: Some("embeddings".to_owned()), ..everything() }, &[("", 4)]).await;
    check(UsageQuery { until_ms: 5, ..everything() }, &[("", 0)]).await;
    check(UsageQuery { until_ms: 5, by_model: true, ..everything() }, &[]).await;
    check(UsageQuery { by_model: true, most: 1, ..everything() }, &[("m", 19)]).await;
}

#[tokio::test]
async fn old_minutes_become_hours_and_very_old_ones_go() {
    let (_folder, _path, store) = store().await;
    let minutes: Vec<_> =
        (0..4 * 60).flat_map(|minute| [1, 2].map(|key| used(MIDNIGHT + minute * MINUTE, key, "m", "e", 1))).collect();
    store.add_usage(&minutes).await.unwrap();
    let by_minute = UsageQuery { by_period: Some(UsagePeriod::Minute), ..everything() };
    let groups = async || store.usage(&by_minute).await.unwrap();
    assert_eq!(groups().await.len(), 240);

    // Until the middle of the third hour: only whole hours are summed up.
    store.roll_up_usage(0, MIDNIGHT + 2 * HOUR + 30 * MINUTE, 0).await.unwrap();
    let seen = groups().await;
    assert_eq!(seen.len(), 2 + 120);
    assert_eq!(seen[..2].iter().map(named).collect::<Vec<_>>(), [("0".to_owned(), 120), ("1".to_owned(), 120)]);
    let mut sums = UsageSums::default();
    minutes.iter().for_each(|row| sums.add(&row.sums));
    let total = async || store.usage(&everything()).await.unwrap()[0].sums;
    assert_eq!(total().await, sums, "nothing is lost, nothing doubled");

    // Again, and what comes late to a minute of an hour that is summed up.
    store.add_usage(&[used(MIDNIGHT + 7 * MINUTE, 1, "m", "e", 0)]).await.unwrap();
    store.roll_up_usage(0, MIDNIGHT + 2 * HOUR, 0).await.unwrap();
    assert_eq!((groups().await.len(), total().await), (122, sums));

    store.roll_up_usage(MIDNIGHT + 2 * HOUR, MIDNIGHT + 4 * HOUR, MIDNIGHT + HOUR).await.unwrap();
    let left: Vec<_> = groups().await.iter().map(named).collect();
    assert_eq!(left, [1, 2, 3].map(|hour: i32| (hour.to_string(), 120)));
}

#[tokio::test]
async fn figures_that_cannot_be_break_no_sum() {
    let (_folder, _path, store) = store().await;
    let much = UsageSums { prompt_tokens: u64::MAX, completion_tokens: u64::MAX, ..sums(1) };
    for minute in 0..20 {
        let row = UsageRow { sums: much, ..used(MIDNIGHT + minute * MINUTE, 1, "m", "e", 1) };
        store.add_usage(&[row.clone(), row]).await.unwrap();
    }
    assert_eq!(store.usage(&everything()).await.unwrap()[0].sums.requests, 40);
    store.roll_up_usage(0, MIDNIGHT + HOUR, 0).await.unwrap();
    assert_eq!(store.usage(&everything()).await.unwrap()[0].sums.requests, 40);
}
