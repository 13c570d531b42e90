//! Looking keys of a configuration up: by any of their names, within bounds, with what is missing noted for the end.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::error::Error;

/// Larger than any number of a model: contexts reach ten million tokens.
const LARGEST: u64 = 1 << 27;

/// No list that is read (a word for each layer) is longer.
const LONGEST: usize = 4096;

/// What was not there or could not be meant, over all sections of a configuration.
#[derive(Default)]
pub(super) struct Problems {
    missing: RefCell<Vec<&'static str>>,
    value: RefCell<Option<(String, String)>>,
}

/// A section of a configuration, and what its class assumes for keys that are not there.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    section: &'a Map<String, Value>,
    defaults: &'static [(&'static str, u64)],
    problems: &'a Problems,
}

impl Problems {
    /// Everything that was noted, as one error.
    pub(super) fn into_result(self, model_type: &str) -> Result<(), Error> {
        if let Some((key, found)) = self.value.into_inner() {
            return Err(Error::Value { key, found });
        }
        match self.missing.into_inner() {
            keys if keys.is_empty() => Ok(()),
            keys => Err(Error::Missing { model_type: model_type.to_owned(), keys }),
        }
    }
}

impl<'a> Keys<'a> {
    pub(super) fn new(
        section: &'a Map<String, Value>,
        defaults: &'static [(&'static str, u64)],
        problems: &'a Problems,
    ) -> Self {
        Self { section, defaults, problems }
    }

    /// The value of a key; `null` is as good as nothing.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.section.get(name).filter(|value| !value.is_null())
    }

    /// A section within this one, without assumptions.
    pub(super) fn section(&self, name: &str) -> Option<Keys<'a>> {
        let section = self.value(name)?.as_object()?;
        Some(Keys { section, defaults: &[], problems: self.problems })
    }

    /// The number under the first of these names that is there; of a list its first. Negative ones mean "none".
    pub(super) fn number(&self, names: &[&'static str]) -> Option<u64> {
        let found = names.iter().find_map(|name| self.value(name).map(|value| (*name, value)));
        match found {
            Some((name, Value::Array(list))) => list.first().and_then(|value| self.checked(name, value)),
            Some((name, value)) => self.checked(name, value),
            None => {
                names.iter().find_map(|name| self.defaults.iter().find(|(key, _)| key == name).map(|(_, value)| *value))
            }
        }
    }

    /// A number without which nothing is known; 0, noted as missing, where it is not there.
    pub(super) fn need(&self, names: &[&'static str]) -> u64 {
        self.number(names).unwrap_or_else(|| {
            self.missing(names[0]);
            0
        })
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, name: &'static str) {
        let mut missing = self.problems.missing.borrow_mut();
        if !missing.contains(&name) {
            missing.push(name);
        }
    }

    /// A number that may have a fraction, such as `mlp_ratio`.
    pub(super) fn ratio(&self, name: &str) -> Option<f64> {
        self.value(name)?.as_f64().filter(|ratio| (0.0..=1024.0).contains(ratio))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.value(name)?.as_bool()
    }

    pub(super) fn word(&self, name: &str) -> Option<&'a str> {
        self.value(name)?.as_str()
    }

    /// A list of words, one for each layer.
    pub(super) fn words(&self, names: &[&str]) -> Option<Vec<&'a str>> {
        let list = names.iter().find_map(|name| self.value(name)?.as_array())?;
        let words: Vec<&str> = list.iter().take(LONGEST).map_while(Value::as_str).collect();
        (!words.is_empty() && words.len() == list.len()).then_some(words)
    }

    /// A list of numbers.
    pub(super) fn numbers(&self, name: &'static str) -> Option<Vec<u64>> {
        let list = self.value(name)?.as_array().filter(|list| list.len() <= LONGEST)?;
        list.iter().map(|value| self.checked(name, value)).collect()
    }

    /// Notes that a value cannot be meant.
    pub(super) fn wrong(&self, name: &str, value: &str) {
        let found = value.chars().take(60).collect();
        self.problems.value.borrow_mut().get_or_insert((name.to_owned(), found));
    }

    fn checked(&self, name: &'static str, value: &Value) -> Option<u64> {
        if let Some(number) = value.as_u64() {
            if number > LARGEST {
                self.wrong(name, &number.to_string());
                return None;
            }
            return Some(number);
        }
        match value {
            Value::Bool(_) => None,
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                #[expect(clippy::cast_precision_loss, reason = "a power of two")]
                let largest = LARGEST as f64;
                if number < 0.0 {
                    return None;
                }
                if !(number <= largest && number.fract() == 0.0) {
                    self.wrong(name, &value.to_string());
                    return None;
                }
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
                Some(number as u64)
            }
            _ => {
                // A list or a section may be long: only its kind is told.
                let found = match value {
                    Value::String(text) => text.as_str(),
                    Value::Array(_) => "a list",
                    _ => "a section",
                };
                self.wrong(name, found);
                None
            }
        }
    }
}
