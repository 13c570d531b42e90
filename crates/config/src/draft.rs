//! The configuration while it is put together: the values so far, where each came from, and what was wrong.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Config;
use crate::document::{self, Entry, Value};
use crate::folders::Folders;
use crate::models_yaml::{self, ModelsYaml};
use crate::problem::{Place, Problem, Problems};
use crate::section::Section;
use crate::sections::{
    Engine, FolderKeys, Gateway, Hardware, Library, Logging, Model, Node, Provider, RequestLog, Route, Server, Storage,
    Tracing,
};
use crate::setting::Context;
use crate::sources::{DOORS, Sources};

/// A configuration file is written by hand; anything larger is some other file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The tables of the file.
const TABLES: [&str; 7] = ["engine", "gateway", "storage", "hardware", "logging", "request_log", "tracing"];
/// The tables that stand in it as often as wanted, and what one of them is.
const LISTS: [(&str, &str); 3] = [("models", "model"), ("providers", "provider"), ("routes", "route")];

/// Values so far.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) server: Server,
    pub(crate) folders: FolderKeys,
    pub(crate) library: Library,
    pub(crate) node: Node,
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    pub(crate) storage: Storage,
    pub(crate) hardware: Hardware,
    pub(crate) logging: Logging,
    pub(crate) request_log: RequestLog,
    pub(crate) tracing: Tracing,
    pub(crate) models: Vec<Model>,
    pub(crate) providers: Vec<Provider>,
    pub(crate) routes: Vec<Route>,
    models_yaml: ModelsYaml,
    /// Key to the place of the value that won.
    places: BTreeMap<String, Place>,
    problems: Problems,
}

impl Draft {
    /// Reads every source in turn.
    pub(crate) fn read(sources: &Sources) -> Self {
        let mut draft = Self::default();
        let home = sources.home();
        let context = Context { base: &sources.current_dir, home: home.as_deref() };
        if let Some((file, place)) = file(sources) {
            draft.read_file(&file, place, &context);
        }
        for door in DOORS {
            if let Some(text) = sources.variable(door.variable) {
                draft.set(door.key, &Value::Word(text.to_owned()), Place::Variable(door.variable), &context);
            }
        }
        for door in DOORS {
            let Some((flag, text)) = door.flag else { continue };
            if let Some(text) = text(&sources.flags) {
                draft.set(door.key, &Value::Word(text), Place::Flag(flag), &context);
            }
        }
        for path in &sources.flags.models {
            let index = draft.new_entry("models", &Place::Flag("--model"));
            let key = format!("models[{index}].path");
            draft.set(&key, &Value::Word(path.clone()), Place::Flag("--model"), &context);
        }
        draft
    }

    /// Reports a problem with a key, at the place its value came from.
    pub(crate) fn report(&mut self, key: &str, message: impl Into<String>) {
        let place = self.place(key);
        self.problems.0.push(Problem { place, key: key.to_owned(), message: message.into() });
    }

    /// Whether somebody wrote this key, be it wrongly.
    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Reads the router contract's file, if one is named by now.
    pub(crate) fn read_models_yaml(&mut self, sources: &Sources) {
        let Some(file) = self.library.models_yaml.clone() else { return };
        match read_bounded(&file) {
            Ok(text) => match models_yaml::read(&file, &text, sources.home().as_deref()) {
                Ok(read) => self.models_yaml = read,
                Err(problems) => self.problems.0.extend(problems),
            },
            Err(message) => self.report("models_yaml", message),
        }
    }

    /// The whole, if nothing was wrong.
    pub(crate) fn finish(mut self, sources: &Sources) -> Result<Config, Problems> {
        let folders = Folders::resolve(&self.folders, sources).map_err(|problem| self.problems.0.push(problem)).ok();
        match folders {
            Some(folders) if self.problems.0.is_empty() => Ok(Config {
                server: self.server,
                folders,
                library: self.library,
                node: self.node,
                engine: self.engine,
                gateway: self.gateway,
                storage: self.storage,
                hardware: self.hardware,
                logging: self.logging,
                request_log: self.request_log,
                tracing: self.tracing,
                models: self.models,
                providers: self.providers,
                routes: self.routes,
                models_yaml: self.models_yaml,
            }),
            _ => {
                // Values are read before rules are checked; people read a file from its top.
                self.problems.0.sort_by_key(|problem| match &problem.place {
                    Place::File { file, line } => (0, file.clone(), *line),
                    Place::Variable(_) => (1, PathBuf::new(), None),
                    Place::Flag(_) => (2, PathBuf::new(), None),
                    Place::Default => (3, PathBuf::new(), None),
                });
                Err(self.problems)
            }
        }
    }

