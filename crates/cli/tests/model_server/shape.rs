//! How a body is compared with the document: field by field, more fields allowed.
//!
//! A shape is JSON. Where it holds a word in angle brackets, the value only has to be of that kind; everything else has to be
//! equal.
//!
//! | word | means |
//! |---|---|
//! | `<any>` | the field is there |
//! | `<bool>`, `<integer>`, `<number>`, `<string>`, `<object>`, `<list>` | of this type; integers are whole numbers not below 0 |
//! | `<text>` | a string that says something |
//! | `<time>` | a moment as `2025-01-15T10:30:00Z` |
//! | `<a\|b>` | one of these strings |
//! | `<~words>` | a string in which `words` occurs |
//! | `…?` behind any of these | or null |
//! | `["<each>", S]` | a list of one or more, each an S |
//! | `["<any>", S]` | a list, each an S |
//! | `["<some>", S, T]` | a list in which an S and a T occur |
//! | key `"field?"` | the field may be missing |
//! | value `<absent>` | the field must be missing |

use serde_json::{Map, Value};

/// The states that a model may be shown in.
pub(crate) const STATES: &str = "<Unloaded|Downloading|Ready|Loaded|Unloading>";

/// Where `found` is not what `shape` says, a line for each place.
pub(crate) fn differences(shape: &Value, found: &Value) -> Vec<String> {
    let mut lines = vec![];
    compare("$", shape, found, &mut lines);
    lines
}

fn compare(at: &str, shape: &Value, found: &Value, lines: &mut Vec<String>) {
    match (shape, found) {
        (Value::Object(fields), Value::Object(found)) => compare_fields(at, fields, found, lines),
        (Value::Array(shapes), Value::Array(found)) => compare_list(at, shapes, found, lines),
        (Value::String(text), _) => match Kind::read(text) {
            Some(kind) if kind.holds(found) => {}
            Some(_) => lines.push(format!("{at} is {}, should be {text}", short(found))),
            None if found == shape => {}
            None => lines.push(format!("{at} is {}, should be {shape}", short(found))),
        },
        (Value::Number(expected), Value::Number(number)) if expected.as_f64() == number.as_f64() => {}
        _ if shape == found => {}
        _ => lines.push(format!("{at} is {}, should be {}", short(found), short(shape))),
    }
}

fn compare_fields(at: &str, shape: &Map<String, Value>, found: &Map<String, Value>, lines: &mut Vec<String>) {
    for (name, shape) in shape {
        let (name, may_miss) = name.strip_suffix('?').map_or((name.as_str(), false), |name| (name, true));
        let at = format!("{at}.{name}");
        match (found.get(name), shape.as_str() == Some("<absent>")) {
            (None, true) => {}
            (Some(found), true) => lines.push(format!("{at} is {}, should not be there", short(found))),
            (Some(found), false) => compare(&at, shape, found, lines),
            (None, false) if may_miss => {}
            (None, false) => lines.push(format!("{at} is missing, should be {}", short(shape))),
        }
    }
}

fn compare_list(at: &str, shapes: &[Value], found: &[Value], lines: &mut Vec<String>) {
    match shapes {
        [Value::String(word), shape] if word == "<each>" || word == "<any>" => {
            if found.is_empty() && word == "<each>" {
                lines.push(format!("{at} is empty, should hold {}", short(shape)));
            }
            for (index, found) in found.iter().enumerate() {
                compare(&format!("{at}[{index}]"), shape, found, lines);
            }
        }
        [Value::String(word), shapes @ ..] if word == "<some>" => {
            for shape in shapes {
                let mut misses: Vec<Vec<String>> = found.iter().map(|found| differences(shape, found)).collect();
                misses.sort_by_key(Vec::len);
                match misses.first() {
                    Some(nearest) if nearest.is_empty() => {}
                    Some(nearest) => {
                        lines.push(format!("{at} lacks {}; the nearest: {}", short(shape), nearest.join(", ")));
                    }
                    None => lines.push(format!("{at} is empty, should hold {}", short(shape))),
                }
            }
        }
        _ if shapes.len() != found.len() => {
            lines.push(format!("{at} has {} items, should have {}: {}", found.len(), shapes.len(), short_list(found)));
        }
        _ => {
            for (index, (shape, found)) in shapes.iter().zip(found).enumerate() {
                compare(&format!("{at}[{index}]"), shape, found, lines);
            }
        }
    }
}

/// A word in angle brackets.
struct Kind<'a> {
    word: &'a str,
    or_null: bool,
}

