//! The models of this machine: found in folders, named in the configuration, read once.
//!
//! `catalog` says which files are which models and what their headers tell; here is the walking and the opening. What the
//! header of an unchanged file told is not read again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use catalog::discover::{self, Found};
use catalog::{gguf, name, names};
use engine::Adapter;
use types::{ByteCount, CacheType, Mode, ModelId, ModelKey, Pooling, Provider, Variant};

/// Folders in folders are walked this deep; model collections are two or three.
const DEPTH_MAX: usize = 8;
/// More files than anyone keeps models; a folder with more was named by mistake.
const FILES_MAX: usize = 20_000;
/// Names shown to a caller who asked for one that does not exist.
const NAMES_SHOWN: usize = 20;

/// Where models are looked for.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Folders of model files, searched with their subfolders. Those that do not exist yet are waited for.
    pub folders: Vec<PathBuf>,
    /// The `hub` folder of the Hugging Face cache.
    pub hf_cache: Option<PathBuf>,
    /// Models named one by one; they go before found ones of the same name.
    pub entries: Vec<Entry>,
    /// Settings of models that no entry names.
    pub defaults: Settings,
}

impl Sources {
    /// With these models named beside its own, which go before those of the same name.
    pub(crate) fn with(&self, entries: &[Entry]) -> Self {
        let entries = self.entries.iter().chain(entries).cloned().collect();
        Self { entries, ..self.clone() }
    }
}

/// A model that somebody named, in one of its variants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Its id; from the file's name if absent.
    pub id: Option<String>,
    /// Its variant; from the file if absent.
    pub variant: Option<Variant>,
    /// Who runs it. Whoever is not of this machine needs an id and no files.
    pub provider: Provider,
    /// Its files, the one that an engine is given first. A single one may be the first of a split set, or a folder with one
    /// model. They need not be there yet.
    pub files: Vec<PathBuf>,
    /// A multimodal projector; one beside the file if absent.
    pub mmproj: Option<PathBuf>,
    /// What is said of files that are not there yet.
    pub declared: Declared,
    /// The context it is started with where that fits, tokens; less where it does not.
    pub context_window: Option<u64>,
    /// What it is started to do; from the file if absent.
    pub mode: Option<Mode>,
    /// Whether no other model may have its id: whatever else is found or named under it is left out.
    pub alone: bool,
    /// How it is started.
    pub settings: Settings,
}

/// What somebody says of a model whose files nobody has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Its files together.
    pub file_size: Option<ByteCount>,
    /// What it needs to run.
    pub memory: Option<ByteCount>,
}

/// How a model is started, as far as somebody said. What is left open `fit` decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of `engine::Spec` with the same name")]
pub struct Settings {
    pub context: Option<u64>,
    pub slots: Option<u32>,
    pub gpu_layers: Option<u32>,
    pub cache_type_k: CacheType,
    pub cache_type_v: CacheType,
    pub pooling: Option<Pooling>,
    pub embeddings: bool,
    pub chat_template_file: Option<PathBuf>,
    pub adapter: Adapter,
    pub listen: Option<SocketAddr>,
    pub chat_template_kwargs: Option<String>,
    pub flash_attn: Option<bool>,
    /// The name the engine gives itself in answers; its id if absent.
    pub alias: Option<String>,
    /// What the engine is told where all layers go to accelerators, or there are none to go to; their number if absent.
    pub all_layers: Option<u32>,
    /// Never unloaded to make room, nor for being unused.
    pub pinned: bool,
    /// Not unloaded for being unused; it still leaves for others.
    pub keep_loaded: bool,
    pub extra_args: Vec<String>,
}

