//! From the entries of a `models.yaml` to models of the node: what each is started with, and why some cannot be.
//!
//! Looks at the disk once; starts nothing. An entry that cannot be started is failed with its reason, and the others run.
//! What the requests' ids mean follows from all entries together; see [`Meaning`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use config::{Backend, BackendKind, ModelType, ModelsYaml};
use engine::adapter::mlx::Mlx;
use engine::{Adapter, Programs};
use node::{Entry, Settings};
use types::{CacheType, Mode};

/// What an entry of llama.cpp gets that names no context (router contract).
const CONTEXT_UNSET: u64 = 4096;
/// How llama.cpp is told to put all it can on accelerators (router contract).
const ALL_LAYERS: u32 = 999;

/// All entries, and what became of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backends {
    /// In the order of the file.
    pub(crate) all: Vec<Known>,
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// What the file says.
    pub(crate) backend: Backend,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The node has it.
    Runs {
        /// The node's id for it: its own, or `ID@ROLE` where enabled entries share one.
        model: String,
        /// How it is started.
        entry: Box<Entry>,
    },
    /// The file says that it is not to run.
    Disabled,
    /// It cannot be started: the field at fault, and why.
    Failed(String),
}

/// What an id means to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This model of the node.
    Unique(String),
    /// Several enabled entries that were not declared replicas: these roles.
    Ambiguous(Vec<String>),
    /// Any of these models of the node.
    Replicas(Vec<String>),
    /// Only entries that are not to run.
    Disabled,
    /// Entries that cannot be started: each with its role and why.
    Failed(String),
}

impl Known {
    /// The node's id for it, if the node has it.
    pub(crate) fn model(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Runs { model, .. } => Some(model),
            _ => None,
        }
    }
}

impl Backends {
    /// Decides on every entry. Programs are those that were found; `defaults` are the settings of all llama.cpp engines.
    pub(crate) fn settle(file: &ModelsYaml, programs: &Programs, defaults: &Settings) -> Self {
        let mut ports: BTreeMap<u16, &str> = BTreeMap::new();
        let mut all = Vec::with_capacity(file.backends.len());
        for backend in &file.backends {
            let outcome = if backend.enabled {
                let taken = ports.get(&backend.port).copied();
                ports.entry(backend.port).or_insert(&backend.role);
                match taken {
                    Some(role) => Outcome::Failed(format!("port: {} is the port of `{role}` already", backend.port)),
                    None => runs(file, backend, programs, defaults).unwrap_or_else(Outcome::Failed),
                }
            } else {
                Outcome::Disabled
            };
            all.push(Known { backend: backend.clone(), outcome });
        }
        Self { all }
    }

    /// Says what is odd about the file, and which entries cannot be started.
    pub(crate) fn report(&self, file: &ModelsYaml) {
        for warning in &file.warnings {
            tracing::warn!("{}: {warning}", file.file.display());
        }
        for known in &self.all {
            if let Outcome::Failed(reason) = &known.outcome {
                let role = &known.backend.role;
                tracing::error!(backend.role = role, "{}: models.{role}.{reason}", file.file.display());
            }
        }
    }

    /// What the node is told.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.all.iter().filter_map(|known| match &known.outcome {
            Outcome::Runs { entry, .. } => Some(entry.as_ref().clone()),
            _ => None,
        })
    }

    /// The models that are started with snug, in the order of the file.
    pub(crate) fn preloaded(&self) -> Vec<String> {
        let wanted = self.all.iter().filter(|known| known.backend.preload);
        wanted.filter_map(|known| known.model().map(str::to_owned)).collect()
    }

    /// What `id` means, if any entry has it.
    pub(crate) fn meaning(&self, id: &str) -> Option<Meaning> {
        let of_id: Vec<&Known> = self.all.iter().filter(|known| known.backend.id == id).collect();
        let enabled: Vec<&Known> = of_id.iter().copied().filter(|known| known.backend.enabled).collect();
        let models: Vec<String> = enabled.iter().filter_map(|known| known.model().map(str::to_owned)).collect();
        if of_id.is_empty() {
            return None;
        }
        let are_replicas = enabled.iter().all(|known| known.backend.replica);
        Some(match enabled.as_slice() {
            [] => Meaning::Disabled,
            [_, _, ..] if !are_replicas => {
                Meaning::Ambiguous(enabled.iter().map(|known| known.backend.role.clone()).collect())
            }
            _ if models.is_empty() => Meaning::Failed(reasons(&enabled)),
            [_] => Meaning::Unique(models.concat()),
            _ => Meaning::Replicas(models),
        })
    }
}

