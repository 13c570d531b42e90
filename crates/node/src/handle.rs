//! The way to the node's owner: ask for a model, load, unload, pin, keep ready, look, stop.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use route::{Activate, Activation, Keep, Lease, Unavailable};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use types::{ModelId, ModelKey};

use crate::choice::Choice;
use crate::demand::Waiter;
use crate::library::{Entry, Library};
use crate::models_folder::{Look, Wish};
use crate::node::{Config, Waits};
use crate::speeds::Speeds;
use crate::view::{View, WaitingView};

/// What the owner can be asked.
#[derive(Debug)]
pub(crate) enum Command {
    Want { name: String, context: Option<u64>, waiter: Waiter },
    Unload { name: String, reply: oneshot::Sender<Result<Unloaded, NotUnloaded>> },
    Pin { name: String, pinned: bool, reply: oneshot::Sender<Result<ModelId, NotPinned>>, shown: oneshot::Sender<()> },
    KeepFor { name: String, keep: KeepFor, shown: oneshot::Sender<()> },
    KeepReady { models: BTreeSet<ModelKey>, shown: oneshot::Sender<()> },
    Discard { model: ModelKey, gone: oneshot::Sender<()> },
    DiscardIfUnused { model: ModelKey, discarded: oneshot::Sender<bool> },
    Found { library: Library, config: Option<Box<Config>>, shown: Option<oneshot::Sender<()>> },
    Devices(Vec<engine::llama_cpp::ListedDevice>),
    Stop { keep_engines: bool, drain: Duration, reply: oneshot::Sender<()> },
}

/// The way to the node's owner. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) looks: mpsc::Sender<Look>,
    pub(crate) swaps: broadcast::Sender<Swap>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    /// Told when a caller gives up its place.
    pub(crate) left: Arc<Notify>,
    pub(crate) speeds: Arc<Speeds>,
    pub(crate) waits: watch::Receiver<Waits>,
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
    /// Why this variant, if it was chosen when it was loaded.
    pub choice: Option<Choice>,
}

/// A model that is no longer loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unloaded {
    /// Which.
    pub model: ModelKey,
    /// Whether its weights stay in RAM.
    pub kept: bool,
}

/// One model left for another, and that one is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Which left.
    pub from: ModelKey,
    /// For which.
    pub to: ModelKey,
    /// From the moment in which that was decided until the other was ready.
    pub time: Duration,
}

/// How long an instance stays without being used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepFor {
    /// As long as [`crate::Config::idle_unload`] says.
    #[default]
    Default,
    /// So long; zero until nobody uses it.
    Idle(Duration),
    /// Until it is unloaded by hand, or its place is needed.
    Forever,
}

impl KeepFor {
    /// After how long an unused one goes, where `configured` is the usual; `None` for never.
    pub fn limit(self, configured: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Default => configured,
            Self::Idle(limit) => Some(limit),
            Self::Forever => None,
        }
    }
}

