//! How one value is read from what somebody wrote, and how it is shown in the example file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use types::{ByteCount, Secret};

use crate::document::Value;

/// What reading needs besides the value.
pub(crate) struct Context<'a> {
    /// What a relative path is relative to: the file's folder, or the current one.
    pub(crate) base: &'a Path,
    /// What `~` means, if anything.
    pub(crate) home: Option<&'a Path>,
}

/// A kind of value that a key can take.
pub(crate) trait Setting: Sized {
    /// The value, or what is wrong with it ("must be …, is …").
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String>;
    /// As TOML; `None` where there is nothing to show.
    fn show(&self) -> Option<String>;
}

/// A kind of value that is one of a few words.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Each with its name.
    const ALL: &'static [(&'static str, Self)];
}

/// "must be A, is B", with B as it was written.
pub(crate) fn must_be(expected: &str, value: &Value) -> String {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Other(text) | Value::Word(text) => text.clone(),
        Value::Text(text) => format!("\"{text}\""),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    };
    format!("must be {expected}, is {found}")
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Word(text) => Some(text),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl<T: Word> Setting for T {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        let found = text(value).and_then(|text| T::ALL.iter().find(|(name, _)| *name == text));
        found.map(|(_, word)| *word).ok_or_else(|| {
            let names: Vec<&str> = T::ALL.iter().map(|(name, _)| *name).collect();
            must_be(&format!("one of {}", names.join(", ")), value)
        })
    }

    fn show(&self) -> Option<String> {
        T::ALL.iter().find(|(_, word)| word == self).map(|(name, _)| quoted(name))
    }
}

/// An empty text is as good as nothing: files of the model server's contract write every key.
impl<T: Setting> Setting for Option<T> {
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String> {
        if text(value) == Some("") { Ok(None) } else { T::read(value, context).map(Some) }
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl Setting for bool {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::Word(word) if matches!(word.as_str(), "true" | "1" | "yes" | "on") => Ok(true),
            Value::Word(word) if matches!(word.as_str(), "false" | "0" | "no" | "off") => Ok(false),
            _ => Err(must_be("true or false", value)),
        }
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
                let number = match value {
                    Value::Integer(number) => Some(*number),
                    Value::Word(word) => word.parse().ok(),
                    _ => None,
                };
                let Some(number) = number else { return Err(must_be("a whole number", value)) };
                Self::try_from(number).map_err(|_| match number {
                    ..0 => must_be("0 or more", value),
                    _ => must_be(&format!("at most {}", Self::MAX), value),
                })
            }

            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
whole_number!(u16, u32, u64);

impl Setting for f64 {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        number(value).and_then(|number| number.as_f64()).ok_or_else(|| must_be("a number", value))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// The number that was written, as JSON has it.
fn number(value: &Value) -> Option<serde_json::Number> {
    match value {
        Value::Integer(number) => {
            i64::try_from(*number).map(Into::into).or_else(|_| u64::try_from(*number).map(Into::into)).ok()
        }
        Value::Other(text) | Value::Word(text) => serde_json::Number::from_f64(text.parse().ok()?),
        _ => None,
    }
}

/// What is wrong with it is said without it.
impl Setting for Secret {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        text(value).map(Self::new).ok_or_else(|| "must be text in quotes".to_owned())
    }

    fn show(&self) -> Option<String> {
        None
    }
}

/// Fields of a JSON object, of whatever kind.
impl Setting for Map<String, Json> {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        match value {
            Value::Table(entries) => entries.iter().map(|entry| Ok((entry.key.clone(), json(&entry.value)?))).collect(),
            _ => Err(must_be("a table of fields, such as { temperature = 0.2 }", value)),
        }
    }

    fn show(&self) -> Option<String> {
        Some("{}".to_owned())
    }
}

/// A value as JSON has it; every language's values are nested at most [`crate::document::DEPTH_MAX`] deep.
fn json(value: &Value) -> Result<Json, String> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Text(text) | Value::Word(text) => Json::String(text.clone()),
        Value::Integer(_) | Value::Other(_) => {
            number(value).map(Json::Number).ok_or_else(|| must_be("values that JSON has, too", value))?
        }
        Value::List(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Table(entries) => Json::Object(
            entries.iter().map(|entry| Ok((entry.key.clone(), json(&entry.value)?))).collect::<Result<_, String>>()?,
        ),
    })
}

impl Setting for String {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        text(value).map(str::to_owned).ok_or_else(|| must_be("text in quotes", value))
    }

    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String> {
        match value {
            Value::List(items) => items.iter().map(|item| T::read(item, context)).collect(),
            _ => Err(must_be("a list in brackets, such as [\"…\", \"…\"]", value)),
        }
    }

    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

/// Numbered things; a key is a number, written as text where the language knows no other keys.
impl<T: Setting> Setting for BTreeMap<u32, T> {
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String> {
        let Value::Table(entries) = value else {
            return Err(must_be("a table of numbers and values, such as { \"0\" = 32000 }", value));
        };
        let numbered = entries.iter().map(|entry| {
            let number =
                entry.key.parse().map_err(|_| format!("must have a whole number as its key, has `{}`", entry.key));
            Ok((number?, T::read(&entry.value, context)?))
        });
        numbered.collect()
    }

    fn show(&self) -> Option<String> {
        let entries: Vec<String> =
            self.iter().filter_map(|(number, value)| Some(format!("\"{number}\" = {}", value.show()?))).collect();
        Some(format!("{{ {} }}", entries.join(", ")))
    }
}

impl Setting for PathBuf {
    fn read(value: &Value, context: &Context<'_>) -> Result<Self, String> {
        let written = text(value).ok_or_else(|| must_be("a path in quotes", value))?;
        if written.is_empty() {
            return Err("must be a path, is empty".to_owned());
        }
        if let Some(rest) = written.strip_prefix("~/").or_else(|| (written == "~").then_some("")) {
            let home = context.home.ok_or("starts with `~`, but HOME is not set")?;
            return Ok(home.join(rest));
        }
        Ok(context.base.join(written))
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Setting for Duration {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        let parsed = text(value).and_then(|text| humantime::parse_duration(text.trim()).ok());
        parsed.ok_or_else(|| must_be("a time with its unit, such as \"90s\" or \"10m\"", value))
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&humantime::format_duration(*self).to_string()))
    }
}

impl Setting for ByteCount {
    fn read(value: &Value, _: &Context<'_>) -> Result<Self, String> {
        let parsed = match value {
            Value::Integer(number) => u64::try_from(*number).ok().map(ByteCount::bytes),
            _ => text(value).and_then(|text| text.parse().ok()),
        };
        parsed.ok_or_else(|| must_be("a size, such as \"24G\" or \"512M\"", value))
    }

    fn show(&self) -> Option<String> {
        let bytes = self.as_u64();
        let unit = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];
        let whole = unit.iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1_u64 << bits));
        Some(whole.map_or_else(|| bytes.to_string(), |(name, bits)| quoted(&format!("{}{name}", bytes >> bits))))
    }
}
