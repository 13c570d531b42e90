//! What a request for a model that is not ready sets off: a load, or the download that has to come first.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use node::Handle;
use route::{Activate, Activation as Activating, Keep, Unavailable};
use storage::{Begun, Error, Fetch, Load, Phase, Storage};
use types::{FailureClass, LoadFailure, ModelKey};

/// When a client may look again at a download of which nobody knows how long it takes.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// The longest a client is told to wait: it may well be faster.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// A download that failed is not begun again by requests for so long: they would never be told why, and what comes wrong
/// would come wrong for ever. Who asks for the download itself, or for a load, has it begun at once.
const REST: Duration = Duration::from_secs(60);

/// Asks the node, after seeing to it that there is something to load.
pub(crate) struct Activation {
    node: Handle,
    storage: Storage,
}

impl Activation {
    pub(crate) fn new(node: Handle, storage: Storage) -> Self {
        Self { node, storage }
    }

    /// Has the files fetched that a load needs; an answer only where there is something to wait for.
    async fn fetch(&self, name: &str) -> Result<(), Unavailable> {
        let fetch = self.storage.fetch_of(name, None);
        // Whoever paused it has a reason; it is not for requests to go on with it.
        if let Ok(fetch @ Fetch { phase: Phase::Paused, .. }) = &fetch {
            let (model, percent) = (fetch.model.clone(), fetch.percent());
            return Err(Unavailable::Downloading { model, percent, retry_after: RETRY_AFTER_MAX });
        }
        if let Ok(Fetch { model, error: Some(reason), failed_for, .. }) = fetch {
            let retry_after = REST.saturating_sub(failed_for.unwrap_or_default());
            if retry_after > Duration::ZERO {
                let failure = not_here(model, &reason);
                return Err(Unavailable::Resting { failure, retry_after });
            }
        }
        let load = Load { context: None };
        let model = match self.storage.ensure(name, None, Some(load)).await {
            Ok(Begun::Downloading(model)) => model,
            Ok(Begun::Here(_)) => return Ok(()),
            Err(Error::NoRoom { model, available, required, limit }) => {
                return Err(Unavailable::StorageFull { model, available, required, limit });
            }
            Err(Error::Refused { model, reason }) => return Err(Unavailable::LoadFailed(not_here(model, &reason))),
            // The node says best what is missing.
            Err(error) => {
                tracing::debug!(
                    model = name,
                    error = &error as &dyn std::error::Error,
                    "nothing is fetched for a request"
                );
                return Ok(());
            }
        };
        let fetch = self.storage.fetch_of(&model.to_string(), None).ok();
        let retry_after = fetch.as_ref().and_then(|fetch| fetch.eta).unwrap_or(RETRY_AFTER).min(RETRY_AFTER_MAX);
        let percent = fetch.map_or(0.0, |fetch| fetch.percent());
        Err(Unavailable::Downloading { model, percent, retry_after })
    }
}

/// The failure to load what could not be fetched.
fn not_here(model: ModelKey, reason: &str) -> Box<LoadFailure> {
    Box::new(LoadFailure {
        model,
        context_requested: None,
        class: FailureClass::FileNotFound,
        message: format!("its files are not here, and the download failed: {reason}"),
        engine_log: String::new(),
    })
}

impl Activate for Activation {
    fn activate<'a>(&'a self, name: &'a str) -> Activating<'a> {
        Box::pin(async move {
            if self.storage.is_missing(name) {
                self.fetch(name).await?;
            }
            self.node.activate(name).await
        })
    }

    fn keep<'a>(&'a self, name: &'a str, keep: Keep) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.node.keep(name, keep)
    }
}
