//! Which models are configured: by files, and over the API. What came over the API is kept in the override file, if one
//! is configured; it is written before a change counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use catalog::model_config::{self, Download, File, ModelConfig};
use serde_json::Value;

use crate::error::Error;

/// A file of model configs is written by hand or by us; anything larger is something else.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files that are read of one folder.
const FILES_MAX: usize = 1000;
/// Models that can be configured, all together.
const CONFIGS_MAX: usize = 10_000;

/// All configs by name.
type Known = BTreeMap<String, ModelConfig>;

/// What a request changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Models that are new, in the order of the request.
    pub added: Vec<String>,
    /// Models that were there, in the order of the request.
    pub updated: Vec<String>,
}

/// See the module's text. Changes come one at a time: [`crate::Storage`] sees to that.
#[derive(Debug)]
pub(crate) struct Configs {
    override_path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    known: Arc<Known>,
    /// Those of `known` that came over the API.
    injected: BTreeSet<String>,
}

impl Configs {
    /// Reads what is configured. What cannot be read is left out with a word in the log: one bad file must not hide all
    /// models. Blocks on the disk.
    pub(crate) fn read(paths: &[PathBuf], override_path: Option<PathBuf>) -> Self {
        let mut known = Known::new();
        // The override file may lie among the others; it is read last.
        let of_override = override_path.as_deref().and_then(|path| path.canonicalize().ok());
        let is_override = |file: &PathBuf| of_override.is_some() && file.canonicalize().ok() == of_override;
        for file in paths.iter().flat_map(|path| files_of(path)).filter(|file| !is_override(file)) {
            add_file(&mut known, &file);
        }
        let mut injected = BTreeSet::new();
        if let Some(path) = override_path.as_deref().filter(|path| path.exists()) {
            let before = known.clone();
            if !add_file(&mut known, path) {
                keep_aside(path);
            }
            let came = known.iter().filter(|(name, config)| before.get(*name) != Some(config));
            injected = came.map(|(name, _)| name.clone()).collect();
        }
        Self { override_path, state: Mutex::new(State { known: Arc::new(known), injected }) }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<Known> {
        Arc::clone(&self.state().known)
    }

    /// Adds models; all or none.
    pub(crate) fn add(&self, body: &Value) -> Result<Changed, Error> {
        let state = self.state().clone();
        let changed = |state: &mut State, changed: &mut Changed, config: Result<ModelConfig, _>| -> Result<(), _> {
            config.map(|config: ModelConfig| {
                changed.added.push(config.name().to_owned());
                state.put(config);
            })
        };
        let entries = model_config::entries(body).map_err(invalid)?;
        let names = entries.iter().filter_map(|(_, entry)| entry.get("model")?.as_str());
        let mut seen = BTreeSet::new();
        let there: Vec<String> =
            names.filter(|&name| state.known.contains_key(name) || !seen.insert(name)).map(str::to_owned).collect();
        let applied = self.apply(state, body, |state, done, entry| changed(state, done, ModelConfig::new(entry)));
        match applied {
            // What is malformed is said first: it would have to be mended anyway.
            Err(error @ Error::Invalid(_)) => Err(error),
            _ if !there.is_empty() => Err(Error::Exists { names: there }),
            Err(error) => Err(error),
            Ok((state, changed)) => self.commit(state).map(|()| changed),
        }
    }

    /// Adds models or lays what is given over what is there; all or none.
    pub(crate) fn put(&self, body: &Value) -> Result<Changed, Error> {
        let state = self.state().clone();
        let (state, changed) = self.apply(state, body, |state, changed, entry| {
            let earlier = entry.get("model").and_then(Value::as_str).and_then(|name| state.known.get(name));
            let is_new = earlier.is_none();
            let config = match earlier {
                Some(earlier) => earlier.merged(entry)?,
                None => ModelConfig::new(entry)?,
            };
            let names = if is_new { &mut changed.added } else { &mut changed.updated };
            names.push(config.name().to_owned());
            state.put(config);
            Ok(())
        })?;
        self.commit(state).map(|()| changed)
    }

    /// Removes a model. One that a file names comes back at the next start.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        let mut state = self.state().clone();
        if Arc::make_mut(&mut state.known).remove(name).is_none() {
            let known = state.known.keys().take(20).cloned().collect();
            return Err(Error::NotFound { name: name.to_owned(), known });
        }
        state.injected.remove(name);
        self.commit(state)
    }

