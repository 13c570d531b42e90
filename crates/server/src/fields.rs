//! The fields of a JSON body, each looked at for itself: those that are wrong are told together, with 422, as the cluster
//! contract's routes do. Other routes answer 400 (`json_body`).

use std::ops::RangeInclusive;

use api::{ErrorType, InvalidField, Place};
use axum::extract::Request;
use gateway::ApiError;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::json_body;

/// No more mistakes are told at once.
const TOLD_MAX: usize = 20;

/// The fields of an object, and what is wrong with those that were looked at.
#[derive(Debug)]
pub(crate) struct Fields {
    place: Vec<Place>,
    given: Map<String, Value>,
    wrong: Vec<Wrong>,
}

/// What is said of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// Nothing, or something wrong.
    Nothing,
    /// That it is nothing.
    Null,
    /// This.
    Value(T),
}

#[derive(Debug)]
struct Wrong {
    field: InvalidField,
    /// The field's name, if it is one that there is.
    name: Option<&'static str>,
}

impl<T> Given<T> {
    /// The value, where null and nothing are the same.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing | Self::Null => None,
        }
    }

    /// Changes `old` if something is said.
    pub(crate) fn change(self, old: &mut Option<T>) {
        match self {
            Self::Nothing => {}
            Self::Null => *old = None,
            Self::Value(value) => *old = Some(value),
        }
    }
}