/// Why a model was not pinned, or not unpinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPinned {
    /// No model has this name.
    #[error("model `{name}` does not exist")]
    NotFound {
        /// The name.
        name: String,
    },
    /// The configuration pins it.
    #[error("`{name}` is pinned by the configuration; take `pinned` out of its entry there")]
    Configured {
        /// The name.
        name: String,
    },
    /// snug is stopping.
    #[error("snug is stopping")]
    Stopping,
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

    /// As [`Self::load`], but only if nobody has to leave for it: else it is refused at once.
    ///
    /// # Errors
    /// As [`Activate::activate`].
    pub async fn preload(&self, name: &str) -> Result<Loaded, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.wait(name, None, Waiter::Preload(reply), answer).await
    }

    /// Ends the instance of the model that `name` means, after the requests in flight; answers once it is gone. A model
    /// that is not loaded is no error. The weights of one that is pinned, or was to be kept ready, stay in RAM.
    ///
    /// # Errors
    /// [`NotUnloaded`].
    pub async fn unload(&self, name: &str) -> Result<Unloaded, NotUnloaded> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Unload { name: name.to_owned(), reply };
        self.commands.send(command).await.map_err(|_| NotUnloaded::Stopping)?;
        answer.await.unwrap_or(Err(NotUnloaded::Stopping))
    }

    /// Says how long the instance of the model that `name` means is to stay without being used, from now on until it is
    /// unloaded; one that is waited for, too. It changes nothing if there is none, nor for a pinned one. Returns once the
    /// view shows it; at once if it shows it already.
    pub async fn keep_for(&self, name: &str, keep: KeepFor) {
        let is_shown = {
            let view = self.view.borrow();
            let instance = view.meant_by(name).and_then(|model| view.instance_of(&model).cloned());
            instance.is_some_and(|instance| instance.keep == keep)
        };
        if !is_shown {
            let (shown, done) = oneshot::channel();
            self.command(Command::KeepFor { name: name.to_owned(), keep, shown }, done).await;
        }
    }

    /// Pins the model that `name` means in all its variants, or unpins it. A pinned one is not unloaded to make room, nor
    /// for being unused. It need not be loaded. Answers with its id once the view shows it.
    ///
    /// # Errors
    /// [`NotPinned`].
    pub async fn pin(&self, name: &str, pinned: bool) -> Result<ModelId, NotPinned> {
        let (reply, answer) = oneshot::channel();
        let (shown, done) = oneshot::channel();
        let command = Command::Pin { name: name.to_owned(), pinned, reply, shown };
        self.commands.send(command).await.map_err(|_| NotPinned::Stopping)?;
        let answer = answer.await.unwrap_or(Err(NotPinned::Stopping));
        // A node that stops shows nothing any more.
        let _stopping = done.await;
        answer
    }

    /// Says which variants' weights are to stay in RAM while they are not loaded, in place of all that was said before.
    /// Returns once the view shows it; bringing them there goes on. What has no room within [`crate::Config::ready_budget`]
    /// is not kept, and tried again when an instance or other weights have gone.
    pub async fn keep_ready(&self, models: BTreeSet<ModelKey>) {
        let (shown, done) = oneshot::channel();
        self.command(Command::KeepReady { models, shown }, done).await;
    }

    /// Ends the instance of this variant at once and forgets its weights; returns when both are gone. Its files are about to
    /// be deleted: it is not loaded meanwhile, nor for some seconds from then on, unless somebody looks ([`Self::look`],
    /// [`Self::configure`]) and finds that they are gone or others.
    pub async fn discard(&self, model: &ModelKey) {
        let (gone, done) = oneshot::channel();
        self.command(Command::Discard { model: model.clone(), gone }, done).await;
    }

    /// As [`Self::discard`], but only if nothing is lost by it: no instance of this variant is there, nobody waits for one,
    /// and no weights of it are in RAM. Otherwise, and when snug is stopping, it changes nothing and answers false.
    pub async fn discard_if_unused(&self, model: &ModelKey) -> bool {
        let (discarded, answer) = oneshot::channel();
        let command = Command::DiscardIfUnused { model: model.clone(), discarded };
        self.commands.send(command).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Replaces the models that were named at run time, beside those of the configuration. Returns once the view shows it.
    pub async fn configure(&self, entries: Vec<Entry>) {
        self.look_with(Wish::Entries(entries)).await;
    }

    /// Takes another configuration while everything runs on: its `sources`, `instances_max`, `idle_unload`, `waiting_max`,
    /// `room_wait_max`, `in_flight_max`, `default_variant` and `policy` (but for the size of the prompt cache). The rest of
    /// it changes nothing. A model that is loaded keeps its settings until it is loaded again; one that has no name any
    /// more ends once nobody uses it. Returns once the view shows it.
    pub async fn reconfigure(&self, config: Config) {
        self.look_with(Wish::Config(Box::new(config))).await;
    }

    /// Looks for models now, rather than when the system tells that files have changed. Returns once the view shows it.
    pub async fn look(&self) {
        self.look_with(Wish::Again).await;
    }

    /// Tells of every swap from now on. Who reads slowly loses the oldest.
    pub fn swaps(&self) -> broadcast::Receiver<Swap> {
        self.swaps.subscribe()
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

    async fn look_with(&self, wish: Wish) {
        let (shown, done) = oneshot::channel();
        if self.looks.send(Look { wish, shown }).await.is_ok() {
            // A node that stops shows nothing any more.
            let _stopping = done.await;
        }
    }

    async fn command(&self, command: Command, done: oneshot::Receiver<()>) {
        if self.commands.send(command).await.is_ok() {
            let _stopping = done.await;
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
        let Waits { for_room, for_load } = *self.waits.borrow();
        match tokio::time::timeout(for_room, &mut answer).await {
            Ok(outcome) => outcome.map_err(stopping)?,
            Err(_) if self.waits_for_room(name) => Err(self.waited_too_long(name, for_room)),
            // The load itself goes on; it has a limit of its own, and this one is only for when that fails.
            Err(_) => match tokio::time::timeout(for_load, &mut answer).await {
                Ok(outcome) => outcome.map_err(stopping)?,
                Err(_) => Err(self.waited_too_long(name, for_room + for_load)),
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

    fn keep<'a>(&'a self, name: &'a str, keep: Keep) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let keep = match keep {
            Keep::For(limit) => KeepFor::Idle(limit),
            Keep::Forever => KeepFor::Forever,
        };
        Box::pin(self.keep_for(name, keep))
    }
}

/// A caller's place in the queue; the owner is told when it is given up.
struct Place<'a>(&'a Notify);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
