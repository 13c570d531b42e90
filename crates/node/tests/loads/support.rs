//! A node of the fake engine's models, and callers that wait for them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::lifecycle::Patience;
use engine::{Policy, Programs};
use node::{Config, Handle, Loaded, Node, ReadyState, Sources, Swap, View};
use route::{Activate, Lease, Table, Unavailable};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;
use types::{ByteCount, ModelId, ModelKey, Variant};

/// Long enough for a debug machine under load; never waited for in full.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Short enough to be waited for.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

/// A data folder and its models.
pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
}

impl Stage {
    /// Models of these file names, with a file that tells the fake engine how to behave.
    pub(crate) fn new(models: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let models_dir = folder.path().join("models");
        std::fs::create_dir(&models_dir).unwrap();
        for (name, behaviour) in models {
            testkit::gguf::ChatModel::default().file().write(&models_dir.join(format!("{name}.gguf"))).unwrap();
            std::fs::write(models_dir.join(format!("{name}.gguf.fake")), behaviour).unwrap();
        }
        let patience = Patience {
            load: LONG,
            stop: LONG,
            restarts_max: 1,
            backoff: Duration::from_millis(1),
            forgiven_after: LONG,
            prompt_cache: LONG,
        };
        let config = Config {
            data_dir: folder.path().join("data"),
            sources: Sources { folders: vec![models_dir], ..Sources::default() },
            programs: Programs::llama_server(testkit::fake_engine()),
            memory: None,
            vram: std::collections::BTreeMap::new(),
            backends: vec![],
            ram: Some(ByteCount::gib(64)),
            context_max: None,
            instances_max: None,
            idle_unload: None,
            policy: Policy { patience, log_size_max: ByteCount::mib(8), prompt_cache_max: ByteCount::gib(1) },
            waiting_max: 64,
            room_wait_max: LONG,
            in_flight_max: 64,
            patience: LONG,
            entries: Vec::new(),
            pinned: BTreeSet::new(),
            ready_budget: ByteCount::ZERO,
            default_variant: None,
        };
        Self { folder, config }
    }

    /// The file of this model, made this large.
    pub(crate) fn sized(self, name: &str, mib: u64) -> Self {
        let model = testkit::gguf::ChatModel::default().with_file_size(mib << 20);
        model.file().write(&self.model_file(name)).unwrap();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) async fn start(&self) -> Running {
        let (tracker, table) = (TaskTracker::new(), Table::default());
        let node = Node::start(self.config.clone(), table.clone(), &tracker).await.unwrap();
        Running { node, tracker, table }
    }

    pub(crate) fn model_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("models").join(format!("{name}.gguf"))
    }
}

/// Two models, room for one, and no patience with the one that is in use.
pub(crate) fn one_place() -> Stage {
    Stage::new(&[("a", ""), ("b", "")]).with(|config| {
        config.instances_max = Some(1);
        config.patience = Duration::ZERO;
    })
}

/// A caller that waits or has its answer.
pub(crate) type Caller = tokio::task::JoinHandle<Result<Lease, Unavailable>>;

pub(crate) struct Running {
    pub(crate) node: Handle,
    pub(crate) tracker: TaskTracker,
    pub(crate) table: Table,
}

impl Running {
    pub(crate) async fn lease(&self, name: &str) -> Lease {
        tokio::time::timeout(LONG, self.node.activate(name)).await.unwrap().unwrap()
    }

    pub(crate) async fn load(&self, name: &str) -> Loaded {
        tokio::time::timeout(LONG, self.node.load(name, None)).await.unwrap().unwrap()
    }

    /// Says which variants are to be ready.
    pub(crate) async fn keep_ready(&self, keys: &[&str]) {
        self.node.keep_ready(keys.iter().map(|name| key(name)).collect()).await;
    }

