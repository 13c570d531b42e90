//! The way to all that is kept; see the crate's text.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use catalog::model_config::ModelConfig;
use hub::Client;
use hub::download::{Downloads, Ended, FileWish, JobId, JobView, Room, Run, Source, Space};
use node::{Entry, NotPinned, View};
use serde_json::Value;
use store::Store;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{ByteCount, ModelId, ModelKey, Variant};

use crate::choice::{self, Memory, Offer};
use crate::cleanup::{self, Policy};
use crate::configs::{Changed, Configs};
use crate::error::Error;
use crate::fetch::{Fetch, Fetches, Load};
use crate::inventory::Stored;
use crate::places::Places;
use crate::remembered::{Flag, Remembered, Used, last_used};
use crate::settings::{self, Limit};
use crate::space::{Disk, Usage};
use crate::state::RuntimeState;
use crate::time::time;

/// Answers that are not counted yet; beyond it the count of some is lost, never an answer.
const USES_MAX: usize = 4096;
/// After a start, the first look for files that nobody uses waits for so long.
const FIRST_CLEANUP: Duration = Duration::from_secs(600);
/// Names shown to a caller who asked for one that does not exist.
const NAMES_SHOWN: usize = 20;
/// Models whose files' origin is remembered.
const ORIGINS_MAX: usize = 20_000;
/// Repositories that are looked into for a name.
const REPOSITORIES_MAX: usize = 3;

/// Which repositories of the hub hold GGUF files of a model, by its name, the best first.
pub type Repositories = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// How models are kept.
#[derive(Clone)]
pub struct Config {
    /// Where plain downloads go, and in which models are found.
    pub models_dir: PathBuf,
    /// Where the hub's files go.
    pub hf_cache: PathBuf,
    /// Files and folders with model configs; later ones are laid over earlier ones.
    pub model_config_paths: Vec<PathBuf>,
    /// Where configs that come over the API are kept.
    pub override_path: Option<PathBuf>,
    /// How a configured model is started where its config does not say.
    pub defaults: node::Settings,
    /// Downloads at once.
    pub downloads_max: usize,
    /// What all model files may take; `None` for what the disk has.
    pub limit: Option<ByteCount>,
    /// What goes because nobody uses it.
    pub policy: Policy,
    /// The hub, and as whom it is asked.
    pub hub: hub::Settings,
}

/// What is configured, read and not in force yet: the node is to know it when it starts.
pub struct Setup {
    config: Config,
    places: Places,
    configs: Configs,
}

/// What came of a wish for a model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// They are here, or it has none.
    Here(ModelKey),
    /// They are on their way.
    Downloading(ModelKey),
}

/// What a clean-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What is free now that was not.
    pub freed: ByteCount,
    /// Variants deleted.
    pub deleted: u64,
}

/// All that is kept. Cheap to clone.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    config: Config,
    repositories: Repositories,
    places: Places,
    node: node::Handle,
    store: Store,
    client: Client,
    disk: Arc<Disk>,
    configs: Configs,
    fetches: Fetches,
    remembered: Remembered,
    policy: Mutex<Policy>,
    policy_changed: Notify,
    /// Of each model's first file, when that was changed, and where its files come from.
    origins: Mutex<HashMap<PathBuf, (u64, Origin)>>,
    /// Held by whoever changes files, flags or configs.
    changing: tokio::sync::Mutex<()>,
    uses: mpsc::Sender<Used>,
    tracker: TaskTracker,
}

/// Where a model's files come from.
#[derive(Clone, Copy, Debug)]
struct Origin {
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

impl Room for Disk {
    fn room(&self, folder: &Path) -> Space {
        let usage = self.usage_at(folder);
        Space { free: usage.free_for_models(), used: usage.used, limit: usage.limit }
    }
}

impl Setup {
    /// Reads the model configs. One that cannot be read is left out with a word in the log.
    pub async fn read(config: Config) -> Self {
        let places = Places {
            models_dir: config.models_dir.clone(),
            cache: config.hf_cache.clone(),
            endpoint: config.hub.endpoint.clone(),
        };
        let (paths, override_path) = (config.model_config_paths.clone(), config.override_path.clone());
        let configs = blocking(move || Configs::read(&paths, override_path)).await;
        Self { config, places, configs }
    }

