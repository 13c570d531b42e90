//! Setting a node up: its configuration, and the start of its owner and of those who bring it news.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::{Folders, LogWatch, Policy, Records};
use route::Table;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use types::{Backend, ByteCount};

use crate::handle::{Command, Handle};
use crate::library::{Library, Sources};
use crate::models_folder;
use crate::owner::Owner;

/// Commands come from callers that wait, and those are bounded by `waiting_max`; this is room for bursts.
const INPUTS_MAX: usize = 1024;

/// How the node is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder for records, logs and measurements.
    pub data_dir: PathBuf,
    /// Where models are looked for.
    pub sources: Sources,
    /// The engine program, if one was found.
    pub llama_server: Option<PathBuf>,
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
            // Logs and records are nobody else's business.
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map(|()| path.clone())
                .map_err(|error| StartError::Folder { path: path.clone(), error })
        };
        let logs = folder("logs")?;
        let records = Records::new(folder("instances")?);
        let folders = Folders { watch: LogWatch::new(&logs), logs, records };

        let (commands, inputs) = mpsc::channel(INPUTS_MAX);
        let (changes, changed) = mpsc::channel(INPUTS_MAX);
        let library = Library::scan(&config.sources);
        let (view, view_reader) = watch::channel(Arc::default());
        let handle = Handle {
            commands: commands.clone(),
            view: view_reader,
            left: Arc::default(),
            speeds: Arc::default(),
            room_wait_max: config.room_wait_max,
            load_wait_max: config.policy.patience.load + config.policy.patience.stop,
        };

        let mut owner = Owner::new(config, library, folders, table, view, &handle, changes, tracker.clone());
        owner.adopt().await;
        owner.publish();
        models_folder::watch(owner.library().clone(), owner.config().sources.clone(), commands.clone(), tracker);
        ask_for_devices(owner.config().llama_server.clone(), commands, tracker);
        tracker.spawn(owner.run(inputs, changed));
        Ok(handle)
    }
}

fn ask_for_devices(program: Option<PathBuf>, commands: mpsc::Sender<Command>, tracker: &TaskTracker) {
    tracker.spawn(async move {
        let devices = match program {
            Some(program) => engine::llama_cpp::list_devices(&program).await,
            None => Vec::new(),
        };
        let _stopped = commands.send(Command::Devices(devices)).await;
    });
}