    /// The state after all entries of a request, or all that is wrong with them.
    fn apply(
        &self,
        mut state: State,
        body: &Value,
        mut change: impl FnMut(&mut State, &mut Changed, &Value) -> Result<(), model_config::Problems>,
    ) -> Result<(State, Changed), Error> {
        let (mut changed, mut problems) = (Changed::default(), model_config::Problems::default());
        let entries = model_config::entries(body).map_err(invalid)?;
        if entries.is_empty() {
            return Err(Error::Invalid("`models` is empty; send at least one model config".to_owned()));
        }
        for (path, entry) in entries {
            if let Err(found) = change(&mut state, &mut changed, entry) {
                problems.append(found.within(&path));
            }
        }
        if !problems.is_empty() {
            return Err(invalid(problems));
        }
        if let Some(clash) = clash(&state.known) {
            return Err(Error::Invalid(clash));
        }
        if state.known.len() > CONFIGS_MAX {
            return Err(Error::Invalid(format!("at most {CONFIGS_MAX} models can be configured; remove some first")));
        }
        Ok((state, changed))
    }

    /// Writes a new state down, then lets it count.
    fn commit(&self, state: State) -> Result<(), Error> {
        if let Some(path) = &self.override_path {
            let injected = state.injected.iter().filter_map(|name| state.known.get(name));
            write(path, &model_config::write_file(injected))
                .map_err(|source| Error::Override { path: path.clone(), source })?;
        }
        *self.state() = state;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is replaced whole: sound even if a thread panicked beside it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, config: ModelConfig) {
        self.injected.insert(config.name().to_owned());
        Arc::make_mut(&mut self.known).insert(config.name().to_owned(), config);
    }
}

/// Two downloads that would become one file, and are not the same.
fn clash(known: &Known) -> Option<String> {
    let mut seen: BTreeMap<&str, (&str, &Download)> = BTreeMap::new();
    for (name, config) in known {
        let files = config.variants().iter().flat_map(|variant| variant.files.iter().chain(&variant.mmproj));
        for file in files {
            let (other, first) = *seen.entry(&file.filename).or_insert((name, file));
            if first.url != file.url || first.sha256 != file.sha256 {
                return Some(format!(
                    "{name} and {other} would both be downloaded to `{}`, from different places; give one another \
                     `filename`",
                    file.filename
                ));
            }
        }
    }
    None
}

fn invalid(problems: model_config::Problems) -> Error {
    Error::Invalid(problems.to_string())
}

/// The files that a configured path means: itself, or the JSON files in it and in its folder `models`, by name.
fn files_of(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let mut files = Vec::new();
    for folder in [path.to_owned(), path.join("models")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json") && path.is_file())
            .take(FILES_MAX)
            .collect();
        found.sort();
        files.extend(found);
    }
    if files.is_empty() {
        tracing::warn!(path = %path.display(), "no model configs: neither a file nor a folder with .json files");
    }
    files
}

/// Keeps a copy of an override file that could not be read whole: the next change writes it anew.
fn keep_aside(path: &Path) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    match std::fs::copy(path, &aside) {
        Ok(_) => tracing::warn!(file = %path.display(), copy = %Path::new(&aside).display(), "kept a copy of it"),
        Err(error) => tracing::warn!(file = %path.display(), %error, "no copy of it could be kept"),
    }
}