    /// What the models that are configured are to the node.
    pub fn entries(&self) -> Vec<Entry> {
        entries(&self.configs, &self.places, &self.config.defaults)
    }

    /// Goes on with what an earlier snug kept: flags, limits, downloads. Its tasks run on `tracker` until `stop`.
    /// `repositories` says where models that the catalogue knows are to be had.
    ///
    /// # Errors
    /// If the store cannot be read, or the hub's settings are wrong.
    pub async fn start(
        self,
        node: node::Handle,
        store: Store,
        repositories: Repositories,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Storage, Error> {
        let Self { config, places, configs } = self;
        let of_hub = |source| Error::Hub { name: "the Hugging Face hub".to_owned(), source };
        let client = Client::new(&config.hub).map_err(of_hub)?;
        let limit = settings::read(&store, &Limit(config.limit)).await?.0;
        let policy = settings::read(&store, &config.policy).await?;
        let disk = Arc::new(Disk::new(config.models_dir.clone(), limit, node.clone()));
        let mut of_downloads = hub::download::Config::new(config.hf_cache.clone());
        of_downloads.concurrent_max = config.downloads_max.max(1);
        let room: Arc<dyn Room> = Arc::clone(&disk) as _;
        let downloads = Downloads::start(of_downloads, &client, room, tracker, stop.clone()).map_err(of_hub)?;
        disk.count_partial(downloads.clone());
        let ended = downloads.events();
        let (uses, used) = mpsc::channel(USES_MAX);
        let storage = Storage(Arc::new(Inner {
            remembered: Remembered::open(store.clone()).await?,
            fetches: Fetches::new(downloads, store.clone()),
            policy: Mutex::new(policy),
            policy_changed: Notify::new(),
            origins: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            tracker: tracker.clone(),
            config,
            repositories,
            places,
            configs,
            node,
            store,
            client,
            disk,
            uses,
        }));
        storage.0.node.keep_ready(storage.0.remembered.hot_ready()).await;
        storage.0.fetches.resume().await?;
        tracker.spawn(count_uses(Arc::clone(&storage.0), used, stop.clone()));
        tracker.spawn(follow_downloads(Arc::clone(&storage.0), ended, stop.clone()));
        tracker.spawn(clean_up_by_itself(storage.clone(), stop));
        Ok(storage)
    }
}

impl Storage {
    /// Does what must not stop half-way, though whoever asked for it leaves.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.0.tracker.spawn(work).await.unwrap_or(Err(Error::Stopping))
    }

    /// Where plain downloads go.
    pub fn models_dir(&self) -> &Path {
        &self.0.config.models_dir
    }

    // ---- configs ----

    /// Every model config, by name.
    pub fn config(&self, name: &str) -> Option<ModelConfig> {
        self.0.configs.all().get(name).cloned()
    }

    /// Some names of model configs, for a caller who asked for one that does not exist.
    pub fn config_names(&self) -> Vec<String> {
        self.0.configs.all().keys().take(NAMES_SHOWN).cloned().collect()
    }

    /// Adds the models of a request; all or none. They can be asked for when this returns.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Exists`], [`Error::Override`].
    pub async fn add_configs(&self, body: Value) -> Result<Changed, Error> {
        self.change_configs(move |configs| configs.add(&body)).await
    }

    /// Adds the models of a request, or lays what it says over what is there; all or none.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Override`].
    pub async fn put_configs(&self, body: Value) -> Result<Changed, Error> {
        self.change_configs(move |configs| configs.put(&body)).await
    }

