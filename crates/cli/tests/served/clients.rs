//! Clients that others wrote: the official openai, anthropic and ollama packages, and schemathesis, which asks what nobody
//! would.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use testkit::{FakeHub, Stage, gguf};

use crate::support::{SAMPLE, fake, missing, real_with_sample};

/// What the scripts say where the package is not installed (`EX_UNAVAILABLE`).
const NOT_INSTALLED: i32 = 69;

async fn check_with_sample(script: &str) {
    let Some(stage) = real_with_sample() else { return };
    check(script, &stage, &[]).await;
}

async fn check(script: &str, stage: &Stage, more: &[(&str, &str)]) {
    let snug = stage.start().await;
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests")).join(script);
    let mut command = Command::new(&path);
    command.env("SNUG_BASE_URL", &snug.url).env("SNUG_MODEL", SAMPLE).stdin(Stdio::null());
    command.envs(more.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    match output.status.code() {
        Some(NOT_INSTALLED) => missing(&text),
        code => assert_eq!(code, Some(0), "{text}"),
    }
}

#[tokio::test]
async fn the_openai_package_for_python() {
    check_with_sample("openai-python/run").await;
}

#[tokio::test]
async fn the_openai_package_for_node() {
    check_with_sample("openai-node/run").await;
}

#[tokio::test]
async fn the_anthropic_package_for_python() {
    check_with_sample("anthropic-python/run").await;
}

/// The same with an engine that knows chat completions only, and calls tools whenever it must.
#[tokio::test]
async fn the_anthropic_package_for_python_with_tools() {
    let stage = fake().fake_model("m-Q4_K_M.gguf", "");
    check("anthropic-python/run", &stage, &[("SNUG_MODEL", "m"), ("SNUG_CALLS", "1")]).await;
}

/// What is here, what runs, getting and deleting.
#[tokio::test]
async fn the_ollama_package_for_python_manages() {
    let hub = FakeHub::start();
    hub.put("org/tiny-GGUF", "tiny-Q4_K_M.gguf", gguf::ChatModel::default().with_file_size(2 << 20).file().bytes());
    let stage = fake().fake_model("m-Q8_0.gguf", "").environment("HF_ENDPOINT", &hub.url());
    let named = [("SNUG_MODEL", "m:Q8_0"), ("SNUG_PULL", "hf.co/org/tiny-GGUF:Q4_K_M"), ("SNUG_PARTS", "management")];
    check("ollama-python/run", &stage, &named).await;
}

/// Chats, texts, vectors.
#[tokio::test]
async fn the_ollama_package_for_python_asks() {
    let Some(stage) = real_with_sample() else { return };
    let model = format!("{SAMPLE}:Q4_1");
    check("ollama-python/run", &stage, &[("SNUG_MODEL", &model), ("SNUG_PARTS", "inference")]).await;
}

/// Every route is asked within and beyond its description: no 5xx, no undeclared status, no answer beside its schema, no
/// value refused that is allowed nor taken that is not.
///
/// Routes that write and delete are asked too. All that they can reach is the stage's own: its folders, and no network.
#[tokio::test]
async fn schemathesis() {
    let stage = fake().fake_model("m-Q4_K_M.gguf", "").environment("HF_HUB_OFFLINE", "1");
    let outside = stage.models_dir().parent().unwrap().join("outside-Q4_K_M.gguf");
    testkit::gguf::ChatModel::default().file().write(&outside).unwrap();
    let overrides = stage.data_dir().join("runtime_models.json");
    let stage =
        stage.config(&format!("override_path = {overrides:?}\n[[models]]\nid = \"outside\"\npath = {outside:?}\n"));
    check("schemathesis/run", &stage, &[]).await;
    assert!(outside.exists(), "a file that is not snug's was deleted");
}
