//! `snug serve --models-yaml`: a router contract's file as it is, with real and with stand-in programs.

use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Snug, Stage, eventually, fake_python, gguf, is_alive};

use crate::support::{fake, program, real};

const COMMON: &str = "default_timeout: 60, quantization: Q4_1";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Has the stage serve this file; it lies in a folder `config`, as the contract's usually does.
fn with_yaml(stage: Stage, yaml: &str) -> Stage {
    let folder = stage.models_dir().parent().unwrap().join("config");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("models.yaml"), yaml).unwrap();
    let path = folder.join("models.yaml");
    stage.arguments(&["--models-yaml", path.to_str().unwrap()])
}

/// A folder for `PATH` with a stand-in under this name, and the shell that the stage may need.
fn on_path(stage: &Stage, name: &str) -> PathBuf {
    let folder = stage.models_dir().parent().unwrap().join("bin");
    std::fs::create_dir_all(&folder).unwrap();
    symlink(fake_python(), folder.join(name)).unwrap();
    folder
}

async fn backends(snug: &Snug<'_>) -> Value {
    snug.get("/v1/backends/health").await.ok()
}

/// What a stand-in says it was started with.
async fn started_with(snug: &Snug<'_>, model: &str) -> (String, Value) {
    let answer = snug.chat(model, json!({})).await.ok();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let content: Value = serde_json::from_str(content).unwrap();
    let words: Vec<&str> = content["arguments"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    (words.join(" "), content["environment"].clone())
}

fn command_line(pid: u64) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    String::from_utf8(line).unwrap().replace('\0', " ")
}

#[tokio::test]
async fn a_real_engine_serves_on_its_port_and_the_broken_entries_say_why() {
    let (Some(stage), Some(sample)) = (real(), std::env::var_os("SNUG_SAMPLE_MODEL")) else { return };
    let project = stage.models_dir().parent().unwrap().to_owned();
    std::fs::create_dir(project.join("weights")).unwrap();
    symlink(sample, project.join("weights/SmolLM2-135M.Q4_1.gguf")).unwrap();
    let (port, other) = (free_port(), free_port());
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = stranger.local_addr().unwrap().port();
    let yaml = format!(
        "models:
  standard: {{id: org/smol, backend: llamacpp, port: {port}, model_path: weights, {COMMON}, context_length: 2048,
             max_concurrency: 2, temp: 0.5, chat_template_kwargs: {{enable_thinking: false}}, fit: off}}
  off: {{id: sleeping, backend: llamacpp, port: {port}, model_path: weights, {COMMON}, enabled: no}}
  crowded: {{id: crowded, backend: llamacpp, port: {port}, model_path: weights, {COMMON}}}
  taken: {{id: taken, backend: llamacpp, port: {taken}, model_path: weights, {COMMON}}}
  gone: {{id: gone, backend: llamacpp, port: {other}, model_path: /nowhere/gone.gguf, {COMMON}}}
  apple: {{id: apple, backend: mlx, port: {}, model_path: org/apple, {COMMON}}}
",
        free_port()
    );
    let stage = with_yaml(stage, &yaml).config("[engine]\nextra_args = [\"--threads\", \"1\"]\n");
    let stage = stage.environment("PATH", project.join("bin").to_str().unwrap());
    let snug = stage.start().await;

    let answer = snug.chat("org/smol", json!({ "max_tokens": 8 })).await.ok();
    assert!(!answer["choices"][0]["message"]["content"].as_str().unwrap().trim().is_empty(), "{answer}");
    assert_eq!(answer["model"], "org/smol");
    let row = snug.instance("org/smol").await;
    assert_eq!((&row["port"], &row["context_size"]), (&json!(port), &json!(2048)), "{row}");
    let line = command_line(row["pid"].as_u64().unwrap());
    for words in [
        format!("--model {}", project.join("weights/SmolLM2-135M.Q4_1.gguf").display()),
        format!("--host 127.0.0.1 --port {port}"),
        "--ctx-size 4096 --parallel 2".to_owned(),
        "--n-gpu-layers 999".to_owned(),
        "--threads -1".to_owned(),
        "--alias org/smol".to_owned(),
        "--temp 0.5".to_owned(),
        "--chat-template-kwargs {\"enable_thinking\":false}".to_owned(),
        "--fit off".to_owned(),
    ] {
        assert!(line.contains(&words), "{words}: {line}");
    }

    let health = backends(&snug).await;
    let expected = json!({ "status": "healthy", "port": port, "model_id": "org/smol", "backend": "llamacpp" });
    assert_eq!(health["standard"], expected);
    assert_eq!(health["off"], json!({ "status": "disabled", "port": port, "model_id": "sleeping" }));
    let check = |role: &str, words: &str| {
        assert_eq!(health[role]["status"], "error", "{health:#}");
        assert!(health[role]["error"].as_str().unwrap().contains(words), "{role}: {health:#}");
        assert!(snug.log().contains(words), "{words} is not in the log");
    };
    check("crowded", &format!("{port} is the port of `standard` already"));
    check("taken", &format!("port {taken} on 127.0.0.1 is taken by another program"));
    check("gone", "no such file: /nowhere/gone.gguf");
    check("apple", "mlx-openai-server was not found on PATH");
}

