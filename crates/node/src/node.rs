//! Setting a node up: its configuration, and the start of its owner and of those who bring it news.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::{Folders, LogWatch, Policy, Programs, PromptCaches, Records};
use route::Table;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::task::TaskTracker;
use types::{Backend, ByteCount, ModelId, Variant};

use crate::handle::{Command, Handle};
use crate::library::{Entry, Library, Sources};
use crate::models_folder::{self, Places};
use crate::owner::Owner;
use crate::ready::Ready;

/// Commands come from callers that wait, and those are bounded by `waiting_max`; this is room for bursts.
const INPUTS_MAX: usize = 1024;
/// People and downloads that want us to look at the same time.
const LOOKS_MAX: usize = 64;
/// Swaps that are kept for who reads slowly.
const SWAPS_MAX: usize = 256;

/// How the node is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder for records, logs and measurements.
    pub data_dir: PathBuf,
    /// Where models are looked for.
    pub sources: Sources,
    /// The engine programs that were found.
    pub programs: Programs,
    /// What models may use of accelerators together; `None` for all there is.
    pub memory: Option<ByteCount>,
    /// What single accelerators are said to have, by their number among those that are used.
    pub vram: BTreeMap<u32, ByteCount>,
    /// Interfaces by which accelerators are used, the preferred first; empty for all.
    pub backends: Vec<Backend>,
    /// What models may use of RAM; `None` for nine tenths of what there is.
    pub ram: Option<ByteCount>,
    /// Largest context, tokens.
    pub context_max: Option<u64>,
    /// Most instances at once; `None` for no limit but memory.
    pub instances_max: Option<usize>,
    /// Unload after being unused for this long; `None` for never.
    pub idle_unload: Option<Duration>,
    /// How engines are treated.
    pub policy: Policy,
    /// Callers that may wait for loads at once.
    pub waiting_max: usize,
    /// How long one waits for others to make room.
    pub room_wait_max: Duration,
    /// Requests in flight on one instance.
    pub in_flight_max: u64,
    /// How long a load waits for busy instances before those get no new requests.
    pub patience: Duration,
    /// Models that are named at run time, as they are at the start; see [`Handle::configure`].
    pub entries: Vec<Entry>,
    /// Models that are pinned from the start.
    pub pinned: BTreeSet<ModelId>,
    /// What weights may take of RAM that are kept there for models that are not loaded; zero keeps none.
    pub ready_budget: ByteCount,
    /// The variant that is taken where a name leaves it open and it fits.
    pub default_variant: Option<Variant>,
}

impl Config {
    /// How long callers wait.
    pub(crate) fn waits(&self) -> Waits {
        Waits { for_room: self.room_wait_max, for_load: self.policy.patience.longest_swap() }
    }
}

/// How long callers wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// For others to make room.
    pub(crate) for_room: Duration,
    /// For a load that goes on.
    pub(crate) for_load: Duration,
}

/// The node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made or read.
    #[error("cannot use the data folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

/// The node; see the crate's text.
pub struct Node;

impl Node {
    /// Takes over engines that an earlier snug left running, then starts the owner in a task of `tracker`. Models are
    /// looked for and devices are asked for in the background.
    ///
    /// # Errors
    /// If the data folder cannot be used.
    pub async fn start(config: Config, table: Table, tracker: &TaskTracker) -> Result<Handle, StartError> {
        let folder = |name: &str| {
            let path = config.data_dir.join(name);
            // Logs, records and prompts are nobody else's business.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map(|()| path.clone())
                .map_err(|error| StartError::Folder { path: path.clone(), error })
        };
        let logs = folder("logs")?;
        let records = Records::new(folder("instances")?);
        let prompt_caches = PromptCaches::open(folder("prompt-cache")?, config.policy.prompt_cache_max);
        tracker.spawn(prompt_caches.clone().sweep());
        let folders = Folders { watch: LogWatch::new(&logs), logs, records, prompt_caches };

        let (commands, inputs) = mpsc::channel(INPUTS_MAX);
        let (changes, changed) = mpsc::channel(INPUTS_MAX);
        let library = Library::scan(&config.sources.with(&config.entries));
        let (view, view_reader) = watch::channel(Arc::default());
        let (waits, waits_reader) = watch::channel(config.waits());
        let (looks, looks_wanted) = mpsc::channel(LOOKS_MAX);
        let handle = Handle {
            commands: commands.clone(),
            looks,
            swaps: broadcast::Sender::new(SWAPS_MAX),
            view: view_reader,
            left: Arc::default(),
            speeds: Arc::default(),
            waits: waits_reader,
        };

        let (weights, weights_changed) = mpsc::channel(INPUTS_MAX);
        let ready = Ready::new(config.ready_budget, weights, tracker.clone());
        let mut owner =
            Owner::new(config, library, folders, table, view, waits, &handle, changes, ready, tracker.clone());
        owner.adopt().await;
        owner.publish();
        let (library, config) = (owner.library().clone(), owner.config());
        let places = Places { configured: config.sources.clone(), entries: config.entries.clone() };
        models_folder::watch(library, places, commands.clone(), looks_wanted, tracker);
        ask_the_engines(owner.config().programs.clone(), commands, tracker);
        tracker.spawn(owner.run(inputs, changed, weights_changed));
        Ok(handle)
    }
}

/// Which devices they see, and what else has to be known before any of them is started.
fn ask_the_engines(programs: Programs, commands: mpsc::Sender<Command>, tracker: &TaskTracker) {
    tracker.spawn(async move {
        let devices = async {
            match &programs.llama_server {
                Some(program) => engine::llama_cpp::list_devices(program).await,
                None => Vec::new(),
            }
        };
        let (devices, ()) = tokio::join!(devices, programs.ask_mlx());
        let _stopped = commands.send(Command::Devices(devices)).await;
    });
}