    /// Unloads a configured model and forgets its config; its files stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Override`].
    pub async fn remove_config(&self, name: &str) -> Result<(), Error> {
        let (this, name) = (self.clone(), name.to_owned());
        self.finish(async move {
            let _changing = this.0.changing.lock().await;
            let view = this.0.view();
            let (inner, named) = (Arc::clone(&this.0), name.clone());
            blocking(move || inner.configs.remove(&named)).await?;
            let coming = this.fetches().into_iter().filter(|fetch| fetch.model.id.as_str() == name);
            for fetch in coming {
                this.0.fetches.cancel(&fetch.model).await?;
            }
            for model in view.library.models().filter(|model| model.key.id.as_str() == name) {
                this.0.node.discard(&model.key).await;
            }
            this.0.configure_node().await;
            Ok(())
        })
        .await
    }

    async fn change_configs(
        &self,
        change: impl FnOnce(&Configs) -> Result<Changed, Error> + Send + 'static,
    ) -> Result<Changed, Error> {
        let this = self.clone();
        self.finish(async move {
            let _changing = this.0.changing.lock().await;
            let inner = Arc::clone(&this.0);
            let changed = blocking(move || change(&inner.configs)).await?;
            this.0.configure_node().await;
            Ok(changed)
        })
        .await
    }

    // ---- downloads ----

    /// The variant that a name means whose files are not here but can be had.
    pub fn is_missing(&self, name: &str) -> bool {
        let view = self.0.view();
        let Some(model) = view.library.find(name) else { return false };
        if model.present || !model.provider.is_local() {
            return false;
        }
        // A bare id means whichever of its variants is here.
        let of_id = || view.library.models().filter(|other| other.key.id == model.key.id);
        model.key.id.as_str() != name || !of_id().any(|other| other.present)
    }

    /// Whether somebody said where the files of a variant are to be had.
    pub fn has_source(&self, model: &ModelKey) -> bool {
        self.config(model.id.as_str()).is_some_and(|config| {
            config.variants().iter().any(|one| one.quantization == model.variant && !one.files.is_empty())
        })
    }

    fn is_here(&self, model: &ModelKey) -> bool {
        self.0.view().library.find(&model.to_string()).is_some_and(|model| model.present)
    }

    /// Sees to it that the files of a configured or found model are here; `then` is done when they have come.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VariantNotFound`], [`Error::NoSource`], [`Error::NoRoom`], [`Error::Refused`].
    pub async fn ensure(&self, name: &str, variant: Option<&str>, then: Option<Load>) -> Result<Begun, Error> {
        let model = self.0.named(name, variant)?;
        let exact = variant.is_some() || model.id.as_str() != name;
        let asked = if exact { model.to_string() } else { name.to_owned() };
        if !self.is_missing(&asked) {
            return Ok(Begun::Here(model));
        }
        let config = self.config(model.id.as_str()).ok_or_else(|| Error::NoSource { model: model.clone() })?;
        let offered: Vec<_> = config
            .variants()
            .iter()
            .filter(|one| !one.files.is_empty() && (!exact || one.quantization == model.variant))
            .collect();
        let offers: Vec<Offer> = offered
            .iter()
            .map(|one| Offer { variant: one.quantization.clone(), size: one.file_size.max(one.min_vram) })
            .collect();
        let chosen = choice::best(&offers, self.0.memory()).and_then(|index| offered.get(index));
        let chosen = chosen.ok_or_else(|| Error::NoSource { model: model.clone() })?;
        let model = ModelKey { id: model.id, variant: chosen.quantization.clone() };
        self.fetch(&model, self.0.places.wishes(chosen), chosen.file_size, then).await?;
        Ok(Begun::Downloading(model))
    }

    /// The same, and for names that nobody here knows: a repository of the hub, or a model of the catalogue.
    ///
    /// # Errors
    /// As [`Self::ensure`], and [`Error::Hub`].
    pub async fn download(&self, name: &str, variant: Option<&str>) -> Result<Begun, Error> {
        match self.ensure(name, variant, None).await {
            Err(error @ (Error::NotFound { .. } | Error::VariantNotFound { .. } | Error::NoSource { .. })) => {
                // What rests or failed goes on by the name under which it is shown.
                if let Ok(Fetch { model, .. }) = self.fetch_of(name, variant) {
                    let (this, meant) = (self.clone(), model.clone());
                    self.finish(async move { this.0.fetches.again(&meant).await }).await?;
                    return Ok(Begun::Downloading(model));
                }
                match self.fetch_from_hub(name, variant).await? {
                    Some(begun) => Ok(begun),
                    None => Err(error),
                }
            }
            other => other,
        }
    }

