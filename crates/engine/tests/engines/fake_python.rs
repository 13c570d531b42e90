//! The engines that are written in Python, with a stand-in for both, and ports that were asked for.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use engine::adapter::mlx::Mlx;
use engine::{Adapter, Health, Instance, Launch, Programs, Spec};
use tokio_util::task::TaskTracker;
use types::{FailureClass, InstanceState, LoadFailure};

use crate::stage::{LONG, Stage, launch, policy, wait_for};

/// A port on loopback that nobody has now.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Stage {
    /// The stand-in under both names.
    fn pythons(&self) -> Programs {
        let link = |name: &str| {
            let link = self.folder.path().join(name);
            if !link.exists() {
                symlink(testkit::fake_python(), &link).unwrap();
            }
            Some(link)
        };
        Programs::new(None, link("python"), link("mlx-openai-server"))
    }

    fn python(&self, adapter: Adapter, listen: SocketAddr) -> Launch {
        let model = self.folder.path().join("m.gguf");
        std::fs::write(&model, "GGUF").unwrap();
        let base = launch(PathBuf::new(), model);
        let spec = Spec { adapter, listen: Some(listen), ..base.spec };
        Launch { programs: self.pythons(), spec, ..base }
    }

    async fn failure(&self, launch: Launch) -> LoadFailure {
        let handle = self.start(launch);
        let status = wait_for(&handle, "over", |status| status.over).await;
        assert_eq!(status.restarts, 0, "the same start would only fail again");
        status.failure.expect("it says why")
    }
}

fn mlx() -> Adapter {
    Adapter::Mlx(Mlx { model_type: "lm".into(), ..Mlx::default() })
}

#[tokio::test]
async fn it_is_ready_when_it_answers_though_its_output_says_little() {
    let stage = Stage::new();
    for adapter in [Adapter::LlamaCppPython, mlx()] {
        let listen = free();
        let handle = stage.start(stage.python(adapter.clone(), listen));
        let status = wait_for(&handle, "ready", |status| status.state == InstanceState::Ready).await;
        assert_eq!(status.address, Some(listen), "it listens where it was told to");
        assert_eq!(engine::health(listen, &adapter, LONG).await, Health::Healthy);
        handle.retire();
        wait_for(&handle, "over", |status| status.over).await;
        assert!(matches!(engine::health(listen, &adapter, LONG).await, Health::Unreachable(_)));
    }
}

#[tokio::test]
async fn it_is_found_again_after_snug_was_killed() {
    let stage = Stage::new();
    for adapter in [Adapter::LlamaCppPython, mlx()] {
        let handle = stage.start(stage.python(adapter.clone(), free()));
        let pid = wait_for(&handle, "ready", |status| status.state == InstanceState::Ready).await.pid;
        drop(handle);
        stage.tracker.close();
        stage.tracker.wait().await;

        let record = stage.records().all().unwrap().remove(0);
        assert_eq!(record.spec.adapter, adapter);
        let tracker = TaskTracker::new();
        let adopted = Instance::adopt(record, stage.pythons(), policy(), stage.folders(), &tracker).await.unwrap();
        let status = adopted.status().borrow().clone();
        assert_eq!((status.state, status.adopted, status.pid), (InstanceState::Ready, true, pid));
        adopted.stop(Duration::ZERO);
        wait_for(&adopted, "over", |status| status.over).await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_failure_that_names_it() {
    let stage = Stage::new();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = stranger.local_addr().unwrap();
    let everywhere: SocketAddr = ([0, 0, 0, 0], listen.port()).into();
    for (adapter, listen) in [(Adapter::LlamaServer, listen), (Adapter::LlamaCppPython, listen), (mlx(), everywhere)] {
        let mut launch = stage.python(adapter, listen);
        launch.programs.llama_server = Some(testkit::fake_engine().to_owned());
        let failure = stage.failure(launch).await;
        let expected = format!("port {} on {} is taken by another program", listen.port(), listen.ip());
        assert!(failure.message.contains(&expected), "{failure:?}");
    }
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let stage = Stage::new();
    for (adapter, expected) in [
        (Adapter::LlamaServer, "no llama-server was found"),
        (Adapter::LlamaCppPython, "neither llama-server nor python was found"),
        (mlx(), "mlx-openai-server was not found on PATH"),
    ] {
        let launch = Launch { programs: Programs::default(), ..stage.python(adapter, free()) };
        let failure = stage.failure(launch).await;
        assert!(failure.message.contains(expected), "{failure:?}");
    }
    let mut launch = stage.python(Adapter::LlamaCppPython, free());
    launch.spec.model = "/nowhere/m.gguf".into();
    let failure = stage.failure(launch).await;
    assert_eq!(failure.class, FailureClass::FileNotFound, "{failure:?}");
    assert!(failure.engine_log.contains("Model path does not exist: /nowhere/m.gguf"), "{failure:?}");
}

#[tokio::test]
async fn the_mlx_server_is_told_only_what_its_version_knows() {
    let stage = Stage::new();
    let parser = |parser: &str| {
        let Adapter::Mlx(mlx) = mlx() else { unreachable!("it is one") };
        Adapter::Mlx(Mlx { tool_call_parser: Some(parser.into()), ..mlx })
    };
    let launch = stage.python(parser("brand_new"), free());
    let failure = stage.failure(launch.clone()).await;
    assert!(failure.message.contains("tool_call_parser must be one of qwen3, "), "{failure:?}");

    launch.programs.ask_mlx().await;
    let handle = stage.start(launch);
    let status = wait_for(&handle, "ready", |status| status.state == InstanceState::Ready).await;
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", status.pid.unwrap())).unwrap();
    assert!(line.contains("--queue-size\x002\0"), "{line:?}");
    handle.stop(Duration::ZERO);
    wait_for(&handle, "over", |status| status.over).await;
}
