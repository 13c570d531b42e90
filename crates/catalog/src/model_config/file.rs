//! Files of model configs, and requests that carry some.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::read::shown;
use super::{ModelConfig, Problem, Problems};

/// The form that is written: the contract's.
const SCHEMA_VERSION: &str = "1.1.0";

/// The fields that come first where a config is written down, as people write them. The others follow by name.
const FIRST: [&str; 9] = [
    "model",
    "provider",
    "mode",
    "ranking",
    "context_window",
    "max_tokens",
    "max_input_tokens",
    "max_output_tokens",
    "file_path",
];

/// A file of model configs. An entry may say no more than what is to change of a model that another file names.
pub struct File {
    /// The form it says it has; `1.1.0` if it says nothing.
    pub schema_version: String,
    entries: Vec<(String, Value)>,
}

/// Why a file of model configs could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Not text, or not JSON.
    #[error("not JSON (comments are allowed): {reason}")]
    NotJson {
        /// What is wrong, and where.
        reason: String,
    },
    /// JSON, and of another form.
    #[error("not a file of model configs: {0}")]
    Form(Problems),
    /// Of a form that came later.
    #[error("schema_version {found} is not known; write \"{SCHEMA_VERSION}\" or another 1.x")]
    SchemaVersion {
        /// What it says.
        found: String,
    },
}

impl File {
    /// Reads a file: JSON, in which comments and commas at ends are allowed.
    ///
    /// # Errors
    /// [`FileError`], if there is nothing to be had from it. What is wrong with an entry is said by [`merge_into`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FileError> {
        let not_json = |reason: String| FileError::NotJson { reason };
        let text = str::from_utf8(bytes).map_err(|error| not_json(error.to_string()))?;
        let mut text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        json_strip_comments::strip(&mut text).map_err(|error| not_json(error.to_string()))?;
        let file: Value = serde_json::from_str(&text).map_err(|error| not_json(error.to_string()))?;
        let schema_version = schema_version(&file)?;
        let entries = entries(&file).map_err(FileError::Form)?;
        let entries = entries.into_iter().map(|(path, entry)| (path, entry.clone())).collect();
        Ok(Self { schema_version, entries })
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for File {
    /// Without what the entries hold: that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File")
            .field("schema_version", &self.schema_version)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

fn schema_version(file: &Value) -> Result<String, FileError> {
    let found = match file.get("schema_version") {
        None | Some(Value::Null) => return Ok(SCHEMA_VERSION.to_owned()),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => return Err(FileError::SchemaVersion { found: shown(other) }),
    };
    if found.split('.').next() == Some("1") { Ok(found) } else { Err(FileError::SchemaVersion { found }) }
}

/// The configs in a request or file, each with its path: one object with `model`, or `{"models": [...]}`.
///
/// # Errors
/// If it is neither.
pub fn entries(body: &Value) -> Result<Vec<(String, &Value)>, Problems> {
    let refuse = |field: &str, reason: String| Err(Problem::new(field, reason).into());
    match (body, body.get("models"), body.get("model")) {
        (Value::Object(_), Some(Value::Array(list)), None) => {
            Ok(list.iter().enumerate().map(|(index, entry)| (format!("models[{index}]"), entry)).collect())
        }
        (Value::Object(_), Some(other), None) => refuse("models", format!("must be a list, is {}", shown(other))),
        (Value::Object(_), None, Some(_)) => Ok(vec![(String::new(), body)]),
        (Value::Object(_), Some(_), Some(_)) => refuse("models", "must not stand beside `model`".to_owned()),
        (Value::Object(_), None, None) => refuse("", "either `model` or `models` is required".to_owned()),
        _ => refuse("", format!("must be a JSON object with `model` or `models`, is {}", shown(body))),
    }
}

/// Lays a file's entries over what is known, by name. What is wrong with an entry is returned and hides no other.
pub fn merge_into(known: &mut BTreeMap<String, ModelConfig>, file: File) -> Problems {
    let mut problems = Problems::default();
    for (path, entry) in &file.entries {
        let earlier = entry.get("model").and_then(Value::as_str).and_then(|name| known.get(name));
        let config = match earlier {
            Some(earlier) => earlier.merged(entry),
            None => ModelConfig::new(entry),
        };
        match config {
            Ok(config) => drop(known.insert(config.name().to_owned(), config)),
            Err(found) => problems.append(found.within(path)),
        }
    }
    problems
}

/// The text of a file with these configs as they were written, secrets and all: for its owner's eyes only.
#[expect(clippy::missing_panics_doc, reason = "JSON values always have a text")]
pub fn write_file<'a>(configs: impl IntoIterator<Item = &'a ModelConfig>) -> String {
    #[derive(Serialize)]
    struct Written<'a> {
        schema_version: &'static str,
        models: Vec<InOrder<'a>>,
    }
    let models = configs.into_iter().map(|config| InOrder(&config.written)).collect();
    let written = Written { schema_version: SCHEMA_VERSION, models };
    let text = serde_json::to_string_pretty(&written).expect("JSON values are plain data");
    text + "\n"
}

/// An object whose well-known fields come first.
struct InOrder<'a>(&'a Map<String, Value>);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, value) in FIRST.iter().filter_map(|field| self.0.get_key_value(*field)) {
            map.serialize_entry(field, value)?;
        }
        for (field, value) in self.0.iter().filter(|(field, _)| !FIRST.contains(&field.as_str())) {
            map.serialize_entry(field, value)?;
        }
        map.end()
    }
}