    async fn fetch_from_hub(&self, name: &str, variant: Option<&str>) -> Result<Option<Begun>, Error> {
        let (name, variant) = match (variant, name.rsplit_once(':')) {
            (None, Some((name, variant))) => (name, Some(variant)),
            _ => (name, variant),
        };
        let mut repositories = (self.0.repositories)(name);
        if hub::is_id(name) {
            repositories.push(name.to_owned());
        }
        let mut refusal = None;
        for id in repositories.into_iter().take(REPOSITORIES_MAX) {
            let repository = match self.0.client.repository(&id, "main").await {
                Ok(repository) => repository,
                Err(source) => {
                    refusal.get_or_insert(Error::Hub { name: id, source });
                    continue;
                }
            };
            let variants = repository.variants();
            let offers: Vec<Offer> =
                variants.iter().map(|one| Offer { variant: one.key.variant.clone(), size: Some(one.size) }).collect();
            let chosen = match variant {
                Some(variant) => offers.iter().position(|offer| offer.variant.as_str().eq_ignore_ascii_case(variant)),
                None => choice::everyday(&offers, self.0.memory()),
            };
            let Some(chosen) = chosen.and_then(|index| variants.get(index)) else {
                if let Some(variant) = variant.filter(|_| !offers.is_empty()) {
                    let known = offers.iter().map(|offer| offer.variant.to_string()).collect();
                    refusal =
                        Some(Error::VariantNotFound { model: ModelId::new(id), variant: variant.to_owned(), known });
                }
                continue;
            };
            if self.is_here(&chosen.key) {
                return Ok(Some(Begun::Here(chosen.key.clone())));
            }
            self.fetch(&chosen.key, repository.wishes(chosen), None, None).await?;
            return Ok(Some(Begun::Downloading(chosen.key.clone())));
        }
        refusal.map_or(Ok(None), Err)
    }

    /// Begins a download. `declared` is what somebody said that its files take: asked for before the first byte.
    async fn fetch(
        &self,
        model: &ModelKey,
        files: Vec<FileWish>,
        declared: Option<ByteCount>,
        then: Option<Load>,
    ) -> Result<(), Error> {
        // What rests or failed has a part here already; the hub knows how much.
        let is_new = !self.fetches().iter().any(|fetch| fetch.model == *model);
        let is_of_hub = files.iter().any(|file| matches!(file.source, Source::Hub { .. }));
        let folder = if is_of_hub { &self.0.config.hf_cache } else { &self.0.config.models_dir };
        let usage = self.0.disk.usage_at(folder);
        if let Some(required) = declared.filter(|&required| is_new && required > usage.available()) {
            let (model, available) = (model.clone(), usage.available());
            return Err(Error::NoRoom { model, available, required, limit: usage.limit });
        }
        let (this, model) = (self.clone(), model.clone());
        self.finish(async move { this.0.fetches.begin(&model, files, then).await }).await
    }

    /// Downloads that are not done, in the order in which they were begun; those that failed with the reason.
    pub fn fetches(&self) -> Vec<Fetch> {
        self.0.fetches.all()
    }

    /// The download that a name means.
    ///
    /// # Errors
    /// [`Error::NoDownload`].
    pub fn fetch_of(&self, name: &str, variant: Option<&str>) -> Result<Fetch, Error> {
        let means = |fetch: &&Fetch| match variant {
            Some(variant) => fetch.model.id.as_str() == name && fetch.model.variant.as_str() == variant,
            None => fetch.model.id.as_str() == name || fetch.model.to_string() == name,
        };
        let model = || ModelKey { id: ModelId::new(name), variant: Variant::new(variant.unwrap_or_default()) };
        let fetches = self.fetches();
        let running = fetches.iter().find(|fetch| means(fetch) && fetch.is_on_its_way());
        running.or_else(|| fetches.iter().find(means)).cloned().ok_or_else(|| Error::NoDownload { model: model() })
    }

