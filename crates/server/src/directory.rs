//! From the configuration to what names mean: `models.yaml`, providers, routes, and model configs of the cloud's models.
//!
//! The names are made anew whenever one of these has changed, and published for the gateway. Providers that name no models
//! are asked for them, at the start and now and then.

mod lists;
mod names;

use std::sync::Arc;

use route::Directory;
use storage::Storage;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backends::Backends;
use crate::reload::InForce;

use lists::Lists;

/// Those who name models.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) in_force: InForce,
    pub(crate) backends: watch::Receiver<Arc<Backends>>,
    /// Tells when model configs have changed.
    pub(crate) node: node::Handle,
    pub(crate) storage: Storage,
}

/// Publishes the names now, and whenever they have changed, in tasks of `tracker` until `stop`.
pub(crate) fn follow(named: Named, directory: Directory, tracker: &TaskTracker, stop: &CancellationToken) {
    let lists = watch::Sender::new(Lists::default());
    let told = lists.subscribe();
    directory.publish(named.names(&told.borrow()));
    tracker.spawn(lists::keep(named.in_force.clone(), lists, stop.clone()));
    tracker.spawn(named.publish(directory, told, stop.clone()));
}

impl Named {
    async fn publish(mut self, directory: Directory, mut lists: watch::Receiver<Lists>, stop: CancellationToken) {
        let mut view = self.node.view();
        let mut library = Arc::clone(&view.borrow_and_update().library);
        // What changed before we listened.
        directory.publish(self.names(&lists.borrow_and_update()));
        loop {
            // Each arm waits for a change that stays until it was seen.
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.in_force.changed() => {}
                Ok(()) = self.backends.changed() => {}
                Ok(()) = lists.changed() => {}
                Ok(()) = view.changed() => {
                    let now = Arc::clone(&view.borrow_and_update().library);
                    if Arc::ptr_eq(&library, &now) {
                        continue;
                    }
                    library = now;
                }
                else => return,
            }
            directory.publish(self.names(&lists.borrow_and_update()));
        }
    }

    fn names(&self, lists: &Lists) -> route::Names {
        let configs = self.storage.config_names().into_iter().filter_map(|name| self.storage.config(&name));
        let configs: Vec<_> = configs.filter(|config| !config.provider().is_local()).collect();
        let (config, backends) = (Arc::clone(&self.in_force.borrow()), Arc::clone(&self.backends.borrow()));
        let library = Arc::clone(&self.node.view().borrow().library);
        let is_here = |name: &str| library.find(name).is_some();
        names::all(&config, &backends, &configs, lists, &is_here, &|variable| std::env::var(variable).ok())
    }
}