/// Lays the configs of a file over what is known; whether all of it could be read.
fn add_file(known: &mut Known, path: &Path) -> bool {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length > FILE_BYTES_MAX {
        tracing::warn!(file = %path.display(), "left out: larger than {FILE_BYTES_MAX} bytes, which no model config is");
        return false;
    }
    let file = match std::fs::read(path) {
        Ok(bytes) => File::parse(&bytes).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match file {
        Ok(file) => {
            let problems = model_config::merge_into(known, file);
            for problem in problems.iter() {
                tracing::warn!(file = %path.display(), "a model config is left out: {problem}");
            }
            problems.is_empty()
        }
        Err(problem) => {
            tracing::warn!(file = %path.display(), "model configs are left out: {problem}");
            false
        }
    }
}

/// Writes a file whole or not at all, readable by its owner only: it may hold keys.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(configs: &Configs) -> Vec<String> {
        configs.all().keys().cloned().collect()
    }

    fn config(name: &str) -> Value {
        json!({ "model": name, "provider": "mock" })
    }

    #[test]
    fn all_or_nothing_is_added() {
        let configs = Configs::read(&[], None);
        configs.add(&config("a")).unwrap();
        let bad = json!({ "models": [config("b"), { "model": "c", "provider": "nobody" }] });
        assert!(matches!(configs.add(&bad), Err(Error::Invalid(_))));
        let there = json!({ "models": [config("b"), config("a")] });
        assert!(matches!(configs.add(&there), Err(Error::Exists { names }) if names == ["a"]));
        let twice = json!({ "models": [config("b"), config("b")] });
        assert!(matches!(configs.add(&twice), Err(Error::Exists { names }) if names == ["b"]));
        assert!(matches!(configs.add(&json!({ "models": [] })), Err(Error::Invalid(_))));
        assert_eq!(names(&configs), ["a"]);
        let both = json!({ "models": [config("c"), config("b")] });
        assert_eq!(configs.add(&both).unwrap().added, ["c", "b"]);
    }

    #[test]
    fn no_two_downloads_become_one_file() {
        let of = |name: &str, url: &str| {
            json!({ "model": name, "provider": "llama", "variants": [{ "quantization": "Q4_0",
                "download": { "url": url, "filename": "m.gguf" } }] })
        };
        let configs = Configs::read(&[], None);
        configs.add(&of("a", "http://one/m.gguf")).unwrap();
        configs.add(&of("b", "http://one/m.gguf")).unwrap();
        let clash = configs.add(&of("c", "http://two/m.gguf"));
        assert!(matches!(&clash, Err(Error::Invalid(why)) if why.contains("`m.gguf`")), "{clash:?}");
    }

    #[test]
    fn a_bad_item_of_a_put_changes_nothing() {
        let configs = Configs::read(&[], None);
        configs.add(&json!({ "model": "a", "provider": "mock", "ranking": 80 })).unwrap();
        let bad = json!({ "models": [{ "model": "a", "max_tokens": 5 }, { "model": "b" }] });
        assert!(matches!(configs.put(&bad), Err(Error::Invalid(_))));
        assert_eq!(configs.all()["a"].max_tokens(), None);
        let good = json!({ "models": [{ "model": "a", "max_tokens": 5 }, config("b")] });
        let changed = configs.put(&good).unwrap();
        assert_eq!((changed.updated, changed.added), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!((configs.all()["a"].ranking(), configs.all()["a"].max_tokens()), (80, Some(5)));
    }

    #[test]
    fn what_came_over_the_api_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (base, kept) = (folder.path().join("config"), folder.path().join("state/runtime.json"));
        std::fs::create_dir_all(base.join("models")).unwrap();
        let of_file = json!({ "schema_version": "1.1.0", "models": [config("filed")] });
        std::fs::write(base.join("models/a.json"), of_file.to_string()).unwrap();
        let open = || Configs::read(std::slice::from_ref(&base), Some(kept.clone()));
        let configs = open();
        configs.add(&config("added")).unwrap();
        configs.put(&json!({ "model": "filed", "ranking": 9 })).unwrap();
        let configs = open();
        assert_eq!(names(&configs), ["added", "filed"]);
        assert_eq!(configs.all()["filed"].ranking(), 9);
        configs.remove("added").unwrap();
        assert!(matches!(configs.remove("added"), Err(Error::NotFound { .. })));
        let configs = open();
        assert_eq!(names(&configs), ["filed"], "the last one that was added stays removed");
    }

    #[test]
    fn the_override_file_may_lie_among_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (base, kept) = (folder.path().to_owned(), folder.path().join("runtime.json"));
        let open = || Configs::read(std::slice::from_ref(&base), Some(kept.clone()));
        open().add(&config("a")).unwrap();
        open().add(&config("b")).unwrap();
        assert_eq!(names(&open()), ["a", "b"]);
    }

    #[test]
    fn what_cannot_be_read_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("runtime.json");
        std::fs::write(&kept, "{ \"models\": [").unwrap();
        let configs = Configs::read(&[], Some(kept.clone()));
        configs.add(&config("a")).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("runtime.json.damaged")).unwrap(), "{ \"models\": [");
        assert_eq!(names(&Configs::read(&[], Some(kept))), ["a"]);
    }

    #[test]
    fn a_change_that_cannot_be_written_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("file");
        std::fs::write(&in_the_way, "").unwrap();
        let configs = Configs::read(&[], Some(in_the_way.join("runtime.json")));
        assert!(matches!(configs.add(&config("a")), Err(Error::Override { .. })));
        assert!(names(&configs).is_empty());
    }
}