    /// Tells whenever a download has made progress.
    pub fn fetch_changes(&self) -> watch::Receiver<Arc<[JobView]>> {
        self.0.fetches.downloads().changes()
    }

    /// Tells whenever a download is over.
    pub fn fetches_over(&self) -> watch::Receiver<()> {
        self.0.fetches.forgotten()
    }

    /// Waits until a download of this variant has ended, and its files can be asked for.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason if it failed, [`Error::NoDownload`] if it was cancelled.
    pub async fn arrival(&self, model: &ModelKey) -> Result<(), Error> {
        let (mut changes, mut forgotten) = (self.fetch_changes(), self.fetches_over());
        let gone = || Error::NoDownload { model: model.clone() };
        loop {
            forgotten.mark_unchanged();
            match self.fetches().into_iter().find(|fetch| fetch.model == *model) {
                Some(Fetch { error: Some(reason), .. }) => return Err(Error::Refused { model: model.clone(), reason }),
                None if self.is_here(model) => return Ok(()),
                None => return Err(gone()),
                Some(_) => {}
            }
            // Both only wait for a change, and miss none when the other is taken.
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| gone())?,
                changed = forgotten.changed() => changed.map_err(|_| gone())?,
            }
        }
    }

    /// Lets a download rest; begun again, it goes on where it was.
    ///
    /// # Errors
    /// [`Error::NoDownload`], [`Error::Store`].
    pub async fn pause_download(&self, name: &str, variant: Option<&str>) -> Result<ModelKey, Error> {
        let (this, model) = (self.clone(), self.fetch_of(name, variant)?.model);
        self.finish(async move { this.0.fetches.pause(&model).await.map(|()| model) }).await
    }

    /// Ends a download and removes what came of it, or forgets one that failed.
    ///
    /// # Errors
    /// [`Error::NoDownload`], [`Error::Store`].
    pub async fn cancel_download(&self, name: &str, variant: Option<&str>) -> Result<ModelKey, Error> {
        let (this, model) = (self.clone(), self.fetch_of(name, variant)?.model);
        self.finish(async move { this.0.fetches.cancel(&model).await.map(|()| model) }).await
    }

    // ---- files ----

    /// The disk, and what models take of it.
    pub fn usage(&self) -> Usage {
        self.0.disk.usage()
    }

    /// Every variant whose files are here, by name.
    pub fn stored(&self) -> Vec<Stored> {
        let view = self.0.view();
        let fetches = self.fetches();
        let models = view.library.models().filter(|model| model.present && model.provider.is_local());
        models.map(|model| self.0.stored(&view, model, &fetches)).collect()
    }

    /// The state of a variant.
    pub fn state(&self, model: &ModelKey) -> RuntimeState {
        self.0.state(&self.0.view(), model, &self.fetches())
    }

    /// The same for many, of downloads that were looked up once.
    pub fn state_among(&self, model: &ModelKey, fetches: &[Fetch]) -> RuntimeState {
        self.0.state(&self.0.view(), model, fetches)
    }

    /// The variant that a name means, and its state. Of a bare id the one that is loaded, else one whose weights are kept.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VariantNotFound`].
    pub fn state_of(&self, name: &str, variant: Option<&str>) -> Result<(ModelKey, RuntimeState), Error> {
        let meant = self.0.named(name, variant)?;
        let is_bare = variant.is_none() && meant.id.as_str() == name;
        let (view, fetches) = (self.0.view(), self.fetches());
        let variants = view.library.models().filter(|model| is_bare && model.key.id == meant.id);
        let states = variants.map(|model| (model.key.clone(), self.0.state(&view, &model.key, &fetches)));
        let here = states.filter(|(_, state)| *state != RuntimeState::Unloaded).min_by_key(|(_, state)| *state);
        Ok(here.unwrap_or_else(|| {
            let state = self.0.state(&view, &meant, &fetches);
            (meant, state)
        }))
    }

    /// Counts an answer. Never waits: beyond a bound counts are lost.
    pub fn used(&self, model: ModelKey) {
        let _beyond_the_bound = self.0.uses.try_send(Used { model, at: SystemTime::now() });
    }

    /// Sets or clears a flag of a variant that is here; it holds, also over a crash, when this returns.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VariantNotFound`], [`Error::Store`].
    pub async fn set_flag(&self, name: &str, variant: &str, flag: Flag, on: bool) -> Result<ModelKey, Error> {
        let (this, name, variant) = (self.clone(), name.to_owned(), variant.to_owned());
        self.finish(async move {
            let _changing = this.0.changing.lock().await;
            let model = this.here(&name, Some(&variant))?.remove(0).key;
            this.0.remembered.set(&model, flag, on).await?;
            if flag == Flag::HotReady {
                this.0.node.keep_ready(this.0.remembered.hot_ready()).await;
            }
            Ok(model)
        })
        .await
    }

    /// Pins the model that a name means, or unpins it; it holds, also over a restart, when this returns.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PinnedByConfiguration`], [`Error::Stopping`], [`Error::Store`].
    pub async fn pin(&self, name: &str, pinned: bool) -> Result<ModelId, Error> {
        let (this, name) = (self.clone(), name.to_owned());
        self.finish(async move {
            let _changing = this.0.changing.lock().await;
            let model = this.0.node.pin(&name, pinned).await.map_err(|refused| match refused {
                NotPinned::NotFound { name } => Error::NotFound { name, known: this.0.view().library.some_names() },
                NotPinned::Configured { name } => Error::PinnedByConfiguration { name },
                NotPinned::Stopping => Error::Stopping,
            })?;
            if let Err(error) = this.0.store.set_pinned(&model, pinned).await {
                // It is to be what it was before, here as over a restart.
                let _as_before = this.0.node.pin(model.as_str(), !pinned).await;
                return Err(error.into());
            }
            Ok(model)
        })
        .await
    }

    /// Deletes a variant's files, or those of all variants of a model; all or none. It is unloaded first.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VariantNotFound`], [`Error::Guarded`], [`Error::Downloading`], [`Error::Foreign`],
    /// [`Error::Delete`].
    pub async fn delete(&self, name: &str, variant: Option<&str>) -> Result<ByteCount, Error> {
        let (this, name, variant) = (self.clone(), name.to_owned(), variant.map(str::to_owned));
        self.finish(async move { this.delete_now(&name, variant.as_deref()).await }).await
    }

    async fn delete_now(&self, name: &str, variant: Option<&str>) -> Result<ByteCount, Error> {
        let _changing = self.0.changing.lock().await;
        let fetches = self.fetches();
        let coming = fetches.iter().find(|fetch| {
            let is_meant = variant.is_none_or(|variant| fetch.model.variant.as_str() == variant);
            fetch.model.id.as_str() == name && is_meant && fetch.is_on_its_way()
        });
        if let Some(fetch) = coming {
            return Err(Error::Downloading { model: fetch.model.clone() });
        }
        // What is left of a set that lacks files goes as well.
        let view = self.0.view();
        let has_files = |model: &node::Model| model.present || model.files.iter().any(|file| file.exists());
        let models = view.library.models().filter(|model| model.provider.is_local() && has_files(model));
        let stored = models.map(|model| self.0.stored(&view, model, &fetches)).collect();
        let stored = self.of_name(stored, name, variant)?;
        let guarded: Vec<&Stored> = stored.iter().filter(|one| one.is_guarded()).collect();
        if !guarded.is_empty() {
            return Err(Error::Guarded {
                hot_ready: guarded.iter().any(|one| one.hot_ready),
                protected: guarded.iter().any(|one| one.protected),
                variants: guarded.into_iter().map(|one| one.key.clone()).collect(),
            });
        }
        if let Some(path) = stored.iter().flat_map(|one| &one.files).find(|path| !self.0.is_kept_by_us(path)) {
            return Err(Error::Foreign { path: path.clone() });
        }
        let (mut freed, mut failed) = (ByteCount::ZERO, None);
        for one in &stored {
            self.0.node.discard(&one.key).await;
            match self.0.delete(one).await {
                Ok(more) => freed += more,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        self.0.node.look().await;
        failed.map_or(Ok(freed), Err)
    }

    /// Sets what all model files may take; `None` for what the disk has. Nothing is deleted by it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn set_limit(&self, limit: Option<ByteCount>) -> Result<(), Error> {
        let this = self.clone();
        self.finish(async move {
            let _changing = this.0.changing.lock().await;
            settings::keep(&this.0.store, &Limit(limit), &Limit(this.0.config.limit)).await?;
            this.0.disk.set_limit(limit);
            Ok(())
        })
        .await
    }

    // ---- clean-up ----

    /// What clean-up goes by.
    pub fn policy(&self) -> Policy {
        self.0.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it, unless `change` refuses.
    ///
    /// # Errors
    /// [`Error::Store`]; within, what `change` says.
    pub async fn change_policy<E: Send + 'static>(
        &self,
        change: impl FnOnce(&Policy) -> Result<Policy, E> + Send + 'static,
    ) -> Result<Result<Policy, E>, Error> {
        let this = self.clone();
        self.finish(async move {
            let _changing = this.0.changing.lock().await;
            let policy = match change(&this.policy()) {
                Ok(policy) => policy,
                Err(refused) => return Ok(Err(refused)),
            };
            settings::keep(&this.0.store, &policy, &this.0.config.policy).await?;
            *this.0.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy.clone();
            this.0.policy_changed.notify_one();
            Ok(Ok(policy))
        })
        .await
    }

    /// What clean-up would delete now, the one unused longest first.
    pub fn cleanup_candidates(&self) -> Vec<Stored> {
        let stored = self.stored();
        cleanup::candidates(&stored, &self.policy(), SystemTime::now()).into_iter().cloned().collect()
    }

    /// Deletes it. What cannot be deleted is left, with a word in the log.
    ///
    /// # Errors
    /// [`Error::Delete`] if nothing could be deleted of what was to be.
    pub async fn clean_up(&self) -> Result<Cleaned, Error> {
        let this = self.clone();
        self.finish(async move { this.clean_up_now().await }).await
    }

    async fn clean_up_now(&self) -> Result<Cleaned, Error> {
        let _changing = self.0.changing.lock().await;
        let (mut cleaned, mut failed) = (Cleaned::default(), None);
        for one in self.cleanup_candidates() {
            // Somebody may have asked for it meanwhile.
            if !self.0.node.discard_if_unused(&one.key).await {
                continue;
            }
            match self.0.delete(&one).await {
                Ok(freed) => {
                    tracing::info!(model = %one.key, %freed, "deleted: nobody used it");
                    cleaned = Cleaned { freed: cleaned.freed + freed, deleted: cleaned.deleted + 1 };
                }
                Err(error) => {
                    tracing::warn!(model = %one.key, error = &error as &dyn std::error::Error, "cannot be cleaned up");
                    failed = Some(error);
                }
            }
        }
        self.0.node.look().await;
        failed.filter(|_| cleaned.deleted == 0).map_or(Ok(cleaned), Err)
    }

    /// The variants of a model that are here, or the one that is meant; never none.
    fn here(&self, name: &str, variant: Option<&str>) -> Result<Vec<Stored>, Error> {
        self.of_name(self.stored(), name, variant)
    }

    fn of_name(&self, mut stored: Vec<Stored>, name: &str, variant: Option<&str>) -> Result<Vec<Stored>, Error> {
        stored.retain(|one| one.key.id.as_str() == name);
        if stored.is_empty() {
            let known = self.0.view().library.some_names();
            return Err(Error::NotFound { name: name.to_owned(), known });
        }
        let Some(variant) = variant else { return Ok(stored) };
        let known = stored.iter().map(|one| one.key.variant.to_string()).collect();
        stored.retain(|one| one.key.variant.as_str() == variant);
        if stored.is_empty() {
            return Err(Error::VariantNotFound { model: ModelId::new(name), variant: variant.to_owned(), known });
        }
        Ok(stored)
    }
}

