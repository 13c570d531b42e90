//! What of a config may not be shown, and what is shown in its place.
//!
//! A secret is known by its field's name: `api_key` and whatever sounds like it, and everything below `headers`. An
//! address may hold secrets in its query (signed downloads) or before its host. Too much is masked rather than too
//! little: what was shown and comes back unchanged stands for what is there.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Problems, text};

/// How a mask begins. No key does.
const MASK: &str = "***";

/// Keys of at least so many characters show their last four, by which people tell keys apart.
const LONG_ENOUGH: usize = 20;

/// The object with masks in place of its secrets.
pub(super) fn masked(object: &Map<String, Value>) -> Map<String, Value> {
    masked_object(object, false)
}

/// Puts what `written` holds back in place of the masks that were shown for it.
pub(super) fn unmask(patch: &mut Map<String, Value>, written: &Map<String, Value>) {
    unmask_object(patch, written, &masked(written));
}

/// Notes every mask that stands for nothing.
pub(super) fn refuse_masks(object: &Map<String, Value>, problems: &mut Problems) {
    find_masks(object, false, "", problems);
}

fn masked_object(object: &Map<String, Value>, below_secret: bool) -> Map<String, Value> {
    let field = |(name, value): (&String, &Value)| (name.clone(), masked_value(name, value, below_secret));
    object.iter().map(field).collect()
}

fn masked_value(name: &str, value: &Value, below_secret: bool) -> Value {
    let is_secret = below_secret || is_secret(name);
    match value {
        Value::Object(object) => Value::Object(masked_object(object, is_secret)),
        Value::Array(list) => Value::Array(list.iter().map(|item| masked_value(name, item, is_secret)).collect()),
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) if is_secret => Value::String(MASK.to_owned()),
        Value::Number(_) => value.clone(),
        Value::String(text) if is_secret => Value::String(mask(name, text)),
        Value::String(text) => Value::String(masked_address(text).into_owned()),
    }
}

/// `***wxyz` for a long API key, else `***`; nothing for nothing.
fn mask(name: &str, text: &str) -> String {
    let characters = text.chars().count();
    if text.is_empty() {
        String::new()
    } else if name == "api_key" && characters >= LONG_ENOUGH {
        let last: String = text.chars().skip(characters - 4).collect();
        format!("{MASK}{last}")
    } else {
        MASK.to_owned()
    }
}

/// Whether what a field of this name holds is to be hidden.
fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "apikey",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "credential",
        "authorization",
        "bearer",
        "cookie",
        "signature",
        "privatekey",
        "accesskey",
    ];
    const ENDS: [&str; 4] = ["token", "headers", "header", "key"];
    const WHOLE: [&str; 4] = ["auth", "pwd", "sig", "jwt"];
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    PARTS.iter().any(|part| name.contains(part))
        || ENDS.iter().any(|end| name.ends_with(end))
        || WHOLE.contains(&name.as_str())
}

/// A web address without what stands before its host and without secret values in its query; other texts as they are.
fn masked_address(address: &str) -> Cow<'_, str> {
    let Some(authority) = text::authority(address) else { return Cow::Borrowed(address) };
    let has_user = authority.contains('@');
    let (before, query) = address.split_once('?').unwrap_or((address, ""));
    let is_hidden = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| is_secret(name));
    if !has_user && !query.split('&').any(|pair| is_hidden(&pair)) {
        return Cow::Borrowed(address);
    }
    let mut shown = before.to_owned();
    if let (true, Some((scheme, rest))) = (has_user, before.split_once("://")) {
        let end = rest.split(['/', '#']).next().unwrap_or_default().rfind('@').map_or(0, |at| at + 1);
        shown = format!("{scheme}://{MASK}@{}", &rest[end..]);
    }
    for (index, pair) in query.split('&').enumerate().filter(|_| address.contains('?')) {
        shown.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => shown.extend([name, "=", MASK]),
            _ => shown.push_str(pair),
        }
    }
    Cow::Owned(shown)
}

fn unmask_object(patch: &mut Map<String, Value>, written: &Map<String, Value>, shown: &Map<String, Value>) {
    for (name, value) in patch {
        if let (Some(written), Some(shown)) = (written.get(name), shown.get(name)) {
            unmask_value(value, written, shown);
        }
    }
}

fn unmask_value(patch: &mut Value, written: &Value, shown: &Value) {
    match (&mut *patch, written, shown) {
        (Value::Object(patch), Value::Object(written), Value::Object(shown)) => unmask_object(patch, written, shown),
        (Value::Array(patch), Value::Array(written), Value::Array(shown)) => {
            for (index, value) in patch.iter_mut().enumerate() {
                let at = counterpart(value, index, shown);
                if let (Some(written), Some(shown)) = (written.get(at), shown.get(at)) {
                    unmask_value(value, written, shown);
                }
            }
        }
        (patch, written, shown) if shown != written && patch == shown => *patch = written.clone(),
        _ => {}
    }
}

/// Which item of a list is meant: the one in the same place, or where that has another name the one with the same name.
fn counterpart(item: &Value, index: usize, shown: &[Value]) -> usize {
    let named = ["quantization", "filename", "name"].into_iter().find(|field| item.get(field).is_some());
    let Some(field) = named else { return index };
    let is_same = |other: &Value| other.get(field) == item.get(field);
    if shown.get(index).is_some_and(is_same) { index } else { shown.iter().position(is_same).unwrap_or(usize::MAX) }
}

fn find_masks(object: &Map<String, Value>, below_secret: bool, path: &str, problems: &mut Problems) {
    for (name, value) in object {
        find_masks_in(value, below_secret || is_secret(name), &format!("{path}{name}"), problems);
    }
}

fn find_masks_in(value: &Value, is_secret: bool, path: &str, problems: &mut Problems) {
    match value {
        Value::Object(object) => find_masks(object, is_secret, &format!("{path}."), problems),
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                find_masks_in(item, is_secret, &format!("{path}[{index}]"), problems);
            }
        }
        Value::String(text) if is_secret && text.starts_with(MASK) => {
            problems.push(path, "holds a mask that stands for no value here: write the value itself, or leave it out");
        }
        Value::String(text) if text.contains(MASK) && text::authority(text).is_some() => {
            problems.push(path, "holds a mask that stands for no value here: write the whole address");
        }
        _ => {}
    }
}
