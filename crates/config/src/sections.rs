//! Every key there is: name, kind, default, and the words that users read about it.
//!
//! The keys of [`Server`], [`FolderKeys`], [`Library`] and [`Node`] stand at the top of the file; the others in a table of
//! their own, those of [`Model`], [`Provider`] and [`Route`] as often as wanted. Names and kinds of a few were settled by others: a file that the model server's contract describes is
//! read as it is, sizes in MB that are MiB and all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use types::{Backend, ByteCount, CacheType, Mode, Pooling, Secret};

use crate::section::section;
use crate::words::{Dialect, IdleUnload, LogFilter, LogFormat, Spread, StorageLimit};

section! {
    /// Where snug listens and whom it trusts.
    pub struct Server {
        /// Address to listen on; `127.0.0.1` for this machine only. Default: all addresses.
        host: String = "0.0.0.0".to_owned(),
        /// TCP port to listen on; 0 lets the system choose one. Default: 8787.
        port: u16 = 8787,
        /// Another TCP port that answers as the first does, for programs that look for Ollama at 11434; 0 lets the system
        /// choose one. Default: none.
        ollama_port: Option<u16> = None => "11434",
        /// Whether everybody on the network may manage models, not only programs on this machine. Default: no.
        insecure_lan: bool = false,
        /// Web pages of which sites may read our answers, such as `"https://chat.example.org"`; `"*"` for all, an empty
        /// list for none but our own. A site that is named may also manage models, for a browser on this machine; `"*"`
        /// does not allow that. Default: all.
        cors_origins: Vec<String> = vec!["*".to_owned()],
    }
}

section! {
    /// Where things are kept, as written; `Folders` is what comes of it.
    pub(crate) struct FolderKeys {
        /// Folder for everything snug keeps. Default: `snug` in the XDG data folder, usually `~/.local/share/snug`.
        data_dir: Option<PathBuf> = None => r#""~/.local/share/snug""#,
        /// Folder in which models are found. Default: `models` in the data folder.
        models_dir: Option<PathBuf> = None => r#""~/models""#,
        /// Whether models in the Hugging Face cache are found too (`HF_HUB_CACHE`, else `HF_HOME`). Default: yes.
        hf_cache: bool = true,
    }
}

section! {
    /// Which models are known besides the files that are found, which is loaded at the start, and how files are fetched.
    pub struct Library {
        /// Folders and files that describe models, in order: what a later one says of a model counts. Default: none.
        model_config_paths: Vec<PathBuf> = Vec::new() => r#"["models.d"]"#,
        /// File in which models configured over the API are kept; it is read after all others. Default: nowhere, they
        /// are gone when snug ends.
        override_path: Option<PathBuf> = None => r#""runtime_models.json""#,
        /// The router contract's file of models, each with a program and a port of its own: `config/models.yaml`. Paths in
        /// it are relative to its folder, else to the folder above. Default: none.
        models_yaml: Option<PathBuf> = None => r#""config/models.yaml""#,
        /// Model that is loaded at the start. Default: none.
        default_model: Option<String> = None => r#""my-model""#,
        /// Variant that is taken of it. Default: the one that suits this machine best.
        default_variant: Option<String> = None => r#""Q4_K_M""#,
        /// How many downloads run at once, 1 to 64; others wait for their turn. Default: 2.
        max_concurrent_downloads: u32 = 2,
    }
}