fn reasons(failed: &[&Known]) -> String {
    let reason = |known: &&Known| match &known.outcome {
        Outcome::Failed(reason) => format!("{}: {reason}", known.backend.role),
        _ => known.backend.role.clone(),
    };
    failed.iter().map(reason).collect::<Vec<_>>().join("; ")
}

/// The model that an entry becomes.
///
/// # Errors
/// The field at fault, and why.
fn runs(file: &ModelsYaml, backend: &Backend, programs: &Programs, defaults: &Settings) -> Result<Outcome, String> {
    let same_id = |other: &&Backend| other.enabled && other.id == backend.id;
    let model = match file.backends.iter().filter(same_id).count() {
        1 => backend.id.clone(),
        _ => format!("{}@{}", backend.id, backend.role),
    };
    let listen = SocketAddr::new(address(backend.host.as_deref())?, backend.port);
    let written = backend.model_path.as_deref().ok_or("model_path: is missing")?;
    let (path, settings) = match backend.kind {
        BackendKind::LlamaCpp => {
            let adapter = match programs.llama_server {
                Some(_) => Adapter::LlamaServer,
                None => Adapter::LlamaCppPython,
            };
            programs.of(&adapter).map_err(|missing| format!("backend: {missing}"))?;
            (gguf(file, written)?, llama_cpp(file, backend, adapter, defaults)?)
        }
        BackendKind::Mlx => {
            if backend.model_type == ModelType::Rerank {
                return Err("model_type: rerank needs `backend: llamacpp`".to_owned());
            }
            let settings = mlx(backend);
            programs.of(&settings.adapter).map_err(|missing| format!("backend: {missing}"))?;
            (mlx_model(file, written)?, settings)
        }
    };
    warn_of_file(backend, &path);
    let context = backend.context_length.or((backend.kind == BackendKind::LlamaCpp).then_some(CONTEXT_UNSET));
    let entry = Entry {
        id: Some(model.clone()),
        files: vec![path],
        context_window: context,
        mode: Some(match backend.model_type {
            ModelType::Embeddings => Mode::Embedding,
            ModelType::Rerank => Mode::Rerank,
            _ => Mode::Chat,
        }),
        alone: true,
        settings: Settings {
            alias: Some(backend.id.clone()),
            listen: Some(listen),
            keep_loaded: backend.preload,
            ..settings
        },
        ..Entry::default()
    };
    Ok(Outcome::Runs { model, entry: Box::new(entry) })
}

