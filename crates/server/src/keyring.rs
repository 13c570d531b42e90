//! API keys in memory and in the store, changed together.
//!
//! What is in memory is what requests are checked by; the store has it for the next start. A change is written first and
//! counts then, in a task of its own: a client who leaves in between must not leave the two at odds.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keys::{Hash, Key, Keys, Kind, Limits, ModelPattern, Scope, Secret};
use serde::{Deserialize, Serialize};
use store::{ApiKeyColumns, ApiKeyRow, Store, UsagePeriod, UsageQuery};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{DeploymentId, KeyId};

/// More keys than any house has; what is kept for each of them is bounded by this.
const KEYS_MAX: usize = 10_000;
/// How often last uses are written and keys that are over are forgotten.
const TIDIED_EVERY: Duration = Duration::from_mins(1);
/// So far back a limit looks that outlives a restart.
const DAY: Duration = Duration::from_hours(24);

/// All API keys. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keyring {
    keys: Keys,
    store: Store,
    /// One change at a time, from what it begins with to what it ends with.
    changing: Arc<Mutex<()>>,
    tracker: TaskTracker,
}

/// A key that is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) label: String,
    pub(crate) owner: String,
    /// How long it lasts; `None` for a permanent one.
    pub(crate) lasts: Option<Duration>,
    pub(crate) scope: Scope,
    pub(crate) limits: Limits,
}

