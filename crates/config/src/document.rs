//! A configuration file as a tree of values that know their line. TOML, JSON with comments and YAML become the same tree.
//!
//! Knows syntax only; which keys exist and what they mean is the sections' matter.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use toml::de::{DeTable, DeValue};

use crate::yaml;

/// How deep values may lie in each other; keys lie three deep.
pub(crate) const DEPTH_MAX: usize = 32;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing, where the reader was asked to keep it.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number; wider than any setting, so that "too large" can say how large.
    Integer(i128),
    /// A number with a fraction, or a date: nothing takes one. Kept as written.
    Other(String),
    /// Quoted text.
    Text(String),
    /// Text of a variable or a flag, whose kind the setting decides.
    Word(String),
    /// Values in order.
    List(Vec<Value>),
    /// Keys and values in the order of the file.
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands, counted from 1.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What a file says that is not even syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub(crate) line: Option<usize>,
    pub(crate) message: String,
}

/// Reads a whole file; its name's ending tells the language, TOML unless `.json`, `.jsonc`, `.yaml` or `.yml`.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Vec<Entry>, Vec<SyntaxError>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "jsonc") => parse_json(text).map_err(|error| vec![error]),
        Some("yaml" | "yml") => yaml::parse(text).map_err(|error| vec![error]),
        _ => parse_toml(text),
    }
}

/// The line of a byte offset, counted from 1.
fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

fn parse_toml(text: &str) -> Result<Vec<Entry>, Vec<SyntaxError>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(from_toml_table(text, table.get_ref()));
    }
    // Recovery finds an error again where the first one left it, so one per line is enough.
    let mut lines = BTreeSet::new();
    Err(errors
        .iter()
        .map(|error| SyntaxError {
            line: error.span().map(|span| line_at(text, span.start)),
            message: error.message().replace('\n', ", "),
        })
        .filter(|error| lines.insert(error.line))
        .collect())
}

fn from_toml_table(text: &str, table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<(usize, Entry)> = table
        .iter()
        .map(|(key, value)| {
            let start = key.span().start;
            let entry = Entry {
                key: key.get_ref().to_string(),
                line: line_at(text, start),
                value: from_toml(text, value.get_ref()),
            };
            (start, entry)
        })
        .collect();
    // The parser sorts by key; a report reads best in the order of the file.
    entries.sort_by_key(|(start, _)| *start);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn from_toml(text: &str, value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other(number.to_string()),
        },
        DeValue::String(value) => Value::Text(value.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(|item| from_toml(text, item.get_ref())).collect()),
        DeValue::Table(table) => Value::Table(from_toml_table(text, table)),
        DeValue::Float(number) => Value::Other(number.to_string()),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
    }
}

/// JSON in which comments (`//`, `/* */`) and commas after the last item are allowed.
fn parse_json(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let mut plain = text.to_owned();
    if json_strip_comments::strip(&mut plain).is_err() {
        // Blanks were written over everything up to the slash that begins nothing.
        let last = text.bytes().zip(plain.bytes()).rposition(|(written, left)| written != left);
        let message = "a comment begins with // or /*, not with a single /".to_owned();
        return Err(SyntaxError { line: last.map(|offset| line_at(text, offset)), message });
    }
    Json { written: text, plain: &plain }.parse()
}

/// JSON as it was written, and the same with blanks in place of comments: what lies where in the one lies there in the
/// other, but only the first has all its lines.
struct Json<'a> {
    written: &'a str,
    plain: &'a str,
}

impl<'a> Json<'a> {
    fn parse(&self) -> Result<Vec<Entry>, SyntaxError> {
        let root: &RawValue = serde_json::from_str(self.plain).map_err(|error| SyntaxError {
            line: Some(line_at(self.written, offset_of(self.plain, &error))),
            message: json_message(&error),
        })?;
        match self.value(root, 0)? {
            Value::Table(entries) => Ok(entries),
            _ => Err(SyntaxError { line: Some(1), message: "must be an object of keys and values".to_owned() }),
        }
    }

    /// serde_json tells no positions, but a raw value borrows from the text, so that its own place in memory is its
    /// place in the file.
    fn line(&self, raw: &RawValue) -> usize {
        line_at(self.written, (raw.get().as_ptr() as usize).saturating_sub(self.plain.as_ptr() as usize))
    }

    fn value(&self, raw: &'a RawValue, depth: usize) -> Result<Value, SyntaxError> {
        let fail = |message| SyntaxError { line: Some(self.line(raw)), message };
        let bad = |error: serde_json::Error| fail(json_message(&error));
        if depth > DEPTH_MAX {
            return Err(fail(format!("is nested more than {DEPTH_MAX} deep")));
        }
        let value = match raw.get().as_bytes().first() {
            Some(b'{') => {
                let JsonObject(pairs) = serde_json::from_str(raw.get()).map_err(bad)?;
                let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
                for (key, raw) in pairs {
                    // `null` is how JSON writers say "not given".
                    if raw.get() == "null" {
                        continue;
                    }
                    let line = self.line(raw);
                    if entries.iter().any(|entry| entry.key == key) {
                        return Err(SyntaxError { line: Some(line), message: format!("duplicate key `{key}`") });
                    }
                    entries.push(Entry { key, line, value: self.value(raw, depth + 1)? });
                }
                Value::Table(entries)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(bad)?;
                Value::List(items.into_iter().map(|item| self.value(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Value::Text(serde_json::from_str(raw.get()).map_err(bad)?),
            Some(b't') => Value::Bool(true),
            Some(b'f') => Value::Bool(false),
            _ => match raw.get().parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other(raw.get().to_owned()),
            },
        };
        Ok(value)
    }
}

/// Where in the text an error is.
fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    (before + error.column().saturating_sub(1)).min(text.len())
}

/// The message without serde_json's own " at line 3 column 7": the place is told apart.
fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

/// An object's pairs in the order of the file, duplicates and all.
struct JsonObject<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for JsonObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = JsonObject<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(JsonObject(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}