/// One model of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its id and variant.
    pub key: ModelKey,
    /// Who runs it. Only what this machine runs has files.
    pub provider: Provider,
    /// Whether an entry names it, rather than that its file was found.
    pub named: bool,
    /// The file an engine is given; empty where there is none.
    pub path: PathBuf,
    /// All its files, that one first. They may be missing.
    pub files: Vec<PathBuf>,
    /// Whether all its files are there. True where it needs none.
    pub present: bool,
    /// All its files together, as far as they are there.
    pub size: ByteCount,
    /// What was said of files that are not there.
    pub declared: Declared,
    /// When its first file was changed, seconds since 1970.
    pub modified: u64,
    /// A multimodal projector beside it.
    pub mmproj: Option<PathBuf>,
    /// That one's size, which [`Self::size`] leaves out.
    pub(crate) mmproj_size: ByteCount,
    /// What it is started to do.
    pub mode: Mode,
    /// What the estimator needs; `None` if the file could not be read.
    pub facts: Option<fit::Facts>,
    /// The context it was trained for.
    pub context_native: Option<u64>,
    /// The context it is started with where that fits, tokens.
    pub context_window: Option<u64>,
    /// Its family as llama.cpp names it, such as `llama`; empty if the file could not be read.
    pub architecture: Arc<str>,
    /// Its parameters; zero where not known.
    pub parameters: u64,
    /// Whether its chat template mentions tools.
    pub knows_tools: bool,
    /// Why the file could not be read; the engine may still be able to.
    pub problem: Option<String>,
    /// How it is started.
    pub settings: Settings,
}

impl Model {
    /// Whether it stays whatever happens: its entry says so, or it is one of those `pinned` at run time.
    pub fn is_pinned(&self, pinned: &BTreeSet<ModelId>) -> bool {
        self.settings.pinned || pinned.contains(&self.key.id)
    }

    /// What tells its files from those that it had before, or will have.
    pub(crate) fn files_state(&self) -> FilesState {
        FilesState { files: self.files.clone(), present: self.present, size: self.weights(), modified: self.modified }
    }

    /// Whether an engine of this machine runs it from files that we know one by one.
    pub fn is_of_files(&self) -> bool {
        self.provider.is_local() && !self.files.is_empty()
    }

    /// The engine that runs it, in the router contract's words, or whose service it is.
    pub fn backend(&self) -> &'static str {
        match self.provider.is_local() {
            true if self.settings.adapter.reads_gguf() => "llamacpp",
            true => "mlx",
            false => self.provider.as_str(),
        }
    }

    /// What an engine reads of it: [`Self::files`] together.
    pub fn weights(&self) -> ByteCount {
        self.size + self.mmproj_size
    }

    /// Which of its files are not there, in words; `None` where all are.
    pub(crate) fn absence(&self) -> Option<String> {
        if self.present {
            return None;
        }
        let missing: Vec<String> =
            self.files.iter().filter(|file| !file.is_file()).map(|file| file.display().to_string()).collect();
        Some(match (missing.as_slice(), &self.problem) {
            ([], Some(problem)) => problem.clone(),
            ([], None) => format!("{} was not there when we last looked", self.path.display()),
            (missing, _) => format!("no such file: {}", missing.join(", ")),
        })
    }
}

/// The state of a model's files, as far as it is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FilesState {
    files: Vec<PathBuf>,
    present: bool,
    size: ByteCount,
    modified: u64,
}

/// The models of this machine and their names.
#[derive(Clone, Debug, Default)]
pub struct Library {
    models: Vec<Arc<Model>>,
    by_name: HashMap<String, usize>,
    /// Of each model, the one first that its bare id means.
    variants: HashMap<ModelId, Vec<String>>,
    read: HashMap<PathBuf, Arc<Read>>,
}

/// What a file's header told, and for which state of the file.
#[derive(Clone, Debug)]
struct Read {
    size: ByteCount,
    modified: Option<SystemTime>,
    header: Result<Header, String>,
}

/// What is kept of a header.
#[derive(Clone, Debug)]
struct Header {
    facts: fit::Facts,
    mode: Mode,
    quantization: String,
    is_loadable: bool,
    context_native: Option<u64>,
    architecture: Arc<str>,
    parameters: u64,
    knows_tools: bool,
}

impl Library {
    /// Looks at everything anew.
    pub fn scan(sources: &Sources) -> Self {
        Self::default().rescan(sources)
    }