section! {
    /// What the models of this machine may use together.
    pub struct Node {
        /// Whether engines run on when snug is stopped, to be found again at the next start. Default: no.
        keep_engines: bool = false,
        /// Accelerator memory that all models together may use. Default: all there is.
        memory: Option<ByteCount> = None => r#""24G""#,
        /// System memory that all models together may use. Default: what the machine can spare.
        ram: Option<ByteCount> = None => r#""64G""#,
        /// System memory in which models stay ready that are not loaded, in MiB; 0 for half of it. Default: 0.
        ram_budget_mb: u64 = 0,
        /// Largest context a model is loaded with, tokens per slot. Default: no limit but the model's own.
        max_context: Option<u64> = None => "32768",
        /// Cores that advice reckons with, in place of those there are. Default: those there are.
        cpu_cores: Option<u32> = None => "16",
        /// Another machine to give advice for, in place of this one: words such as `"2x RTX 4090, 128 GB"`, or a JSON
        /// file that describes it. What is loaded here is not changed by it. Default: none.
        simulate: Option<String> = None => r#""2x RTX 4090, 128 GB""#,
        /// How many models are loaded at once at most; 0 for as many as fit. Default: 0.
        max_loaded_models: u32 = 0,
        /// How long a model stays loaded that nobody uses; `"never"` keeps it until its memory is needed. Default: 15m.
        idle_unload: IdleUnload = IdleUnload::After(minutes(15)),
    }
}

section! {
    /// How engines are started and stopped; a `[[models]]` entry may say otherwise for one model.
    pub struct Engine {
        /// The `llama-server` program. Default: the one on PATH, else the one in the data folder.
        llama_server: Option<PathBuf> = None => r#""/usr/local/bin/llama-server""#,
        /// Context of each slot, in tokens. Default: the model's own, up to 8192.
        context: Option<u64> = None => "16384",
        /// How many requests a model answers at once, 1 to 64. Default: 4, fewer if memory is short.
        slots: Option<u32> = None => "4",
        /// How many layers go to accelerators; 0 for none. Default: all that fit.
        gpu_layers: Option<u32> = None => "99",
        /// How the cache stores keys: f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0, q5_1. Default: f16.
        cache_type_k: CacheType = CacheType::F16,
        /// How the cache stores values: the same words. Default: f16.
        cache_type_v: CacheType = CacheType::F16,
        /// How long a load may take before it is given up. Default: 10m.
        load_timeout: Duration = minutes(10),
        /// How long a stopping engine has between TERM and KILL. Default: 10s.
        stop_timeout: Duration = Duration::from_secs(10),
        /// How often an engine that crashes is started again before it counts as failed. Default: 3.
        max_restarts: u32 = 3,
        /// The wait before the first of these restarts; it doubles each time, up to 30s. Default: 500ms.
        restart_backoff: Duration = Duration::from_millis(500),
        /// Size at which an engine's log file is begun anew; one old file is kept. Default: 8M.
        log_max_bytes: ByteCount = ByteCount::mib(8),
        /// What prompts may take on disk, all models together, that are kept for models while they are not loaded; 0 keeps
        /// none. Default: 2G.
        prompt_cache: ByteCount = ByteCount::gib(2),
        /// More arguments for `llama-server`, one item each. Default: none.
        extra_args: Vec<String> = Vec::new(),
    }
}

section! {
    /// The bounds of the request path.
    pub struct Gateway {
        /// Largest body of a request. Default: 64M.
        max_body: ByteCount = ByteCount::mib(64),
        /// How many connections are served at once. Default: 4096.
        max_connections: u32 = 4096,
        /// How many requests may wait for models to load, all together. Default: 512.
        max_waiting: u32 = 512,
        /// How long a request waits for models in use to make room for its own; a load that goes on is waited for beyond
        /// that, up to engine.load_timeout. Default: 2m.
        max_wait: Duration = minutes(2),
        /// How many requests one instance is given at once; changed while snug runs, from its next load on. Default: 256.
        max_in_flight: u32 = 256,
        /// How many more requests may wait for a place at one instance. Default: 1024.
        max_queued: u32 = 1024,
        /// How long a request waits for such a place. Default: 2m.
        queue_wait: Duration = minutes(2),
        /// How long running requests may go on after snug was told to stop. Default: 30s.
        shutdown_grace: Duration = Duration::from_secs(30),
        /// How long an engine may send nothing before its request is given up. Default: 10m.
        engine_idle_timeout: Duration = minutes(10),
    }
}

