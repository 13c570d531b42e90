//! Which names a model may have.
//!
//! Names stand in paths, slashes and all, so those are refused that a path could not tell from something else:
//! - `loaded`, and what is or begins with `config/`: `/api/models/loaded` and `/api/models/config/…` mean those words.
//! - what has `variants` as the last but one of its parts: `…/a/variants/b` is the variant `b` of `a`.
//!
//! Names that end in an action, such as `a/load`, are fine: an action is always the last part, `…/a/load/load`.

const LONGEST: usize = 200;

/// Whether a model may have this name.
///
/// # Errors
/// Why not, as the end of a sentence that begins with the name: `must not hold blanks`.
pub fn check(name: &str) -> Result<(), String> {
    let refuse = |reason: &str| Err(reason.to_owned());
    if name.is_empty() || name.len() > LONGEST {
        return Err(format!("must have 1 to {LONGEST} bytes, has {}", name.len()));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse("must not hold blanks or control characters");
    }
    if let Some(c) = name.chars().find(|c| matches!(c, '?' | '#' | '\\')) {
        return Err(format!("must not hold `{c}`"));
    }
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return refuse("must not have an empty part, `.` or `..` between its slashes");
    }
    match parts.as_slice() {
        ["loaded"] => refuse("must not be `loaded`: that is a route of its own"),
        ["config", ..] => refuse("must not be `config` or begin with `config/`: those are routes of their own"),
        [_, .., "variants", _] => refuse("must not have `variants` as its last but one part: that names a variant"),
        _ => Ok(()),
    }
}