    /// Looks again; files that have not changed are not read again. Blocks on the disk.
    pub fn rescan(&self, sources: &Sources) -> Self {
        let mut library = Self { read: self.read.clone(), ..Self::default() };
        let alone: HashSet<&str> =
            sources.entries.iter().filter(|entry| entry.alone).filter_map(|entry| entry.id.as_deref()).collect();
        let is_free = |id: Option<&str>| id.is_none_or(|id| !alone.contains(id));
        let entries = sources.entries.iter().filter(|entry| {
            let stays = entry.alone || is_free(entry.id.as_deref());
            if !stays {
                tracing::warn!(
                    model = entry.id,
                    "is configured a second time and left out: the other is alone of its id"
                );
            }
            stays
        });
        let (local, others): (Vec<&Entry>, Vec<&Entry>) =
            entries.partition(|entry| entry.provider.is_local() && entry.settings.adapter.reads_gguf());
        let mut named: Vec<(Found, &Entry)> =
            local.into_iter().filter_map(|entry| Some((find_entry(entry)?, entry))).collect();
        let mut found: Vec<Found> = Vec::new();
        for folder in &sources.folders {
            found.extend(discover::in_folder(folder, walk(folder)));
        }
        if let Some(cache) = &sources.hf_cache {
            found.extend(discover::in_hub_cache(cache, walk(cache), &main_revisions(cache)));
        }
        // A file that an entry names has that name and no other.
        let taken: HashSet<PathBuf> = named.iter().flat_map(|(model, _)| model.files.iter().cloned()).collect();
        found.retain(|model| !model.files.iter().any(|file| taken.contains(file)));
        found.retain(|model| is_free(Some(model.key.id.as_str())));
        for (model, entry) in &mut named {
            take_from_found(model, entry, &mut found);
        }

        let mut entries: HashMap<(ModelKey, PathBuf), &Entry> = HashMap::new();
        let mut models: Vec<(Found, Arc<Read>)> = Vec::new();
        let all = named.into_iter().map(|(model, entry)| (model, Some(entry)));
        for (mut model, entry) in all.chain(found.into_iter().map(|model| (model, None))) {
            let read = library.read_file(&model);
            if let Ok(header) = &read.header {
                if !header.is_loadable && entry.is_none() {
                    continue;
                }
                if model.key.variant.as_str().is_empty() {
                    model.key.variant = Variant::new(header.quantization.as_str());
                }
            }
            if let Some(entry) = entry {
                entries.entry((model.key.clone(), model.path().to_owned())).or_insert(entry);
            }
            models.push((model, read));
        }
        let reads: HashMap<PathBuf, Arc<Read>> =
            models.iter().map(|(model, read)| (model.path().to_owned(), Arc::clone(read))).collect();
        let settled = discover::settle(models.into_iter().map(|(model, _)| model));
        for shadowed in &settled.shadowed {
            tracing::warn!(
                file = %shadowed.model.path().display(), by = %shadowed.by.display(),
                "two files have the name {}; the second is not served", shadowed.model.key
            );
        }
        let is_here = |model: &Found| model.files.iter().all(|file| file.exists());
        let rank = |model: &Found| (!is_here(model), names::everyday_rank(&model.key.variant));
        let names = names::index(&settled.models, rank);
        for model in &settled.models {
            let entry = entries.get(&(model.key.clone(), model.path().to_owned()));
            let model = describe(model, &reads[model.path()], entry.copied(), &sources.defaults);
            library.models.push(Arc::new(model));
        }
        library.read.retain(|path, _| reads.contains_key(path));
        let names: HashMap<String, ModelKey> =
            names.into_iter().map(|(name, index)| (name, settled.models[index].key.clone())).collect();
        let others = others.into_iter().filter_map(|entry| {
            let variant = entry.variant.clone().unwrap_or_else(|| Variant::new(""));
            let key = ModelKey { id: ModelId::new(entry.id.as_deref()?), variant };
            Some(match entry.provider.is_local() {
                true => of_folder(key, entry, sources.hf_cache.as_deref()),
                false => of_provider(key, entry),
            })
        });
        library.add_others(others, names);
        library.variants = library.group_variants();
        library
    }