section! {
    /// How much disk models may fill, and when files that nobody uses are removed.
    pub struct Storage {
        /// What all model files together may take, such as `"500G"`; `"0"` for all the disk has. Default: no limit.
        limit: StorageLimit = StorageLimit::None,
        /// Whether files that were not used for long are removed, unless they are protected. Default: yes.
        cleanup_enabled: bool = true,
        /// How long a file must have gone unused, in days. Default: 30.
        cleanup_max_age_days: u32 = 30,
        /// How often is looked for such files, in hours. Default: 24.
        cleanup_interval_hours: u32 = 24,
    }
}

section! {
    /// What this machine's accelerators are said to be.
    pub struct Hardware {
        /// Memory of single accelerators in place of what was found, in MiB, by their number. What is in use of it stays in
        /// use. The numbers are those of the engine's list (`llama-server --list-devices`) for loads and those of
        /// `snug system` for advice; with cards of one maker both count alike unless CUDA is told otherwise
        /// (`CUDA_DEVICE_ORDER`). Default: what was found.
        vram_overrides: BTreeMap<u32, u64> = BTreeMap::new() => r#"{ "0" = 32000 }"#,
        /// By which interface engines use accelerators: the first of these that the engine lists any for; the others are
        /// left alone, so that a card that is listed twice is not counted twice. Words: cuda, rocm (or hip), metal,
        /// vulkan, sycl, ascend, and cpu for no accelerator. Default: all that the engine lists.
        default_backend_priority: Vec<Backend> = Vec::new() => r#"["cuda", "vulkan"]"#,
    }
}

section! {
    /// What is logged, and how.
    pub struct Logging {
        /// Levels error (or critical), warn (or warning), info, debug, trace or off, also by part:
        /// `"info,gateway=debug"`. Default: info.
        level: LogFilter = LogFilter::default(),
        /// `"text"` for people, `"json"` for programs. Default: text.
        format: LogFormat = LogFormat::Text,
        /// Folder for log files, one a day, besides standard error. Default: none are written.
        directory: Option<PathBuf> = None => r#""/var/log/snug""#,
        /// Hour of the day at which a new file begins, 0 to 23, local time. Default: 0.
        rotate_hour: u32 = 0,
        /// How many of these files are kept, at least 1. Default: 7.
        retain_days: u32 = 7,
    }
}

section! {
    /// A line for each finished request, in a file.
    pub struct RequestLog {
        /// The file, one JSON object a line, readable by its user only. Default: none is written.
        file: Option<PathBuf> = None => r#""/var/log/snug/requests.jsonl""#,
        /// Whether it holds what was asked and answered, too, cut at 64 KiB each. Default: no.
        bodies: bool = false,
        /// Size at which the file is begun anew; one old file is kept. Default: 64M.
        max_bytes: ByteCount = ByteCount::mib(64),
    }
}

section! {
    /// Spans of requests for an OpenTelemetry collector.
    pub struct Tracing {
        /// The collector, by HTTP. Default: none; nothing is sent.
        otlp_endpoint: Option<String> = None => r#""http://127.0.0.1:4318""#,
        /// What we are called there. Default: snug.
        service_name: String = "snug".to_owned(),
        /// Which share of requests is sent, 0 to 1; one whose sender has decided already follows that. Default: 1.
        sample: f64 = 1.0,
    }
}

