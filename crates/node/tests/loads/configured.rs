//! Models with a program and a port of their own, as a `models.yaml` has them.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use engine::Adapter;
use engine::adapter::mlx::Mlx;
use node::{Entry, Settings};
use route::Unavailable;
use types::ByteCount;

use crate::support::{LONG, Stage, key};

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn entry(stage: &Stage, id: &str, listen: SocketAddr) -> Entry {
    Entry {
        id: Some(id.to_owned()),
        files: vec![stage.model_file("a")],
        alone: true,
        settings: Settings {
            listen: Some(listen),
            keep_loaded: true,
            all_layers: Some(999),
            alias: Some("shown".into()),
            ..Settings::default()
        },
        ..Entry::default()
    }
}

#[tokio::test]
async fn two_of_one_file_listen_where_they_were_told_to() {
    let stage = Stage::new(&[("a", "")]);
    let (one, two) = (free(), free());
    let entries = [entry(&stage, "x@one", one), entry(&stage, "x@two", two)];
    let stage = stage.with(|config| config.sources.entries.extend(entries));
    let run = stage.start().await;
    assert_eq!(run.lease("x@one").await.target().address(), one);
    assert_eq!(run.lease("x@two").await.target().address(), two);
    let line = std::fs::read(format!("/proc/{}/cmdline", run.pid_of("x@one").await)).unwrap();
    let line = String::from_utf8(line).unwrap().replace('\0', " ");
    let port = format!("--host 127.0.0.1 --port {} ", one.port());
    for words in [port.as_str(), "--alias shown", "--n-gpu-layers 999"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    run.end().await;
}

#[tokio::test]
async fn no_other_model_has_the_id_of_one_that_is_alone() {
    let stage = Stage::new(&[("a", ""), ("mine", ""), ("mine-Q8_0", "")]);
    let mine = entry(&stage, "mine", free());
    let second = Entry { id: Some("mine".into()), files: vec![stage.model_file("mine")], ..Entry::default() };
    let stage = stage.with(|config| config.sources.entries.extend([mine, second]));
    let run = stage.start().await;
    let view = run.node.view().borrow().clone();
    let keys: Vec<String> = view.library.models().map(|model| model.key.to_string()).collect();
    assert_eq!(keys, ["mine:F32"]);
    assert_eq!(view.library.find("mine").unwrap().path, stage.model_file("a"));
    run.end().await;
}

#[tokio::test]
async fn a_preload_takes_nobodys_place() {
    let stage = Stage::new(&[("a", ""), ("b", "")]).with(|config| config.instances_max = Some(1));
    let run = stage.start().await;
    let preload = async |name: &str| tokio::time::timeout(LONG, run.node.preload(name)).await.unwrap();
    assert_eq!(preload("a").await.unwrap().model, key("a"));
    let refused = preload("b").await.unwrap_err();
    assert!(matches!(&refused, Unavailable::NoRoom { blockers, .. } if blockers.len() == 1), "{refused:?}");
    assert_eq!(preload("a").await.unwrap().model, key("a"));
    // Who asks for it gets it.
    run.load("b").await;
    run.end().await;
}

#[tokio::test]
async fn what_is_kept_loaded_stays_though_nobody_uses_it() {
    let stage = Stage::new(&[("a", ""), ("b", "")]);
    let kept = entry(&stage, "kept", free());
    let stage = stage.with(|config| {
        config.sources.entries.push(kept);
        config.idle_unload = Some(Duration::from_millis(50));
    });
    let run = stage.start().await;
    run.load("kept").await;
    run.load("b").await;
    // It was loaded later, and is gone; the other one was due before.
    run.until("b is unloaded", |view| !view.instances.iter().any(|one| one.model.key.id.as_str() == "b")).await;
    assert!(run.node.view().borrow().instances.iter().any(|one| one.model.key.id.as_str() == "kept"));
    run.end().await;
}

#[tokio::test]
async fn a_folder_that_only_its_engine_can_read_is_sized_by_its_files() {
    let stage = Stage::new(&[]);
    let folder = stage.folder.path().join("mlx");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("model.safetensors"), vec![0; 3 << 20]).unwrap();
    let link = stage.folder.path().join("mlx-openai-server");
    std::os::unix::fs::symlink(testkit::fake_python(), &link).unwrap();
    let listen = free();
    let mlx = Entry {
        id: Some("org/mlx".into()),
        files: vec![folder.clone()],
        settings: Settings {
            adapter: Adapter::Mlx(Mlx { model_type: "lm".into(), ..Mlx::default() }),
            listen: Some(listen),
            ..Settings::default()
        },
        ..Entry::default()
    };
    let absent = Entry { id: Some("absent".into()), files: vec!["/nowhere/mlx".into()], ..mlx.clone() };
    let distant = Entry { id: Some("distant".into()), files: vec!["org/distant".into()], ..mlx.clone() };
    let stage = stage.with(|config| {
        config.programs.mlx = Some(link);
        config.sources.entries.extend([mlx, absent, distant]);
    });
    let run = stage.start().await;
    assert_eq!(run.lease("org/mlx").await.target().address(), listen);
    let view = run.node.view().borrow().clone();
    let model = view.library.find("org/mlx").unwrap();
    assert_eq!((model.size, model.backend(), model.present), (ByteCount::mib(3), "mlx", true));
    assert!(view.instances[0].estimate.total() >= ByteCount::mib(3), "{:?}", view.instances[0].estimate);
    assert!(view.library.find("distant").unwrap().present, "its engine fetches it");
    let Unavailable::LoadFailed(failure) = run.refused("absent").await else { panic!("it is not there") };
    assert!(failure.message.contains("/nowhere/mlx"), "{failure}");
    run.end().await;
}