impl<'a> Kind<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (text, or_null) = text.strip_suffix('?').map_or((text, false), |text| (text, true));
        let word = text.strip_prefix('<')?.strip_suffix('>')?;
        Some(Self { word, or_null })
    }

    fn holds(&self, found: &Value) -> bool {
        match self.word {
            _ if self.or_null && found.is_null() => true,
            "any" => true,
            "bool" => found.is_boolean(),
            "integer" => found.is_u64(),
            "number" => found.is_number(),
            "string" => found.is_string(),
            "object" => found.is_object(),
            "list" => found.is_array(),
            "text" => found.as_str().is_some_and(|text| !text.trim().is_empty()),
            "time" => found.as_str().is_some_and(is_moment),
            word => found.as_str().is_some_and(|found| match word.strip_prefix('~') {
                Some(part) => found.contains(part),
                None => word.split('|').any(|allowed| allowed == found),
            }),
        }
    }
}

/// `2025-01-15T10:30:00Z`, also with parts of a second.
fn is_moment(text: &str) -> bool {
    let Some((seconds, rest)) = text.split_at_checked("2025-01-15T10:30:00".len()) else { return false };
    let pattern = seconds.bytes().zip(b"dddd-dd-ddTdd:dd:dd".iter());
    let fraction = rest.strip_suffix('Z').and_then(|rest| rest.strip_prefix('.').or(rest.is_empty().then_some("0")));
    pattern.into_iter().all(|(byte, kind)| if *kind == b'd' { byte.is_ascii_digit() } else { byte == *kind })
        && fraction.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Enough of a value to know it by.
pub(crate) fn short(value: &Value) -> String {
    const LONGEST: usize = 300;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

fn short_list(values: &[Value]) -> String {
    short(&Value::Array(values.to_vec()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(shape: Value, found: Value, expected: &[&str]) {
        assert_eq!(differences(&shape, &found), expected, "{shape} and {found}");
    }

    #[test]
    fn fields_are_equal_or_of_a_kind_and_more_are_allowed() {
        check(json!({ "a": 1, "b": "<text>" }), json!({ "a": 1, "b": "x", "c": 2 }), &[]);
        check(json!({ "a": 1 }), json!({ "a": 2 }), &["$.a is 2, should be 1"]);
        check(json!({ "a": 20.0 }), json!({ "a": 20 }), &[]);
        check(json!({ "a": "<text>" }), json!({ "a": " " }), &[r#"$.a is " ", should be <text>"#]);
        check(json!({ "a": "<integer>" }), json!({ "a": 1.5 }), &["$.a is 1.5, should be <integer>"]);
        check(json!({ "a": "<integer>" }), json!({ "a": -1 }), &["$.a is -1, should be <integer>"]);
        check(json!({ "a": "<integer>?", "b?": 1 }), json!({ "a": null }), &[]);
        check(json!({ "a": "<any>" }), json!({}), &[r#"$.a is missing, should be "<any>""#]);
        check(json!({ "a": "<absent>" }), json!({ "a": null }), &["$.a is null, should not be there"]);
        check(json!({ "a": "<x|y>" }), json!({ "a": "z" }), &[r#"$.a is "z", should be <x|y>"#]);
        check(json!({ "a": "<~not>" }), json!({ "a": "is not" }), &[]);
    }

    #[test]
    fn lists_are_compared_as_they_say() {
        check(json!([1, 2]), json!([1]), &["$ has 1 items, should have 2: [1]"]);
        check(json!(["<each>", 1]), json!([]), &["$ is empty, should hold 1"]);
        check(json!(["<any>", 1]), json!([]), &[]);
        check(json!(["<any>", "<integer>"]), json!([1, true]), &["$[1] is true, should be <integer>"]);
        check(json!(["<some>", { "a": 2 }]), json!([{ "a": 1 }, { "a": 2 }]), &[]);
        check(
            json!(["<some>", { "a": 3 }]),
            json!([{ "a": 1 }]),
            &[r#"$ lacks {"a":3}; the nearest: $.a is 1, should be 3"#],
        );
    }

    #[test]
    fn moments_are_told_from_other_texts() {
        for (text, expected) in [
            ("2025-01-15T10:30:00Z", true),
            ("2025-01-15T14:30:05.123Z", true),
            ("2025-01-15T10:30:00", false),
            ("2025-01-15T10:30:00.Z", false),
            ("2025-01-15 10:30:00Z", false),
            ("", false),
        ] {
            assert_eq!(is_moment(text), expected, "{text}");
        }
    }
}
