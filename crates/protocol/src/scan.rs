//! What is to be known of a body: the names and the places of the fields at its top level.
//!
//! No JSON tree is built; values are skipped and remembered as spans. Whether a stream was asked for is the engine's
//! affair: its answer's content type says what came of it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Fields that an object may have at its top level: far more than any API knows.
const FIELDS_MAX: usize = 1024;

/// The top level of a body that is a JSON object.
#[derive(Debug)]
pub struct Scan<'a> {
    /// Where the object begins: just after its brace.
    pub inside: usize,
    fields: Vec<Field<'a>>,
}

/// One field.
#[derive(Debug)]
pub struct Field<'a> {
    /// Its name, escapes resolved.
    pub name: Cow<'a, str>,
    /// Its value, as it is written.
    pub value: &'a str,
    /// Where that lies in the body.
    pub at: Range<usize>,
}

impl<'a> Scan<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no JSON object, or one with more fields than anybody means.
    pub fn of(body: &'a [u8]) -> Result<Self, ScanError> {
        if body.trim_ascii().is_empty() {
            return Err(ScanError::Empty);
        }
        let top = serde_json::from_slice::<Top<'a>>(body).map_err(ScanError::Syntax)?;
        let fields = match top {
            Top::NotAnObject => return Err(ScanError::NotAnObject),
            Top::TooMany => return Err(ScanError::TooManyFields),
            Top::Object(fields) => fields,
        };
        let start = body.as_ptr().addr();
        let place = |(name, value): (Key<'a>, &'a RawValue)| {
            // The value was borrowed from the body, so the difference is its place in there.
            let from = value.get().as_ptr().addr().wrapping_sub(start);
            Field { name: name.0, value: value.get(), at: from..from + value.get().len() }
        };
        let inside = body.iter().position(|&byte| byte == b'{').map_or(0, |brace| brace + 1);
        Ok(Self { inside, fields: fields.into_iter().map(place).collect() })
    }

    /// The last field with this name: that is the one which engines read.
    pub fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().rfind(|field| field.name == name)
    }

    /// Whether the object has any field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The name of the model that a request is for; `None` where it names none.
    ///
    /// # Errors
    /// `model` is no text, or is there more than once.
    pub fn model(&self) -> Result<Option<Cow<'a, str>>, ScanError> {
        let mut named = self.fields.iter().filter(|field| field.name == "model");
        match (named.next(), named.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(ScanError::ModelTwice),
            (Some(field), None) => match serde_json::from_str::<Text<'a>>(field.value) {
                Ok(Text(name)) => Ok(Some(name)),
                Err(_) => Err(ScanError::ModelNoText),
            },
        }
    }
}

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// There is nothing.
    #[error("the request's body is empty; send a JSON object")]
    Empty,
    /// It is no JSON.
    #[error("the request's body is not valid JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// It is JSON, and no object.
    #[error("the request's body is valid JSON but not an object")]
    NotAnObject,
    /// It has more fields than any API knows.
    #[error("the request has more than {FIELDS_MAX} fields")]
    TooManyFields,
    /// `model` is there more than once.
    #[error("`model` appears more than once")]
    ModelTwice,
    /// `model` is no text.
    #[error("`model` must be a string")]
    ModelNoText,
}

enum Top<'a> {
    Object(Vec<(Key<'a>, &'a RawValue)>),
    TooMany,
    NotAnObject,
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

/// Accepts every value that is no object, so that only broken JSON is an error.
impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut fields = Vec::with_capacity(8);
        while let Some(key) = map.next_key()? {
            if fields.len() == FIELDS_MAX {
                map.next_value::<IgnoredAny>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Top::TooMany);
            }
            fields.push((key, map.next_value()?));
        }
        Ok(Top::Object(fields))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Top<'de>, E> {
        Ok(Top::NotAnObject)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Top<'de>, E> {
        Ok(Top::NotAnObject)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Top<'de>, E> {
        Ok(Top::NotAnObject)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Top<'de>, E> {
        Ok(Top::NotAnObject)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Top<'de>, E> {
        Ok(Top::NotAnObject)
    }

    fn visit_unit<E: Error>(self) -> Result<Top<'de>, E> {
        Ok(Top::NotAnObject)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Top<'de>, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Top::NotAnObject)
    }
}

