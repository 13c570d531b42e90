//! The router contract's `models.yaml`: read as it is, every field checked, everything that is wrong told at once.
//!
//! ```yaml
//! models:
//!   standard:                     # the role: a text, also where YAML 1.1 would take it for a truth value
//!     id: "qwen/qwen3-4b-2507"
//!     backend: llamacpp
//!     port: 8501
//!     model_path: "/srv/models/Qwen3-4B-GGUF"
//!     quantization: "Q8_0"
//!     default_timeout: 300
//! ```
//!
//! What is of the wrong kind stops the start, as the contract's own reader does. What is odd is a warning. Whether the
//! paths and programs are there is not looked at here: that is the business of who starts them.

mod backend;

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use serde_json::Map;

use crate::document::{Entry, Value};
use crate::problem::{Place, Problem};
use crate::setting::{Context, Setting, must_be};
use crate::yaml;

pub use backend::{Backend, BackendKind, LlamaCppFields, MlxFields, ModelType, ModelsYaml};

/// llama.cpp counts the tokens of all slots together in 32 signed bits.
const TOKENS_MAX: u64 = i32::MAX as u64;
/// More requests at once than any of these programs serves.
const CONCURRENCY_MAX: u64 = 1024;
/// A week, as for every other time of the configuration.
const TIMEOUT_MAX: u64 = 7 * 24 * 3600;
/// Longer than any name.
const NAME_BYTES_MAX: usize = 200;
/// What an entry of llama.cpp gets that names no context.
const CONTEXT_UNSET: u64 = 4096;

/// Every field of an entry.
const FIELDS: [&str; 29] = [
    "id",
    "backend",
    "port",
    "model_path",
    "default_timeout",
    "quantization",
    "model_type",
    "context_length",
    "max_concurrency",
    "host",
    "enabled",
    "supports_function_calling",
    "preload",
    "replica",
    "enable_auto_tool_choice",
    "tool_call_parser",
    "reasoning_parser",
    "config_name",
    "chat_template_kwargs",
    "chat_template_file",
    "temp",
    "top_p",
    "top_k",
    "min_p",
    "cache_type_k",
    "cache_type_v",
    "flash_attn",
    "kv_unified",
    "fit",
];
/// What only one kind of program understands.
const MLX_FIELDS: [&str; 4] = ["enable_auto_tool_choice", "tool_call_parser", "reasoning_parser", "config_name"];
const LLAMA_CPP_FIELDS: [&str; 11] = [
    "chat_template_kwargs",
    "chat_template_file",
    "temp",
    "top_p",
    "top_k",
    "min_p",
    "cache_type_k",
    "cache_type_v",
    "flash_attn",
    "kv_unified",
    "fit",
];
/// Fields that mean nothing to models that do not chat.
const CHAT_FIELDS: [&str; 5] =
    ["enable_auto_tool_choice", "tool_call_parser", "reasoning_parser", "chat_template_kwargs", "chat_template_file"];

/// Reads the text of `file`; `~` in it is `home`.
///
/// # Errors
/// Everything that is of the wrong kind, each with its line, entry and field.
pub(crate) fn read(file: &Path, text: &str, home: Option<&Path>) -> Result<ModelsYaml, Vec<Problem>> {
    let mut reader = Reader { file, home, problems: Vec::new(), warnings: Vec::new() };
    let backends = reader.root(text);
    if reader.problems.is_empty() {
        return Ok(ModelsYaml { file: file.to_owned(), backends, warnings: reader.warnings });
    }
    Err(reader.problems)
}