/// How llama.cpp is started. `llama-server` gets the contract's words to the letter.
fn llama_cpp(file: &ModelsYaml, backend: &Backend, adapter: Adapter, defaults: &Settings) -> Result<Settings, String> {
    let fields = &backend.llama_cpp;
    let is_native = adapter == Adapter::LlamaServer;
    let chats = !matches!(backend.model_type, ModelType::Embeddings | ModelType::Rerank);
    if backend.model_type == ModelType::Rerank && !is_native {
        return Err("model_type: rerank needs llama-server, which was not found; Python's server cannot".to_owned());
    }
    let cache_type = |field: &str, written: Option<&String>, default: CacheType| match written {
        None => Ok(default),
        Some(word) => CacheType::named(word).ok_or_else(|| format!("{field}: `{word}` is no type of a KV cache")),
    };
    let default = |one: CacheType| {
        if is_native { of_quantization(&backend.quantization).unwrap_or(one) } else { CacheType::Q8_0 }
    };
    let cache_type_k = cache_type("cache_type_k", fields.cache_type_k.as_ref(), default(defaults.cache_type_k))?;
    // Without flash attention llama.cpp takes no quantised values.
    let default_v = if fields.flash_attn == Some(false) { CacheType::F16 } else { default(defaults.cache_type_v) };
    let cache_type_v = cache_type("cache_type_v", fields.cache_type_v.as_ref(), default_v)?;
    let template = fields.chat_template_file.as_deref().filter(|_| chats && is_native);
    let template = template.map(|written| local(file, "chat_template_file", written)).transpose()?;
    let mut extra_args = Vec::new();
    if is_native {
        extra_args.extend(["--threads".to_owned(), "-1".to_owned()]);
        let sampling = [
            ("--temp", fields.temp.map(|number| number.to_string())),
            ("--top-p", fields.top_p.map(|number| number.to_string())),
            ("--top-k", fields.top_k.map(|number| number.to_string())),
            ("--min-p", fields.min_p.map(|number| number.to_string())),
        ];
        for (flag, value) in sampling {
            extra_args.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        extra_args.extend((fields.kv_unified == Some(true)).then(|| "--kv-unified".to_owned()));
        if let Some(fit) = fields.fit {
            extra_args.extend(["--fit".to_owned(), if fit { "on" } else { "off" }.to_owned()]);
        }
        extra_args.extend(defaults.extra_args.iter().cloned());
    } else {
        warn_of_what_python_lacks(backend);
    }
    Ok(Settings {
        // Python's server answers one after the other.
        slots: Some(if is_native { backend.max_concurrency } else { 1 }),
        all_layers: Some(ALL_LAYERS),
        cache_type_k,
        cache_type_v,
        chat_template_file: template,
        chat_template_kwargs: fields
            .chat_template_kwargs
            .clone()
            .filter(|_| chats)
            .map(|kwargs| serde_json::Value::Object(kwargs).to_string()),
        flash_attn: fields.flash_attn,
        extra_args,
        adapter,
        ..Settings::default()
    })
}

/// The KV cache's type where only the weights' is said: whoever has them in full precision wants the cache so, too.
fn of_quantization(quantization: &str) -> Option<CacheType> {
    CacheType::named(&quantization.to_ascii_lowercase())
        .filter(|one| matches!(one, CacheType::F32 | CacheType::F16 | CacheType::Bf16))
}

fn warn_of_what_python_lacks(backend: &Backend) {
    let fields = &backend.llama_cpp;
    let lacks = [
        ("chat_template_file", fields.chat_template_file.is_some()),
        ("temp", fields.temp.is_some()),
        ("top_p", fields.top_p.is_some()),
        ("top_k", fields.top_k.is_some()),
        ("min_p", fields.min_p.is_some()),
        ("kv_unified", fields.kv_unified.is_some()),
        ("fit", fields.fit.is_some()),
    ];
    for (field, _) in lacks.iter().filter(|(_, written)| *written) {
        let role = &backend.role;
        tracing::warn!(backend.role = role, "models.{role}.{field}: needs llama-server, which was not found");
    }
}

fn mlx(backend: &Backend) -> Settings {
    let fields = backend.mlx.clone();
    let is_plain = matches!(backend.model_type, ModelType::Embeddings);
    Settings {
        slots: Some(backend.max_concurrency),
        adapter: Adapter::Mlx(Mlx {
            model_type: backend.model_type.as_str().to_owned(),
            enable_auto_tool_choice: fields.enable_auto_tool_choice && !is_plain,
            tool_call_parser: fields.tool_call_parser.filter(|_| !is_plain),
            reasoning_parser: fields.reasoning_parser.filter(|_| !is_plain),
            config_name: fields.config_name,
        }),
        ..Settings::default()
    }
}

/// The address an entry listens on. The contract's default, all addresses, would show an engine without keys to the whole
/// network; only who writes it gets that.
fn address(host: Option<&str>) -> Result<IpAddr, String> {
    let host = match host {
        None | Some("localhost") => return Ok(Ipv4Addr::LOCALHOST.into()),
        Some(host) => host,
    };
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let is_name = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    let mut found = is_name.then(|| (host, 0).to_socket_addrs().ok()).flatten().into_iter().flatten();
    found.next().map(|found| found.ip()).ok_or_else(|| format!("host: `{host}` is no address of this machine"))
}

/// A file that has another form than its program reads, by its name.
fn warn_of_file(backend: &Backend, path: &Path) {
    let is_right = is_gguf(path) == (backend.kind == BackendKind::LlamaCpp);
    if !is_right {
        let (role, kind, path) = (&backend.role, backend.kind.as_str(), path.display());
        tracing::warn!(backend.role = role, "models.{role}.model_path: {path} is hardly a model for `backend: {kind}`");
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// The file that llama.cpp is given.
fn gguf(file: &ModelsYaml, written: &str) -> Result<PathBuf, String> {
    sound("model_path", written)?;
    match places(file, written).into_iter().find(|place| place.exists()) {
        Some(folder) if folder.is_dir() => {
            let entries =
                std::fs::read_dir(&folder).map_err(|error| format!("model_path: {}: {error}", folder.display()))?;
            let mut found: Vec<PathBuf> =
                entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_gguf(path)).collect();
            found.sort();
            // A projector is no model, though its name may come first.
            let is_projector = |path: &PathBuf| path.to_string_lossy().to_ascii_lowercase().contains("mmproj");
            let first = found.iter().find(|path| !is_projector(path)).or(found.first());
            first.cloned().ok_or_else(|| format!("model_path: no .gguf file lies in {}", folder.display()))
        }
        Some(path) => Ok(path),
        // It may yet come; until then a load says that it is not there.
        None if is_gguf(Path::new(written)) => Ok(places(file, written).remove(0)),
        None if is_hub_id(written) => Err(format!(
            "model_path: `{written}` is not on this machine; Hugging Face ids are for `backend: mlx`, llamacpp needs a \
             local path"
        )),
        None => Err(format!("model_path: no such file or folder: {}", places(file, written).remove(0).display())),
    }
}

/// What the MLX server is given: a path of this machine, else a Hugging Face id.
fn mlx_model(file: &ModelsYaml, written: &str) -> Result<PathBuf, String> {
    sound("model_path", written)?;
    match places(file, written).into_iter().find(|place| place.exists()) {
        Some(path) => Ok(path),
        None if is_hub_id(written) => Ok(PathBuf::from(written)),
        None => Err(format!("model_path: no such file or folder: {}", places(file, written).remove(0).display())),
    }
}

/// A file that has to be there.
fn local(file: &ModelsYaml, field: &str, written: &str) -> Result<PathBuf, String> {
    sound(field, written)?;
    let found = places(file, written).into_iter().find(|place| place.is_file());
    found.ok_or_else(|| format!("{field}: no such file: {}", places(file, written).remove(0).display()))
}

fn places(file: &ModelsYaml, written: &str) -> Vec<PathBuf> {
    let places = file.places(written);
    if places.is_empty() { vec![PathBuf::from(written)] } else { places }
}

/// The contract refuses what a shell would take apart.
fn sound(field: &str, written: &str) -> Result<(), String> {
    let odd = |c: char| matches!(c, '\0' | ';' | '&' | '|' | '`' | '$' | '(' | ')' | '<' | '>') || c.is_control();
    match written.chars().find(|&c| odd(c)) {
        Some(odd) => Err(format!("{field}: must not contain {odd:?}")),
        None => Ok(()),
    }
}

/// `owner/name`, in the characters that the hub allows.
fn is_hub_id(written: &str) -> bool {
    let sound = |part: &str| {
        !part.is_empty()
            && !matches!(part, "." | ".." | "~")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    written.split_once('/').is_some_and(|(owner, name)| sound(owner) && sound(name))
}

#[cfg(test)]
mod tests;
