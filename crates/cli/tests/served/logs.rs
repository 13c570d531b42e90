//! Our own log: in memory, as a stream, in files; and what is never in it.

use std::path::Path;

use serde_json::{Value, json};
use testkit::{Method, Snug, eventually};

use crate::support::fake;

async fn lines(snug: &Snug<'_>, query: &str) -> Vec<Value> {
    snug.get(&format!("/api/logs{query}")).await.ok()["logs"].as_array().unwrap().clone()
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap()
}

#[tokio::test]
async fn the_last_lines_are_shown_the_oldest_first() {
    let stage = fake().fake_model("bad.gguf", "--fake-fail backend_error").config("[logging]\nlevel = \"debug\"");
    let snug = stage.start().await;
    snug.load("bad", "").await.refusal(400, "model_load_error");

    let all = lines(&snug, "").await;
    let first = all.iter().find(|line| message(line).starts_with("listening on ")).unwrap();
    assert!(message(first).contains(" version="), "{first}");
    assert_eq!((&first["level"], &first["target"]), (&json!("info"), &json!("server")));
    let times: Vec<i64> = all.iter().map(|line| line["epoch_ms"].as_i64().unwrap()).collect();
    assert!(times.is_sorted() && times.len() > 3, "{times:?}");

    let severe = lines(&snug, "?level=warn").await;
    assert!(severe.iter().all(|line| ["warning", "error"].contains(&line["level"].as_str().unwrap())), "{severe:?}");
    assert!(severe.iter().any(|line| message(line).contains("bad")), "{severe:?}");
    // Filtered first, then counted: the last severe one is far from the last of all.
    assert_eq!(lines(&snug, "?level=warning&count=1").await, severe[severe.len() - 1..]);
    assert_eq!(lines(&snug, "?level=critical").await, Vec::<Value>::new());

    snug.get("/api/logs?count=many").await.refusal(400, "invalid_request");
    snug.get("/api/logs?count=-1").await.refusal(400, "invalid_request");
    let refusal = snug.get("/api/logs?level=loud").await.refusal(400, "invalid_request");
    assert_eq!(refusal["param"], "level");
    assert!(refusal["message"].as_str().unwrap().contains("trace, debug, info, warning, error, critical"));
    snug.send(Method::GET, "/api/logs", &[("x-forwarded-for", "10.0.0.7")], "")
        .await
        .refusal(401, "admin_token_required");
}

