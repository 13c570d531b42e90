//! What the handle's methods are made of: what the node shows, where files lie, and deleting them.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use hub::download::{JobId, Run};
use node::{Entry, View};
use types::{ByteCount, ModelId, ModelKey};

use super::Inner;
use crate::choice::Memory;
use crate::configs::Configs;
use crate::error::Error;
use crate::fetch::{Fetch, Load};
use crate::inventory::Stored;
use crate::places::Places;
use crate::remembered::last_used;
use crate::state::RuntimeState;
use crate::time::time;

/// Models whose files' origin is remembered.
const ORIGINS_MAX: usize = 20_000;

/// Where a model's files come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// When anything about the first was changed.
    changed: SystemTime,
    /// Whether all lie in the models folder.
    in_models: bool,
    /// Whether all lie where snug puts files.
    kept: bool,
}

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the models folder.
    Models,
    /// In the hub's cache, which other programs share.
    Cache,
    Elsewhere,
}

impl Inner {
    pub(super) fn view(&self) -> Arc<View> {
        self.node.view().borrow().clone()
    }

    /// What the models that are configured are to the node.
    pub(super) async fn configure_node(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        let entries = blocking(move || {
            let defaults = inner.defaults.lock().unwrap_or_else(PoisonError::into_inner).clone();
            entries(&inner.configs, &inner.places, &defaults)
        })
        .await;
        self.node.configure(entries).await;
    }

    /// The variant that a name means.
    pub(super) fn named(&self, name: &str, variant: Option<&str>) -> Result<ModelKey, Error> {
        let view = self.view();
        let full = variant.map(|variant| format!("{name}:{variant}"));
        if let Some(model) = view.library.find(full.as_deref().unwrap_or(name)) {
            return Ok(model.key.clone());
        }
        match variant {
            Some(variant) if view.library.find(name).is_some() => {
                let model = ModelId::new(name);
                let known = view.library.variants_of(&model).to_vec();
                Err(Error::VariantNotFound { model, variant: variant.to_owned(), known })
            }
            _ => Err(Error::NotFound { name: name.to_owned(), known: view.library.some_names() }),
        }
    }

    /// What models may use of this machine.
    pub(super) fn memory(&self) -> Memory {
        let view = self.view();
        let of = |is_ram: bool| -> ByteCount {
            let devices = view.capacity.iter().filter(|(device, _)| device.is_cpu() == is_ram);
            devices.map(|(_, capacity)| *capacity).sum()
        };
        Memory { accelerators: of(false), ram: of(true) }
    }

    pub(super) fn state(&self, view: &View, model: &ModelKey, fetches: &[Fetch]) -> RuntimeState {
        let downloaded = fetches.iter().any(|fetch| fetch.model == *model && fetch.is_on_its_way());
        RuntimeState::of(view, model, downloaded)
    }

    pub(super) fn stored(&self, view: &View, model: &node::Model, fetches: &[Fetch]) -> Stored {
        let row = self.remembered.of(&model.key);
        let downloaded = row.as_ref().and_then(|row| row.downloaded_ms);
        let Origin { changed, in_models, kept } = self.origin(model);
        Stored {
            key: model.key.clone(),
            files: model.files.clone(),
            size: model.weights(),
            arrived: downloaded.map_or(changed, time),
            changed,
            last_used: last_used(row.as_ref()),
            usage_count: row.as_ref().map_or(0, |row| row.usage_count),
            hot_ready: row.as_ref().is_some_and(|row| row.hot_ready),
            protected: row.as_ref().is_some_and(|row| row.protected),
            state: self.state(view, &model.key, fetches),
            // What other programs fetched into the shared cache is theirs.
            ours: in_models || (downloaded.is_some() && kept),
        }
    }

    /// Where a model's files come from; looked at again when they have changed.
    fn origin(&self, model: &node::Model) -> Origin {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        match origins.get(&model.path) {
            Some((modified, origin)) if *modified == model.modified => *origin,
            _ => {
                let all = |is: fn(Place) -> bool| model.files.iter().all(|file| is(self.place_of(file)));
                let origin = Origin {
                    changed: changed(&model.path),
                    in_models: all(|place| place == Place::Models),
                    kept: all(|place| place != Place::Elsewhere),
                };
                if origins.len() > ORIGINS_MAX {
                    origins.clear();
                }
                origins.insert(model.path.clone(), (model.modified, origin));
                origin
            }
        }
    }

