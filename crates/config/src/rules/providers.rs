//! What `[[providers]]` must obey, and the keys that lie elsewhere.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use types::Secret;

use super::{address, odd_id, times, within};
use crate::draft::Draft;
use crate::sections::Provider;
use crate::sources::Sources;

/// What this machine is called among providers.
const OURS: &str = "snug";
/// A key is a line; anything larger is some other file.
const KEY_BYTES_MAX: u64 = 16 << 10;

pub(super) fn check(draft: &mut Draft, sources: &Sources) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..draft.providers.len() {
        let key = |name: &str| format!("providers[{index}].{name}");
        let provider = draft.providers[index].clone();
        if !draft.is_written(&key("name")) {
            draft.report(&key("name"), "is required: the first part of its models' ids");
        } else if let Some(message) = odd_name(&provider.name) {
            draft.report(&key("name"), message);
        }
        if let Some(first) = seen.get(&provider.name).filter(|_| !provider.name.is_empty()) {
            let message = format!("\"{}\" is taken by providers[{first}]; every name must be its own", provider.name);
            draft.report(&key("name"), message);
        } else {
            seen.insert(provider.name.clone(), index);
        }
        if let Some(Err(message)) = provider.base_url.as_deref().map(address) {
            draft.report(&key("base_url"), message);
        }
        let odd_model = provider.models.iter().find_map(|model| Some((model, odd_id(model)?)));
        if let Some((model, message)) = odd_model {
            draft.report(&key("models"), format!("\"{model}\": {message}"));
        }
        times(draft, &key("idle_timeout"), provider.idle_timeout, Duration::from_secs(1));
        within(draft, &key("max_in_flight"), Some(provider.max_in_flight), 1..=1_000_000);
        match api_key(&provider, sources) {
            Ok(found) => draft.providers[index].api_key = found,
            Err((name, message)) => draft.report(&key(name), message),
        }
    }
}

fn odd_name(name: &str) -> Option<String> {
    let is_sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_sound) || matches!(name, "." | "..") {
        Some("must be 1 to 64 letters, digits, `.`, `_` or `-`".to_owned())
    } else if name == OURS {
        Some(format!("\"{OURS}\" is this machine; choose another name"))
    } else {
        None
    }
}

/// The key of a provider, from where it is; else the setting that is at fault, and why.
fn api_key(provider: &Provider, sources: &Sources) -> Result<Option<Secret>, (&'static str, String)> {
    match (&provider.api_key, &provider.api_key_env, &provider.api_key_file) {
        (None, None, None) => Ok(None),
        (Some(secret), None, None) => sound(secret.expose()).map(Some).map_err(|message| ("api_key", message)),
        (None, Some(name), None) => {
            let text = sources.variable(name).ok_or_else(|| format!("the environment has no variable {name}"));
            text.and_then(|text| sound(text).map_err(|message| format!("the variable {name} {message}")))
                .map(Some)
                .map_err(|message| ("api_key_env", message))
        }
        (None, None, Some(file)) => read(file)
            .and_then(|text| sound(&text).map_err(|message| format!("{} {message}", file.display())))
            .map(Some)
            .map_err(|message| ("api_key_file", message)),
        (_, _, Some(_)) => Err(("api_key_file", "is one place too many: write the key here or there".to_owned())),
        (_, Some(_), None) => Err(("api_key_env", "is one place too many: write the key here or there".to_owned())),
    }
}

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|opened| opened.take(KEY_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

/// A key goes into a header, so it is one line of what headers may hold.
fn sound(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    let fits = text.len() as u64 <= KEY_BYTES_MAX && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if text.is_empty() || !fits {
        return Err("must be a key: letters, digits and punctuation on one line".to_owned());
    }
    Ok(Secret::new(text))
}
