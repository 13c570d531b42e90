//! Another configuration while snug runs: by the file, by SIGHUP, and one that cannot be.

use serde_json::{Value, json};
use testkit::{Method, Snug, Stage, eventually, gguf};

use crate::support::fake;

/// An entry of the stage's model file `a-Q8_0.gguf`.
fn entry(stage: &Stage, id: &str, more: &str) -> String {
    let file = stage.models_dir().join("a-Q8_0.gguf");
    format!("[[models]]\nid = \"{id}\"\npath = {file:?}\n{more}\n")
}

async fn ids(snug: &Snug<'_>) -> Vec<String> {
    let listed = snug.get("/v1/models").await.ok();
    listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// How many configurations were taken, and how many were not.
async fn outcomes(snug: &Snug<'_>) -> (u64, u64) {
    let metrics = testkit::fetch(&format!("{}/metrics", snug.url)).await;
    let count = |outcome: &str| {
        let name = format!("snug_config_reloads_total{{outcome=\"{outcome}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no {name}in {metrics}"))
    };
    (count("success"), count("failure"))
}

async fn until_outcomes(snug: &Snug<'_>, expected: (u64, u64)) {
    eventually(&format!("{expected:?} configurations"), async || (outcomes(snug).await == expected).then_some(()))
        .await;
}

#[tokio::test]
async fn a_running_stream_is_whole_while_the_configuration_changes_under_it() {
    let stage = fake().fake_model("a-Q8_0.gguf", "--fake-token-ms 20 --fake-tokens 100000");
    let stage = stage.model("b-Q8_0.gguf", &gguf::ChatModel::default().file());
    let first = entry(&stage, "first", "");
    let stage = stage.config(&first);
    let snug = stage.start().await;
    assert_eq!(ids(&snug).await, ["b", "first"]);
    let mut stream = snug.stream("first", json!({ "max_tokens": 400 })).await;
    stream.next().await.unwrap().unwrap();
    let pid = snug.engine_pid("first").await;

    // A model more, another default, a limit less.
    let file = stage.models_dir().join("b-Q8_0.gguf");
    let second = format!("[[models]]\nid = \"second\"\npath = {file:?}\n");
    stage.write_config(&format!("[engine]\ncontext = 777\n[gateway]\nmax_body = \"2K\"\n{first}{second}"));
    eventually("it is listed", async || (ids(&snug).await == ["first", "second"]).then_some(())).await;
    snug.chat("second", json!({})).await.ok();
    assert_eq!(snug.instance("second").await["context_size"], 777);
    until_outcomes(&snug, (1, 0)).await;
    let long = json!({ "user": "x".repeat(4096) });
    snug.chat("second", long.clone()).await.refusal(413, "body_too_large");

    // What is wrong with the next is told, and what is in force stays.
    stage.write_config(&format!("port = \"x\"\n[engine]\nslots = 0\n{second}"));
    until_outcomes(&snug, (1, 1)).await;
    assert_eq!(ids(&snug).await, ["first", "second"]);
    let log = snug.log();
    assert!(log.contains("snug.toml:1: port: must be a whole number, is \"x\""), "{log}");
    assert!(log.contains("snug.toml:3: engine.slots: must be 1 to 64, is 0"), "{log}");
    let metrics = testkit::fetch(&format!("{}/metrics", snug.url)).await;
    assert!(metrics.contains("snug_config_last_reload_successful 0\n"), "{metrics}");
    snug.hang_up();
    until_outcomes(&snug, (1, 2)).await;

    // The model of the stream is gone from the next: it answers to the end, and is unloaded then.
    stage.write_config(&format!("max_concurrent_downloads = 3\n[logging]\nlevel = \"debug\"\n{second}"));
    until_outcomes(&snug, (2, 2)).await;
    assert_eq!(ids(&snug).await, ["a", "second"]);
    snug.chat("first", json!({})).await.refusal(404, "model_not_found");
    snug.chat("second", long).await.ok();
    let log = snug.log();
    assert!(
        log.contains("some of it counts from the next start on") && log.contains("max_concurrent_downloads"),
        "{log}"
    );
    let text = stream.complete().await.unwrap_or_else(|error| panic!("{error}\n{}", snug.log()));
    assert!(!text.is_empty());
    eventually("nobody uses it", async || (!testkit::is_alive(pid)).then_some(())).await;

    // As it is, once more.
    snug.hang_up();
    until_outcomes(&snug, (3, 2)).await;
    let metrics = testkit::fetch(&format!("{}/metrics", snug.url)).await;
    assert!(metrics.contains("snug_config_last_reload_successful 1\n"), "{metrics}");
}

#[tokio::test]
async fn which_pages_may_read_answers_follows_the_file() {
    let stage = fake().config("cors_origins = [\"https://one.example\"]");
    let snug = stage.start().await;
    let allowed = async |origin: &str| {
        let answer = snug.send(Method::GET, "/health", &[("origin", origin)], "").await;
        answer.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(allowed("https://one.example").await, "https://one.example");
    stage.write_config("cors_origins = [\"https://two.example\"]");
    eventually("the other one may", async || (!allowed("https://two.example").await.is_empty()).then_some(())).await;
    assert_eq!(allowed("https://one.example").await, "");
    let managed = async |origin: &str| {
        let headers = [("origin", origin)];
        snug.send(Method::GET, "/api/logs", &headers, "").await.status
    };
    assert_eq!((managed("https://two.example").await, managed("https://one.example").await), (200, 401));
    let unknown: Value = snug.get("/health").await.ok();
    assert_eq!(unknown["status"], "ok");
}
