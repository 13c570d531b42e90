//! What is hard to bring about with a real engine, with the fake one: ends that are in the way of each other.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Handle, Launch, Status};
use types::{ByteCount, InstanceId, InstanceState, ModelId, ModelKey, Variant};

use crate::stage::{LONG, Stage, launch, wait_for};

impl Stage {
    /// A fake engine for a model of this name.
    fn start_fake(&self, name: &str) -> Handle {
        // A file for each: writing one anew cuts it under an engine that reads it.
        let model = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap().into_temp_path().keep().unwrap();
        std::fs::write(&model, "GGUF").unwrap();
        self.start(Launch {
            id: InstanceId::new(name),
            model: ModelKey { id: ModelId::new(name), variant: Variant::new("Q4_0") },
            ..launch(testkit::fake_engine().to_owned(), model)
        })
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        std::fs::read_dir(self.folder.path().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

async fn ready(handle: &Handle) -> Status {
    wait_for(handle, "ready", |status| status.state == InstanceState::Ready).await
}

#[tokio::test]
async fn an_engine_that_was_told_to_end_ends_though_nobody_is_left_to_wait_for_it() {
    let stage = Stage::new();
    let handle = stage.start_fake("m");
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
    let handle = stage.start_fake("m");
    ready(&handle).await;
    handle.stop(Duration::from_secs(3600));
    wait_for(&handle, "stopping", |status| status.state == InstanceState::Stopping).await;
    handle.stop(Duration::ZERO);
    wait_for(&handle, "over", |status| status.over).await;
}

#[tokio::test]
async fn what_is_written_down_is_for_this_user_only() {
    let stage = Stage::new();
    let handle = stage.start_fake("m");
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
    let handles: Vec<Handle> = names.iter().map(|name| stage.start_fake(name)).collect();
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
