//! What the arguments and the environment come to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use client::{Client, Token};

use crate::args::Global;
use crate::failure::Failure;

const DEFAULT_URL: &str = "http://127.0.0.1:8787";

/// Settings that all commands share.
#[derive(Debug)]
pub(crate) struct Settings {
    url: String,
    url_was_typed: bool,
    url_was_given: bool,
    token: Option<Token>,
    /// The environment, for `serve` and for the folder of the history.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where snug was started.
    pub(crate) current_dir: PathBuf,
}

impl Settings {
    /// Flags win over the environment; an empty variable is not set.
    pub(crate) fn resolve(global: &Global) -> Result<Self, Failure> {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        let url_was_typed = global.url.is_some();
        let url = global.url.clone().or_else(|| variable("SNUG_URL"));
        let (url_was_given, url) = (url.is_some(), url.unwrap_or_else(|| DEFAULT_URL.to_owned()));
        let token = global.token.clone().or_else(|| variable("SNUG_TOKEN").map(Token::new));
        Ok(Self { url, url_was_typed, url_was_given, token, environment, current_dir: std::env::current_dir()? })
    }

    /// Whether a server was named for this one command.
    pub(crate) fn url_was_typed(&self) -> bool {
        self.url_was_typed
    }

    /// Whether a server was named, rather than the usual one meant.
    pub(crate) fn url_was_given(&self) -> bool {
        self.url_was_given
    }

    /// The data folder that `snug serve` would use.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        Ok(config::Config::load(&self.sources())?.folders.data)
    }

    /// What `snug serve` without flags is configured by.
    pub(crate) fn sources(&self) -> config::Sources {
        config::Sources {
            environment: self.environment.clone(),
            current_dir: self.current_dir.clone(),
            ..config::Sources::default()
        }
    }

    /// How the Hugging Face hub is asked.
    pub(crate) fn hub(&self) -> hub::Settings {
        let home = self.environment.get("HOME").map(PathBuf::from);
        hub::Settings::from_environment(|name| self.environment.get(name).cloned(), home.as_deref())
    }

    /// A client of the server that was named.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.url, self.token.as_ref())?)
    }
}
