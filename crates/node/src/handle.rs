//! The way to the node's owner: ask for a model, load, unload, look, stop.

use std::sync::Arc;
use std::time::Duration;

use route::{Activate, Activation, Lease, Unavailable};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use types::ModelKey;

use crate::demand::Waiter;
use crate::library::Library;
use crate::speeds::Speeds;
use crate::view::{View, WaitingView};

/// What the owner can be asked.
#[derive(Debug)]
pub(crate) enum Command {
    Want { name: String, context: Option<u64>, waiter: Waiter },
    Unload { name: String, reply: oneshot::Sender<Result<ModelKey, NotUnloaded>> },
    Found(Library),
    Devices(Vec<engine::llama_cpp::ListedDevice>),
    Stop { keep_engines: bool, drain: Duration, reply: oneshot::Sender<()> },
}

/// The way to the node's owner. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    /// Told when a caller gives up its place.
    pub(crate) left: Arc<Notify>,
    pub(crate) speeds: Arc<Speeds>,
    /// How long a caller waits for others to make room.
    pub(crate) room_wait_max: Duration,
    /// How long a caller waits for a load that goes on.
    pub(crate) load_wait_max: Duration,
}

/// A model that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Which.
    pub model: ModelKey,
    /// Tokens of context per slot.
    pub context: u64,
    /// From spawn to ready; zero if it was loaded before.
    pub load_time: Duration,
}

/// Why a model was not unloaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnloaded {
    /// No model has this name.
    #[error("model `{name}` does not exist")]
    NotFound {
        /// The name.
        name: String,
    },
    /// snug is stopping.
    #[error("snug is stopping")]
    Stopping,
}

impl Handle {
    /// What the node shows, now and whenever it changes.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Makes the model that `name` means ready, with `context` tokens per slot if given: an instance with another context
    /// is replaced once it is idle.
    ///
    /// # Errors
    /// As [`Activate::activate`].
    pub async fn load(&self, name: &str, context: Option<u64>) -> Result<Loaded, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.wait(name, context, Waiter::Load(reply), answer).await
    }

    /// Ends the instance of the model that `name` means, after the requests in flight; answers once it is gone. A model
    /// that is not loaded is no error.
    ///
    /// # Errors
    /// [`NotUnloaded`].
    pub async fn unload(&self, name: &str) -> Result<ModelKey, NotUnloaded> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Unload { name: name.to_owned(), reply };
        self.commands.send(command).await.map_err(|_| NotUnloaded::Stopping)?;
        answer.await.unwrap_or(Err(NotUnloaded::Stopping))
    }

    /// Tells how fast a model generated, tokens per second.
    pub fn ran(&self, model: ModelKey, tokens_per_second: f64) {
        self.speeds.set(model, tokens_per_second);
    }

    /// How fast a model generated the last time, tokens per second.
    pub fn speed_of(&self, model: &ModelKey) -> Option<f64> {
        self.speeds.get(model)
    }

    /// Stops: nobody is served any more; engines are ended after at most `drain`, or left running for the next snug. With
    /// no time at all nothing is kept of their prompts. Returns when that is done.
    pub async fn stop(&self, keep_engines: bool, drain: Duration) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Stop { keep_engines, drain, reply }).await.is_ok() {
            let _stopped = done.await;
        }
    }

    async fn wait<T>(
        &self,
        name: &str,
        context: Option<u64>,
        waiter: Waiter,
        mut answer: oneshot::Receiver<Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        let _place = Place(&self.left);
        let command = Command::Want { name: name.to_owned(), context, waiter };
        self.commands.send(command).await.map_err(|_| Unavailable::Stopping)?;
        let stopping = |_| Unavailable::Stopping;
        match tokio::time::timeout(self.room_wait_max, &mut answer).await {
            Ok(outcome) => outcome.map_err(stopping)?,
            Err(_) if self.waits_for_room(name) => Err(self.waited_too_long(name, self.room_wait_max)),
            // The load itself goes on; it has a limit of its own, and this one is only for when that fails.
            Err(_) => match tokio::time::timeout(self.load_wait_max, &mut answer).await {
                Ok(outcome) => outcome.map_err(stopping)?,
                Err(_) => Err(self.waited_too_long(name, self.room_wait_max + self.load_wait_max)),
            },
        }
    }

    fn waits_for_room(&self, name: &str) -> bool {
        let view = self.view.borrow();
        view.meant_by(name).is_some_and(|model| view.waiting.iter().any(|waiting| waiting.model == model))
    }

    /// What to say to a caller whose time is up: what is still in the way.
    fn waited_too_long(&self, name: &str, waited: Duration) -> Unavailable {
        let view = self.view.borrow();
        let retry_after = Duration::from_secs(5);
        let model = view.meant_by(name);
        let of_model = |waiting: &&WaitingView| Some(&waiting.model) == model.as_ref();
        // Before the devices are known nothing is in anybody's way.
        let waiting = view.waiting.iter().find(of_model).filter(|_| view.not_ready.is_empty());
        match (model, waiting) {
            (Some(model), Some(waiting)) => Unavailable::NoRoom {
                model,
                needed: waiting.needs.to_string(),
                free: view.free_text(),
                blockers: waiting.blockers.clone(),
                retry_after,
            },
            (Some(model), None) => {
                let state = view.instance_of(&model).map_or("waiting", |instance| instance.status.state.as_str());
                Unavailable::StillLoading { model, state: state.to_owned(), waited, retry_after }
            }
            (None, _) => Unavailable::NotFound { name: name.to_owned(), known: view.library.some_names() },
        }
    }
}

impl Activate for Handle {
    fn activate<'a>(&'a self, name: &'a str) -> Activation<'a> {
        let (reply, answer) = oneshot::channel::<Result<Lease, Unavailable>>();
        Box::pin(self.wait(name, None, Waiter::Request(reply), answer))
    }
}

/// A caller's place in the queue; the owner is told when it is given up.
struct Place<'a>(&'a Notify);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