    /// The place of a key, else of the table it belongs to.
    fn place(&self, key: &str) -> Place {
        let table = key.split_once("].").map(|(table, _)| format!("{table}]"));
        let found = self.places.get(key).or_else(|| self.places.get(&table?));
        found.cloned().unwrap_or(Place::Default)
    }

    fn read_file(&mut self, file: &Path, place: Place, context: &Context<'_>) {
        let text = match read_bounded(file) {
            Ok(text) => text,
            Err(message) => {
                // Named on the command line or by a variable: that is where the mistake is.
                self.problems.0.push(Problem { place, key: String::new(), message });
                return;
            }
        };
        let at = |line| Place::File { file: file.to_owned(), line };
        // What a file says is relative to where it lies, wherever snug is started.
        let folder = context.base.join(file.parent().unwrap_or_else(|| Path::new("")));
        let context = Context { base: &folder, home: context.home };
        match document::parse(file, &text) {
            Ok(entries) => self.read_root(&entries, &|line| at(Some(line)), &context),
            Err(errors) => self.problems.0.extend(errors.into_iter().map(|error| Problem {
                place: at(error.line),
                key: String::new(),
                message: error.message,
            })),
        }
    }

    fn read_root(&mut self, entries: &[Entry], at: &dyn Fn(usize) -> Place, context: &Context<'_>) {
        for entry in entries {
            let place = at(entry.line);
            match (&entry.value, entry.key.as_str()) {
                (value, key) if let Some(&(list, one)) = LISTS.iter().find(|(list, _)| *list == key) => match value {
                    Value::List(items) => self.read_list(list, one, items, &place, at, context),
                    _ => {
                        self.places.insert(entry.key.clone(), place);
                        self.report(list, format!("must be a list of tables: begin each {one} with [[{list}]]"));
                    }
                },
                (Value::Table(inner), table) if TABLES.contains(&table) => {
                    for entry in inner {
                        let key = format!("{table}.{}", entry.key);
                        let value = self.sound_entries(&key, &entry.value, at, context);
                        self.set(&key, &value, at(entry.line), context);
                    }
                }
                (_, table) if TABLES.contains(&table) => {
                    self.places.insert(entry.key.clone(), place);
                    self.report(table, format!("must be a table: begin it with [{table}]"));
                }
                (value, key) => self.set(key, value, place, context),
            }
        }
    }

