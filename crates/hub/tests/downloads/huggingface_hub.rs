//! The official package for Python and the same cache: what one has written the other reads, and nobody fetches twice.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::{Content, Fault};

use crate::support::{MIB, REPOSITORY, Scene, of_hub, scene, sha256};

/// What the script says where the package is not installed (`EX_UNAVAILABLE`).
const NOT_INSTALLED: i32 = 69;

/// A large file in a folder, and a small one.
const FILES: [&str; 2] = ["q/x-Q4_K_M.gguf", "config.json"];

fn with_files() -> (Scene, String) {
    let scene = scene();
    let sha256 = scene.hub.put(REPOSITORY, FILES[0], Content::Random { seed: 4, size: 5 * MIB });
    scene.hub.put(REPOSITORY, FILES[1], "{\"model_type\": \"llama\"}");
    (scene, sha256)
}

/// Runs the package; gives the places of the files that it names. `None` where it is not installed.
async fn python(scene: &Scene, order: &str) -> Option<Vec<PathBuf>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/huggingface-hub/run");
    let mut command = Command::new(script);
    command.arg(order).arg(REPOSITORY).args(FILES).stdin(Stdio::null());
    command.env("HF_ENDPOINT", scene.hub.url()).env("HF_HUB_CACHE", scene.cache()).env("NO_PROXY", "127.0.0.1");
    // Only what the test says counts.
    for variable in ["HF_HOME", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"] {
        command.env_remove(variable);
    }
    command.env("HF_HOME", scene.path("home")).env("HF_HUB_DISABLE_TELEMETRY", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NOT_INSTALLED) {
        missing(&errors);
        return None;
    }
    assert!(output.status.success(), "{errors}");
    Some(String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect())
}

/// Says why a test is skipped; in CI nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("skipped: {what}");
}

fn bytes(scene: &Scene) -> u64 {
    FILES.iter().map(|file| scene.counts(file).bytes).sum()
}

/// The same file, by whichever way to it.
fn real(files: &[PathBuf]) -> Vec<PathBuf> {
    files.iter().map(|file| Path::new(file).canonicalize().unwrap()).collect()
}

#[tokio::test]
async fn it_reads_what_we_wrote() {
    let (scene, expected) = with_files();
    let ours = scene.fetch(FILES.map(of_hub).to_vec()).await;
    assert_eq!(sha256(&ours[0]), expected);
    let before = bytes(&scene);
    let Some(theirs) = python(&scene, "has").await else { return };
    assert_eq!(theirs, ours);
    assert_eq!(python(&scene, "get").await, Some(theirs));
    assert_eq!(bytes(&scene), before, "nothing was fetched again");
}

#[tokio::test]
async fn we_read_what_it_wrote() {
    let (scene, expected) = with_files();
    let Some(theirs) = python(&scene, "get").await else { return };
    let before = bytes(&scene);
    assert!(before > 5 * MIB, "{before}");
    let find = |file: &str| hub::cache::cached(&scene.cache(), REPOSITORY, "main", file);
    assert_eq!(FILES.map(find).map(Option::unwrap).to_vec(), theirs);
    let ours = scene.fetch(FILES.map(of_hub).to_vec()).await;
    assert_eq!((&ours, bytes(&scene)), (&theirs, before), "nothing was fetched again");
    assert_eq!(sha256(&ours[0]), expected);
    // And what we remove it does not miss.
    let freed: u64 = ours.iter().map(|file| hub::cache::remove(&scene.cache(), file).unwrap().as_u64()).sum();
    assert_eq!(freed, before);
    assert_eq!(python(&scene, "get").await.as_deref(), Some(&theirs[..]));
    assert_eq!(bytes(&scene), 2 * before);
}

#[tokio::test]
async fn at_the_same_time_one_waits_for_the_other() {
    let (scene, expected) = with_files();
    scene.hub.fault(&format!("{REPOSITORY}/{}", FILES[0]), Fault::Slow(2 * MIB));
    scene.begin("x", FILES.map(of_hub).to_vec()).await;
    scene.comes("x", 1).await;
    let Some(theirs) = python(&scene, "get").await else { return };
    let ended = scene.ended().await;
    let hub::download::Ended::Finished { files, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(real(&files), real(&theirs));
    assert_eq!(sha256(&files[0]), expected);
    assert_eq!(scene.counts(FILES[0]).bytes, 5 * MIB, "it came once");
}