    /// Whether a file lies where snug puts files; others are not ours to delete.
    pub(super) fn is_kept_by_us(&self, path: &Path) -> bool {
        self.place_of(path) != Place::Elsewhere
    }

    /// Where a file really lies, whatever links and dots its path has.
    fn place_of(&self, path: &Path) -> Place {
        let Some(folder) = path.parent().and_then(|folder| folder.canonicalize().ok()) else { return Place::Elsewhere };
        let is_in = |root: &Path| root.canonicalize().is_ok_and(|root| folder.starts_with(root));
        if is_in(&self.config.hf_cache) {
            Place::Cache
        } else if is_in(&self.config.models_dir) {
            Place::Models
        } else {
            Place::Elsewhere
        }
    }

    /// Deletes the files of a variant that the node has let go of. Those that another model has too, such as a projector,
    /// stay.
    pub(super) async fn delete(&self, stored: &Stored) -> Result<ByteCount, Error> {
        let view = self.view();
        let others: BTreeSet<PathBuf> = view
            .library
            .models()
            .filter(|model| model.key != stored.key)
            .flat_map(|model| model.files.iter().chain(&model.mmproj).cloned())
            .collect();
        let files: Vec<PathBuf> =
            stored.files.iter().filter(|path| self.is_kept_by_us(path) && !others.contains(*path)).cloned().collect();
        let cache = self.config.hf_cache.clone();
        let freed = blocking(move || -> Result<ByteCount, Error> {
            let mut freed = ByteCount::ZERO;
            for path in files {
                freed += delete_file(&cache, &path).map_err(|source| Error::Delete { path, source })?;
            }
            Ok(freed)
        });
        let freed = freed.await?;
        self.remembered.forget(&stored.key).await?;
        if stored.hot_ready {
            self.node.keep_ready(self.remembered.hot_ready()).await;
        }
        Ok(freed)
    }

    /// A download has ended well: its model can be asked for, and is loaded if that was asked for.
    pub(super) async fn arrived(
        self: &Arc<Self>,
        id: &JobId,
        run: Option<Run>,
        files: &[PathBuf],
    ) -> Result<(), Error> {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let bytes = files.iter().map(length).map(ByteCount::bytes).sum();
        let _changing = self.changing.lock().await;
        let Some(model) = self.fetches.come(id, run, bytes).await else { return Ok(()) };
        tracing::info!(%model, "downloaded");
        // It is here, whether or not that can be written down.
        let written = self.remembered.downloaded(&model, SystemTime::now()).await;
        // A file of the hub lies where only its coming tells.
        self.configure_node().await;
        self.node.look().await;
        let then = self.fetches.finished(id).await;
        if let Ok(Some(Load { context })) = then {
            let node = self.node.clone();
            self.tracker.spawn(async move {
                if let Err(error) = node.load(&model.to_string(), context).await {
                    tracing::warn!(%model, "downloaded, and cannot be loaded: {error}");
                }
            });
        }
        written?;
        then?;
        Ok(())
    }
}

pub(super) fn entries(configs: &Configs, places: &Places, defaults: &node::Settings) -> Vec<Entry> {
    configs.all().values().flat_map(|config| places.entries(config, defaults)).collect()
}

/// When a file came to this machine, or was changed: its content may be older.
fn changed(path: &Path) -> SystemTime {
    let changed = std::fs::metadata(path).map_or(0, |metadata| metadata.ctime());
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(changed).unwrap_or(0))
}

/// Deletes a file; one that is gone already is no error.
fn delete_file(cache: &Path, path: &Path) -> std::io::Result<ByteCount> {
    if path.starts_with(cache) && path.components().any(|part| part.as_os_str() == "snapshots") {
        return hub::cache::remove(cache, path);
    }
    let size = std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
    match std::fs::remove_file(path) {
        Ok(()) => Ok(ByteCount::bytes(size)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(ByteCount::ZERO),
        Err(error) => Err(error),
    }
}

/// Disk work, away from the threads that serve.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("disk work does not panic")
}
