//! Where the tests play: folders, patience, a launch, and waiting for what is to happen.

use std::path::PathBuf;
use std::time::Duration;

use engine::lifecycle::Patience;
use engine::{Folders, Handle, Instance, Launch, LogWatch, Policy, Programs, PromptCaches, Records, Spec, Status};
use tokio_util::task::TaskTracker;
use types::{ByteCount, InstanceId, MemoryUse, ModelId, ModelKey, Variant};

/// Long enough for a debug machine under load; never waited for in full.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A data folder, and the tasks that work in it.
pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) tracker: TaskTracker,
    pub(crate) prompt_caches: PromptCaches,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        std::fs::create_dir(folder.path().join("instances")).unwrap();
        let prompts = folder.path().join("prompt-cache");
        std::fs::create_dir(&prompts).unwrap();
        let prompt_caches = PromptCaches::open(prompts, policy().prompt_cache_max);
        Self { folder, tracker: TaskTracker::new(), prompt_caches }
    }

    pub(crate) fn records(&self) -> Records {
        Records::new(self.folder.path().join("instances"))
    }

    pub(crate) fn folders(&self) -> Folders {
        let logs = self.folder.path().join("logs");
        let prompt_caches = self.prompt_caches.clone();
        Folders { watch: LogWatch::new(&logs), logs, records: self.records(), prompt_caches }
    }

    pub(crate) fn start(&self, launch: Launch) -> Handle {
        self.start_with(launch, policy())
    }

    pub(crate) fn start_with(&self, launch: Launch, policy: Policy) -> Handle {
        Instance::start(launch, policy, self.folders(), &self.tracker)
    }
}

pub(crate) fn policy() -> Policy {
    let patience = Patience {
        load: LONG,
        stop: Duration::from_secs(10),
        restarts_max: 2,
        backoff: Duration::from_millis(10),
        forgiven_after: LONG,
        prompt_cache: LONG,
    };
    Policy { patience, log_size_max: ByteCount::mib(8), prompt_cache_max: ByteCount::gib(1) }
}

pub(crate) fn launch(program: PathBuf, model: PathBuf) -> Launch {
    Launch {
        id: InstanceId::new("i1"),
        model: ModelKey { id: ModelId::new("sample"), variant: Variant::new("Q4_1") },
        context_requested: None,
        programs: Programs::llama_server(program),
        spec: Spec { alias: "sample".into(), context: 512, slots: 2, ..Spec::of(model) },
        estimate: MemoryUse::default(),
    }
}

pub(crate) async fn wait_for(handle: &Handle, what: &str, condition: impl FnMut(&Status) -> bool) -> Status {
    let mut status = handle.status();
    let waited = tokio::time::timeout(LONG, status.wait_for(condition)).await;
    match waited {
        Ok(Ok(status)) => status.clone(),
        timed_out_or_over => panic!("never {what}: {timed_out_or_over:?}, {:?}", *handle.status().borrow()),
    }
}
