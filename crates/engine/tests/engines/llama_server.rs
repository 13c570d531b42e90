//! The life of a real `llama-server` with a real model: loads, is killed, is adopted, is stopped.

use std::path::PathBuf;
use std::time::Duration;

use engine::{Instance, Programs};
use tokio_util::task::TaskTracker;
use types::{ByteCount, FailureClass, InstanceState};

use crate::stage::{LONG, Stage, launch, policy, wait_for};

/// The engine and the model that set-up got. Without them there is nothing to test, and in CI that is a failure.
pub(crate) fn parts() -> Option<(PathBuf, PathBuf)> {
    let get = |name| std::env::var_os(name).map(PathBuf::from);
    let parts = get("SNUG_LLAMA_SERVER").zip(get("SNUG_SAMPLE_MODEL"));
    assert!(parts.is_some() || std::env::var_os("CI").is_none(), "SNUG_LLAMA_SERVER and SNUG_SAMPLE_MODEL are not set");
    parts
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn loads_reports_and_stops() {
    let Some((program, model)) = parts() else { return };
    let stage = Stage::new();
    let handle = stage.start(launch(program, model));
    let ready = wait_for(&handle, "ready", |status| status.state == InstanceState::Ready).await;

    let memory = &ready.memory.0[&types::DeviceName::cpu()];
    assert_eq!(memory.model, ByteCount::from_mib_f64(92.10), "the weights, as the engine reports them");
    // 30 layers × 2 × 192 values × 2 bytes × 1024 tokens.
    assert_eq!(memory.kv, ByteCount::bytes(30 * 2 * 192 * 2 * 1024));
    assert!(memory.compute > ByteCount::ZERO);
    assert_eq!(ready.context, 512);
    assert!(ready.load_time.is_some());
    let pid = ready.pid.unwrap();

    handle.stop(LONG);
    handle.drained();
    let stopped = wait_for(&handle, "over", |status| status.over).await;
    assert_eq!(stopped.failure, None);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(stage.records().all().unwrap().is_empty());
}

#[tokio::test]
async fn a_killed_engine_is_started_again() {
    let Some((program, model)) = parts() else { return };
    let stage = Stage::new();
    let handle = stage.start(launch(program, model));
    let first = wait_for(&handle, "ready", |status| status.state == InstanceState::Ready).await.pid.unwrap();
    kill(first);
    let again = wait_for(&handle, "ready again", |status| {
        status.state == InstanceState::Ready && status.pid.is_some_and(|pid| pid != first)
    });
    assert_eq!(again.await.restarts, 1);
    handle.stop(Duration::ZERO);
    wait_for(&handle, "over", |status| status.over).await;
}

#[tokio::test]
async fn an_engine_left_behind_is_adopted_as_it_is() {
    let Some((program, model)) = parts() else { return };
    let stage = Stage::new();
    let handle = stage.start(launch(program.clone(), model));
    let before = wait_for(&handle, "ready", |status| status.state == InstanceState::Ready).await;
    drop(handle);
    stage.tracker.close();
    stage.tracker.wait().await;

    let stage = Stage { tracker: TaskTracker::new(), ..stage };
    let record = stage.records().all().unwrap().pop().unwrap();
    let adopted = Instance::adopt(record, Programs::llama_server(program), policy(), stage.folders(), &stage.tracker)
        .await
        .unwrap();
    let after = adopted.status().borrow().clone();
    assert!(after.adopted);
    assert_eq!((after.state, after.pid, after.address), (InstanceState::Ready, before.pid, before.address));
    assert_eq!(after.memory, before.memory);

    adopted.stop(Duration::ZERO);
    wait_for(&adopted, "over", |status| status.over).await;
}

async fn check_failure(change: impl FnOnce(&mut engine::Launch, &Stage), class: FailureClass, words: &str) {
    let Some((program, model)) = parts() else { return };
    let stage = Stage::new();
    let mut launch = launch(program, model);
    change(&mut launch, &stage);
    let handle = stage.start(launch);
    let failed = wait_for(&handle, "over", |status| status.over).await;
    let failure = failed.failure.unwrap();
    assert_eq!(failure.class, class, "{failure:?}");
    assert!(failure.engine_log.contains(words) || failure.message.contains(words), "{failure:?}");
}

#[tokio::test]
async fn each_failure_has_its_class() {
    check_failure(|launch, _| launch.spec.model = "/nowhere.gguf".into(), FailureClass::FileNotFound, "/nowhere.gguf")
        .await;
    check_failure(
        |launch, stage| {
            launch.spec.model = stage.folder.path().join("text.gguf");
            std::fs::write(&launch.spec.model, "hello").unwrap();
        },
        FailureClass::FileCorrupt,
        "magic",
    )
    .await;
    check_failure(
        |launch, stage| {
            let whole = std::fs::read(&launch.spec.model).unwrap();
            launch.spec.model = stage.folder.path().join("short.gguf");
            std::fs::write(&launch.spec.model, &whole[..40_000_000]).unwrap();
        },
        FailureClass::FileCorrupt,
        "not within the file bounds",
    )
    .await;
    check_failure(
        |launch, _| launch.programs = Programs::llama_server("/no/such/engine"),
        FailureClass::BackendError,
        "/no/such/engine",
    )
    .await;
    check_failure(
        |launch, _| launch.spec.extra_args = vec!["--no-such-flag".into()],
        FailureClass::BackendError,
        "--no-such-flag",
    )
    .await;
}
