//! The query of a management request: names and values, each known or refused.

use gateway::ApiError;

/// The pairs of a query, decoded. One that nobody knows is refused with those that there are.
pub(crate) fn pairs(query: Option<&str>, known: &[&str]) -> Result<Vec<(String, String)>, ApiError> {
    let pairs: Vec<(String, String)> =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
    match pairs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        None => Ok(pairs),
        Some((unknown, _)) if known.is_empty() => Err(ApiError::bad_request(
            "invalid_request",
            format!("`{}` is no parameter of this route; it has none", cut(unknown)),
        )),
        Some((unknown, _)) => {
            let message = format!("`{}` is no parameter of this route; it has: {}", cut(unknown), known.join(", "));
            Err(ApiError::bad_request("invalid_request", message))
        }
    }
}

/// The last value given for `name`, if it is not empty.
pub(crate) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let last = pairs.iter().rev().find(|(given, _)| given == name);
    last.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}