#[tokio::test]
async fn an_embedding_model_is_started_as_one() {
    let Some(stage) = real() else { return };
    let file = stage.models_dir().parent().unwrap().join("tiny.gguf");
    gguf::ChatModel::default().file().write(&file).unwrap();
    let yaml = format!(
        "models:
  vectors: {{id: tiny, backend: llamacpp, port: {}, model_path: tiny.gguf, {COMMON}, model_type: embeddings, context_length: 128}}
",
        free_port()
    );
    let stage = with_yaml(stage, &yaml);
    let snug = stage.start().await;
    let row = snug.instance("tiny").await;
    let line = command_line(row["pid"].as_u64().unwrap());
    assert!(line.contains(" --embedding ") && !line.contains("--reranking"), "{line}");
    assert_eq!(backends(&snug).await["vectors"]["status"], "healthy");
}

#[tokio::test]
async fn the_mlx_server_and_python_are_started_in_their_words() {
    let (mlx, python) = (free_port(), free_port());
    let stage = Stage::without_engine(program());
    let bin = on_path(&stage, "mlx-openai-server");
    symlink(fake_python(), bin.join("python")).unwrap();
    let file = stage.models_dir().parent().unwrap().join("tiny.gguf");
    gguf::ChatModel::default().file().write(&file).unwrap();
    let yaml = format!(
        "models:
  apple: {{id: mlx-community/Qwen3, backend: mlx, port: {mlx}, model_path: mlx-community/Qwen3-8B, {COMMON},
          max_concurrency: 2, tool_call_parser: brand_new, enable_auto_tool_choice: true}}
  snake: {{id: snake, backend: llamacpp, port: {python}, model_path: tiny.gguf, {COMMON}, context_length: 128,
          chat_template_kwargs: {{enable_thinking: true}}}}
  wrong: {{id: wrong, backend: mlx, port: {}, model_path: org/name, {COMMON}, tool_call_parser: bogus}}
",
        free_port()
    );
    let stage = with_yaml(stage, &yaml).environment("PATH", bin.to_str().unwrap());
    let snug = stage.start().await;

    let (line, _) = started_with(&snug, "mlx-community/Qwen3").await;
    let expected = format!(
        "launch --model-path mlx-community/Qwen3-8B --model-type lm --port {mlx} --host 127.0.0.1 --queue-size 2 \
         --enable-auto-tool-choice --tool-call-parser brand_new"
    );
    assert_eq!(line, expected);
    let (line, environment) = started_with(&snug, "snake").await;
    let expected = format!(
        "-m llama_cpp.server --model {} --host 127.0.0.1 --port {python} --n_ctx 128 --n_gpu_layers 999 --n_threads -1 \
         --type_k 8 --type_v 8 --flash_attn true --model_alias snake",
        file.display()
    );
    assert_eq!(line, expected);
    assert_eq!(environment["LLAMA_CHAT_TEMPLATE_KWARGS"], r#"{"enable_thinking":true}"#);

    let health = backends(&snug).await;
    for (role, backend, port) in [("apple", "mlx", mlx), ("snake", "llamacpp", python)] {
        assert_eq!(
            (&health[role]["status"], &health[role]["backend"], &health[role]["port"]),
            (&json!("healthy"), &json!(backend), &json!(port)),
            "{health:#}"
        );
    }
    assert_eq!(health["wrong"]["status"], "error");
    assert!(health["wrong"]["error"].as_str().unwrap().contains("tool_call_parser must be one of qwen3"), "{health:#}");

    // They outlive a snug that is killed.
    let pid = snug.engine_pid("mlx-community/Qwen3").await;
    snug.kill();
    assert!(is_alive(pid));
    let snug = stage.start().await;
    let row = snug.instance("mlx-community/Qwen3").await;
    assert_eq!((&row["pid"], &row["adopted"]), (&json!(pid), &json!(true)), "{row}");
}

#[tokio::test]
async fn health_tells_of_every_backend() {
    let (kept, lazy) = (free_port(), free_port());
    let stage = fake().fake_model("shared.gguf", "").fake_model("extra.gguf", "").fake_model("spare.gguf", "");
    let yaml = format!(
        "models:
  kept: {{id: kept, backend: llamacpp, port: {kept}, model_path: models/shared.gguf, {COMMON}, context_length: 128}}
  lazy: {{id: lazy, backend: llamacpp, port: {lazy}, model_path: models/shared.gguf, {COMMON}, context_length: 128, preload: false}}
"
    );
    let stage = with_yaml(stage, &yaml);
    let snug = stage.start().await;
    let lazily = |status: &str, error: Value| {
        let mut row = json!({ "status": status, "port": lazy, "model_id": "lazy", "backend": "llamacpp" });
        if !error.is_null() {
            row["error"] = error;
        }
        row
    };
    let health = backends(&snug).await;
    assert_eq!(health["kept"]["status"], "healthy");
    assert_eq!(health["lazy"], lazily("unreachable", json!("not loaded; a request loads it")));
    assert_eq!(health.as_object().unwrap().len(), 2, "what was only found is no backend: {health}");

    snug.chat("lazy", json!({})).await.ok();
    snug.chat("extra", json!({})).await.ok();
    let health = backends(&snug).await;
    assert_eq!(health["lazy"], lazily("healthy", Value::Null));
    assert_eq!((&health["extra"]["status"], &health["extra"]["model_id"]), (&json!("healthy"), &json!("extra")));

    snug.post("/api/models/extra/unload", &Value::Null).await.ok();
    eventually("it is gone", async || backends(&snug).await.get("extra").is_none().then_some(())).await;
}

#[tokio::test]
async fn a_file_that_is_wrong_stops_the_start() {
    let check = |stage: Stage, expected: &[&str]| {
        let output = stage.serve().output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{told}");
        for words in expected {
            assert!(told.contains(words), "{words}: {told}");
        }
    };
    check(
        fake().arguments(&["--models-yaml", "/nowhere/models.yaml"]),
        &["--models-yaml: cannot read /nowhere/models.yaml"],
    );
    let yaml = "models:\n  a: {id: a, backend: vllm, port: 80}\n";
    let expected =
        ["models.yaml:2: models.a.backend: must be one of mlx, llamacpp", "models.a.port: must be a whole number"];
    check(with_yaml(fake(), yaml), &expected);
}
