//! The model that is loaded at the start, while requests are served already. Until it is ready, readiness says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use config::Config;
use node::Handle;
use storage::{Begun, Load, Storage};
use tokio_util::task::TaskTracker;

/// Whether the first model is still to come. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstModel(Arc<AtomicBool>);

impl FirstModel {
    /// Whether it is loading, or its files are coming.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Loads the configured first model in a task of `tracker`, after its files have come if need be. One that fails is told
/// of in the log and not waited for any more: others can be served.
pub(crate) fn load(config: &Config, node: Handle, storage: Storage, tracker: &TaskTracker) -> FirstModel {
    let first = FirstModel::default();
    let Some(name) = config.library.default_model.clone() else { return first };
    let variant = config.library.default_variant.clone();
    first.0.store(true, Ordering::Relaxed);
    let awaited = first.clone();
    tracker.spawn(async move {
        match bring(&node, &storage, &name, variant.as_deref()).await {
            Ok(()) => tracing::info!(model = name, "the first model is loaded"),
            Err(error) => tracing::error!(model = name, "default_model cannot be loaded: {error:#}"),
        }
        awaited.0.store(false, Ordering::Relaxed);
    });
    first
}

async fn bring(node: &Handle, storage: &Storage, name: &str, variant: Option<&str>) -> anyhow::Result<()> {
    let model = match storage.ensure(name, variant, Some(Load { context: None })).await {
        Ok(Begun::Downloading(model)) => {
            storage.arrival(&model).await?;
            model.to_string()
        }
        // What is here, or cannot be had: the load itself says what is wrong.
        _ => variant.map_or_else(|| name.to_owned(), |variant| format!("{name}:{variant}")),
    };
    node.load(&model, None).await?;
    Ok(())
}
