//! File, environment and flags become one checked configuration.
//!
//! Owns the keys, their defaults, their documentation and their rules. Starts nothing, and reads nothing but the
//! configuration file, the `models.yaml` and the files of keys that it names: the environment, the flags and the current
//! folder are handed in with [`Sources`].
//!
//! ```text
//! defaults < snug.toml < SNUG_* < flags  ──▶ draft (values and where each came from) ──▶ rules ──▶ Config
//!                                                └────────── every problem, each with its place ──▶ Problems
//! ```

mod changes;
mod document;
mod draft;
mod example;
mod folders;
mod models_yaml;
mod problem;
mod rules;
mod section;
mod sections;
mod setting;
mod sources;
mod words;
mod yaml;

pub use example::example;
pub use folders::Folders;
pub use models_yaml::{Backend, BackendKind, LlamaCppFields, MlxFields, ModelType, ModelsYaml};
pub use problem::{Place, Problem, Problems};
pub use sections::{
    Engine, Gateway, Hardware, Library, Logging, Model, Node, Provider, RequestLog, Route, Server, Storage, Tracing,
};
pub use sources::{Flags, Sources, variables};
pub use words::{Dialect, IdleUnload, LogFilter, LogFormat, Spread, StorageLimit};

/// Everything `snug serve` can be told, checked and complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where snug listens and whom it trusts.
    pub server: Server,
    /// Where things are kept, as absolute paths.
    pub folders: Folders,
    /// Which models are known besides the files that are found, which is loaded at the start, and how files are fetched.
    pub library: Library,
    /// What the models of this machine may use together.
    pub node: Node,
    /// How engines are started and stopped.
    pub engine: Engine,
    /// The bounds of the request path.
    pub gateway: Gateway,
    /// How much disk models may fill, and when files that nobody uses are removed.
    pub storage: Storage,
    /// What this machine's accelerators are said to be.
    pub hardware: Hardware,
    /// What is logged, and how.
    pub logging: Logging,
    /// A line for each finished request, in a file.
    pub request_log: RequestLog,
    /// Spans of requests for an OpenTelemetry collector.
    pub tracing: Tracing,
    /// Models configured by hand, besides those found in the folders.
    pub models: Vec<Model>,
    /// Services that run models elsewhere; each key was read from where it lies.
    pub providers: Vec<Provider>,
    /// Names for other models, without cycles.
    pub routes: Vec<Route>,
    /// The entries of the router contract's file, if one is named.
    pub models_yaml: ModelsYaml,
}

impl Config {
    /// Reads all sources, later ones winning (defaults < file < environment < flags), and checks the result.
    ///
    /// # Errors
    /// Every problem found, each with its place: unreadable file, bad syntax, unknown keys, values of the wrong kind or
    /// out of bounds, keys that are not where they are said to be, and settings that contradict each other.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        let mut draft = draft::Draft::read(sources);
        rules::check(&mut draft, sources);
        draft.read_models_yaml(sources);
        draft.finish(sources)
    }
}

#[cfg(test)]
mod tests;
