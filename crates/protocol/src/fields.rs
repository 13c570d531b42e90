//! JSON objects whose values stay as they were written.
//!
//! What a conversion does not look into is not read into a tree: an image of many megabytes passes as one slice, the
//! properties of a schema keep their order, a number its digits. Nesting costs no stack.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::Refused;

/// The fields of an object, in their order. Of fields with the same name the last one counts, as with most readers.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The fields of a request's body.
    pub(crate) fn of_body(body: &'a [u8]) -> Result<Self, Refused> {
        serde_json::from_slice(body)
            .map_err(|error| refused(None, format!("the request's body is not a JSON object: {error}")))
    }

    /// The fields of the value `at` a place in the request.
    pub(crate) fn of(value: &'a RawValue, at: &str) -> Result<Self, Refused> {
        serde_json::from_str(value.get()).map_err(|_| refused(at, format!("`{at}` must be an object")))
    }

    /// A field's value, unless it is `null`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().rfind(|(field, _)| field == name)?;
        (value.get() != "null").then_some(value)
    }

    /// Takes a field out; its value, unless it is `null`.
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let value = self.get(name);
        self.0.retain(|(field, _)| field != name);
        value
    }

    /// A field that is text, if it is there.
    pub(crate) fn text(&self, at: &str, name: &str) -> Result<Option<Cow<'a, str>>, Refused> {
        self.get(name).map(|value| text(value, &inside(at, name))).transpose()
    }

    /// A field that must be there and is text.
    pub(crate) fn needed_text(&self, at: &str, name: &str) -> Result<Cow<'a, str>, Refused> {
        self.text(at, name)?.ok_or_else(|| {
            let at = inside(at, name);
            refused(at.as_str(), format!("`{at}` is missing: it must be a string"))
        })
    }

    /// A field that is text, if it is there, as it was written.
    pub(crate) fn raw_text(&self, at: &str, name: &str) -> Result<Option<&'a RawValue>, Refused> {
        let value = self.get(name);
        if value.is_some_and(|value| !value.get().starts_with('"')) {
            let at = inside(at, name);
            return Err(refused(at.as_str(), format!("`{at}` must be a string")));
        }
        Ok(value)
    }

    /// A field that is `true` or `false`, if it is there.
    pub(crate) fn flag(&self, at: &str, name: &str) -> Result<Option<bool>, Refused> {
        match self.get(name).map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => {
                let at = inside(at, name);
                Err(refused(at.as_str(), format!("`{at}` must be true or false")))
            }
        }
    }

    /// The values of a list at a field, each with its place; none if the field is not there.
    pub(crate) fn list(&self, at: &str, name: &str) -> Result<Vec<(String, &'a RawValue)>, Refused> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        list(value, &inside(at, name))
    }
}

/// The place of a field in what stands at `at`, which is empty for the body itself.
pub(crate) fn inside(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// The values of the list `at` a place, each with its own place.
pub(crate) fn list<'a>(value: &'a RawValue, at: &str) -> Result<Vec<(String, &'a RawValue)>, Refused> {
    let values: Vec<&RawValue> =
        serde_json::from_str(value.get()).map_err(|_| refused(at, format!("`{at}` must be a list")))?;
    Ok(values.into_iter().enumerate().map(|(index, value)| (format!("{at}[{index}]"), value)).collect())
}

/// The text `at` a place.
pub(crate) fn text<'a>(value: &'a RawValue, at: &str) -> Result<Cow<'a, str>, Refused> {
    let Text(text) = serde_json::from_str(value.get()).map_err(|_| refused(at, format!("`{at}` must be a string")))?;
    Ok(text)
}

/// Whether a value is a list.
pub(crate) fn is_list(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

/// A refusal of what stands at a place.
pub(crate) fn refused<'p>(param: impl Into<Option<&'p str>>, message: impl Into<String>) -> Refused {
    Refused { param: param.into().map(str::to_owned), message: message.into() }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Text that is borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_as_they_are() {
        let body = r#"{"z":{"b":1,"a":1.50},"n":null,"a":[1e999,"\u00e9"],"z":2}"#;
        let mut fields = Fields::of_body(body.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&fields).unwrap(), body);
        assert_eq!(fields.get("z").unwrap().get(), "2");
        assert!(fields.get("n").is_none());
        assert_eq!(fields.take("z").unwrap().get(), "2");
        assert!(fields.take("z").is_none());
        assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"n":null,"a":[1e999,"\u00e9"]}"#);
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = format!(r#"{{"x":{}{},"model":"m"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Fields::of_body(deep.as_bytes()).unwrap().get("model").unwrap().get(), "\"m\"");
    }

    #[test]
    fn a_refusal_names_the_place() {
        let fields = Fields::of_body(br#"{"a":1,"b":"x","l":[{}]}"#).unwrap();
        let error = fields.text("input[2]", "a").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("input[2].a"));
        assert_eq!(error.message, "`input[2].a` must be a string");
        assert_eq!(fields.needed_text("", "c").unwrap_err().param.as_deref(), Some("c"));
        assert_eq!(fields.flag("", "b").unwrap_err().message, "`b` must be true or false");
        assert_eq!(fields.list("", "l").unwrap()[0].0, "l[0]");
        assert!(fields.list("", "b").is_err());
        for body in ["", "[]", "{", "7", "\u{feff}{}"] {
            assert!(Fields::of_body(body.as_bytes()).is_err(), "{body}");
        }
    }
}