    /// Adds the models that are no GGUF files, and settles what each name means. Their ids go before those of files.
    fn add_others(&mut self, models: impl Iterator<Item = Model>, mut names: HashMap<String, ModelKey>) {
        let mut keys: HashSet<ModelKey> = HashSet::new();
        for model in models {
            let key = model.key.clone();
            if !keys.insert(key.clone()) {
                continue;
            }
            self.models.retain(|model| model.key != key);
            names.insert(key.id.as_str().to_owned(), key.clone());
            names.insert(key.to_string(), key);
            self.models.push(Arc::new(model));
        }
        self.models.sort_by(|one, other| one.key.cmp(&other.key));
        let places: HashMap<&ModelKey, usize> =
            self.models.iter().enumerate().map(|(index, model)| (&model.key, index)).collect();
        self.by_name = names.into_iter().filter_map(|(name, key)| Some((name, *places.get(&key)?))).collect();
    }

    /// The model that a name means.
    pub fn find(&self, name: &str) -> Option<Arc<Model>> {
        self.by_name.get(name).and_then(|&index| self.models.get(index)).cloned()
    }

    /// The model of this key.
    pub fn get(&self, key: &ModelKey) -> Option<Arc<Model>> {
        let index = self.models.binary_search_by(|model| model.key.cmp(key)).ok()?;
        self.models.get(index).cloned()
    }

    /// All models, sorted by key.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.iter()
    }

    /// Every name that means a model.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Every id once, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &ModelId> {
        let mut before: Option<&ModelId> = None;
        self.models.iter().map(|model| &model.key.id).filter(move |id| before.replace(id) != Some(*id))
    }

    /// The variants of a model, the one that its bare id means first.
    pub fn variants_of(&self, id: &ModelId) -> &[String] {
        self.variants.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Some ids, for a caller who asked for one that does not exist.
    pub fn some_names(&self) -> Vec<String> {
        self.ids().take(NAMES_SHOWN).map(|id| id.as_str().to_owned()).collect()
    }

    /// Whether nothing that anyone could notice differs.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.models == other.models && self.by_name == other.by_name
    }

    fn group_variants(&self) -> HashMap<ModelId, Vec<String>> {
        let mut variants: HashMap<ModelId, Vec<String>> = HashMap::new();
        for model in &self.models {
            let of_id = variants.entry(model.key.id.clone()).or_default();
            let is_meant = self.find(model.key.id.as_str()).is_some_and(|meant| meant.key == model.key);
            let at = if is_meant { 0 } else { of_id.len() };
            of_id.insert(at, model.key.variant.as_str().to_owned());
        }
        variants
    }

    /// What the header of `model`'s first file tells, and of the others of a split set.
    fn read_file(&mut self, model: &Found) -> Arc<Read> {
        let modified = modified(model.path());
        if let Some(read) = self.read.get(model.path())
            && read.size == model.size
            && read.modified == modified
        {
            return Arc::clone(read);
        }
        let header = read_headers(model).inspect_err(|problem| {
            // One that is yet to come is nobody's fault.
            if modified.is_some() {
                tracing::warn!(file = %model.path().display(), problem, "cannot read a model file");
            }
        });
        let read = Arc::new(Read { size: model.size, modified, header });
        self.read.insert(model.path().to_owned(), Arc::clone(&read));
        read
    }
}

fn describe(model: &Found, read: &Read, entry: Option<&Entry>, defaults: &Settings) -> Model {
    let header = read.header.as_ref().ok();
    let projector_size = model.projector.as_deref().map(length).unwrap_or_default();
    let incomplete = (!model.is_complete()).then(|| {
        let missing: Vec<_> = model.missing.iter().map(ToString::to_string).collect();
        format!("of its set of files these are missing: {}", missing.join(", "))
    });
    let files_present = model.files.iter().all(|file| file.is_file());
    let projector_present = model.projector.as_deref().is_none_or(Path::is_file);
    Model {
        key: model.key.clone(),
        provider: Provider::Llama,
        named: entry.is_some(),
        path: model.path().to_owned(),
        files: model.files.iter().chain(&model.projector).cloned().collect(),
        present: model.is_complete() && files_present && projector_present,
        size: model.size,
        declared: entry.map(|entry| entry.declared).unwrap_or_default(),
        modified: seconds(read.modified),
        mmproj: model.projector.clone(),
        mmproj_size: projector_size,
        mode: entry.and_then(|entry| entry.mode).or(header.map(|header| header.mode)).unwrap_or_default(),
        facts: header.map(|header| header.facts.clone().with_projector(projector_size)),
        context_native: header.and_then(|header| header.context_native),
        context_window: entry.and_then(|entry| entry.context_window),
        architecture: header.map_or_else(|| Arc::from(""), |header| Arc::clone(&header.architecture)),
        parameters: header.map_or(0, |header| header.parameters),
        knows_tools: header.is_some_and(|header| header.knows_tools),
        problem: incomplete.or_else(|| read.header.as_ref().err().cloned()),
        settings: entry.map_or_else(|| defaults.clone(), |entry| entry.settings.clone()),
    }
}