struct Reader<'a> {
    file: &'a Path,
    home: Option<&'a Path>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn report(&mut self, line: Option<usize>, key: impl Into<String>, message: impl Into<String>) {
        let place = Place::File { file: self.file.to_owned(), line };
        self.problems.push(Problem { place, key: key.into(), message: message.into() });
    }

    fn root(&mut self, text: &str) -> Vec<Backend> {
        let root = match yaml::parse_with_nulls(text) {
            Ok(root) => root,
            Err(error) => {
                self.report(error.line, "", error.message);
                return Vec::new();
            }
        };
        for entry in root.iter().filter(|entry| entry.key != "models") {
            self.warnings.push(format!("{}: is not read; entries stand below `models`", entry.key));
        }
        let Some(models) = root.iter().find(|entry| entry.key == "models") else {
            self.report(None, "models", "is required: the entries, each below its role");
            return Vec::new();
        };
        let Value::Table(entries) = &models.value else {
            self.report(Some(models.line), "models", must_be("a mapping of roles and entries", &models.value));
            return Vec::new();
        };
        entries.iter().filter_map(|entry| self.entry(entry)).collect()
    }

    fn entry(&mut self, entry: &Entry) -> Option<Backend> {
        let key = format!("models.{}", entry.key);
        if let Err(message) = name(&entry.key) {
            self.report(Some(entry.line), key, format!("a role {message}"));
            return None;
        }
        let Value::Table(fields) = &entry.value else {
            self.report(Some(entry.line), key, must_be("a mapping of fields", &entry.value));
            return None;
        };
        let backend = Fields { reader: self, key, line: entry.line, fields }.backend(&entry.key);
        if let Some(backend) = &backend {
            self.warn_of(backend, fields);
        }
        backend
    }

    /// What is odd about an entry.
    fn warn_of(&mut self, backend: &Backend, fields: &[Entry]) {
        let mut warn = |field: &str, message: &str| {
            self.warnings.push(format!("models.{}.{field}: {message}", backend.role));
        };
        let written: Vec<&str> =
            fields.iter().filter(|field| says_something(&field.value)).map(|field| field.key.as_str()).collect();
        for field in fields.iter().map(|field| field.key.as_str()) {
            if !FIELDS.contains(&field) {
                warn(field, &unknown(field));
            }
        }
        if backend.model_path.is_none() {
            warn("model_path", "is missing, so the entry cannot be started");
        }
        if backend.model_type == ModelType::Rerank && backend.kind != BackendKind::LlamaCpp {
            warn("model_type", "rerank needs `backend: llamacpp`");
        }
        let is_image_or_sound =
            matches!(backend.model_type, ModelType::ImageGeneration | ModelType::ImageEdit | ModelType::Whisper);
        if is_image_or_sound && backend.kind != BackendKind::Mlx {
            warn("model_type", &format!("{} needs `backend: mlx`", backend.model_type.as_str()));
        }
        let chats = !matches!(backend.model_type, ModelType::Embeddings | ModelType::Rerank);
        let foreign: &[&str] = match backend.kind {
            BackendKind::Mlx => &LLAMA_CPP_FIELDS,
            BackendKind::LlamaCpp => &MLX_FIELDS,
        };
        for field in written {
            if !chats && CHAT_FIELDS.contains(&field) {
                warn(field, &format!("means nothing to a model of type {}", backend.model_type.as_str()));
            } else if foreign.contains(&field) && field != "chat_template_kwargs" {
                warn(field, &format!("means nothing to `backend: {}`", backend.kind.as_str()));
            }
        }
    }
}

/// The fields of one entry, while they are read.
struct Fields<'a, 'r> {
    reader: &'a mut Reader<'r>,
    /// `models.ROLE`.
    key: String,
    line: usize,
    fields: &'a [Entry],
}

