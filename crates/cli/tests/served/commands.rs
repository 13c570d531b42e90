//! The other commands of snug against the server, and a `serve` that cannot start.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::{Snug, Stage, gguf};

use crate::support::{fake, real};

/// Runs a command to its end, with text piped in: exit code, stdout, stderr.
pub(crate) async fn run(mut command: Command, piped: &str) -> (i32, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let piped = piped.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(piped.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = tokio::time::timeout(testkit::LONG, output).await.expect("the command ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

pub(crate) async fn ask(stage: &Stage, snug: &Snug<'_>, arguments: &[&str], piped: &str) -> (i32, String, String) {
    let mut command = stage.command(arguments);
    command.env("SNUG_URL", &snug.url);
    run(command, piped).await
}

#[tokio::test]
async fn models_are_listed_loaded_asked_and_unloaded() {
    let Some(stage) = real() else { return };
    let stage = stage.model("Tiny-F32.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;

    let (code, out, error) = ask(&stage, &snug, &["models"], "").await;
    assert!(code == 0 && out.contains("Tiny"), "{code} {out} {error}");
    let (code, out, _) = ask(&stage, &snug, &["ps"], "").await;
    assert!(code == 0 && !out.contains("Tiny"), "{out}");

    let (code, out, error) = ask(&stage, &snug, &["load", "Tiny", "--context", "512"], "").await;
    assert_eq!(code, 0, "{out} {error}");
    let (code, out, _) = ask(&stage, &snug, &["ps", "--json"], "").await;
    let row = &serde_json::from_str::<Value>(&out).unwrap()["models"][0];
    assert_eq!((code, &row["model"], &row["context_size"]), (0, &json!("Tiny"), &json!(512)), "{out}");

    let (code, out, error) = ask(&stage, &snug, &["run", "Tiny"], "a prompt from a pipe").await;
    assert_eq!((code, out.trim()), (0, gguf::ChatModel::sentence().as_str()), "{error}");
    let (code, out, error) = ask(&stage, &snug, &["run", "Tiny", "what", "is", "this?", "--json"], "").await;
    assert!(code == 0 && out.contains(&gguf::ChatModel::sentence()), "{out} {error}");

    let (code, _, error) = ask(&stage, &snug, &["unload", "Tiny"], "").await;
    assert_eq!(code, 0, "{error}");
    assert_eq!(snug.loaded().await, Vec::<Value>::new());

    let (code, _, error) = ask(&stage, &snug, &["load", "nobody"], "").await;
    assert!(code == 4 && error.contains("nobody"), "{code} {error}");
    let (code, _, error) = ask(&stage, &snug, &["load", "Tiny", "--context", "1000000"], "").await;
    assert!(code == 5 && error.contains("context"), "{code} {error}");
}

#[tokio::test]
async fn a_wrong_argument_is_said_with_code_2() {
    let stage = fake();
    let (code, out, error) = run(stage.command(&["serve", "--no-such-flag"]), "").await;
    assert!(code == 2 && out.is_empty() && error.contains("--no-such-flag"), "{code} {error}");

    // All mistakes at once, each with its place.
    let stage = stage.config("prot = 1\n[gateway]\nmax_wait = \"soon\"\n").arguments(&["--idle-unload", "later"]);
    let (code, _, error) = run(stage.serve(), "").await;
    assert_eq!(code, 2, "{error}");
    for word in ["prot", "max_wait", "idle-unload"] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn a_second_snug_says_what_is_in_its_way() {
    let stage = fake();
    let snug = stage.start().await;
    let (code, _, error) = run(stage.serve(), "").await;
    assert!(code == 1 && error.contains("another snug") && error.contains("--data-dir"), "{code} {error}");

    let port = snug.url.rsplit_once(':').unwrap().1;
    let other = fake().arguments(&["--port", port]);
    let mut command = other.command(&["serve", "--host", "127.0.0.1", "--port", port, "--data-dir"]);
    command.arg(other.data_dir());
    let (code, _, error) = run(command, "").await;
    assert!(code == 1 && error.contains(port) && error.contains("--port"), "{code} {error}");
    assert_eq!(snug.get("/health").await.status, 200);
}

#[tokio::test]
async fn without_a_model_it_starts_and_says_how_to_get_one() {
    let stage = fake();
    let snug = stage.start().await;
    let log = snug.log();
    assert!(log.contains("no models yet") && log.contains("--model") && log.contains("models"), "{log}");
    let (code, out, error) = ask(&stage, &snug, &["models"], "").await;
    assert_eq!(code, 0, "{out} {error}");
    assert_eq!(snug.get("/v1/models").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn without_an_engine_it_starts_and_says_how_to_get_one() {
    let stage = Stage::new(crate::support::program(), std::path::Path::new("/nowhere/llama-server"));
    let stage = stage.model("Tiny-F32.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    let error = snug.load("Tiny", "").await.refusal(400, "model_load_error");
    assert_eq!(error["details"]["reason"], "backend_error");
    assert!(error["message"].as_str().unwrap().contains("/nowhere/llama-server"), "{error}");
}

#[tokio::test]
async fn without_a_server_a_command_says_where_it_looked() {
    let stage = fake();
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{address}");
    let (code, _, error) = run(stage.command(&["ps", "--url", &url]), "").await;
    assert!(code == 3 && error.contains(&url) && error.contains("snug serve"), "{code} {error}");
}
