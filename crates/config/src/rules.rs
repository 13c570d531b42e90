//! What a configuration must obey beyond each value being of its kind: bounds, and settings that must agree.

mod providers;
mod routes;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use types::{ByteCount, Mode, Pooling};

use crate::draft::Draft;
use crate::sources::Sources;
use crate::words::{IdleUnload, StorageLimit};

/// llama.cpp counts the tokens of all slots together in 32 signed bits.
const TOKENS_MAX: u64 = i32::MAX as u64;
/// More cores than a machine has.
const CORES_MAX: u64 = 65_536;

/// More memory than a machine has, 64 TiB.
const RAM_MIB_MAX: u64 = 64 << 20;
/// More than an accelerator has, 4 TiB.
const VRAM_MIB_MAX: u64 = 4 << 20;
/// More accelerators than a machine has.
const ACCELERATOR_INDEX_MAX: u32 = 63;
/// Ten years.
const DAYS_MAX: u32 = 3650;
/// The same.
const HOURS_MAX: u32 = DAYS_MAX * 24;

/// No wait is longer: it keeps every sum of times far from overflow.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Ids that are words of the API's own paths (`/api/models/loaded`).
const RESERVED_IDS: [&str; 2] = ["loaded", "config"];

/// Arguments of `llama-server` that snug sets itself or that would take the engine out of its hands, each with what
/// to write instead.
const OWN_ARGUMENTS: &[(&[&str], &str)] = &[
    (&["-m", "--model", "-mu", "--model-url", "-dr", "--docker-repo"], "write `path` of a [[models]] entry"),
    (&["-hf", "-hfr", "--hf-repo", "-hff", "--hf-file"], "write `path` of a [[models]] entry"),
    (&["-a", "--alias"], "write `id` of a [[models]] entry"),
    (&["--host", "--port"], "snug chooses the engine's address itself"),
    (&["-c", "--ctx-size"], "write `context`"),
    (&["-np", "--parallel"], "write `slots`"),
    (&["-ngl", "--gpu-layers", "--n-gpu-layers"], "write `gpu_layers`"),
    (&["-ctk", "--cache-type-k"], "write `cache_type_k`"),
    (&["-ctv", "--cache-type-v"], "write `cache_type_v`"),
    (&["--embedding", "--embeddings"], "write `mode` or `embeddings`"),
    (&["--rerank", "--reranking"], "write `mode = \"rerank\"write `"),
    (&["--pooling"], "write `pooling`"),
    (&["--chat-template-file"], "write `chat_template_file`"),
    (&["--slot-save-path"], "write `prompt_cache` in [engine]"),
    (&["--api-key", "--api-key-file", "--ssl-key-file", "--ssl-cert-file"], "snug talks to it on loopback"),
    (
        &["-v", "--verbose", "--log-verbose", "-lv", "--verbosity", "--log-verbosity", "--log-disable", "--log-file"],
        "snug reads the engine's log",
    ),
    (&["--models-dir", "--models-preset", "--models-max", "--api-prefix"], "one engine serves one model"),
    (&["-h", "--help", "--usage", "--version", "--list-devices"], "the engine would end at once"),
];

/// Checks the whole draft and reports what is wrong with it. Keys that lie elsewhere are read here.
pub(crate) fn check(draft: &mut Draft, sources: &Sources) {
    server(draft);
    library(draft);
    node(draft);
    engine(draft);
    gateway(draft);
    storage(draft);
    hardware(draft);
    logging(draft);
    request_log(draft);
    tracing(draft);
    for index in 0..draft.models.len() {
        model(draft, index);
    }
    ids(draft);
    providers::check(draft, sources);
    routes::check(draft);
}

fn server(draft: &mut Draft) {
    if draft.server.host.is_empty() || draft.server.host.contains(|c: char| c.is_whitespace() || c == '/') {
        let message = format!("must be a host name or an address, is \"{}\"", draft.server.host);
        draft.report("host", message);
    }
    let no_origin = draft.server.cors_origins.iter().find(|origin| *origin != "*" && !is_origin(origin)).cloned();
    if let Some(written) = no_origin {
        let message = format!(
            "must be \"*\" or sites such as \"https://example.org:8443\", without a path; \"{written}\" is neither"
        );
        draft.report("cors_origins", message);
    }
}

/// What a browser sends as `Origin`: scheme, host, and a port unless it is the scheme's own.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let is_host = !host.is_empty()
        && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'));
    is_scheme && is_host
}

fn node(draft: &mut Draft) {
    within(draft, "max_context", draft.node.max_context, 1..=TOKENS_MAX);
    within(draft, "cpu_cores", draft.node.cpu_cores.map(u64::from), 1..=CORES_MAX);
    sizes(draft, "memory", draft.node.memory, ByteCount::mib(1));
    sizes(draft, "ram", draft.node.ram, ByteCount::mib(1));
    within(draft, "ram_budget_mb", Some(draft.node.ram_budget_mb), 0..=RAM_MIB_MAX);
    if let IdleUnload::After(duration) = draft.node.idle_unload {
        times(draft, "idle_unload", duration, Duration::from_secs(1));
    }
}

