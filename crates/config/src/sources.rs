//! What a configuration is made from, and by which names each key is reached from outside the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::problem::Place;

/// Everything [`crate::Config::load`] looks at. The caller gathers it, so that a test can too.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named by `--config`; it must exist. Without it `SNUG_CONFIG` counts, then the XDG place, if it exists.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The flags of the command line.
    pub flags: Flags,
    /// What relative paths of flags and variables are relative to. Absolute.
    pub current_dir: PathBuf,
}

/// The flags of `snug serve` as they were typed; reading them is part of [`crate::Config::load`], so that a bad flag is
/// reported together with everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--host`.
    pub host: Option<String>,
    /// `--port`.
    pub port: Option<String>,
    /// `--ollama-port`.
    pub ollama_port: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// `--models-dir`.
    pub models_dir: Option<String>,
    /// `--override-path`.
    pub override_path: Option<String>,
    /// `--models-yaml`.
    pub models_yaml: Option<String>,
    /// `--memory`.
    pub memory: Option<String>,
    /// `--ram`.
    pub ram: Option<String>,
    /// `--max-context`.
    pub max_context: Option<String>,
    /// `--cpu-cores`.
    pub cpu_cores: Option<String>,
    /// `--simulate`.
    pub simulate: Option<String>,
    /// `--max-loaded-models`.
    pub max_loaded_models: Option<String>,
    /// `--idle-unload`.
    pub idle_unload: Option<String>,
    /// `--insecure-lan`.
    pub insecure_lan: bool,
    /// `--keep-engines`.
    pub keep_engines: bool,
    /// `--llama-server`.
    pub llama_server: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--model`, as often as given: each adds an entry to `[[models]]`.
    pub models: Vec<String>,
}

/// Takes the text of one flag.
type TextOf = fn(&Flags) -> Option<String>;

/// The names of one key outside the file.
pub(crate) struct Door {
    /// The key, such as `engine.llama_server`.
    pub(crate) key: &'static str,
    /// Its environment variable.
    pub(crate) variable: &'static str,
    /// Its flag, and where that flag's text lies.
    pub(crate) flag: Option<(&'static str, TextOf)>,
}

/// The variable that names the file.
const FILE_VARIABLE: &str = "SNUG_CONFIG";

/// Every environment variable of a key, and every flag: each is listed here and nowhere else.
pub(crate) const DOORS: &[Door] = &[
    door("host", "SNUG_HOST", "--host", |flags| flags.host.clone()),
    door("port", "SNUG_PORT", "--port", |flags| flags.port.clone()),
    door("ollama_port", "SNUG_OLLAMA_PORT", "--ollama-port", |flags| flags.ollama_port.clone()),
    door("insecure_lan", "SNUG_INSECURE_LAN", "--insecure-lan", |flags| switch(flags.insecure_lan)),
    door("data_dir", "SNUG_DATA_DIR", "--data-dir", |flags| flags.data_dir.clone()),
    door("models_dir", "SNUG_MODELS_DIR", "--models-dir", |flags| flags.models_dir.clone()),
    variable("hf_cache", "SNUG_HF_CACHE"),
    door("override_path", "SNUG_OVERRIDE_PATH", "--override-path", |flags| flags.override_path.clone()),
    door("models_yaml", "SNUG_MODELS_YAML", "--models-yaml", |flags| flags.models_yaml.clone()),
    variable("default_model", "SNUG_DEFAULT_MODEL"),
    variable("default_variant", "SNUG_DEFAULT_VARIANT"),
    variable("max_concurrent_downloads", "SNUG_MAX_CONCURRENT_DOWNLOADS"),
    door("keep_engines", "SNUG_KEEP_ENGINES", "--keep-engines", |flags| switch(flags.keep_engines)),
    door("memory", "SNUG_MEMORY", "--memory", |flags| flags.memory.clone()),
    door("ram", "SNUG_RAM", "--ram", |flags| flags.ram.clone()),
    variable("ram_budget_mb", "SNUG_RAM_BUDGET_MB"),
    door("max_context", "SNUG_MAX_CONTEXT", "--max-context", |flags| flags.max_context.clone()),
    door("cpu_cores", "SNUG_CPU_CORES", "--cpu-cores", |flags| flags.cpu_cores.clone()),
    door("simulate", "SNUG_SIMULATE", "--simulate", |flags| flags.simulate.clone()),
    door("max_loaded_models", "SNUG_MAX_LOADED_MODELS", "--max-loaded-models", |flags| flags.max_loaded_models.clone()),
    door("idle_unload", "SNUG_IDLE_UNLOAD", "--idle-unload", |flags| flags.idle_unload.clone()),
    door("engine.llama_server", "SNUG_LLAMA_SERVER", "--llama-server", |flags| flags.llama_server.clone()),
    variable("engine.context", "SNUG_CONTEXT"),
    variable("engine.slots", "SNUG_SLOTS"),
    variable("engine.gpu_layers", "SNUG_GPU_LAYERS"),
    variable("storage.limit", "SNUG_STORAGE_LIMIT"),
    door("logging.level", "SNUG_LOG", "--log-level", |flags| flags.log_level.clone()),
    door("logging.format", "SNUG_LOG_FORMAT", "--log-format", |flags| flags.log_format.clone()),
    variable("logging.directory", "SNUG_LOG_DIRECTORY"),
    variable("request_log.file", "SNUG_REQUEST_LOG"),
    variable("tracing.otlp_endpoint", "SNUG_OTLP_ENDPOINT"),
    variable("tracing.service_name", "SNUG_SERVICE_NAME"),
];

/// The environment variables of `snug serve`, each with the key it sets; `SNUG_CONFIG` names the file.
pub fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    DOORS.iter().map(|door| (door.variable, door.key))
}

const fn door(key: &'static str, variable: &'static str, flag: &'static str, text: TextOf) -> Door {
    Door { key, variable, flag: Some((flag, text)) }
}

const fn variable(key: &'static str, variable: &'static str) -> Door {
    Door { key, variable, flag: None }
}

fn switch(given: bool) -> Option<String> {
    given.then(|| "true".to_owned())
}

impl Sources {
    /// The configuration file: the one that was named, else the one in the usual place, which need not exist. Absolute.
    pub fn file(&self) -> Option<PathBuf> {
        self.named_file().map(|(file, _)| self.current_dir.join(file))
    }

    /// The same as it was named, and where that was.
    pub(crate) fn named_file(&self) -> Option<(PathBuf, Place)> {
        if let Some(file) = &self.file {
            return Some((file.clone(), Place::Flag("--config")));
        }
        if let Some(file) = self.variable(FILE_VARIABLE) {
            return Some((PathBuf::from(file), Place::Variable(FILE_VARIABLE)));
        }
        let usual = self.xdg("XDG_CONFIG_HOME", ".config")?.join("snug/snug.toml");
        Some((usual.clone(), Place::File { file: usual, line: None }))
    }

    /// The value of an environment variable; an empty one counts as not set.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The home folder, if one is known.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    }

    /// An XDG folder: its variable if that is an absolute path, as the XDG specification asks, else a place below home.
    pub(crate) fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.variable(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        given.or_else(|| self.home().map(|home| home.join(below_home)))
    }
}
