//! Reading the fields of an object and noting what is wrong with them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use types::ByteCount;

use super::{MOST_TOKENS, Problems, one_of};

/// Longest text that is repeated in a reason, in characters.
const LONGEST_SHOWN: usize = 60;

/// An object, where it lies, and what is wrong so far.
pub(super) struct Fields<'a, 'p> {
    object: &'a Map<String, Value>,
    /// With a dot at the end, or empty.
    path: String,
    problems: &'p mut Problems,
}

impl<'a, 'p> Fields<'a, 'p> {
    pub(super) fn new(object: &'a Map<String, Value>, problems: &'p mut Problems) -> Self {
        Self { object, path: String::new(), problems }
    }

    /// Whether the field is there.
    pub(super) fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    /// The field as it was written.
    pub(super) fn value(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// Notes what is wrong with a field.
    pub(super) fn bad(&mut self, field: &str, reason: impl Into<String>) {
        self.problems.push(format!("{}{field}", self.path), reason);
    }

    /// Notes what a field must be and is.
    pub(super) fn must_be(&mut self, field: &str, what: &str, value: &Value) {
        self.bad(field, format!("must be {what}, is {}", shown(value)));
    }

    /// A text that a rule allows.
    pub(super) fn text(&mut self, field: &str, rule: fn(&str) -> Result<(), String>) -> Option<&'a str> {
        let value = self.value(field)?;
        let Value::String(text) = value else {
            self.must_be(field, "text", value);
            return None;
        };
        match rule(text) {
            Ok(()) => Some(text),
            Err(reason) => {
                self.bad(field, reason);
                None
            }
        }
    }

    /// A text of which nothing is ever repeated. An empty one is none.
    pub(super) fn secret(&mut self, field: &str) -> Option<String> {
        match self.value(field)? {
            Value::String(text) if text.chars().any(char::is_control) => {
                self.bad(field, "must not hold control characters");
                None
            }
            Value::String(text) => (!text.is_empty()).then(|| text.clone()),
            _ => {
                self.bad(field, "must be text");
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, field: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(field)?;
        let meant = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if meant.is_none() {
            self.must_be(field, &one_of(words), value);
        }
        meant.map(|(_, meant)| *meant)
    }

    /// Whether something is so.
    pub(super) fn flag(&mut self, field: &str) -> Option<bool> {
        let value = self.value(field)?;
        if !value.is_boolean() {
            self.must_be(field, "true or false", value);
        }
        value.as_bool()
    }

    /// Whether something is so, in a word or plainly.
    pub(super) fn flag_or_word(&mut self, field: &str, words: &[(&str, Option<bool>)]) -> Option<bool> {
        match self.value(field)? {
            Value::Bool(flag) => Some(*flag),
            value => {
                let meant = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
                if meant.is_none() {
                    self.must_be(field, &format!("true, false or {}", one_of(words)), value);
                }
                meant.and_then(|(_, meant)| *meant)
            }
        }
    }

    /// A whole number in a range, which `range_in_words` names.
    pub(super) fn whole(&mut self, field: &str, range: RangeInclusive<u64>, range_in_words: &str) -> Option<u64> {
        let value = self.value(field)?;
        let number = whole(value).filter(|number| range.contains(number));
        if number.is_none() {
            self.must_be(field, &format!("a whole number {range_in_words}"), value);
        }
        number
    }

    /// A number of tokens.
    pub(super) fn tokens(&mut self, field: &str) -> Option<u64> {
        self.whole(field, 1..=MOST_TOKENS, "of tokens from 1 to 2147483647")
    }

    /// A number of 0 or above, which is `what`.
    pub(super) fn number(&mut self, field: &str, what: &str) -> Option<f64> {
        self.number_if(field, what, |number| number >= 0.0)
    }

    /// A size of 0 or above.
    pub(super) fn mib_from_zero(&mut self, field: &str) -> Option<ByteCount> {
        self.number(field, "a number of MiB, 0 or above").map(ByteCount::from_mib_f64)
    }

    /// A size above 0.
    pub(super) fn mib_above_zero(&mut self, field: &str) -> Option<ByteCount> {
        self.number_if(field, "a number of MiB above 0", |number| number > 0.0).map(ByteCount::from_mib_f64)
    }

    fn number_if(&mut self, field: &str, what: &str, is_sound: fn(f64) -> bool) -> Option<f64> {
        let value = self.value(field)?;
        let number = value.as_f64().filter(|number| number.is_finite() && is_sound(*number));
        if number.is_none() {
            self.must_be(field, what, value);
        }
        number
    }

    /// `7B`, or how many.
    pub(super) fn text_or_number(&mut self, field: &str) {
        if let Some(value) = self.value(field)
            && !value.is_string()
            && !value.as_f64().is_some_and(|number| number >= 0.0)
        {
            self.must_be(field, "text such as \"7B\" or a number of 0 or above", value);
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, field: &str) {
        if let Some(value) = self.value(field)
            && !value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
        {
            self.must_be(field, "a list of texts", value);
        }
    }

    /// An object's fields.
    pub(super) fn object(&mut self, field: &str) -> Option<Fields<'a, '_>> {
        let value = self.value(field)?;
        self.object_at(field, value)
    }

    /// The objects of a list, each read by `read`; empty if there is none.
    pub(super) fn list<T>(
        &mut self,
        field: &str,
        mut read: impl FnMut(&mut Fields<'a, '_>) -> Option<T>,
    ) -> Vec<Option<T>> {
        let Some(value) = self.value(field) else { return Vec::new() };
        let Value::Array(list) = value else {
            self.must_be(field, "a list of objects", value);
            return Vec::new();
        };
        let item =
            |(index, value)| self.object_at(&format!("{field}[{index}]"), value).and_then(|mut item| read(&mut item));
        list.iter().enumerate().map(item).collect()
    }

    fn object_at(&mut self, field: &str, value: &'a Value) -> Option<Fields<'a, '_>> {
        let Value::Object(object) = value else {
            self.must_be(field, "an object", value);
            return None;
        };
        Some(Fields { object, path: format!("{}{field}.", self.path), problems: &mut *self.problems })
    }
}

/// A whole number, also where it was written as `50.0`.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let exact = |number: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole, not negative and small enough to be exact"
        )]
        (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
    };
    value.as_u64().or_else(|| value.as_f64().and_then(exact))
}

/// A value as a reason repeats it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() > LONGEST_SHOWN => "a long text".to_owned(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
