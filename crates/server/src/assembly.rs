//! From the checked configuration to what each part is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use config::{BackendKind, Config, IdleUnload};
use engine::lifecycle::Patience;
use engine::{Policy, Programs};
use node::{Entry, Settings, Sources};
use route::QueueBounds;
use types::ByteCount;

use crate::backends::Backends;
use crate::{advice, adviser, engine_program, request_log};

/// An engine that served this long has its earlier crashes forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(300);
/// What a swap may wait for prompts to be saved, and for prompts to come back.
pub(crate) const PROMPT_CACHE: Duration = Duration::from_secs(2);
/// A load waits this long for busy models before those get no new requests.
const TURN: Duration = Duration::from_secs(2);
/// The longest pause while a client sends its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) fn gateway_limits(config: &Config) -> gateway::Limits {
    let queued = usize::try_from(config.gateway.max_queued).unwrap_or(usize::MAX);
    gateway::Limits {
        max_body: config.gateway.max_body,
        body_timeout: BODY_TIMEOUT,
        engine_idle_timeout: config.gateway.engine_idle_timeout,
        queue: QueueBounds { waiting_max: queued, per_caller_max: queued.div_ceil(2) },
        queue_wait: config.gateway.queue_wait,
        bodies_kept: if config.request_log.bodies { request_log::BODY_MAX } else { 0 },
    }
}

/// What advice is given on.
///
/// # Errors
/// If the machine to be simulated is none.
pub(crate) fn advice_config(config: &Config) -> anyhow::Result<advice::Config> {
    Ok(advice::Config {
        data_dir: config.folders.data.clone(),
        llama_server: engine_program::find(config.engine.llama_server.as_deref(), &config.folders.data),
        memory: config.node.memory,
        vram: vram(&config.hardware),
        backends: config.hardware.default_backend_priority.clone(),
        ram: config.node.ram,
        cpu_cores: config.node.cpu_cores,
        simulate: config.node.simulate.as_deref().map(adviser::simulated).transpose()?,
        max_context: config.node.max_context,
    })
}

/// What became of the entries of `models.yaml`.
pub(crate) fn backends(config: &Config) -> Backends {
    Backends::settle(&config.models_yaml, &programs(config), &settings_of_engine(&config.engine))
}

/// The engine programs of this machine. The Python ones are looked for where an entry may need them.
fn programs(config: &Config) -> Programs {
    let uses = |kind: BackendKind| config.models_yaml.backends.iter().any(|one| one.enabled && one.kind == kind);
    let llama_server = engine_program::find(config.engine.llama_server.as_deref(), &config.folders.data);
    let needs_python = llama_server.is_none() && uses(BackendKind::LlamaCpp);
    let python = || engine_program::on_path("python").or_else(|| engine_program::on_path("python3"));
    let mlx = uses(BackendKind::Mlx).then(|| engine_program::on_path("mlx-openai-server")).flatten();
    Programs::new(llama_server, needs_python.then(python).flatten(), mlx)
}