/// Why keys were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no API key {id}; it may have expired or been deleted")]
    NotFound { id: KeyId },
    #[error("the API key {id} is temporary and cannot be changed; make another one")]
    Temporary { id: KeyId },
    #[error("there are {KEYS_MAX} API keys, which is as many as there may be; delete some that are not used")]
    TooMany,
    #[error("the system gives no random numbers for an API key")]
    Random(#[source] getrandom::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Keyring {
    /// Reads the keys, and what they have had of limits that go back before the start. Keeps the store up to date in a
    /// task of `tracker` until `stop`.
    ///
    /// # Errors
    /// The store cannot be read, or what it has of a key is not what was written.
    pub(crate) async fn start(store: Store, tracker: &TaskTracker, stop: CancellationToken) -> anyhow::Result<Self> {
        let rows = store.api_keys().await?;
        let keys = Keys::new(rows.into_iter().map(key).collect::<anyhow::Result<Vec<_>>>()?);
        let keyring = Self { keys, store, changing: Arc::default(), tracker: tracker.clone() };
        keyring.remember_days().await?;
        tracker.spawn(keyring.clone().tidy_until(stop));
        Ok(keyring)
    }

    /// What requests are checked by.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Those that are not over, by number.
    pub(crate) fn list(&self) -> Vec<Key> {
        let now = SystemTime::now();
        self.keys.all().into_iter().filter(|key| !key.is_expired(now)).collect()
    }

    /// Makes a key. Its secret is to be shown to whoever asked, and is nowhere else.
    ///
    /// # Errors
    /// There are too many, or it cannot be written.
    pub(crate) async fn add(&self, new: NewKey) -> Result<(Secret, Key), Error> {
        self.finish(async move |keyring: Self| {
            if keyring.keys.count() >= KEYS_MAX {
                return Err(Error::TooMany);
            }
            let secret = Secret::make().map_err(Error::Random)?;
            let NewKey { label, owner, lasts, scope, limits } = new;
            let created = SystemTime::now();
            let mut key = Key {
                id: KeyId::new(0),
                hash: secret.hash(),
                prefix: secret.prefix().to_owned(),
                label,
                owner,
                kind: lasts.map_or(Kind::Permanent, |lasts| Kind::Temporary { expires: created + lasts }),
                created,
                last_used: None,
                scope,
                limits,
            };
            key.id = keyring.store.add_api_key(&columns(&key)).await?;
            keyring.put(key.clone());
            Ok((secret, key))
        })
        .await
    }

    /// Changes a permanent key: label, owner, scope and limits may be other ones afterwards.
    ///
    /// # Errors
    /// There is none with this number, it is temporary, or it cannot be written.
    pub(crate) async fn change(&self, id: KeyId, change: impl FnOnce(&mut Key) + Send + 'static) -> Result<Key, Error> {
        self.finish(async move |keyring: Self| {
            let mut key = keyring.existing(id)?;
            if !key.is_permanent() {
                return Err(Error::Temporary { id });
            }
            change(&mut key);
            keyring.store.update_api_key(id, &columns(&key)).await?;
            keyring.put(key.clone());
            Ok(key)
        })
        .await
    }

    /// Deletes a key: nobody is let through with it any more.
    ///
    /// # Errors
    /// There is none with this number, or that cannot be written.
    pub(crate) async fn delete(&self, id: KeyId) -> Result<(), Error> {
        self.finish(async move |keyring: Self| {
            keyring.existing(id)?;
            keyring.store.delete_api_keys(&[id]).await?;
            keyring.saying_what_changed(|keys| keys.remove(&[id]));
            Ok(())
        })
        .await
    }

    fn existing(&self, id: KeyId) -> Result<Key, Error> {
        let key = self.keys.get(id).filter(|key| !key.is_expired(SystemTime::now()));
        key.ok_or(Error::NotFound { id })
    }

    fn put(&self, key: Key) {
        self.saying_what_changed(|keys| keys.put(key));
    }

    fn saying_what_changed(&self, change: impl FnOnce(&Keys)) {
        let was_closed = self.keys.is_closed();
        change(&self.keys);
        match (was_closed, self.keys.is_closed()) {
            (false, true) => tracing::info!("there is a permanent API key now: requests without a key are refused"),
            (true, false) => tracing::warn!("the last permanent API key is gone: everybody may use the models"),
            _ => {}
        }
    }

    /// Does something to its end, whether anybody still waits for it or not.
    async fn finish<T, F>(&self, change: impl FnOnce(Self) -> F + Send + 'static) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let keyring = self.clone();
        let task = self.tracker.spawn(async move {
            let changing = Arc::clone(&keyring.changing);
            let _alone = changing.lock().await;
            change(keyring).await
        });
        task.await.expect("it neither panics nor is it aborted")
    }

    async fn tidy_until(self, stop: CancellationToken) {
        let mut ticks = interval(TIDIED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            // Both only wait.
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                () = stop.cancelled() => true,
            };
            let tidied = self.tidy().await;
            if let Err(error) = &tidied
                && !has_failed
            {
                tracing::warn!(error = error as &dyn std::error::Error, "what is kept of API keys is not up to date");
            }
            has_failed = tidied.is_err();
            if is_last {
                return;
            }
        }
    }

    async fn tidy(&self) -> Result<(), store::Error> {
        let _alone = self.changing.lock().await;
        let uses = self.keys.unwritten();
        if !uses.is_empty() {
            let rows: Vec<(KeyId, i64)> = uses.iter().map(|(id, at)| (*id, millis(*at))).collect();
            self.store.touch_api_keys(&rows).await?;
            self.keys.written(&uses);
        }
        let expired = self.keys.expired(SystemTime::now());
        if !expired.is_empty() {
            self.store.delete_api_keys(&expired).await?;
            self.keys.remove(&expired);
        }
        Ok(())
    }

    /// Tells keys with a limit for a day what they have had of it.
    async fn remember_days(&self) -> Result<(), store::Error> {
        let since = SystemTime::now().checked_sub(DAY).unwrap_or(SystemTime::UNIX_EPOCH);
        for key in self.keys.all().iter().filter(|key| key.limits.tokens_per_day.is_some()) {
            let query = UsageQuery {
                since_ms: millis(since),
                until_ms: i64::MAX,
                key: Some(key.id),
                by_period: Some(UsagePeriod::Minute),
                most: 24 * 60 + 1,
                ..UsageQuery::default()
            };
            for group in self.store.usage(&query).await? {
                let tokens = group.sums.prompt_tokens.saturating_add(group.sums.completion_tokens);
                self.keys.spent(key.id, tokens, moment(group.period_ms.unwrap_or_default()));
            }
        }
        Ok(())
    }
}

/// A scope as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptScope {
    deployment_ids: Option<Vec<i64>>,
    models: Option<Vec<String>>,
    endpoints: Option<Vec<String>>,
}

/// Limits as they are kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptLimits {
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    tokens_per_day: Option<u64>,
    max_in_flight: Option<u64>,
}