fn engine(draft: &mut Draft) {
    within(draft, "engine.slots", draft.engine.slots, 1..=64);
    context(draft, "engine.context", draft.engine.context, draft.engine.slots);
    times(draft, "engine.load_timeout", draft.engine.load_timeout, Duration::from_secs(1));
    times(draft, "engine.stop_timeout", draft.engine.stop_timeout, Duration::ZERO);
    times(draft, "engine.restart_backoff", draft.engine.restart_backoff, Duration::from_millis(1));
    within(draft, "engine.max_restarts", Some(draft.engine.max_restarts), 0..=1000);
    sizes(draft, "engine.log_max_bytes", Some(draft.engine.log_max_bytes), ByteCount::bytes(64 << 10));
    let kept = Some(draft.engine.prompt_cache).filter(|size| *size > ByteCount::ZERO);
    sizes(draft, "engine.prompt_cache", kept, ByteCount::mib(16));
    extra_args(draft, "engine.extra_args", &draft.engine.extra_args.clone());
}

fn gateway(draft: &mut Draft) {
    sizes(draft, "gateway.max_body", Some(draft.gateway.max_body), ByteCount::bytes(1 << 10));
    within(draft, "gateway.max_connections", Some(draft.gateway.max_connections), 1..=1_000_000);
    within(draft, "gateway.max_waiting", Some(draft.gateway.max_waiting), 1..=1_000_000);
    within(draft, "gateway.max_in_flight", Some(draft.gateway.max_in_flight), 1..=1_000_000);
    within(draft, "gateway.max_queued", Some(draft.gateway.max_queued), 0..=1_000_000);
    times(draft, "gateway.queue_wait", draft.gateway.queue_wait, Duration::from_millis(1));
    times(draft, "gateway.max_wait", draft.gateway.max_wait, Duration::from_millis(1));
    times(draft, "gateway.shutdown_grace", draft.gateway.shutdown_grace, Duration::ZERO);
    times(draft, "gateway.engine_idle_timeout", draft.gateway.engine_idle_timeout, Duration::from_secs(1));
}

fn library(draft: &mut Draft) {
    within(draft, "max_concurrent_downloads", Some(draft.library.max_concurrent_downloads), 1..=64);
    if let Some(model) = draft.library.default_model.clone()
        && (model.len() > 400 || model.contains(|c: char| c.is_whitespace() || c.is_control()))
    {
        draft.report("default_model", "must be a model's name without blanks");
    }
    if let Some(variant) = draft.library.default_variant.clone()
        && (variant.len() > 200 || variant.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/'))
    {
        draft.report("default_variant", "must be a variant's name, such as \"Q4_K_M\"");
    }
}

fn storage(draft: &mut Draft) {
    if let StorageLimit::Of(limit) = draft.storage.limit {
        sizes(draft, "storage.limit", Some(limit), ByteCount::mib(1));
    }
    within(draft, "storage.cleanup_max_age_days", Some(draft.storage.cleanup_max_age_days), 1..=DAYS_MAX);
    within(draft, "storage.cleanup_interval_hours", Some(draft.storage.cleanup_interval_hours), 1..=HOURS_MAX);
}

fn hardware(draft: &mut Draft) {
    for (index, mib) in draft.hardware.vram_overrides.clone() {
        let key = format!("hardware.vram_overrides.{index}");
        if index > ACCELERATOR_INDEX_MAX {
            draft.report(&key, format!("is no number of an accelerator; they are 0 to {ACCELERATOR_INDEX_MAX}"));
        }
        within(draft, &key, Some(mib), 1..=VRAM_MIB_MAX);
    }
}

fn logging(draft: &mut Draft) {
    within(draft, "logging.rotate_hour", Some(draft.logging.rotate_hour), 0..=23);
    within(draft, "logging.retain_days", Some(draft.logging.retain_days), 1..=DAYS_MAX);
}

fn request_log(draft: &mut Draft) {
    sizes(draft, "request_log.max_bytes", Some(draft.request_log.max_bytes), ByteCount::bytes(64 << 10));
    if draft.request_log.bodies && draft.request_log.file.is_none() {
        draft.report("request_log.bodies", "needs request_log.file: without it nothing is written");
    }
}

fn tracing(draft: &mut Draft) {
    within(draft, "tracing.sample", Some(draft.tracing.sample), 0.0..=1.0);
    if draft.tracing.service_name.is_empty() || draft.tracing.service_name.len() > 255 {
        draft.report("tracing.service_name", "must be 1 to 255 bytes");
    }
    let Some(endpoint) = draft.tracing.otlp_endpoint.clone() else { return };
    if let Err(message) = address(&endpoint) {
        draft.report("tracing.otlp_endpoint", message);
    } else if endpoint.starts_with("https:") {
        let message =
            "must be reached by http; where it is elsewhere, run a collector on this machine that passes spans on";
        draft.report("tracing.otlp_endpoint", message);
    }
}

/// Whether a text is where an API is: scheme, host, port, and perhaps a path.
fn address(text: &str) -> Result<(), String> {
    let expected = "must be an address such as \"https://example.org/v1\"";
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(format!("{expected}, without a user before its host"));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii() || matches!(c, '?' | '#' | '\\');
    let is_sound = matches!(scheme, "http" | "https") && is_origin(&format!("{scheme}://{authority}"));
    if !is_sound || path.contains(odd) || text.len() > 2000 {
        return Err(format!("{expected}, is \"{text}\""));
    }
    Ok(())
}

fn model(draft: &mut Draft, index: usize) {
    let key = |name: &str| format!("models[{index}].{name}");
    let model = draft.models[index].clone();
    if !draft.is_written(&key("path")) {
        draft.report(&key("path"), "is required: the model's file or folder");
    }
    within(draft, &key("slots"), model.slots, 1..=64);
    // Which of the two is at fault when they do not go together: the one written here, if only one is.
    let (context_key, slots) = (key("context"), model.slots.or(draft.engine.slots));
    if model.context.is_some() {
        context(draft, &context_key, model.context, slots);
    } else if model.slots.is_some() {
        product(draft, &key("slots"), draft.engine.context, slots);
    }
    extra_args(draft, &key("extra_args"), &model.extra_args);
    match (model.mode, model.pooling) {
        (Some(Mode::Rerank), Some(pooling)) if pooling != Pooling::Rank => {
            let message = format!("must be rank, or left out, when mode is rerank; is {}", pooling.as_str());
            draft.report(&key("pooling"), message);
        }
        (Some(mode), Some(Pooling::Rank)) if mode != Mode::Rerank => {
            draft.report(&key("pooling"), format!("may be rank only when mode is rerank; that is {mode}"));
        }
        _ => {}
    }
}

fn ids(draft: &mut Draft) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..draft.models.len() {
        let Some(id) = draft.models[index].id.clone() else { continue };
        let key = format!("models[{index}].id");
        if let Some(message) = odd_id(&id) {
            draft.report(&key, message);
        }
        if let Some(first) = seen.insert(id.clone(), index) {
            draft.report(&key, format!("\"{id}\" is taken by models[{first}]; every id must be its own"));
            seen.insert(id, first);
        }
    }
}

