//! Which hub, as whom, and whether at all: the environment variables of `huggingface_hub`
//! (<https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>).

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The public hub.
const PUBLIC: &str = "https://huggingface.co";

/// A token is some forty characters; a file that is longer holds something else.
const TOKEN_BYTES_MAX: u64 = 4096;

/// How the hub is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HF_ENDPOINT`. Default `https://huggingface.co`.
    pub endpoint: String,
    /// `HF_TOKEN`, else what the file `HF_TOKEN_PATH`, `HF_HOME/token` or `~/.cache/huggingface/token` holds. Default
    /// none.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE`: ask nothing. Default false.
    pub offline: bool,
    /// How often a request is tried.
    pub retries: Retries,
}

/// How often a request is tried that the hub is too busy for, or that broke.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Tries in all. Default 4.
    pub attempts: u32,
    /// The wait before the second, doubled each time, where the hub does not say how long. Default 1 s.
    pub first_wait: Duration,
    /// The longest wait that is kept when the hub asks for one; a longer one ends the request. Default 60 s.
    pub longest_wait: Duration,
}

/// A secret that shows who is asking. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Settings {
    /// What the environment says: `variable` gives a variable's value, `home` is the user's folder.
    ///
    /// Reads at most one small file, the token's. A file that cannot be read is no token.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>, home: Option<&Path>) -> Self {
        let given = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let path = |name: &str| {
            given(name).map(|written| match (written.strip_prefix("~/"), home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => PathBuf::from(written),
            })
        };
        let in_home = || {
            let cache = path("XDG_CACHE_HOME").or_else(|| home.map(|home| home.join(".cache")));
            path("HF_HOME").or_else(|| cache.map(|cache| cache.join("huggingface"))).map(|folder| folder.join("token"))
        };
        let from_file = || path("HF_TOKEN_PATH").or_else(in_home).and_then(|file| read_token(&file));
        let is_on = |name| given(name).is_some_and(|v| ["1", "ON", "YES", "TRUE"].contains(&v.to_uppercase().as_str()));
        Self {
            endpoint: given("HF_ENDPOINT").unwrap_or_else(|| PUBLIC.to_owned()),
            token: given("HF_TOKEN").or_else(from_file).map(Token),
            offline: is_on("HF_HUB_OFFLINE"),
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { endpoint: PUBLIC.to_owned(), token: None, offline: false, retries: Retries::default() }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 4, first_wait: Duration::from_secs(1), longest_wait: Duration::from_secs(60) }
    }
}

impl Token {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn read_token(file: &Path) -> Option<String> {
    let length = std::fs::metadata(file).ok()?.len();
    let text = (length <= TOKEN_BYTES_MAX).then(|| std::fs::read_to_string(file).ok()).flatten()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_which_hub_and_as_whom() {
        let home = tempfile::tempdir().unwrap();
        let cache = home.path().join(".cache/huggingface");
        std::fs::create_dir_all(&cache).unwrap();
        std::fs::write(cache.join("token"), "hf_of_home\n").unwrap();
        std::fs::write(home.path().join("other"), "hf_of_path").unwrap();
        let check = |environment: &[(&str, &str)], endpoint: &str, token: Option<&str>, offline: bool| {
            let find = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
            let settings = Settings::from_environment(find, Some(home.path()));
            let seen = (settings.endpoint.as_str(), settings.token.as_ref().map(Token::secret), settings.offline);
            assert_eq!(seen, (endpoint, token, offline), "{environment:?}");
        };
        check(&[], PUBLIC, Some("hf_of_home"), false);
        check(&[("HF_TOKEN", " hf_x "), ("HF_HUB_OFFLINE", "1")], PUBLIC, Some("hf_x"), true);
        check(&[("HF_TOKEN_PATH", "~/other"), ("HF_HUB_OFFLINE", "0")], PUBLIC, Some("hf_of_path"), false);
        check(&[("HF_HOME", "/nowhere"), ("HF_ENDPOINT", "http://mirror")], "http://mirror", None, false);
        assert_eq!(format!("{:?}", Token::new("hf_secret")), "Token(…)");
    }
}