pub(crate) fn node_config(config: &Config, backends: &Backends) -> node::Config {
    let engine = &config.engine;
    node::Config {
        data_dir: config.folders.data.clone(),
        sources: Sources {
            folders: vec![config.folders.models.clone()],
            hf_cache: config.folders.hf_cache.clone(),
            entries: backends.entries().chain(config.models.iter().map(|model| entry(model, engine))).collect(),
            defaults: settings_of_engine(engine),
        },
        programs: programs(config),
        memory: config.node.memory,
        vram: vram(&config.hardware),
        backends: config.hardware.default_backend_priority.clone(),
        ram: config.node.ram,
        context_max: config.node.max_context,
        instances_max: usize::try_from(config.node.max_loaded_models).ok().filter(|&max| max > 0),
        idle_unload: match config.node.idle_unload {
            IdleUnload::After(limit) => Some(limit),
            IdleUnload::Never => None,
        },
        policy: Policy {
            patience: Patience {
                load: engine.load_timeout,
                stop: engine.stop_timeout,
                restarts_max: engine.max_restarts,
                backoff: engine.restart_backoff,
                forgiven_after: FORGIVEN_AFTER,
                prompt_cache: PROMPT_CACHE,
            },
            log_size_max: ByteCount::bytes(engine.log_max_bytes.as_u64().max(64 * 1024)),
            prompt_cache_max: engine.prompt_cache,
        },
        waiting_max: usize::try_from(config.gateway.max_waiting).unwrap_or(usize::MAX),
        room_wait_max: config.gateway.max_wait,
        in_flight_max: u64::from(config.gateway.max_in_flight),
        patience: TURN,
        entries: Vec::new(),
        pinned: BTreeSet::new(),
        ready_budget: match config.node.ram_budget_mb {
            0 => half_of_ram(),
            budget => ByteCount::mib(budget),
        },
        default_variant: config.library.default_variant.as_deref().map(types::Variant::new),
    }
}

/// What single accelerators are said to have.
fn vram(hardware: &config::Hardware) -> BTreeMap<u32, ByteCount> {
    hardware.vram_overrides.iter().map(|(&number, &mib)| (number, ByteCount::mib(mib))).collect()
}

/// How models are kept.
pub(crate) fn storage_config(config: &Config, hub: hub::Settings) -> storage::Config {
    let models_dir = config.folders.models.clone();
    let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 3600);
    storage::Config {
        // Where the shared cache is not looked into, the hub's files go where models are found.
        hf_cache: config.folders.hf_cache.clone().unwrap_or_else(|| models_dir.join("hub")),
        models_dir,
        model_config_paths: config.library.model_config_paths.clone(),
        override_path: config.library.override_path.clone(),
        defaults: settings_of_engine(&config.engine),
        downloads_max: usize::try_from(config.library.max_concurrent_downloads).unwrap_or(1),
        limit: config.storage.limit.bytes(),
        policy: storage::Policy {
            enabled: config.storage.cleanup_enabled,
            max_age: days(config.storage.cleanup_max_age_days),
            check_interval: Duration::from_secs(u64::from(config.storage.cleanup_interval_hours) * 3600),
            ..storage::Policy::default()
        },
        hub,
    }
}

/// What weights may take of RAM that are kept for models that are not loaded.
fn half_of_ram() -> ByteCount {
    hardware::ram().map_or(ByteCount::ZERO, |ram| ByteCount::bytes(ram.total.as_u64() / 2))
}

/// How models are started that nobody says more of.
pub(crate) fn settings_of_engine(engine: &config::Engine) -> Settings {
    Settings {
        context: engine.context,
        slots: engine.slots,
        gpu_layers: engine.gpu_layers,
        cache_type_k: engine.cache_type_k,
        cache_type_v: engine.cache_type_v,
        pooling: None,
        embeddings: true,
        extra_args: engine.extra_args.clone(),
        ..Settings::default()
    }
}

fn entry(model: &config::Model, engine: &config::Engine) -> Entry {
    let base = settings_of_engine(engine);
    Entry {
        id: model.id.clone(),
        files: vec![PathBuf::from(&model.path)],
        mode: model.mode,
        settings: Settings {
            context: model.context.or(base.context),
            slots: model.slots.or(base.slots),
            gpu_layers: model.gpu_layers.or(base.gpu_layers),
            cache_type_k: model.cache_type_k.unwrap_or(base.cache_type_k),
            cache_type_v: model.cache_type_v.unwrap_or(base.cache_type_v),
            pooling: model.pooling,
            embeddings: model.embeddings,
            chat_template_file: model.chat_template_file.clone(),
            pinned: model.pinned,
            extra_args: [base.extra_args, model.extra_args.clone()].concat(),
            ..Settings::default()
        },
        ..Entry::default()
    }
}
