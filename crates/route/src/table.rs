//! The table itself: an immutable map, replaced whole.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use types::Provider;

use crate::Target;

/// One name's way to a model.
#[derive(Debug, Clone)]
pub struct Route {
    /// What `/v1/models` says about it.
    pub listing: Arc<Listing>,
    /// Who runs it: an engine of this machine, which has targets, or somebody else.
    pub provider: Provider,
    /// The ready instance, if one is.
    pub target: Option<Arc<Target>>,
}

/// What is known about a model without loading it.
pub type Listing = api::Model;

/// All names and what they mean, at one moment.
#[derive(Debug, Default)]
pub struct Routes {
    /// Every name a request may use: `id`, `id:variant`, the file's whole stem.
    pub by_name: HashMap<String, Route>,
    /// The rows of `/v1/models`, one per id, sorted by id.
    pub listed: Vec<Arc<Listing>>,
}

/// The current [`Routes`]. Cheap to clone; readers never wait.
#[derive(Debug, Clone, Default)]
pub struct Table(Arc<ArcSwap<Routes>>);

impl Table {
    /// Replaces all routes at once.
    pub fn publish(&self, routes: Routes) {
        self.0.store(Arc::new(routes));
    }

    /// The routes as they are now.
    pub fn current(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.0.load()
    }
}