    /// Of a table that is one key's value, the entries that can be read. What is wrong with the others is told here, each
    /// at its own line. Anything else comes back as it is.
    fn sound_entries(
        &mut self,
        path: &str,
        value: &Value,
        at: &dyn Fn(usize) -> Place,
        context: &Context<'_>,
    ) -> Value {
        let (Value::Table(entries), Some(key)) = (value, path.strip_prefix("hardware.")) else { return value.clone() };
        let mut sound = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = format!("{path}.{}", entry.key);
            self.places.insert(path.clone(), at(entry.line));
            match Hardware::default().set(key, &Value::Table(vec![entry.clone()]), context) {
                Some(Err(message)) => self.report(&path, message),
                _ => sound.push(entry.clone()),
            }
        }
        Value::Table(sound)
    }

    fn read_list(
        &mut self,
        list: &'static str,
        one: &str,
        items: &[Value],
        place: &Place,
        at: &dyn Fn(usize) -> Place,
        context: &Context<'_>,
    ) {
        for item in items {
            let Value::Table(entries) = item else {
                let index = self.new_entry(list, place);
                self.report(&format!("{list}[{index}]"), format!("must be a table: begin each {one} with [[{list}]]"));
                continue;
            };
            let index = self.new_entry(list, &entries.first().map_or_else(|| place.clone(), |entry| at(entry.line)));
            for entry in entries {
                self.set(&format!("{list}[{index}].{}", entry.key), &entry.value, at(entry.line), context);
            }
        }
    }

    /// Adds an entry to one of [`LISTS`]; answers with its number.
    fn new_entry(&mut self, list: &'static str, place: &Place) -> usize {
        fn add<T: Default>(entries: &mut Vec<T>) -> usize {
            entries.push(T::default());
            entries.len() - 1
        }
        let index = match list {
            "providers" => add(&mut self.providers),
            "routes" => add(&mut self.routes),
            _ => add(&mut self.models),
        };
        self.places.insert(format!("{list}[{index}]"), place.clone());
        index
    }

    /// Sets one key from one source.
    fn set(&mut self, path: &str, value: &Value, place: Place, context: &Context<'_>) {
        let outcome = match path.split_once('.') {
            None => self
                .server
                .set(path, value, context)
                .or_else(|| self.folders.set(path, value, context))
                .or_else(|| self.library.set(path, value, context))
                .or_else(|| self.node.set(path, value, context)),
            Some(("engine", key)) => self.engine.set(key, value, context),
            Some(("gateway", key)) => self.gateway.set(key, value, context),
            Some(("storage", key)) => self.storage.set(key, value, context),
            Some(("hardware", key)) => self.hardware.set(key, value, context),
            Some(("logging", key)) => self.logging.set(key, value, context),
            Some(("request_log", key)) => self.request_log.set(key, value, context),
            Some(("tracing", key)) => self.tracing.set(key, value, context),
            // Only entries of the lists remain, and the one that is being read is the last.
            Some((entry, key)) if entry.starts_with("providers[") => {
                self.providers.last_mut().and_then(|provider| provider.set(key, value, context))
            }
            Some((entry, key)) if entry.starts_with("routes[") => {
                self.routes.last_mut().and_then(|route| route.set(key, value, context))
            }
            Some((_, key)) => self.models.last_mut().and_then(|model| model.set(key, value, context)),
        };
        self.places.insert(path.to_owned(), place);
        match outcome {
            Some(Ok(())) => {}
            Some(Err(message)) => self.report(path, message),
            None => self.report(path, unknown(path)),
        }
    }
}

/// The file to read, and where it was named.
fn file(sources: &Sources) -> Option<(PathBuf, Place)> {
    let (file, place) = sources.named_file()?;
    let is_usual = matches!(place, Place::File { .. });
    (!is_usual || file.exists()).then_some((file, place))
}

fn read_bounded(file: &Path) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(fail)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} is larger than 1 MiB, which no configuration file is", file.display()));
    }
    Ok(text)
}

/// What to say of a key that does not exist: the one that was meant, if one is close.
fn unknown(path: &str) -> String {
    let (table, key) = path.split_once('.').map_or(("", path), |(table, key)| (table, key));
    let lists = LISTS.map(|(list, _)| list);
    let keys = [Server::KEYS, FolderKeys::KEYS, Library::KEYS, Node::KEYS, &TABLES, &lists];
    let root = || keys.iter().copied().flatten();
    let tables = [
        ("engine", Engine::KEYS),
        ("gateway", Gateway::KEYS),
        ("storage", Storage::KEYS),
        ("hardware", Hardware::KEYS),
        ("logging", Logging::KEYS),
        ("request_log", RequestLog::KEYS),
        ("tracing", Tracing::KEYS),
    ];
    let here: Vec<&str> = match table {
        "" => root().copied().collect(),
        table if table.starts_with("models[") => Model::KEYS.to_vec(),
        table if table.starts_with("providers[") => Provider::KEYS.to_vec(),
        table if table.starts_with("routes[") => Route::KEYS.to_vec(),
        table => tables.iter().filter(|(name, _)| *name == table).flat_map(|(_, keys)| *keys).copied().collect(),
    };
    // The right name in the wrong place is the likelier slip than a misspelt one.
    if let Some((name, _)) = tables.iter().find(|(_, keys)| keys.contains(&key)) {
        return format!("unknown key; did you mean `{key}` in [{name}]?");
    }
    if !table.is_empty() && root().any(|name| *name == key) {
        return format!("unknown key; did you mean `{key}` at the top of the file, before any [table]?");
    }
    let close = here.iter().map(|name| (strsim::damerau_levenshtein(name, key), name)).min();
    match close {
        Some((distance, name)) if distance <= 1.max(key.len() / 3) && distance < key.len() => {
            format!("unknown key; did you mean `{name}`?")
        }
        _ => format!("unknown key; known are {}", here.join(", ")),
    }
}
