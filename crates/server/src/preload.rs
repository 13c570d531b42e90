//! The entries of a `models.yaml` that are started with snug, while requests are served already.
//!
//! All are asked for at once, in the order of the file; the node starts them as memory allows. Nobody leaves for one: what
//! has no room beside the others is loaded when it is asked for. One that fails is told of and not waited for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use node::Handle;
use tokio_util::task::TaskTracker;

/// How the preloads go. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preloads(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    awaited: AtomicUsize,
    failures: Mutex<BTreeMap<String, String>>,
}

impl Preloads {
    /// Whether some are still to come.
    pub(crate) fn are_awaited(&self) -> bool {
        self.0.awaited.load(Ordering::Relaxed) > 0
    }

    /// Why a model was not loaded at the start.
    pub(crate) fn failure(&self, model: &str) -> Option<String> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    /// It was seen running since.
    pub(crate) fn forgive(&self, model: &str) {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
    }

    fn failed(&self, model: &str, reason: String) {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_owned(), reason);
    }
}

/// Loads these models in a task of `tracker`.
pub(crate) fn begin(models: Vec<String>, node: Handle, tracker: &TaskTracker) -> Preloads {
    let preloads = Preloads::default();
    preloads.0.awaited.store(models.len(), Ordering::Relaxed);
    let told = preloads.clone();
    tracker.spawn(async move {
        let (node, told) = (&node, &told);
        // Polled in this order, so that they are asked for in this order.
        let loads = models.iter().map(|model| async move {
            match node.preload(model).await {
                Ok(loaded) => tracing::info!(model, context = loaded.context, "preloaded {model}"),
                Err(reason) => {
                    tracing::error!(model, "{model} is not preloaded: {reason}");
                    told.failed(model, reason.to_string());
                }
            }
            told.0.awaited.fetch_sub(1, Ordering::Relaxed);
        });
        futures_util::future::join_all(loads).await;
    });
    preloads
}
