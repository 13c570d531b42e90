//! What names mean beyond the models of this machine: aliases, fallbacks, replicas, models that somebody else runs, and
//! names that must not be used. Comes from the configuration; replaced whole, like the table.
//!
//! ```text
//!   name ── by_name ──▶ Meaning::Chain ── steps (the first that can) ── members (replicas: any of them) ──▶ Local | Remote
//!        └─ not there: a model of this machine, or PROVIDER/MODEL
//! ```

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use types::Secret;

use crate::Listing;

/// The current [`Names`]. Cheap to clone; readers never wait.
#[derive(Debug, Clone, Default)]
pub struct Directory(Arc<ArcSwap<Names>>);

impl Directory {
    /// Replaces all names at once. Requests under way keep what they have.
    pub fn publish(&self, names: Names) {
        self.0.store(Arc::new(names));
    }

    /// The names as they are now.
    pub fn current(&self) -> arc_swap::Guard<Arc<Names>> {
        self.0.load()
    }
}

/// All that the configuration says of names, at one moment.
#[derive(Debug, Default)]
pub struct Names {
    /// What each name means. They go before the names of this machine's models.
    pub by_name: HashMap<String, Meaning>,
    /// Rows of `/v1/models`: they go before those of this machine's models with the same id.
    pub listed: Vec<Listed>,
    /// Providers by name: `NAME/MODEL` is a model of theirs.
    pub providers: HashMap<String, Arc<Provider>>,
    /// Their models that were named or listed, as `NAME/MODEL`.
    pub provided: HashSet<String>,
}

/// A row of `/v1/models` that the configuration adds.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The row. Its state counts where it has no model behind it on this machine.
    pub listing: Arc<Listing>,
    /// The model of this machine behind it, whose state and port are shown.
    pub model: Option<String>,
    /// Whether that model's own row is not shown beside it: the two are the same.
    pub stands_for_it: bool,
}

/// What a name means.
#[derive(Debug, Clone)]
pub enum Meaning {
    /// It is answered by the first of these that can.
    Chain(Arc<Chain>),
    /// Several models claim it, and none is another's replica.
    Ambiguous {
        /// What to ask for instead, or whose name to change.
        candidates: Vec<String>,
    },
    /// Its entry is switched off.
    Disabled,
    /// Its entry cannot be used.
    Failed {
        /// Why, for a person.
        reason: String,
    },
}

/// Ways to an answer, the best first.
#[derive(Debug, Default)]
pub struct Chain {
    /// The name it is for.
    pub id: String,
    /// The next is tried where one fails before its answer has begun. At least one.
    pub steps: Vec<Step>,
    /// What is put into requests.
    pub rewrite: Rewrite,
}

/// Several members are replicas: each answers as well as any other. At least one.
#[derive(Debug, Clone)]
pub struct Step {
    /// Who may answer.
    pub members: Vec<Member>,
}

/// One who may answer.
#[derive(Debug, Clone)]
pub enum Member {
    /// A model of this machine.
    Local(Local),
    /// A model that a provider runs.
    Remote(Remote),
}

/// A model of this machine, and how requests for it are treated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Local {
    /// Its name in the table.
    pub name: String,
    /// Longest silence of its engine; the gateway's own limit where it is not said.
    pub idle_timeout: Option<Duration>,
    /// What is put into requests for it, after what their route puts in.
    pub rewrite: Rewrite,
}

/// A model that a provider runs.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Who runs it.
    pub provider: Arc<Provider>,
    /// What it is called there.
    pub model: String,
    /// What it is called where it is counted: one that nobody listed is counted with its likes.
    pub label: String,
}

/// What is put into requests where they do not say it themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rewrite {
    /// A system prompt, for requests without one.
    pub system: Option<String>,
    /// Fields of the request, as JSON.
    pub defaults: Vec<(String, String)>,
    /// Fields of chat requests, as JSON: `chat_template_kwargs`.
    pub chat_defaults: Vec<(String, String)>,
}

impl Rewrite {
    /// Whether nothing is put in.
    pub fn is_empty(&self) -> bool {
        self.system.is_none() && self.defaults.is_empty() && self.chat_defaults.is_empty()
    }
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's API.
    OpenAi,
    /// Anthropic's API.
    Anthropic,
}

/// Somebody's service.
#[derive(Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name, for people and for `NAME/MODEL`.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it answers, without a slash at the end: `https://api.openai.com/v1`.
    pub base: String,
    /// The key for it. Not to be logged or shown.
    pub key: Option<Secret>,
    /// Longest silence that is borne.
    pub idle_timeout: Duration,
    /// How many requests it is given at once.
    pub in_flight_max: u64,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.name).field("base", &self.base).finish_non_exhaustive()
    }
}

/// Longer than the name of any model that somebody else runs, in bytes.
const NAME_MAX: usize = 256;

impl Names {
    /// What a name means here; `None` where it is left to the models of this machine, of which `is_here` tells the names.
    ///
    /// `NAME/MODEL` means a provider's model also where nobody listed it: what the provider does not know, it says itself.
    /// A model of this machine that has such a name goes before it: nobody's prompts are to leave for a likeness of names.
    pub fn meaning(&self, name: &str, is_here: impl Fn(&str) -> bool) -> Option<Meaning> {
        if let Some(meaning) = self.by_name.get(name) {
            return Some(meaning.clone());
        }
        if name.len() > NAME_MAX || is_here(name) {
            return None;
        }
        let (provider, model) = name.split_once('/')?;
        let provider = Arc::clone(self.providers.get(provider)?);
        // What clients write must not become a label each: there is no end to it.
        let is_known = self.provided.contains(name);
        let label = if is_known { name.to_owned() } else { format!("{}/other", provider.name) };
        let member = Member::Remote(Remote { provider, model: model.to_owned(), label });
        let steps = vec![Step { members: vec![member] }];
        Some(Meaning::Chain(Arc::new(Chain { id: name.to_owned(), steps, rewrite: Rewrite::default() })))
    }
}