section! {
    /// A model configured by hand. Whatever it leaves out comes from `[engine]` or from its file.
    pub struct Model {
        /// What requests call it. Default: the file's name without the quantisation.
        id: Option<String> = None => r#""my-model""#,
        /// Its file, the first of its files, or a folder with one model. Required.
        path: PathBuf = PathBuf::new() => r#""/srv/models/my-model-Q4_K_M.gguf""#,
        /// What it is for: chat, embedding, rerank. Default: what the file says.
        mode: Option<Mode> = None => r#""chat""#,
        /// Context of each slot, in tokens. Default: as in `[engine]`.
        context: Option<u64> = None => "16384",
        /// How many requests it answers at once, 1 to 64. Default: as in `[engine]`.
        slots: Option<u32> = None => "4",
        /// How many layers go to accelerators. Default: as in `[engine]`.
        gpu_layers: Option<u32> = None => "99",
        /// How the cache stores keys. Default: as in `[engine]`.
        cache_type_k: Option<CacheType> = None => r#""q8_0""#,
        /// How the cache stores values. Default: as in `[engine]`.
        cache_type_v: Option<CacheType> = None => r#""q8_0""#,
        /// How one vector is made of many: none, mean, cls, last, rank. Default: what the file says.
        pooling: Option<Pooling> = None => r#""mean""#,
        /// Whether a chat model answers `/v1/embeddings` too. Default: yes.
        embeddings: bool = true,
        /// A chat template in place of the file's own. Default: none.
        chat_template_file: Option<PathBuf> = None => r#""/srv/models/my-template.jinja""#,
        /// Whether it is never unloaded to make room or for being idle. Default: no.
        pinned: bool = false,
        /// More arguments for `llama-server`, after those of `[engine]`. Default: none.
        extra_args: Vec<String> = Vec::new(),
    }
}

section! {
    /// A service that runs models elsewhere. They are called `NAME/MODEL` here.
    pub struct Provider {
        /// What we call it: letters, digits, `.`, `_` and `-`. Required.
        name: String = String::new() => r#""deepseek""#,
        /// What it speaks: openai or anthropic. Default: openai.
        kind: Dialect = Dialect::OpenAi,
        /// Where it is; with openai including the `/v1`. Default: what the maker of the API has.
        base_url: Option<String> = None => r#""https://api.deepseek.com/v1""#,
        /// The key that it is sent. Write it here, or where one of the next two keys says. Default: none is sent.
        api_key: Option<Secret> = None => r#""sk-...""#,
        /// The environment variable that holds the key. Default: none.
        api_key_env: Option<String> = None => r#""DEEPSEEK_API_KEY""#,
        /// The file that holds the key. Default: none.
        api_key_file: Option<PathBuf> = None => r#""/run/secrets/deepseek""#,
        /// Its models, without NAME; an empty list asks the service for them now and then. Default: asked for.
        models: Vec<String> = Vec::new(),
        /// How long it may send nothing before its request is given up. Default: 10m.
        idle_timeout: Duration = minutes(10),
        /// How many requests it is given at once. Default: 256.
        max_in_flight: u32 = 256,
    }
}

section! {
    /// One name for other models: another name for one, several to be tried in turn, several that share the requests.
    pub struct Route {
        /// What requests call it. Required.
        id: String = String::new() => r#""assistant""#,
        /// The models that it means, in order: ids, `PROVIDER/MODEL`, or ids of other routes. Required.
        models: Vec<String> = Vec::new() => r#"["my-model", "deepseek/deepseek-chat"]"#,
        /// What the order says: fallback tries the next where one fails, replicas shares requests among them. Default:
        /// fallback.
        spread: Spread = Spread::Fallback,
        /// The system prompt of requests that have none. Default: none.
        system: Option<String> = None => r#""You are brief.""#,
        /// Fields of a request that are set where it does not have them. Default: none.
        defaults: Map<String, Value> = Map::new() => r#"{ temperature = 0.2, top_p = 0.9 }"#,
    }
}

impl Provider {
    /// Where it is, without a slash at the end: as written, else where the maker of the API has it.
    pub fn base_url(&self) -> &str {
        self.base_url
            .as_deref()
            .unwrap_or(match self.kind {
                Dialect::OpenAi => "https://api.openai.com/v1",
                Dialect::Anthropic => "https://api.anthropic.com",
            })
            .trim_end_matches('/')
    }
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}