    /// Until exactly these models' weights are in RAM, and none is on its way.
    pub(crate) async fn until_ready(&self, keys: &[&str]) -> Arc<View> {
        let wanted: BTreeSet<ModelKey> = keys.iter().map(|name| key(name)).collect();
        let holds = |view: &View| {
            let settled = view.ready.iter().all(|one| one.state == ReadyState::Ready);
            settled && view.ready.iter().map(|one| one.model.clone()).collect::<BTreeSet<_>>() == wanted
        };
        self.until(&format!("only {keys:?} are ready"), holds).await
    }

    pub(crate) async fn refused(&self, name: &str) -> Unavailable {
        tokio::time::timeout(LONG, self.node.activate(name)).await.unwrap().unwrap_err()
    }

    /// A caller of its own.
    pub(crate) fn ask(&self, name: &'static str) -> Caller {
        let node = self.node.clone();
        self.tracker.spawn(async move { node.activate(name).await })
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&View) -> bool) -> Arc<View> {
        let mut view = self.node.view();
        let seen = tokio::time::timeout(LONG, view.wait_for(|view| condition(view))).await;
        let Ok(view) = seen else { panic!("never {what}: {:?}", names(&self.node.view().borrow())) };
        Arc::clone(&view.unwrap())
    }

    pub(crate) async fn waits_for(&self, name: &str, callers: usize) {
        let waits =
            |view: &View| view.waiting.iter().any(|one| one.model.id.as_str() == name && one.callers == callers);
        self.until(&format!("{callers} callers wait for {name}"), waits).await;
    }

    /// Until an instance takes no new requests.
    pub(crate) async fn until_one_yields(&self) {
        let yields =
            |view: &View| view.instances.iter().any(|one| one.target.as_ref().is_some_and(|target| target.is_closed()));
        self.until("an instance takes no new requests", yields).await;
    }

    /// In [`one_place`]: `a` is in use, `b` is wanted in its stead, and `a` is wanted again behind that.
    pub(crate) async fn one_in_use_two_waiting(&self) -> (Lease, Caller, Caller) {
        let first = self.lease("a").await;
        let other = self.ask("b");
        self.until_one_yields().await;
        let later = self.ask("a");
        self.waits_for("a", 1).await;
        (first, other, later)
    }

    /// The process of a model, once it serves.
    pub(crate) async fn pid_of(&self, name: &str) -> u32 {
        let serves =
            |view: &View| view.instances.iter().any(|one| one.model.key.id.as_str() == name && one.target.is_some());
        let view = self.until(&format!("{name} serves"), serves).await;
        view.instances.iter().find(|one| one.model.key.id.as_str() == name).unwrap().status.pid.unwrap()
    }

    /// Ends everything; nothing may be left.
    pub(crate) async fn end(self) {
        tokio::time::timeout(LONG, self.node.stop(false, Duration::ZERO)).await.expect("the node stops");
        let tracker = self.tracker.clone();
        drop(self);
        tracker.close();
        tokio::time::timeout(LONG, tracker.wait()).await.expect("no task is left");
    }
}

impl Drop for Running {
    /// A test that fails leaves no engine behind.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let view = self.node.view().borrow().clone();
            view.instances.iter().filter_map(|one| one.status.pid).for_each(kill);
        }
    }
}

pub(crate) fn names(view: &View) -> Vec<String> {
    view.instances.iter().map(|one| one.model.key.id.as_str().to_owned()).collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    // Gone already is fine too.
    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// `m:F16`, or `m` without a variant.
pub(crate) fn key(name: &str) -> ModelKey {
    let (id, variant) = name.split_once(':').unwrap_or((name, "F32"));
    ModelKey { id: ModelId::new(id), variant: Variant::new(variant) }
}

/// The next swap that is told of: from, to.
pub(crate) async fn next_swap(swaps: &mut broadcast::Receiver<Swap>) -> (String, String) {
    let swap = tokio::time::timeout(LONG, swaps.recv()).await.expect("a swap").unwrap();
    assert!(swap.time > Duration::ZERO);
    (swap.from.id.as_str().to_owned(), swap.to.id.as_str().to_owned())
}