/// What is wrong with an id that requests may name, if anything.
fn odd_id(id: &str) -> Option<String> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '\\');
    if id.is_empty() || id.len() > 200 || id.contains(odd) {
        Some("must be 1 to 200 bytes without blanks, `?`, `#` or `\\`".to_owned())
    } else if id.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("must not begin or end with `/`, nor have empty or dotted parts".to_owned())
    } else if RESERVED_IDS.contains(&id) {
        Some(format!("\"{id}\" is a word of the API's own; choose another id"))
    } else {
        None
    }
}

fn context(draft: &mut Draft, key: &str, context: Option<u64>, slots: Option<u32>) {
    within(draft, key, context, 1..=TOKENS_MAX);
    if let (Some(context), Some(limit)) = (context, draft.node.max_context)
        && context > limit
    {
        draft.report(key, format!("must be at most max_context, {limit} tokens; is {context}"));
    }
    product(draft, key, context, slots);
}

/// All slots' contexts together must be a number the engine can count to.
fn product(draft: &mut Draft, key: &str, context: Option<u64>, slots: Option<u32>) {
    let (Some(context), Some(slots)) = (context, slots) else { return };
    let tokens = context.saturating_mul(u64::from(slots));
    if context <= TOKENS_MAX && slots <= 64 && tokens > TOKENS_MAX {
        let message =
            format!("{slots} slots of {context} tokens are more than an engine can hold ({TOKENS_MAX} tokens in all)");
        draft.report(key, message);
    }
}

fn extra_args(draft: &mut Draft, key: &str, args: &[String]) {
    for arg in args {
        let name = arg.split_once('=').map_or(arg.as_str(), |(name, _)| name);
        if let Some((_, instead)) = OWN_ARGUMENTS.iter().find(|(names, _)| names.contains(&name)) {
            draft.report(key, format!("must not contain {name}: {instead}"));
        } else if arg.contains('\0') {
            draft.report(key, "must not contain a NUL byte");
        }
    }
}

fn within<T: PartialOrd + Display + Copy>(draft: &mut Draft, key: &str, value: Option<T>, range: RangeInclusive<T>) {
    if let Some(value) = value.filter(|value| !range.contains(value)) {
        draft.report(key, format!("must be {} to {}, is {value}", range.start(), range.end()));
    }
}

fn sizes(draft: &mut Draft, key: &str, value: Option<ByteCount>, least: ByteCount) {
    if let Some(value) = value.filter(|value| *value < least) {
        draft.report(key, format!("must be at least {least}, is {value}"));
    }
}

fn times(draft: &mut Draft, key: &str, value: Duration, least: Duration) {
    let show = |duration| humantime::format_duration(duration);
    if value < least || value > LONGEST {
        draft.report(key, format!("must be {} to {}, is {}", show(least), show(LONGEST), show(value)));
    }
}