impl Fields<'_, '_> {
    fn backend(mut self, role: &str) -> Option<Backend> {
        let before = self.reader.problems.len();
        let id = self.required("id", |value| text(value).and_then(|id| name(&id).map(|()| id)));
        let kind: Option<BackendKind> = self.required("backend", word);
        let port = self.required("port", |value| whole(value, 1024..=65_535));
        let default_timeout = self.required("default_timeout", |value| whole(value, 1..=TIMEOUT_MAX));
        let quantization = self.required("quantization", text);
        let (model_path, template) = (self.path("model_path"), self.path("chat_template_file"));
        let host = self.optional("host", text).filter(|host| !host.is_empty());
        let context_length = self.optional("context_length", |value| whole(value, 1..=TOKENS_MAX));
        let max_concurrency = self.optional("max_concurrency", |value| whole(value, 1..=CONCURRENCY_MAX)).unwrap_or(1);
        if kind == Some(BackendKind::LlamaCpp)
            && context_length.unwrap_or(CONTEXT_UNSET).saturating_mul(max_concurrency) > TOKENS_MAX
        {
            let message = format!("times context_length must be at most {TOKENS_MAX} tokens, is more");
            self.report("max_concurrency", message);
        }
        let mlx = MlxFields {
            enable_auto_tool_choice: self.flag("enable_auto_tool_choice").unwrap_or(false),
            tool_call_parser: self.word_of_theirs("tool_call_parser"),
            reasoning_parser: self.word_of_theirs("reasoning_parser"),
            config_name: self.word_of_theirs("config_name"),
        };
        let llama_cpp = LlamaCppFields {
            chat_template_kwargs: self.optional("chat_template_kwargs", object).filter(|kwargs| !kwargs.is_empty()),
            chat_template_file: template,
            temp: self.optional("temp", |value| number(value, 0.0..=100.0)),
            top_p: self.optional("top_p", |value| number(value, 0.0..=1.0)),
            top_k: self.optional("top_k", |value| signed(value, -1..=i64::from(i32::MAX))),
            min_p: self.optional("min_p", |value| number(value, 0.0..=1.0)),
            cache_type_k: self.word_of_theirs("cache_type_k"),
            cache_type_v: self.word_of_theirs("cache_type_v"),
            flash_attn: self.optional("flash_attn", switch).flatten(),
            kv_unified: self.flag("kv_unified"),
            fit: self.optional("fit", switch).flatten(),
        };
        let model_type = self.optional("model_type", word).unwrap_or_default();
        let enabled = self.flag("enabled").unwrap_or(true);
        let supports_function_calling = self.flag("supports_function_calling").unwrap_or(false);
        let preload = self.flag("preload").unwrap_or(true);
        let replica = self.flag("replica").unwrap_or(false);
        if self.reader.problems.len() > before {
            return None;
        }
        Some(Backend {
            role: role.to_owned(),
            id: id?,
            kind: kind?,
            port: u16::try_from(port?).ok()?,
            host,
            model_path,
            default_timeout: Duration::from_secs(default_timeout?),
            quantization: quantization?,
            model_type,
            context_length,
            max_concurrency: u32::try_from(max_concurrency).ok()?,
            enabled,
            supports_function_calling,
            preload,
            replica,
            mlx,
            llama_cpp,
        })
    }

    fn report(&mut self, field: &str, message: String) {
        let line = self.fields.iter().find(|entry| entry.key == field).map_or(self.line, |entry| entry.line);
        self.reader.report(Some(line), format!("{}.{field}", self.key), message);
    }

    /// A field that may be missing, or `null`.
    fn optional<T>(&mut self, field: &str, read: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        let value = &self.fields.iter().find(|entry| entry.key == field)?.value;
        if *value == Value::Null {
            return None;
        }
        read(value).map_err(|message| self.report(field, message)).ok()
    }

    fn required<T>(&mut self, field: &str, read: impl Fn(&Value) -> Result<T, String>) -> Option<T> {
        if !self.fields.iter().any(|entry| entry.key == field && entry.value != Value::Null) {
            self.report(field, "is required".to_owned());
            return None;
        }
        self.optional(field, read)
    }

    fn flag(&mut self, field: &str) -> Option<bool> {
        self.optional(field, flag)
    }

    /// A word whose meaning another program knows; an empty one says nothing.
    fn word_of_theirs(&mut self, field: &str) -> Option<String> {
        self.optional(field, text).filter(|word| !word.is_empty())
    }

    /// A path, with the home folder in place of `~`.
    fn path(&mut self, field: &str) -> Option<String> {
        let home = self.reader.home.map(Path::to_owned);
        let expand = |value: &Value| {
            let written = text(value)?;
            let Some(rest) = written.strip_prefix("~/").or_else(|| (written == "~").then_some("")) else {
                return Ok(written);
            };
            let home = home.as_deref().ok_or("starts with `~`, but HOME is not set")?;
            home.join(rest).to_str().map(str::to_owned).ok_or_else(|| "must be UTF-8, home and all".to_owned())
        };
        self.optional(field, expand).filter(|path| !path.is_empty())
    }
}