/// A model that somebody else runs, or nobody.
fn of_provider(key: ModelKey, entry: &Entry) -> Model {
    Model {
        key,
        provider: entry.provider,
        named: true,
        path: PathBuf::new(),
        files: Vec::new(),
        present: true,
        size: ByteCount::ZERO,
        declared: entry.declared,
        modified: 0,
        mmproj: None,
        mmproj_size: ByteCount::ZERO,
        mode: entry.mode.unwrap_or_default(),
        facts: None,
        context_native: None,
        context_window: entry.context_window,
        architecture: Arc::from(""),
        parameters: 0,
        knows_tools: true,
        problem: None,
        settings: entry.settings.clone(),
    }
}

/// A model that an engine reads in another form than GGUF: a folder, or a Hugging Face id that the engine fetches itself.
/// Nobody has read it, so its size is all that is known.
fn of_folder(key: ModelKey, entry: &Entry, hf_cache: Option<&Path>) -> Model {
    let path = entry.files.first().cloned().unwrap_or_default();
    let is_here = path.is_absolute();
    let place = match hf_cache {
        _ if is_here => Some(path.clone()),
        Some(cache) => in_hub_cache(cache, &path),
        None => None,
    };
    let size = match &place {
        Some(place) if place.is_dir() => walk(place).iter().map(|file| file.size).sum(),
        Some(place) => length(place),
        None => ByteCount::ZERO,
    };
    Model {
        provider: entry.provider,
        present: !is_here || path.exists(),
        size,
        modified: seconds(modified(place.as_deref().unwrap_or(&path))),
        mode: entry.mode.unwrap_or_default(),
        knows_tools: false,
        path,
        ..of_provider(key, entry)
    }
}

/// Where the hub's cache has this repository, in its main revision.
fn in_hub_cache(cache: &Path, id: &Path) -> Option<PathBuf> {
    let folder = cache.join(format!("models--{}", id.to_str()?.replace('/', "--")));
    let revision = std::fs::read_to_string(folder.join("refs/main")).ok()?;
    Some(folder.join("snapshots").join(revision.trim()))
}

fn seconds(at: Option<SystemTime>) -> u64 {
    at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs())
}

/// What an entry names. A file that does not exist is a model all the same: asking for it tells why not.
fn find_entry(entry: &Entry) -> Option<Found> {
    let mut model = match entry.files.as_slice() {
        [] => return None,
        [path] => find_single(path)?,
        files => of_files(files)?,
    };
    if let Some(id) = &entry.id {
        model.key.id = ModelId::new(id.as_str());
        model.stem = id.clone();
    }
    if let Some(variant) = &entry.variant {
        model.key.variant = variant.clone();
    }
    if entry.mmproj.is_some() {
        model.projector = entry.mmproj.clone();
    }
    Some(model)
}

/// A file, with the others of its set and its projector; or the model in a folder.
fn find_single(path: &Path) -> Option<Found> {
    let is_folder = path.is_dir();
    let folder = if is_folder { path } else { path.parent().unwrap_or(Path::new(".")) };
    let files = if is_folder { walk(folder) } else { list(folder) };
    let mut found = discover::in_folder(folder, files);
    let position = if is_folder {
        if found.len() > 1 {
            tracing::warn!(
                path = %path.display(), "a folder named as one model holds {} of them; the first is taken", found.len()
            );
        }
        (!found.is_empty()).then_some(0)
    } else {
        found.iter().position(|model| model.files.iter().any(|file| file == path))
    };
    match position {
        Some(index) => Some(found.swap_remove(index)),
        None => of_files(&[path.to_owned()]),
    }
}