/// A key of the object. Compared after its escapes are resolved, as the engine will.
struct Key<'a>(Cow<'a, str>);

/// A string, borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CowVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CowVisitor).map(Self)
    }
}

struct CowVisitor;

impl<'de> Visitor<'de> for CowVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    /// One with escapes in it.
    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(body: &[u8]) -> Result<Option<Cow<'_, str>>, ScanError> {
        Scan::of(body)?.model()
    }

    fn word(error: &ScanError) -> &'static str {
        match error {
            ScanError::Empty | ScanError::Syntax(_) | ScanError::NotAnObject => "invalid_json",
            ScanError::TooManyFields | ScanError::ModelTwice | ScanError::ModelNoText => "invalid_request",
        }
    }

    fn check(body: &str, expected: Result<&str, &str>) {
        let found = named(body.as_bytes());
        let found = found.as_ref().map(|name| name.as_deref().unwrap_or("none")).map_err(word);
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn finds_the_model_wherever_it_stands() {
        check(r#"{"model":"m"}"#, Ok("m"));
        check(" {\n\"messages\":[{\"model\":\"inner\"}],\"x\":{\"model\":1},\"model\":\"a/b:Q4\"} ", Ok("a/b:Q4"));
        check(r#"{"mod\u0065l":"caf\u00e9"}"#, Ok("café"));
        check(r#"{"model":""}"#, Ok(""));
        check(r#"{"stream":"nonsense","model":"m","n":1e999}"#, Ok("m"));
    }

    #[test]
    fn says_what_is_wrong() {
        for body in ["", " \n", "nonsense", "[1]", "\"model\"", "null", "7", "1.5", "true", "-1"] {
            check(body, Err("invalid_json"));
        }
        for body in ["{", r#"{"model":"m""#, r#"{"model":"m"} x"#, r#"{"model":"m",}"#, "{'model':'m'}"] {
            check(body, Err("invalid_json"));
        }
        check("{}", Ok("none"));
        check(r#"{"models":"m"}"#, Ok("none"));
        for value in ["1", "-1", "1.5", "null", "true", "[\"m\"]", "{\"id\":\"m\"}"] {
            check(&format!(r#"{{"model":{value}}}"#), Err("invalid_request"));
        }
        check(r#"{"model":"m","model":"m"}"#, Err("invalid_request"));
        check(r#"{"model":1,"model":"m"}"#, Err("invalid_request"));
    }

    #[test]
    fn an_error_names_the_place() {
        let error = named(b"{\"model\":\n  nope}").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn deep_nesting_is_skipped_without_recursion() {
        let deep = format!(r#"{{"x":{}{},"model":"m"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check(&deep, Ok("m"));
    }

    #[test]
    fn fields_are_where_they_are() {
        let body = br#" { "model" : "m","messages":[ 1 ], "a\u0062":{"x":[]} ,"n":1e3,"n":2} "#;
        let scan = Scan::of(body).unwrap();
        for (name, value) in [("model", "\"m\""), ("messages", "[ 1 ]"), ("ab", r#"{"x":[]}"#), ("n", "2")] {
            let field = scan.field(name).unwrap();
            assert_eq!((field.value, &body[field.at.clone()]), (value, value.as_bytes()));
        }
        assert_eq!(body[scan.inside - 1], b'{');
        assert!(scan.field("x").is_none());
        assert!(Scan::of(b"{}").unwrap().is_empty());
    }

    #[test]
    fn fields_are_bounded() {
        let body = format!("{{{}\"model\":\"m\"}}", "\"a\":1,".repeat(FIELDS_MAX));
        check(&body, Err("invalid_request"));
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name: String, before: String) {
            let body = serde_json::json!({ "a": before, "model": name, "z": [1, { "model": 2 }] }).to_string();
            let found = named(body.as_bytes()).unwrap();
            prop_assert_eq!(found.as_deref(), Some(name.as_str()));
        }

        #[test]
        fn any_bytes_are_survived(body: Vec<u8>) {
            let _ = named(&body);
        }
    }
}