fn columns(key: &Key) -> ApiKeyColumns {
    let Scope { deployments, models, endpoints } = &key.scope;
    let scope = KeptScope {
        deployment_ids: deployments.as_ref().map(|ids| ids.iter().map(|id| id.as_i64()).collect()),
        models: models.as_ref().map(|models| models.iter().map(ToString::to_string).collect()),
        endpoints: endpoints.as_ref().map(|names| names.iter().map(ToString::to_string).collect()),
    };
    let Limits { requests_per_minute, tokens_per_minute, tokens_per_day, max_in_flight } = key.limits;
    let limits = KeptLimits { requests_per_minute, tokens_per_minute, tokens_per_day, max_in_flight };
    ApiKeyColumns {
        hash: key.hash.to_hex(),
        prefix: key.prefix.clone(),
        label: key.label.clone(),
        owner: key.owner.clone(),
        created_ms: millis(key.created),
        expires_ms: match key.kind {
            Kind::Permanent => None,
            Kind::Temporary { expires } => Some(millis(expires)),
        },
        last_used_ms: key.last_used.map(millis),
        scope: serde_json::to_string(&scope).expect("a scope is plain data"),
        limits: serde_json::to_string(&limits).expect("limits are plain data"),
    }
}

/// A key of what is kept. What a newer snug wrote of its scope and this one cannot read makes it a key for nothing: it
/// must neither open what was closed nor, by being left out, the doors to everybody.
fn key(ApiKeyRow { id, key }: ApiKeyRow) -> anyhow::Result<Key> {
    let hash = Hash::from_hex(&key.hash);
    let hash = hash.ok_or_else(|| anyhow::anyhow!("what the database has of the API key {id} is damaged"))?;
    let (scope, limits) = kept(&key).unwrap_or_else(|error| {
        tracing::warn!(key.id = id.as_i64(), %error, "the scope of an API key cannot be read; it may be used for nothing");
        (Scope::nothing(), Limits::default())
    });
    Ok(Key {
        id,
        hash,
        prefix: key.prefix,
        label: key.label,
        owner: key.owner,
        kind: key.expires_ms.map_or(Kind::Permanent, |expires_ms| Kind::Temporary { expires: moment(expires_ms) }),
        created: moment(key.created_ms),
        last_used: key.last_used_ms.map(moment),
        scope,
        limits,
    })
}

fn kept(key: &ApiKeyColumns) -> Result<(Scope, Limits), serde_json::Error> {
    let KeptScope { deployment_ids, models, endpoints } = serde_json::from_str(&key.scope)?;
    let limits: KeptLimits = serde_json::from_str(&key.limits)?;
    // What is no name any more is nothing that could be used.
    let scope = Scope {
        deployments: deployment_ids.map(|ids| ids.into_iter().map(DeploymentId::new).collect()),
        models: models.map(|models| models.iter().filter_map(|text| ModelPattern::parse(text).ok()).collect()),
        endpoints: endpoints.map(|names| names.iter().filter_map(|name| keys::endpoint(name)).collect()),
    };
    let KeptLimits { requests_per_minute, tokens_per_minute, tokens_per_day, max_in_flight } = limits;
    Ok((scope, Limits { requests_per_minute, tokens_per_minute, tokens_per_day, max_in_flight }))
}