impl Fields {
    /// The fields of a request's body, which may be `known` ones only: a name that is mistyped could else make of a key
    /// for one model a key for all.
    ///
    /// # Errors
    /// 422 if it is no JSON object, 413 if it is too long.
    pub(crate) async fn read(request: Request, known: &[&'static str]) -> Result<Self, ApiError> {
        let body = || vec![Place::Name("body".to_owned())];
        let lone = |kind, message: String| {
            unprocessable(vec![Wrong { field: InvalidField { loc: body(), msg: message, kind }, name: None }])
        };
        match json_body::read_optional::<Value>(request).await {
            Ok(Some(Value::Object(given))) => Ok(Self::of(body(), given, known)),
            Ok(Some(_)) => Err(lone("object_type".to_owned(), "the request's body must be a JSON object".to_owned())),
            Ok(None) => Err(lone("missing".to_owned(), "the request's body is empty; send a JSON object".to_owned())),
            Err(error) if error.status == StatusCode::BAD_REQUEST => {
                let code = error.code;
                Err(ApiError { code, ..lone("json_invalid".to_owned(), error.message) })
            }
            Err(error) => Err(error),
        }
    }

    fn of(place: Vec<Place>, given: Map<String, Value>, known: &[&'static str]) -> Self {
        let mut fields = Self { place, given, wrong: vec![] };
        let unknown: Vec<String> = fields
            .given
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
            .map(|name| cut(name).to_owned())
            .collect();
        for name in unknown {
            let message = format!("`{name}` is no field of this; there are: {}", known.join(", "));
            fields.add(None, &[Place::Name(name)], "extra_forbidden", message);
        }
        fields
    }

    /// A text of so many characters, none of them a control character.
    pub(crate) fn text(&mut self, name: &'static str, characters: RangeInclusive<usize>) -> Given<String> {
        self.field(name, |value| {
            let text = value.as_str().ok_or_else(|| ("string_type", "must be a text".to_owned()))?;
            let (least, most) = (characters.start(), characters.end());
            match text.chars().count() {
                count if count < *least => {
                    Err(("string_too_short", format!("must have {least} to {most} characters, has {count}")))
                }
                count if count > *most => {
                    Err(("string_too_long", format!("must have {least} to {most} characters, has {count}")))
                }
                _ if text.chars().any(char::is_control) => {
                    Err(("string_pattern_mismatch", "must have no line break or other control character".to_owned()))
                }
                _ => Ok(text.to_owned()),
            }
        })
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Given<u64> {
        let (least, most) = (*range.start(), *range.end());
        self.field(name, |value| match value.as_u64() {
            Some(number) if range.contains(&number) => Ok(number),
            Some(number) if number > most => {
                Err(("less_than_equal", format!("must be {least} to {most}, is {number}")))
            }
            Some(number) => Err(("greater_than_equal", format!("must be {least} to {most}, is {number}"))),
            None if value.as_i64().is_some() => {
                Err(("greater_than_equal", format!("must be {least} to {most}, is {value}")))
            }
            None => Err(("int_type", format!("must be a whole number, {least} to {most}"))),
        })
    }

    /// A list of at most so many elements, each of which `read` takes or says what it must be.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        most: usize,
        read: impl Fn(&Value) -> Result<T, (&'static str, String)>,
    ) -> Given<Vec<T>> {
        let elements = self.field(name, |value| match value {
            Value::Array(elements) if elements.len() > most => {
                Err(("too_long", format!("must have {most} elements at most, has {}", elements.len())))
            }
            Value::Array(elements) => Ok(elements.clone()),
            _ => Err(("list_type", "must be a list".to_owned())),
        });
        let elements = match elements {
            Given::Value(elements) => elements,
            Given::Null => return Given::Null,
            Given::Nothing => return Given::Nothing,
        };
        let (mut list, before) = (Vec::with_capacity(elements.len()), self.wrong.len());
        for (at, element) in (0..).zip(&elements) {
            match read(element) {
                Ok(read) => list.push(read),
                Err((kind, must)) => {
                    let place = [Place::Name(name.to_owned()), Place::Number(at)];
                    self.add(Some(name), &place, kind, format!("`{name}[{at}]` {must}"));
                }
            }
        }
        if self.wrong.len() > before { Given::Nothing } else { Given::Value(list) }
    }

    /// An object of its own, to be looked at and given back to [`Self::close`].
    pub(crate) fn object(&mut self, name: &'static str, known: &[&'static str]) -> Given<Self> {
        let mut place = self.place.clone();
        place.push(Place::Name(name.to_owned()));
        self.field(name, |value| match value {
            Value::Object(given) => Ok(Self::of(place, given.clone(), known)),
            _ => Err(("object_type", "must be an object".to_owned())),
        })
    }

    /// An object that was looked at.
    pub(crate) fn close(&mut self, object: Self) {
        self.wrong.extend(object.wrong);
        self.wrong.truncate(TOLD_MAX);
    }

    /// A field that must be there is not.
    pub(crate) fn missing(&mut self, name: &'static str, message: impl Into<String>) {
        self.add(Some(name), &[Place::Name(name.to_owned())], "missing", message.into());
    }

    /// Whether something is wrong with this field.
    pub(crate) fn is_wrong(&self, name: &str) -> bool {
        self.wrong.iter().any(|wrong| wrong.name == Some(name))
    }

    /// All that was wrong.
    ///
    /// # Errors
    /// 422 if anything was.
    pub(crate) fn end(self) -> Result<(), ApiError> {
        if self.wrong.is_empty() { Ok(()) } else { Err(unprocessable(self.wrong)) }
    }

    fn field<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Result<T, (&'static str, String)>,
    ) -> Given<T> {
        let read = match self.given.get(name) {
            None => return Given::Nothing,
            Some(Value::Null) => return Given::Null,
            Some(value) => read(value),
        };
        match read {
            Ok(value) => Given::Value(value),
            Err((kind, must)) => {
                self.add(Some(name), &[Place::Name(name.to_owned())], kind, format!("`{name}` {must}"));
                Given::Nothing
            }
        }
    }

    fn add(&mut self, name: Option<&'static str>, place: &[Place], kind: &str, message: String) {
        if self.wrong.len() < TOLD_MAX {
            let loc = [&self.place[..], place].concat();
            self.wrong.push(Wrong { field: InvalidField { loc, msg: message, kind: kind.to_owned() }, name });
        }
    }
}

/// 422 for a part of the path.
pub(crate) fn wrong_in_path(name: &'static str, kind: &str, message: String) -> ApiError {
    let loc = ["path", name].map(|step| Place::Name(step.to_owned())).to_vec();
    unprocessable(vec![Wrong { field: InvalidField { loc, msg: message, kind: kind.to_owned() }, name: Some(name) }])
}

/// The error object says all of it in one text; `detail` has each by itself.
fn unprocessable(wrong: Vec<Wrong>) -> ApiError {
    let param = wrong.first().and_then(|wrong| wrong.name);
    let message: Vec<&str> = wrong.iter().map(|wrong| wrong.field.msg.as_str()).collect();
    let message = message.join("; ");
    let detail: Vec<&InvalidField> = wrong.iter().map(|wrong| &wrong.field).collect();
    let kind = ErrorType::InvalidRequestError;
    let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, kind, "invalid_request", message)
        .with_beside(json!({ "detail": detail }));
    ApiError { param: param.map(Into::into), ..error }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: Value, known: &[&'static str]) -> Fields {
        let Value::Object(given) = body else { panic!("{body}") };
        Fields::of(vec![Place::Name("body".to_owned())], given, known)
    }

    #[track_caller]
    fn check(fields: Fields, expected: &[(Value, &str, &str)]) {
        let detail = fields.end().err().map_or(json!([]), |error| {
            assert_eq!((error.status.as_u16(), error.code), (422, "invalid_request"));
            error.beside.unwrap()["detail"].clone()
        });
        let expected: Vec<Value> =
            expected.iter().map(|(loc, kind, msg)| json!({ "loc": loc, "type": kind, "msg": msg })).collect();
        assert_eq!(detail, Value::from(expected));
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let mut all = fields(
            json!({ "name": "", "size": 0, "tags": ["a", 1, "b"], "more": { "x": -1 }, "naem": 1 }),
            &["name", "size", "tags", "more", "kind"],
        );
        assert_eq!(all.text("name", 1..=3), Given::Nothing);
        assert_eq!(all.number("size", 1..=9), Given::Nothing);
        let text =
            |value: &Value| value.as_str().map(str::to_owned).ok_or(("string_type", "must be a text".to_owned()));
        assert_eq!(all.list("tags", 3, text), Given::Nothing);
        let mut more = all.object("more", &["x"]).value().unwrap();
        assert_eq!(more.number("x", 1..=9), Given::Nothing);
        all.close(more);
        all.missing("kind", "`kind` is missing");
        assert!(all.is_wrong("name") && !all.is_wrong("other"));
        check(
            all,
            &[
                (
                    json!(["body", "naem"]),
                    "extra_forbidden",
                    "`naem` is no field of this; there are: name, size, tags, more, kind",
                ),
                (json!(["body", "name"]), "string_too_short", "`name` must have 1 to 3 characters, has 0"),
                (json!(["body", "size"]), "greater_than_equal", "`size` must be 1 to 9, is 0"),
                (json!(["body", "tags", 1]), "string_type", "`tags[1]` must be a text"),
                (json!(["body", "more", "x"]), "greater_than_equal", "`x` must be 1 to 9, is -1"),
                (json!(["body", "kind"]), "missing", "`kind` is missing"),
            ],
        );
    }

    #[test]
    fn null_is_not_nothing() {
        let mut all = fields(json!({ "a": null, "b": "ü", "c": 9, "d": [] }), &["a", "b", "c", "d", "e"]);
        assert_eq!(all.text("a", 1..=1), Given::Null);
        assert_eq!(all.text("b", 1..=1), Given::Value("ü".to_owned()));
        assert_eq!(all.number("c", 1..=9), Given::Value(9));
        assert_eq!(all.list("d", 0, |_| Ok(())), Given::Value(vec![]));
        assert_eq!(all.number("e", 1..=9), Given::Nothing);
        let mut old = Some(1);
        Given::Nothing.change(&mut old);
        assert_eq!(old, Some(1));
        Given::Null.change(&mut old);
        assert_eq!(old, None);
        check(all, &[]);
    }

    #[test]
    fn not_more_is_told_than_anybody_reads() {
        let many: Vec<u32> = (0..1000).collect();
        let mut all = fields(json!({ "a": many, "b": "a\nb" }), &["a", "b"]);
        assert_eq!(all.list("a", 1000, |_| Err::<(), _>(("odd", "must not be".to_owned()))), Given::Nothing);
        assert_eq!(all.text("b", 1..=9), Given::Nothing);
        assert_eq!(all.end().unwrap_err().beside.unwrap()["detail"].as_array().unwrap().len(), TOLD_MAX);
    }
}
