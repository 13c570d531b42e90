//! The way to all that is kept; see the crate's text.

mod inner;
mod tasks;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use catalog::model_config::ModelConfig;
use hub::Client;
use hub::download::{Downloads, FileWish, JobView, Room, Source, Space};
use node::{Entry, NotPinned};
use serde_json::Value;
use store::Store;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::{ByteCount, ModelId, ModelKey, Variant};

use crate::choice::{self, Offer};
use crate::cleanup::{self, Policy};
use crate::configs::{Changed, Configs};
use crate::error::Error;
use crate::fetch::{Fetch, Fetches, Load};
use crate::inventory::Stored;
use crate::places::Places;
use crate::remembered::{Flag, Remembered, Used};
use crate::settings::{self, Limit};
use crate::space::{Disk, Usage};
use crate::state::RuntimeState;

use self::inner::{Origin, blocking, entries};
use self::tasks::{clean_up_by_itself, count_uses, follow_downloads};

/// Answers that are not counted yet; beyond it the count of some is lost, never an answer.
const USES_MAX: usize = 4096;
/// Names shown to a caller who asked for one that does not exist.
const NAMES_SHOWN: usize = 20;
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
    /// How a configured model is started now where its config does not say.
    defaults: Mutex<node::Settings>,
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
            defaults: Mutex::new(config.defaults.clone()),
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
    /// Starts configured models otherwise from now on where their configs do not say.
    pub async fn set_defaults(&self, defaults: node::Settings) {
        *self.0.defaults.lock().unwrap_or_else(PoisonError::into_inner) = defaults;
        self.0.configure_node().await;
    }

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
        if model.present || !model.is_of_files() {
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
        let models = view.library.models().filter(|model| model.present && model.is_of_files());
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
        let models = view.library.models().filter(|model| model.is_of_files() && has_files(model));
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
