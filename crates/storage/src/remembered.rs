//! What is remembered of each variant: flags and use. In memory for those who read, written to the store at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use store::{FileRow, Store, Use};
use types::ModelKey;

use crate::time::{millis, time};

/// A flag of a variant. Either guards it against deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Its weights stay in RAM when it is unloaded.
    HotReady,
    /// It may not be deleted.
    Protected,
}

/// One answer of a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which.
    pub model: ModelKey,
    /// When it ended.
    pub at: SystemTime,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Remembered {
    store: Store,
    rows: Mutex<BTreeMap<ModelKey, FileRow>>,
}

impl Remembered {
    pub(crate) async fn open(store: Store) -> Result<Self, store::Error> {
        let rows = store.file_rows().await?.into_iter().map(|row| (row.file.clone(), row)).collect();
        Ok(Self { store, rows: Mutex::new(rows) })
    }

    /// What is remembered of a variant.
    pub(crate) fn of(&self, model: &ModelKey) -> Option<FileRow> {
        self.rows().get(model).cloned()
    }

    /// The variants whose weights are to stay in RAM.
    pub(crate) fn hot_ready(&self) -> BTreeSet<ModelKey> {
        self.rows().values().filter(|row| row.hot_ready).map(|row| row.file.clone()).collect()
    }

    /// Sets or clears a flag; it holds once this returns.
    pub(crate) async fn set(&self, model: &ModelKey, flag: Flag, on: bool) -> Result<(), store::Error> {
        match flag {
            Flag::HotReady => self.store.set_hot_ready(model, on).await?,
            Flag::Protected => self.store.set_protected(model, on).await?,
        }
        self.change(model, |row| match flag {
            Flag::HotReady => row.hot_ready = on,
            Flag::Protected => row.protected = on,
        });
        Ok(())
    }

    /// A download ended now.
    pub(crate) async fn downloaded(&self, model: &ModelKey, at: SystemTime) -> Result<(), store::Error> {
        self.store.downloaded(model, millis(at)).await?;
        self.change(model, |row| row.downloaded_ms = Some(millis(at)));
        Ok(())
    }

    /// Its files are gone, and all that was known of them with them.
    pub(crate) async fn forget(&self, model: &ModelKey) -> Result<(), store::Error> {
        self.store.forget_file(model).await?;
        self.rows().remove(model);
        Ok(())
    }

    /// Counts answers, in one write.
    pub(crate) async fn used(&self, answers: &[Used]) -> Result<(), store::Error> {
        let mut uses: BTreeMap<&ModelKey, (u64, SystemTime)> = BTreeMap::new();
        for Used { model, at } in answers {
            let one = uses.entry(model).or_insert((0, *at));
            *one = (one.0 + 1, one.1.max(*at));
        }
        let uses: Vec<Use> = uses
            .into_iter()
            .map(|(model, (count, at))| Use { file: model.clone(), count, last_used_ms: millis(at) })
            .collect();
        // What is shown is written down already: it must not be less after a crash.
        self.store.used(&uses).await?;
        for one in &uses {
            self.change(&one.file, |row| {
                row.usage_count += one.count;
                row.last_used_ms = row.last_used_ms.max(Some(one.last_used_ms));
            });
        }
        Ok(())
    }

    fn change(&self, model: &ModelKey, change: impl FnOnce(&mut FileRow)) {
        change(self.rows().entry(model.clone()).or_insert_with(|| FileRow {
            file: model.clone(),
            hot_ready: false,
            protected: false,
            usage_count: 0,
            last_used_ms: None,
            downloaded_ms: None,
        }));
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<ModelKey, FileRow>> {
        // Every change is one assignment: a map whose writer panicked is sound.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a variant was used last, as remembered.
pub(crate) fn last_used(row: Option<&FileRow>) -> Option<SystemTime> {
    row?.last_used_ms.map(time)
}