#[tokio::test]
async fn the_log_can_be_followed_until_snug_ends() {
    let stage = fake().fake_model("m.gguf", "");
    let mut snug = stage.start().await;
    let mut followed = snug.follow("/api/logs?count=1000&level=info").await;
    let until = async |followed: &mut testkit::Events, text: &str| loop {
        let event = followed.next().await.unwrap().expect("the stream goes on");
        let line: Value = serde_json::from_str(&event).unwrap();
        assert_ne!(line["level"], "debug");
        if message(&line).contains(text) {
            return;
        }
    };
    until(&mut followed, "listening on ").await;
    snug.load("m", "").await.ok();
    until(&mut followed, "loading m:").await;

    // It does not keep snug from ending: the grace time is half a minute.
    snug.terminate();
    until(&mut followed, "stopping: no new requests").await;
    let begun = std::time::Instant::now();
    assert!(followed.rest().await.is_ok());
    assert!(snug.ended().await.success());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

/// The text of all files in a folder.
fn written(folder: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else { return String::new() };
    entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

#[tokio::test]
async fn files_are_written_kept_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    for name in ["snug-2020-01-01.log", "snug-2020-01-02.log", "notes.log"] {
        std::fs::write(logs.join(name), "old\n").unwrap();
    }
    let logging = format!("[logging]\ndirectory = \"{}\"\nretain_days = 2", logs.display());
    let stage = fake().config(&logging);
    let mut snug = stage.start().await;
    snug.terminate();
    assert!(snug.ended().await.success());
    let mut names: Vec<String> =
        std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!((names[0].as_str(), names[1].as_str()), ("notes.log", "snug-2020-01-02.log"));

    // All that was said on standard error is there, up to the last word; but for the token, which no log has.
    let text = std::fs::read_to_string(logs.join(&names[2])).unwrap();
    let timeless = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with("admin token"));
        lines.map(|line| line.split_once(' ').unwrap().1.trim().to_owned()).collect()
    };
    assert_eq!(timeless(&text), timeless(&snug.log()));
    assert_eq!(timeless(&text).last().map(String::as_str), Some("INFO stopped"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_at_the_start() {
    let stage = fake().environment("SNUG_LOG_DIRECTORY", "/proc/nowhere");
    let output = tokio::task::spawn_blocking({
        let mut command = stage.serve();
        move || command.output()
    });
    let output = output.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("logging.directory: cannot write log files to /proc/nowhere"),
        "{said}"
    );
}

#[tokio::test]
async fn secrets_and_prompts_are_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let logging = format!("[logging]\nlevel = \"trace\"\ndirectory = \"{}\"", folder.path().display());
    let stage = fake().fake_model("m.gguf", "").fake_model("bad.gguf", "--fake-fail backend_error").config(&logging);
    let stage = stage.environment("HF_TOKEN", "hf_PLANTED-1").environment("HUGGING_FACE_HUB_TOKEN", "hf_PLANTED-2");
    let snug = stage.start().await;

    // The admin token is shown once, on standard error, and is none of the log's.
    let shown = snug.log();
    let shown = shown.lines().find(|line| line.contains("shown this once): ")).unwrap().to_owned();
    let token = shown.split_once("shown this once): ").unwrap().1.trim();

    let body = |model: &str, more: Value| {
        let mut body = json!({ "model": model, "messages": [
            { "role": "system", "content": "PLANTED-3" }, { "role": "user", "content": "PLANTED-4" } ] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let bearer = format!("Bearer {token}");
    let headers = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
        ("x-api-key", "PLANTED-5"),
        ("cookie", "session=PLANTED-6"),
    ];
    for body in [
        body("m", json!({})),
        body("m", json!({ "stream": true })),
        body("bad", json!({ "user": "PLANTED-7" })),
        body("none", json!({})),
        "{\"model\": \"m\", \"messages\": [{\"content\": \"PLANTED-8".to_owned(),
    ] {
        snug.send(Method::POST, "/v1/chat/completions", &headers, &body).await;
    }
    // One that leaves in the middle, and what management is told.
    drop(snug.stream("m", json!({ "messages": [{ "role": "user", "content": "PLANTED-9" }] })).await);
    let config = json!({ "model": "cloud", "provider": "openai", "api_key": "PLANTED-10" });
    snug.send(Method::POST, "/api/models/config", &headers, &config.to_string()).await;
    snug.send(Method::PUT, "/api/models/config", &headers, &config.to_string()).await;
    snug.send(Method::POST, "/api/models/m/unload", &headers, "").await.ok();
    snug.send(Method::POST, "/api/models/m/load", &[("authorization", "Bearer PLANTED-11")], "").await;

    let last = "PLANTED-IN-THE-PATH";
    snug.get(&format!("/nowhere?{last}")).await.refusal(404, "route_not_found");
    let ring = lines(&snug, "?count=1000").await;
    eventually("the files have what the memory has", async || {
        let newest = message(ring.last().unwrap()).lines().next().unwrap().split(' ').next().unwrap();
        written(folder.path()).contains(newest).then_some(())
    })
    .await;
    let files = written(folder.path());
    assert!(ring.len() > 20 && files.lines().count() > 20, "tracing is on: {}", ring.len());
    let console = snug.log().replace(&shown, "");
    for (place, text) in [("memory", json!(ring).to_string()), ("files", files), ("standard error", console)] {
        for secret in ["PLANTED", token] {
            let found = text.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{secret} is in {place}: {found:?}");
        }
    }
}
