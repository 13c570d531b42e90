//! The models of this machine: found in folders, named in the configuration, read once.
//!
//! `catalog` says which files are which models and what their headers tell; here is the walking and the opening. What the
//! header of an unchanged file told is not read again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use catalog::discover::{self, Found};
use catalog::{gguf, name, names};
use types::{ByteCount, CacheType, Mode, ModelId, ModelKey, Pooling};

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

/// A model named in the configuration.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id; from the file's name if absent.
    pub id: Option<String>,
    /// The file, the first of a split set, or a folder with one model.
    pub path: PathBuf,
    /// What it is started to do; from the file if absent.
    pub mode: Option<Mode>,
    /// How it is started.
    pub settings: Settings,
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
    /// Never unloaded to make room, nor for being unused.
    pub pinned: bool,
    pub extra_args: Vec<String>,
}

/// One model of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its id and variant.
    pub key: ModelKey,
    /// The file an engine is given.
    pub path: PathBuf,
    /// All its files together.
    pub size: ByteCount,
    /// When its first file was changed, seconds since 1970.
    pub modified: u64,
    /// A multimodal projector beside it.
    pub mmproj: Option<PathBuf>,
    /// What it is started to do.
    pub mode: Mode,
    /// What the estimator needs; `None` if the file could not be read.
    pub facts: Option<fit::Facts>,
    /// The context it was trained for.
    pub context_native: Option<u64>,
    /// Whether its chat template mentions tools.
    pub knows_tools: bool,
    /// Why the file could not be read; the engine may still be able to.
    pub problem: Option<String>,
    /// How it is started.
    pub settings: Settings,
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
        let mut found: Vec<(Found, Option<&Entry>)> = Vec::new();
        for entry in &sources.entries {
            found.extend(find_entry(entry).map(|model| (model, Some(entry))));
        }
        for folder in &sources.folders {
            found.extend(discover::in_folder(folder, walk(folder)).into_iter().map(|model| (model, None)));
        }
        if let Some(cache) = &sources.hf_cache {
            let cached = discover::in_hub_cache(cache, walk(cache), &main_revisions(cache));
            found.extend(cached.into_iter().map(|model| (model, None)));
        }
        let by_key: HashMap<(ModelKey, PathBuf), &Entry> = found
            .iter()
            .filter_map(|(model, entry)| Some(((model.key.clone(), model.path().to_owned()), (*entry)?)))
            .collect();

        let mut models: Vec<(Found, Arc<Read>)> = Vec::new();
        for (mut model, entry) in found {
            let read = library.read_file(&model);
            if let Ok(header) = &read.header {
                if !header.is_loadable && entry.is_none() {
                    continue;
                }
                if model.key.variant.as_str().is_empty() {
                    model.key.variant = types::Variant::new(header.quantization.as_str());
                }
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
        library.by_name = names::index(&settled.models, |model| names::everyday_rank(&model.key.variant));
        for model in &settled.models {
            let read = &reads[model.path()];
            let stem_key = (name_of_entry(model), model.path().to_owned());
            let entry = by_key.get(&stem_key).or_else(|| by_key.get(&(model.key.clone(), model.path().to_owned())));
            library.models.push(Arc::new(describe(model, read, entry.copied(), &sources.defaults)));
        }
        library.read.retain(|path, _| reads.contains_key(path));
        library.variants = library.group_variants();
        library
    }

    /// The model that a name means.
    pub fn find(&self, name: &str) -> Option<Arc<Model>> {
        self.by_name.get(name).and_then(|&index| self.models.get(index)).cloned()
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
            tracing::warn!(file = %model.path().display(), problem, "cannot read a model file");
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
    Model {
        key: model.key.clone(),
        path: model.path().to_owned(),
        size: model.size,
        modified: read.modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs()),
        mmproj: model.projector.clone(),
        mode: entry.and_then(|entry| entry.mode).or(header.map(|header| header.mode)).unwrap_or_default(),
        facts: header.map(|header| header.facts.clone().with_projector(projector_size)),
        context_native: header.and_then(|header| header.context_native),
        knows_tools: header.is_some_and(|header| header.knows_tools),
        problem: incomplete.or_else(|| read.header.as_ref().err().cloned()),
        settings: entry.map_or_else(|| defaults.clone(), |entry| entry.settings.clone()),
    }
}

/// The key before an empty variant was filled in from the header.
fn name_of_entry(model: &Found) -> ModelKey {
    ModelKey { id: model.key.id.clone(), variant: types::Variant::new("") }
}

/// What a configured entry points to. A file that does not exist is a model all the same: asking for it tells why not.
fn find_entry(entry: &Entry) -> Option<Found> {
    let is_folder = entry.path.is_dir();
    let folder = if is_folder { entry.path.as_path() } else { entry.path.parent().unwrap_or(Path::new(".")) };
    let files = if is_folder { walk(folder) } else { list(folder) };
    let mut found = discover::in_folder(folder, files);
    let position = if is_folder {
        if found.len() > 1 {
            tracing::warn!(
                path = %entry.path.display(),
                "a folder named as one model holds {} of them; the first is taken", found.len()
            );
        }
        (!found.is_empty()).then_some(0)
    } else {
        found.iter().position(|model| model.files.contains(&entry.path))
    };
    let mut model = match position {
        Some(index) => found.swap_remove(index),
        None => missing(&entry.path)?,
    };
    if let Some(id) = &entry.id {
        model.key.id = ModelId::new(id.as_str());
        model.stem = id.clone();
    }
    Some(model)
}

fn missing(path: &Path) -> Option<Found> {
    let stem = path.file_stem()?.to_str()?.to_owned();
    Some(Found {
        key: name::key(&stem),
        stem,
        files: vec![path.to_owned()],
        size: length(path),
        missing: Vec::new(),
        projector: None,
        repository: None,
    })
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