impl Inner {
    fn view(&self) -> Arc<View> {
        self.node.view().borrow().clone()
    }

    /// What the models that are configured are to the node.
    async fn configure_node(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        let entries = blocking(move || entries(&inner.configs, &inner.places, &inner.config.defaults)).await;
        self.node.configure(entries).await;
    }

    /// The variant that a name means.
    fn named(&self, name: &str, variant: Option<&str>) -> Result<ModelKey, Error> {
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
    fn memory(&self) -> Memory {
        let view = self.view();
        let of = |is_ram: bool| -> ByteCount {
            let devices = view.capacity.iter().filter(|(device, _)| device.is_cpu() == is_ram);
            devices.map(|(_, capacity)| *capacity).sum()
        };
        Memory { accelerators: of(false), ram: of(true) }
    }

    fn state(&self, view: &View, model: &ModelKey, fetches: &[Fetch]) -> RuntimeState {
        let downloaded = fetches.iter().any(|fetch| fetch.model == *model && fetch.is_on_its_way());
        RuntimeState::of(view, model, downloaded)
    }

    fn stored(&self, view: &View, model: &node::Model, fetches: &[Fetch]) -> Stored {
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
    fn is_kept_by_us(&self, path: &Path) -> bool {
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
    async fn delete(&self, stored: &Stored) -> Result<ByteCount, Error> {
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
    async fn arrived(self: &Arc<Self>, id: &JobId, run: Option<Run>, files: &[PathBuf]) -> Result<(), Error> {
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

fn entries(configs: &Configs, places: &Places, defaults: &node::Settings) -> Vec<Entry> {
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
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("disk work does not panic")
}

/// Counts answers as they come, all that are waiting in one write.
async fn count_uses(inner: Arc<Inner>, mut used: mpsc::Receiver<Used>, stop: CancellationToken) {
    let mut answers = Vec::new();
    loop {
        tokio::select! {
            // What was counted before the end is written down.
            biased;
            count = used.recv_many(&mut answers, USES_MAX) => if count == 0 { return },
            () = stop.cancelled() => return,
        }
        if let Err(error) = inner.remembered.used(&answers).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the use of models is not kept");
        }
        answers.clear();
    }
}

async fn follow_downloads(inner: Arc<Inner>, mut ended: broadcast::Receiver<Ended>, stop: CancellationToken) {
    loop {
        let event = tokio::select! {
            event = ended.recv() => event,
            () = stop.cancelled() => return,
        };
        let kept = match event {
            Ok(Ended::Finished { id, run, files }) => inner.arrived(&id, Some(run), &files).await,
            Ok(Ended::Failed { id, run, failure }) => {
                tracing::warn!(download = %id, "a download failed: {failure}");
                inner.fetches.failed(&id, run, &failure.to_string()).await.map_err(Error::from)
            }
            // Hundreds ended at once. What the hub does not know any more has come.
            Err(broadcast::error::RecvError::Lagged(_)) => {
                for id in inner.fetches.lost() {
                    if let Err(error) = inner.arrived(&id, None, &[]).await {
                        tracing::warn!(error = &error as &dyn std::error::Error, "the end of a download is not kept");
                    }
                }
                Ok(())
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if let Err(error) = kept {
            tracing::warn!(error = &error as &dyn std::error::Error, "the end of a download is not kept");
        }
    }
}

async fn clean_up_by_itself(storage: Storage, stop: CancellationToken) {
    let mut due = Instant::now() + FIRST_CLEANUP;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {
                if storage.policy().enabled
                    && let Err(error) = storage.clean_up().await
                {
                    tracing::warn!(error = &error as &dyn std::error::Error, "clean-up failed");
                }
                due = Instant::now() + storage.policy().check_interval;
            }
            // Sooner, if the interval is shorter now; never later.
            () = storage.0.policy_changed.notified() => {
                due = due.min(Instant::now() + storage.policy().check_interval);
            }
            () = stop.cancelled() => return,
        }
    }
}
