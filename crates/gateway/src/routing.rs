//! What routing needs of a body: the value of `model` at its top level, and nothing else.
//!
//! No JSON tree is built; every other value is skipped. Whether a stream was asked for is the engine's affair: its
//! answer's content type says what came of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::ApiError;

/// The name of the model a request is for.
pub(crate) fn model_name(body: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Err(ApiError::bad_request("invalid_json", "the request's body is empty; send a JSON object"));
    }
    let top = serde_json::from_slice::<Top<'_>>(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        ApiError::bad_request("invalid_json", format!("the request's body is not valid JSON: {error}"))
            .with_details(serde_json::json!({ "line": line, "column": column }))
    })?;
    let wrong = |message: &str| Err(ApiError::bad_request("invalid_request", message).with_param("model"));
    match top {
        Top::NotAnObject => {
            Err(ApiError::bad_request("invalid_json", "the request's body is valid JSON but not an object"))
        }
        Top::Object(Model::Absent) => Err(ApiError::bad_request(
            "missing_model",
            "the request names no model: set `model` to an id that GET /v1/models lists",
        )
        .with_param("model")),
        Top::Object(Model::NotAString) => wrong("`model` must be a string"),
        Top::Object(Model::Twice) => wrong("`model` appears more than once"),
        Top::Object(Model::Name(name)) => Ok(name),
    }
}

enum Top<'a> {
    Object(Model<'a>),
    NotAnObject,
}

enum Model<'a> {
    Absent,
    Name(Cow<'a, str>),
    NotAString,
    Twice,
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

impl<'de> Deserialize<'de> for Model<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ModelVisitor)
    }
}

/// Accepts every value that is not of interest, so that only broken JSON is an error.
macro_rules! anything_else_is {
    ($other:expr, $life:lifetime) => {
        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($other)
        }
        fn visit_seq<A: SeqAccess<$life>>(self, seq: A) -> Result<Self::Value, A::Error> {
            IgnoredAny.visit_seq(seq).map(|_| $other)
        }
    };
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut model = Model::Absent;
        while let Some(Key { is_model }) = map.next_key()? {
            if !is_model {
                map.next_value::<IgnoredAny>()?;
            } else if matches!(model, Model::Absent) {
                model = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
                model = Model::Twice;
            }
        }
        Ok(Top::Object(model))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Top<'de>, E> {
        Ok(Top::NotAnObject)
    }

    anything_else_is!(Top::NotAnObject, 'de);
}

struct ModelVisitor;

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = Model<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Model<'de>, E> {
        Ok(Model::Name(Cow::Borrowed(name)))
    }

    /// A name with escapes in it.
    fn visit_str<E: Error>(self, name: &str) -> Result<Model<'de>, E> {
        Ok(Model::Name(Cow::Owned(name.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Model<'de>, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Model::NotAString)
    }

    anything_else_is!(Model::NotAString, 'de);
}

/// A key of the object. Compared after its escapes are resolved, as the engine will.
struct Key {
    is_model: bool,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                Ok(Key { is_model: key == "model" })
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(body: &str, expected: Result<&str, &str>) {
        let found = model_name(body.as_bytes());
        assert_eq!(found.as_deref().map_err(|error| error.code), expected, "{body}");
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
        check("{}", Err("missing_model"));
        check(r#"{"models":"m"}"#, Err("missing_model"));
        for value in ["1", "-1", "1.5", "null", "true", "[\"m\"]", "{\"id\":\"m\"}"] {
            check(&format!(r#"{{"model":{value}}}"#), Err("invalid_request"));
        }
        check(r#"{"model":"m","model":"m"}"#, Err("invalid_request"));
        check(r#"{"model":1,"model":"m"}"#, Err("invalid_request"));
    }

    #[test]
    fn an_error_names_the_place() {
        let error = model_name(b"{\"model\":\n  nope}").unwrap_err();
        assert_eq!(error.details.unwrap()["line"], 2);
        assert!(error.message.contains("line 2"), "{}", error.message);
    }

    #[test]
    fn deep_nesting_is_skipped_without_recursion() {
        let deep = format!(r#"{{"x":{}{},"model":"m"}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check(&deep, Ok("m"));
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name: String, before: String) {
            let body = serde_json::json!({ "a": before, "model": name, "z": [1, { "model": 2 }] }).to_string();
            let found = model_name(body.as_bytes()).unwrap();
            prop_assert_eq!(found.as_ref(), name.as_str());
        }

        #[test]
        fn any_bytes_are_survived(body: Vec<u8>) {
            let _ = model_name(&body);
        }
    }
}