/// A model of exactly these files, whether or not they are there.
fn of_files(files: &[PathBuf]) -> Option<Found> {
    let stem = files.first()?.file_stem()?.to_str()?;
    let stem = name::shard(stem).map_or(stem, |shard| shard.stem).to_owned();
    Some(Found {
        key: name::key(&stem),
        stem,
        files: files.to_vec(),
        size: files.iter().map(|file| length(file)).sum(),
        missing: Vec::new(),
        projector: None,
        repository: None,
    })
}

/// Files of this name that lie elsewhere serve an entry whose own are not there.
fn take_from_found(model: &mut Found, entry: &Entry, found: &mut Vec<Found>) {
    if entry.id.is_none() || model.files.iter().all(|file| file.exists()) {
        return;
    }
    if let Some(index) = found.iter().position(|other| other.key == model.key && other.is_complete()) {
        let other = found.swap_remove(index);
        model.projector = model.projector.take().filter(|projector| projector.exists()).or(other.projector);
        (model.files, model.size) = (other.files, other.size);
    }
}

fn read_headers(model: &Found) -> Result<Header, String> {
    let mut files = model.files.iter().map(|path| {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        gguf::read(file, length(path)).map_err(|error| format!("{}: {error}", path.display()))
    });
    let mut header = files.next().unwrap_or_else(|| Err("it has no file".to_owned()))?;
    for later in files {
        header.add_shard(later?).map_err(|error| error.to_string())?;
    }
    Ok(Header {
        facts: fit::Facts::from(&header),
        mode: header.mode(),
        is_loadable: header.is_loadable(),
        context_native: Some(header.context_length).filter(|&context| context > 0),
        architecture: Arc::from(header.architecture.as_str()),
        parameters: header.parameters,
        knows_tools: header.chat_template.is_some_and(|template| template.mentions_tools),
        quantization: header.quantization,
    })
}

/// Which revision `refs/main` of each cached repository names.
fn main_revisions(cache: &Path) -> BTreeMap<String, String> {
    let Ok(repositories) = std::fs::read_dir(cache) else { return BTreeMap::new() };
    repositories
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let repository = path.file_name()?.to_str()?.strip_prefix("models--")?.replacen("--", "/", 1);
            let revision = std::fs::read_to_string(path.join("refs/main")).ok()?;
            Some((repository, revision.trim().to_owned()))
        })
        .collect()
}

/// All files under `folder`, links followed (the Hugging Face cache is made of them), bounded in depth and number.
fn walk(folder: &Path) -> Vec<discover::File> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    // Links may lead in circles, so folders are bounded as well.
    let mut folders_seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        folders_seen += 1;
        if folders_seen > FILES_MAX {
            tracing::warn!(folder = %folder.display(), "stopped looking for models after {FILES_MAX} folders");
            break;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() && depth < DEPTH_MAX => folders.push((path, depth + 1)),
                Ok(metadata) if metadata.is_file() => {
                    files.push(discover::File { path, size: ByteCount::bytes(metadata.len()) });
                }
                _ => {}
            }
            if files.len() >= FILES_MAX {
                tracing::warn!(folder = %folder.display(), "stopped looking for models after {FILES_MAX} files");
                return files;
            }
        }
    }
    files
}

/// The files of one folder.
fn list(folder: &Path) -> Vec<discover::File> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
            Some(discover::File { path, size: ByteCount::bytes(metadata.len()) })
        })
        .take(FILES_MAX)
        .collect()
}

fn length(path: &Path) -> ByteCount {
    std::fs::metadata(path).map_or(ByteCount::ZERO, |metadata| ByteCount::bytes(metadata.len()))
}

/// To the finest that the file system tells: a download may end within the second in which it was looked at.
fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