/// Whether a value is more than "no" or "nothing".
fn says_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && !matches!(value, Value::Text(text) if text.is_empty())
}

fn name(written: &str) -> Result<(), String> {
    if written.is_empty() || written.len() > NAME_BYTES_MAX || written.chars().any(char::is_control) {
        return Err(format!("must be 1 to {NAME_BYTES_MAX} bytes without control characters"));
    }
    Ok(())
}

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => Err(must_be("a text", other)),
    }
}

fn word<T: Setting>(value: &Value) -> Result<T, String> {
    T::read(value, &Context { base: Path::new(""), home: None })
}

/// As YAML 1.1 has them: files of the contract were written for a reader of that.
fn flag(value: &Value) -> Result<bool, String> {
    let known = match value {
        Value::Bool(value) => Some(*value),
        Value::Text(word) => match word.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => Some(true),
            "no" | "off" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    };
    known.ok_or_else(|| must_be("true or false", value))
}

/// `true`, `false`, or a text of which all but `on`, `true` and `yes` mean off; `auto` leaves it to the engine.
fn switch(value: &Value) -> Result<Option<bool>, String> {
    match value {
        Value::Bool(on) => Ok(Some(*on)),
        Value::Text(word) if word.eq_ignore_ascii_case("auto") => Ok(None),
        Value::Text(word) => Ok(Some(matches!(word.to_ascii_lowercase().as_str(), "on" | "true" | "yes"))),
        other => Err(must_be("true, false or a text", other)),
    }
}

fn float(value: &Value) -> Option<f64> {
    let number = match value {
        #[expect(clippy::cast_precision_loss, reason = "a number that is used as one with a fraction")]
        Value::Integer(number) => *number as f64,
        Value::Other(text) | Value::Text(text) => text.parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn number(value: &Value, range: RangeInclusive<f64>) -> Result<f64, String> {
    let within = || format!("a number from {} to {}", range.start(), range.end());
    float(value).filter(|number| range.contains(number)).ok_or_else(|| must_be(&within(), value))
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        // `30.0` is a whole number, too.
        Value::Other(text) => text.strip_suffix(".0")?.parse().ok(),
        _ => None,
    }
}

fn whole(value: &Value, range: RangeInclusive<u64>) -> Result<u64, String> {
    let within = || format!("a whole number from {} to {}", range.start(), range.end());
    let number = integer(value).and_then(|number| u64::try_from(number).ok());
    number.filter(|number| range.contains(number)).ok_or_else(|| must_be(&within(), value))
}

fn signed(value: &Value, range: RangeInclusive<i64>) -> Result<i64, String> {
    let within = || format!("a whole number from {} to {}", range.start(), range.end());
    let number = integer(value).and_then(|number| i64::try_from(number).ok());
    number.filter(|number| range.contains(number)).ok_or_else(|| must_be(&within(), value))
}

fn object(value: &Value) -> Result<Map<String, serde_json::Value>, String> {
    match value {
        Value::Table(entries) => Ok(entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect()),
        other => Err(must_be("a mapping", other)),
    }
}

/// The reader has bounded how deep it goes.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(number) => match i64::try_from(*number) {
            Ok(number) => number.into(),
            Err(_) => float(value).into(),
        },
        Value::Other(text) => float(value).map_or_else(|| text.clone().into(), Into::into),
        Value::Text(text) | Value::Word(text) => text.clone().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(entries) => entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
    }
}

/// What to say of a field that nobody knows: it may be meant for another program.
fn unknown(field: &str) -> String {
    let close = FIELDS.iter().map(|name| (strsim::damerau_levenshtein(name, field), name)).min();
    match close {
        Some((distance, name)) if distance <= 1.max(field.len() / 3) => {
            format!("is not read; did you mean `{name}`?")
        }
        _ => "is not read".to_owned(),
    }
}

#[cfg(test)]
mod tests;
