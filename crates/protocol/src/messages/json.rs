//! Foreign JSON: read with as little copying as can be, and complaints that name the place.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Refused;

/// A text that stays where it was read, unless it was written with escapes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a request, or a part of one.
pub(super) fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Refused> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // A place that has no name, as where JSON itself is at fault, is a question mark.
        let known = path.split('?').next().unwrap_or_default().trim_matches('.');
        let param = (!known.is_empty()).then(|| known.to_owned());
        Refused { param, message: error.into_inner().to_string() }
    })?;
    deserializer.end().map_err(|error| Refused { param: None, message: error.to_string() })?;
    Ok(value)
}

/// Reads a part of a request that was left as it is until its kind was known.
pub(super) fn read_part<'a, T: Deserialize<'a>>(field: &str, part: Option<&'a RawValue>) -> Result<T, Refused> {
    let Some(part) = part else { return Err(missing(field)) };
    read(part.get().as_bytes()).map_err(|refused| within(refused, field))
}

/// The text of a field that must be there.
pub(super) fn required<'t, T>(field: &str, value: Option<&'t T>) -> Result<&'t T, Refused> {
    value.ok_or_else(|| missing(field))
}

pub(super) fn missing(field: &str) -> Refused {
    refuse(field, format!("{field} is missing"))
}

pub(super) fn refuse(field: &str, message: impl Into<String>) -> Refused {
    Refused { param: Some(field.to_owned()), message: message.into() }
}

/// The refusal as it reads one level up.
pub(super) fn within(refused: Refused, outer: &str) -> Refused {
    let param = match refused.param {
        Some(inner) if inner.starts_with('[') => format!("{outer}{inner}"),
        Some(inner) => format!("{outer}.{inner}"),
        None => outer.to_owned(),
    };
    Refused { param: Some(param), message: refused.message }
}

/// What `convert` makes of each item; a refusal says which item of `field` it is about.
pub(super) fn each<'i, I, O>(
    field: &str,
    items: &'i [I],
    mut convert: impl FnMut(&'i I) -> Result<O, Refused>,
) -> Result<Vec<O>, Refused> {
    let numbered = items.iter().enumerate();
    numbered
        .map(|(index, item)| convert(item).map_err(|refused| within(refused, &format!("{field}[{index}]"))))
        .collect()
}

/// A tool's arguments as an object, which the Messages API wants: as they are if they are one, else wrapped in one.
pub(super) fn object(arguments: &str) -> Box<RawValue> {
    let arguments = arguments.trim_ascii();
    let raw = |text: String| RawValue::from_string(text);
    let whole = if arguments.is_empty() { "{}" } else { arguments };
    if let Ok(value) = raw(whole.to_owned()) {
        if whole.starts_with('{') {
            return value;
        }
        if let Ok(value) = raw(format!(r#"{{"arguments":{whole}}}"#)) {
            return value;
        }
    }
    let wrapped = serde_json::json!({ "arguments": arguments }).to_string();
    raw(wrapped).expect("an object with a text is JSON")
}
