//! Fields of a request, taken out of it one by one; what is not what it should be is refused by its path.
//!
//! They are kept as they were written until somebody takes them: schemas of tools and answers go along in their own order,
//! which engines keep to when they generate.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Refused;

/// An object of a request, and where it stands there.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    map: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// A whole request.
    pub(super) fn of_body(body: &'a [u8]) -> Result<Self, Refused> {
        let map = serde_json::from_slice(body).map_err(|error| Refused {
            param: None,
            message: format!("the request's body is not the JSON object that it should be: {error}"),
        })?;
        Ok(Self { path: String::new(), map })
    }

    /// One of a list's items.
    fn of_item(path: String, item: &'a RawValue) -> Result<Self, Refused> {
        match serde_json::from_str(item.get()) {
            Ok(map) => Ok(Self { path, map }),
            Err(_) => Err(refused(path, "must be an object")),
        }
    }

    /// The field as it was written; `None` if it is not there, or `null`.
    pub(super) fn raw(&mut self, key: &str) -> Option<&'a RawValue> {
        self.map.remove(key).filter(|value| value.get() != "null")
    }

    /// Its value.
    pub(super) fn take(&mut self, key: &str) -> Result<Option<Value>, Refused> {
        self.read(key, "is nested too deep")
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Refused> {
        self.read(key, "must be text")
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Refused> {
        self.read(key, "must be true or false")
    }

    pub(super) fn count(&mut self, key: &str) -> Result<Option<u64>, Refused> {
        self.read(key, "must be a whole number, not negative")
    }

    fn read<T: DeserializeOwned>(&mut self, key: &str, rule: &str) -> Result<Option<T>, Refused> {
        let read = |raw: &RawValue| serde_json::from_str(raw.get()).map_err(|_| self.wrong(key, rule));
        self.map.get(key).filter(|value| value.get() != "null").map(|raw| read(raw)).transpose().inspect(|_| {
            self.map.remove(key);
        })
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Vec<&'a RawValue>, Refused> {
        let Some(raw) = self.raw(key) else { return Ok(Vec::new()) };
        serde_json::from_str(raw.get()).map_err(|_| self.wrong(key, "must be a list"))
    }

    /// A list of objects.
    pub(super) fn objects(&mut self, key: &str) -> Result<Vec<Self>, Refused> {
        let items = self.list(key)?;
        let path = self.path_of(key);
        items.into_iter().enumerate().map(|(index, item)| Self::of_item(format!("{path}[{index}]"), item)).collect()
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Self>, Refused> {
        self.raw(key).map(|value| Self::of_item(self.path_of(key), value)).transpose()
    }

    /// What nobody has taken yet.
    pub(super) fn rest(self) -> BTreeMap<String, &'a RawValue> {
        self.map
    }

    /// The path of one of its fields.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn wrong(&self, key: &str, rule: &str) -> Refused {
        refused(self.path_of(key), rule)
    }
}

/// The field at `path` does not keep to `rule`.
pub(super) fn refused(path: String, rule: &str) -> Refused {
    Refused { message: format!("`{path}` {rule}"), param: Some(path) }
}
