//! What is told of requests: to a collector of spans, in the request log, in the metrics that dashboards and alerts read.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use serde_json::{Value, json};
use testkit::Method;

use crate::support::fake;

/// A collector; what it is sent.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&got);
    let take = async move |body: Bytes| kept.lock().unwrap().extend_from_slice(&body);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    let _serving =
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(take))).await });
    (address, got)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_told_by_then() {
    let stage = fake().fake_model("m.gguf", "--fake-tokens 5");
    let (endpoint, spans) = collector().await;
    let file = stage.data_dir().join("requests.jsonl");
    let stage = stage.config(&format!(
        "[request_log]\nfile = {file:?}\nbodies = true\n[tracing]\notlp_endpoint = \"{endpoint}\"\nservice_name = \"the-test\"\n"
    ));
    let mut snug = stage.start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("traceparent", parent.as_str()), ("content-type", "application/json")];
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi, you." }] }).to_string();
    snug.send(Method::POST, "/v1/chat/completions", &headers, &body).await.ok();
    snug.stream("m", json!({})).await.complete().await.unwrap();
    snug.chat("nobody", json!({})).await.refusal(404, "model_not_found");
    snug.terminate();
    assert!(snug.ended().await.success());

    let lines = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [whole, stream, unknown] = &lines[..] else { panic!("{lines:?}") };
    for line in [whole, stream] {
        let told = (&line["endpoint"], &line["model"], &line["status"], &line["completion_tokens"]);
        assert_eq!(told, (&json!("chat_completions"), &json!("m"), &json!(200), &json!(5)), "{line}");
        assert!(line["total_ms"].as_f64().unwrap() >= line["first_piece_ms"].as_f64().unwrap(), "{line}");
    }
    assert_eq!((&whole["stream"], &stream["stream"]), (&json!(false), &json!(true)));
    assert_eq!(whole["request"], body);
    assert!(stream["response"].as_str().unwrap().starts_with("data: "), "{stream}");
    assert_eq!((&unknown["status"], &unknown["outcome"]), (&json!(404), &json!("4xx")));

    let spans = spans.lock().unwrap();
    for text in ["the-test", "chat m", "gen_ai.usage.output_tokens", "llama.cpp", "error.type"] {
        assert!(contains(&spans, text.as_bytes()), "no {text} in {}", String::from_utf8_lossy(&spans));
    }
    assert!(contains(&spans, &u128::from_str_radix(trace, 16).unwrap().to_be_bytes()), "it is in the client's trace");
    assert!(!contains(&spans, b"Hi, you."), "what was asked is nobody's business");
}

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("snug_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn dashboards_and_alerts_read_metrics_that_there_are() {
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let dashboard = std::fs::read_to_string(docs.join("grafana/snug.json")).unwrap();
    let parsed: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 10);
    let alerts = std::fs::read_to_string(docs.join("prometheus/alerts.yaml")).unwrap();

    let stage = fake().fake_model("m.gguf", "");
    let (endpoint, _) = collector().await;
    let file = stage.data_dir().join("requests.jsonl");
    let config = format!("[request_log]\nfile = {file:?}\n[tracing]\notlp_endpoint = \"{endpoint}\"\n");
    let stage = stage.config(&config);
    let snug = stage.start().await;
    snug.stream("m", json!({})).await.complete().await.unwrap();
    let metrics = testkit::fetch(&format!("{}/metrics", snug.url)).await;
    let there: BTreeSet<&str> = metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for (document, text) in [("the dashboard", &dashboard), ("the alerts", &alerts)] {
        let asked = names(text);
        assert!(asked.len() > 5, "{asked:?}");
        let missing: Vec<&String> = asked.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{document} asks for {missing:?}; there are {there:?}");
    }
}
