//! Settings that people change while snug runs: the limit and the clean-up policy. Each lasts until it is changed again,
//! or until the configuration says something else than it did when it was changed.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::Store;
use types::ByteCount;

use crate::cleanup::Policy;

/// A changed setting, and what the configuration said then.
#[derive(Serialize, Deserialize)]
struct Changed<T> {
    value: T,
    configured: T,
}

/// A setting's name, and how it is written.
pub(crate) trait Setting: Sized + Clone {
    const NAME: &'static str;
    type Written: Serialize + DeserializeOwned + PartialEq;
    fn write(&self) -> Self::Written;
    fn read(written: Self::Written) -> Self;
}

/// What all model files together may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<ByteCount>);

impl Setting for Limit {
    const NAME: &'static str = "storage.limit";
    type Written = Option<u64>;

    fn write(&self) -> Option<u64> {
        self.0.map(ByteCount::as_u64)
    }

    fn read(written: Option<u64>) -> Self {
        Self(written.map(ByteCount::bytes))
    }
}

/// [`Policy`] in the store.
#[derive(Serialize, Deserialize, PartialEq)]
pub(crate) struct WrittenPolicy {
    enabled: bool,
    max_age_s: u64,
    check_interval_s: u64,
    target_free_percent: f64,
    respect_hot_ready: bool,
    respect_protected: bool,
}

impl Setting for Policy {
    const NAME: &'static str = "storage.cleanup";
    type Written = WrittenPolicy;

    fn write(&self) -> WrittenPolicy {
        WrittenPolicy {
            enabled: self.enabled,
            max_age_s: self.max_age.as_secs(),
            check_interval_s: self.check_interval.as_secs(),
            target_free_percent: self.target_free_percent,
            respect_hot_ready: self.respect_hot_ready,
            respect_protected: self.respect_protected,
        }
    }

    fn read(written: WrittenPolicy) -> Self {
        Self {
            enabled: written.enabled,
            max_age: Duration::from_secs(written.max_age_s),
            check_interval: Duration::from_secs(written.check_interval_s),
            target_free_percent: written.target_free_percent,
            respect_hot_ready: written.respect_hot_ready,
            respect_protected: written.respect_protected,
        }
    }
}

/// The setting as it was changed, or as it is configured.
pub(crate) async fn read<S: Setting>(store: &Store, configured: &S) -> Result<S, store::Error> {
    let Some(text) = store.setting(S::NAME).await? else { return Ok(configured.clone()) };
    match serde_json::from_str::<Changed<S::Written>>(&text) {
        Ok(changed) if changed.configured == configured.write() => Ok(S::read(changed.value)),
        Ok(_) => Ok(configured.clone()),
        Err(error) => {
            tracing::warn!(setting = S::NAME, %error, "a kept setting cannot be read; the configured one counts");
            Ok(configured.clone())
        }
    }
}

/// Keeps a changed setting.
pub(crate) async fn keep<S: Setting>(store: &Store, value: &S, configured: &S) -> Result<(), store::Error> {
    let changed = Changed { value: value.write(), configured: configured.write() };
    let text = serde_json::to_string(&changed).expect("a setting is plain data");
    store.set_setting(S::NAME, &text).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_lasts_until_the_configuration_says_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("snug.db")).await.unwrap();
        let limit = |mib: u64| Limit(Some(ByteCount::mib(mib)));
        assert_eq!(read(&store, &limit(50)).await.unwrap(), limit(50));
        keep(&store, &limit(20), &limit(50)).await.unwrap();
        assert_eq!(read(&store, &limit(50)).await.unwrap(), limit(20));
        assert_eq!(read(&store, &limit(100)).await.unwrap(), limit(100));
        let changed = Policy { enabled: false, max_age: Duration::from_secs(7), ..Policy::default() };
        keep(&store, &changed, &Policy::default()).await.unwrap();
        assert_eq!(read(&store, &Policy::default()).await.unwrap(), changed);
    }
}