/// Milliseconds since 1970.
fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn moment(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(label: &str, lasts: Option<Duration>) -> NewKey {
        let scope = Scope {
            deployments: Some(vec![DeploymentId::new(3)]),
            models: Some(vec![ModelPattern::parse("qwen/*").unwrap()]),
            endpoints: Some(vec!["messages"]),
        };
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        NewKey { label: label.to_owned(), owner: "team".to_owned(), lasts, scope, limits }
    }

    async fn keyring(path: &std::path::Path) -> (Keyring, Store, CancellationToken) {
        let (store, stop) = (Store::open(path).await.unwrap(), CancellationToken::new());
        let keyring = Keyring::start(store.clone(), &TaskTracker::new(), stop.clone()).await.unwrap();
        (keyring, store, stop)
    }

    async fn end(keyring: Keyring, store: Store, stop: CancellationToken) {
        stop.cancel();
        keyring.tracker.close();
        keyring.tracker.wait().await;
        store.close().await;
    }

    #[tokio::test]
    async fn the_next_start_finds_what_this_one_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snug.db");
        let (keyring_1, store, stop) = keyring(&path).await;
        let (secret, key) = keyring_1.add(new("one", None)).await.unwrap();
        let (over, _) = keyring_1.add(new("over", Some(Duration::ZERO))).await.unwrap();
        let caller = keyring_1.keys().check(Some(secret.reveal())).unwrap();
        assert_eq!(keyring_1.keys().check(Some(over.reveal())).unwrap_err(), keys::Denied::Expired);
        assert!(!caller.may_use_model("m") && caller.may_use_model("qwen/qwen3"));
        let changed = keyring_1.change(key.id, |key| key.label = "renamed".to_owned()).await.unwrap();
        assert_eq!((changed.label.as_str(), &changed.scope), ("renamed", &key.scope));
        let listed = keyring_1.list();
        end(keyring_1, store, stop).await;

        let (keyring_2, store, stop) = keyring(&path).await;
        assert_eq!(keyring_2.list().iter().map(|key| key.label.as_str()).collect::<Vec<_>>(), ["renamed"]);
        // In whole milliseconds, as the store has it.
        assert_eq!(columns(&keyring_2.list()[0]), columns(&listed[0]));
        assert!(keyring_2.list()[0].last_used.is_some());
        assert_eq!(store.api_keys().await.unwrap().len(), 1, "what is over is forgotten");
        assert!(keyring_2.keys().check(Some(secret.reveal())).is_ok());
        keyring_2.delete(key.id).await.unwrap();
        assert!(matches!(keyring_2.delete(key.id).await, Err(Error::NotFound { .. })));
        assert!(!keyring_2.keys().is_closed());
        end(keyring_2, store, stop).await;
    }

    #[tokio::test]
    async fn what_a_key_had_today_counts_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snug.db");
        let (before, store, stop) = keyring(&path).await;
        let (secret, key) = before.add(new("one", None)).await.unwrap();
        let used = |ago: Duration, tokens| store::UsageRow {
            at_ms: millis(SystemTime::now() - ago),
            key: Some(key.id),
            key_label: String::new(),
            owner: String::new(),
            model: "m".to_owned(),
            endpoint: "messages".to_owned(),
            sums: store::UsageSums { completion_tokens: tokens, ..store::UsageSums::default() },
        };
        store.add_usage(&[used(DAY * 2, 1000), used(DAY / 2, 60), used(DAY / 3, 39)]).await.unwrap();
        end(before, store, stop).await;

        let (after, store, stop) = keyring(&path).await;
        let caller = after.keys().check(Some(secret.reveal())).unwrap();
        drop(caller.admit(SystemTime::now()).unwrap());
        caller.spent(1, SystemTime::now());
        let limited = caller.admit(SystemTime::now()).unwrap_err();
        assert_eq!(limited.what.as_str(), "tokens_per_day");
        end(after, store, stop).await;
    }

    #[test]
    fn what_cannot_be_read_opens_nothing() {
        let columns = |scope: &str, limits: &str| ApiKeyColumns {
            hash: Hash::of("x").to_hex(),
            prefix: String::new(),
            label: String::new(),
            owner: String::new(),
            created_ms: 0,
            expires_ms: None,
            last_used_ms: None,
            scope: scope.to_owned(),
            limits: limits.to_owned(),
        };
        let scope = |scope: &str, limits: &str| {
            key(ApiKeyRow { id: KeyId::new(1), key: columns(scope, limits) }).unwrap().scope
        };
        let whole = r#"{"deployment_ids":null,"models":["a"],"endpoints":["messages","telepathy"]}"#;
        let kept = Scope {
            models: Some(vec![ModelPattern::parse("a").unwrap()]),
            endpoints: Some(vec!["messages"]),
            ..Scope::default()
        };
        assert_eq!(scope(whole, "{}"), kept);
        for (broken, limits) in [("", "{}"), (r#"{"models":null,"hours":[9,17]}"#, "{}"), (whole, "none")] {
            assert_eq!(scope(broken, limits), Scope::nothing(), "{broken} {limits}");
        }
        let row = ApiKeyRow { id: KeyId::new(1), key: ApiKeyColumns { hash: "?".to_owned(), ..columns(whole, "{}") } };
        assert!(key(row).unwrap_err().to_string().contains("API key 1"));
    }
}
