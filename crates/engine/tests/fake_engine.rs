//! What is hard to bring about with a real engine, with the fake one: ends that are in the way of each other.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use engine::lifecycle::Patience;
use engine::{Folders, Handle, Instance, Launch, LogWatch, Policy, Records, Spec, Status};
use tokio_util::task::TaskTracker;
use types::{ByteCount, CacheType, InstanceId, InstanceState, MemoryUse, Mode, ModelId, ModelKey, Variant};

/// Long enough for a debug machine under load; never waited for in full.
const LONG: Duration = Duration::from_secs(60);

struct Stage {
    folder: tempfile::TempDir,
    tracker: TaskTracker,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        std::fs::create_dir(folder.path().join("instances")).unwrap();
        std::fs::write(folder.path().join("model.gguf"), "GGUF").unwrap();
        Self { folder, tracker: TaskTracker::new() }
    }

    fn records(&self) -> Records {
        Records::new(self.folder.path().join("instances"))
    }

    fn start(&self, name: &str) -> Handle {
        let launch = Launch {
            id: InstanceId::new(name),
            model: ModelKey { id: ModelId::new(name), variant: Variant::new("Q4_0") },
            context_requested: None,
            program: testkit::fake_engine().to_owned(),
            spec: spec(self.folder.path().join("model.gguf")),
            estimate: MemoryUse::default(),
        };
        let patience = Patience {
            load: LONG,
            stop: LONG,
            restarts_max: 2,
            backoff: Duration::from_millis(10),
            forgiven_after: LONG,
        };
        let logs = self.folder.path().join("logs");
        let folders = Folders { watch: LogWatch::new(&logs), logs, records: self.records() };
        Instance::start(launch, Policy { patience, log_size_max: ByteCount::mib(8) }, folders, &self.tracker)
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        std::fs::read_dir(self.folder.path().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn spec(model: PathBuf) -> Spec {
    Spec {
        model,
        mmproj: None,
        alias: "model".into(),
        mode: Mode::Chat,
        context: 512,
        slots: 2,
        gpu_layers: 0,
        cache_type_k: CacheType::F16,
        cache_type_v: CacheType::F16,
        embeddings: false,
        pooling: None,
        chat_template_file: None,
        extra_args: vec![],
    }
}

async fn wait_for(handle: &Handle, what: &str, condition: impl FnMut(&Status) -> bool) -> Status {
    let mut status = handle.status();
    let waited = tokio::time::timeout(LONG, status.wait_for(condition)).await;
    waited.unwrap_or_else(|_| panic!("never {what}: {:?}", handle.status().borrow())).unwrap().clone()
}

async fn ready(handle: &Handle) -> Status {
    wait_for(handle, "ready", |status| status.state == InstanceState::Ready).await
}

#[tokio::test]
async fn an_engine_that_was_told_to_end_ends_though_nobody_is_left_to_wait_for_it() {
    let stage = Stage::new();
    let handle = stage.start("m");
    let pid = ready(&handle).await.pid.unwrap();
    handle.stop(Duration::ZERO);
    drop(handle);
    stage.tracker.close();
    tokio::time::timeout(LONG, stage.tracker.wait()).await.unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the engine was left running");
    assert!(stage.records().all().unwrap().is_empty());
}

#[tokio::test]
async fn a_stop_in_a_hurry_overtakes_one_that_waits_for_requests() {
    let stage = Stage::new();
    let handle = stage.start("m");
    ready(&handle).await;
    handle.stop(Duration::from_secs(3600));
    wait_for(&handle, "stopping", |status| status.state == InstanceState::Stopping).await;
    handle.stop(Duration::ZERO);
    wait_for(&handle, "over", |status| status.over).await;
}

#[tokio::test]
async fn what_is_written_down_is_for_this_user_only() {
    let stage = Stage::new();
    let handle = stage.start("m");
    ready(&handle).await;
    let files = [stage.files("instances"), stage.files("logs")].concat();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} may hold secrets among its arguments", file.display());
    }
    handle.stop(Duration::ZERO);
    wait_for(&handle, "over", |status| status.over).await;
}

#[tokio::test]
async fn engines_whose_names_look_alike_have_their_own_logs() {
    let stage = Stage::new();
    let names = ["通义", "文心", "a/b", "a_b"];
    let handles: Vec<Handle> = names.iter().map(|name| stage.start(name)).collect();
    for handle in &handles {
        let memory = ready(handle).await.memory;
        assert_eq!(memory.0[&types::DeviceName::cpu()].model, ByteCount::mib(92), "it read another's log too");
    }
    assert_eq!(stage.files("logs").len(), names.len());
    for handle in &handles {
        handle.stop(Duration::ZERO);
        wait_for(handle, "over", |status| status.over).await;
    }
}
