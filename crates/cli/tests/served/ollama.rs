//! Ollama's API, as far as it is not inference: what is told, how it is refused, what is got and deleted.

use serde_json::{Value, json};
use testkit::{Answer, FakeHub, Method, Snug, Stage, gguf};

use crate::support::fake;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn stage() -> Stage {
    fake().fake_model("m-Q8_0.gguf", "").fake_model("two-Q4_0.gguf", "").fake_model("two-F16.gguf", "")
}

/// A hub, and the sha256 of what is on it.
fn hub() -> (FakeHub, String) {
    let hub = FakeHub::start();
    let sha256 =
        hub.put("org/tiny-GGUF", "tiny-Q4_K_M.gguf", gguf::ChatModel::default().with_file_size(2 << 20).file().bytes());
    (hub, sha256)
}

async fn delete(snug: &Snug<'_>, model: &str) -> Answer {
    snug.send(Method::DELETE, "/api/delete", &JSON, &json!({ "model": model }).to_string()).await
}

/// The text of an error in Ollama's form.
#[track_caller]
fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.json()["error"].as_str().unwrap_or_else(|| panic!("not Ollama's form: {answer:?}")).to_owned()
}

async fn names(snug: &Snug<'_>) -> Vec<String> {
    let tags = snug.get("/api/tags").await.ok();
    tags["models"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn who_looks_for_ollama_finds_it() {
    let stage = fake().arguments(&["--ollama-port", "0"]);
    let snug = stage.start().await;
    let greeting = snug.get("/").await;
    assert!(greeting.status == 200 && greeting.text.contains("Ollama is running"), "{greeting:?}");
    assert_eq!(snug.send(Method::HEAD, "/", &[], "").await.status, 200);
    assert!(snug.get("/api/version").await.ok()["version"].is_string());

    let log = snug.log();
    let (_, rest) = log.split_once("for Ollama's clients on ").unwrap();
    let url = rest.split([',', ' ', '\n']).next().unwrap();
    assert_ne!(url, snug.url);
    let other = testkit::fetch(&format!("{url}/api/tags")).await;
    assert_eq!(other, json!({ "models": [] }).to_string(), "the second port answers as the first");
}

#[tokio::test]
async fn what_is_here_is_told() {
    let stage = stage();
    let snug = stage.start().await;
    assert_eq!(names(&snug).await, ["m:Q8_0", "two:F16", "two:Q4_0"]);
    let row = &snug.get("/api/tags/").await.ok()["models"][0];
    assert_eq!((&row["model"], &row["details"]["format"]), (&json!("m:Q8_0"), &json!("gguf")));
    assert!(row["size"].as_u64().is_some_and(|size| size > 0), "{row}");
    assert_eq!(row["digest"].as_str().map(str::len), Some(64));

    for name in ["m", "m:latest", "m:Q8_0"] {
        let shown = snug.post("/api/show", &json!({ "model": name })).await.ok();
        let architecture = shown["model_info"]["general.architecture"].as_str().unwrap();
        assert_eq!(shown["details"]["family"], architecture, "{name}");
        assert!(shown["model_info"][format!("{architecture}.context_length")].is_u64(), "{shown}");
        assert!(shown["capabilities"].as_array().unwrap().contains(&json!("completion")), "{shown}");
        assert_eq!(shown["details"], row["details"]);
    }
    snug.post("/api/show", &json!({ "name": "m", "verbose": true })).await.ok();
    let unknown = refused(&snug.post("/api/show", &json!({ "model": "nobody" })).await, 404);
    assert!(unknown.contains("nobody") && unknown.contains("two"), "{unknown}");
    refused(&snug.post("/api/show", &json!({})).await, 400);
    refused(&snug.post("/api/show", &json!({ "model": 7 })).await, 400);
}

#[tokio::test]
async fn what_is_loaded_is_told() {
    let stage = stage();
    let snug = stage.start().await;
    assert_eq!(snug.get("/api/ps").await.ok(), json!({ "models": [] }));
    snug.load("m", "").await.ok();
    let running = snug.get("/api/ps").await.ok();
    let row = &running["models"][0];
    assert_eq!((&row["name"], running["models"].as_array().map(Vec::len)), (&json!("m:Q8_0"), Some(1)));
    assert!(row["size"].as_u64() >= row["size_vram"].as_u64(), "{row}");
    assert!(row["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{row}");
    assert!(row["context_length"].as_u64().is_some_and(|tokens| tokens > 0), "{row}");
}

#[tokio::test]
async fn what_is_pulled_comes_and_can_be_deleted() {
    let (hub, sha256) = hub();
    let stage = stage().environment("HF_ENDPOINT", &hub.url());
    let snug = stage.start().await;
    // It is known by its file's name, and by that of its repository.
    let (name, of_hub) = ("tiny:Q4_K_M", "hf.co/org/tiny-GGUF:Q4_K_M");
    let answer = snug.post("/api/pull", &json!({ "model": of_hub })).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"), "{answer:?}");
    let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0], json!({ "status": "pulling manifest" }));
    assert_eq!(lines.last(), Some(&json!({ "status": "success" })), "{lines:?}");
    assert!(lines.iter().any(|line| line["total"].is_u64() && line["completed"].is_u64()), "{lines:?}");
    assert!(names(&snug).await.contains(&name.to_owned()));
    for here in [name, of_hub, "hf.co/org/tiny-GGUF:latest"] {
        assert_eq!(snug.post("/api/pull/", &json!({ "name": here, "stream": false })).await.ok()["status"], "success");
        snug.post("/api/show", &json!({ "model": here })).await.ok();
    }

    // Its file's sha256 is what the cache names it by.
    let tags = snug.get("/api/tags").await.ok();
    let row = tags["models"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!(row["digest"], sha256);

    let flag = "/api/models/tiny/variants/Q4_K_M/protected";
    snug.post(flag, &Value::Null).await.ok();
    assert!(refused(&delete(&snug, name).await, 409).contains("protected"));
    snug.send(Method::DELETE, flag, &[], "").await.ok();
    assert_eq!(delete(&snug, of_hub).await.ok()["status"], "success");
    assert!(!names(&snug).await.contains(&name.to_owned()));
    refused(&delete(&snug, name).await, 404);
    assert!(refused(&delete(&snug, "two:latest").await, 409).contains("two:F16"), "of several one must be named");
    delete(&snug, "two:F16").await.ok();
    delete(&snug, "two").await.ok();
    assert_eq!(names(&snug).await, ["m:Q8_0"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_its_form() {
    let (hub, _) = hub();
    let stage = stage().environment("HF_ENDPOINT", &hub.url());
    let snug = stage.start().await;
    for name in ["llama3.2:1b", "org/nobody:Q4_0", "org/tiny-GGUF:Q2_K"] {
        let answer = snug.post("/api/pull", &json!({ "model": name })).await;
        refused(&answer, 404);
    }
    let unknown = refused(&snug.post("/api/pull", &json!({ "model": "llama3.2:1b" })).await, 404);
    assert!(unknown.contains("hf.co/"), "{unknown}");

    for (method, path, allow) in [
        (Method::POST, "/api/tags", "GET, HEAD"),
        (Method::POST, "/api/ps/", "GET, HEAD"),
        (Method::GET, "/api/show", "POST"),
        (Method::GET, "/api/pull", "POST"),
        (Method::POST, "/api/delete/", "DELETE"),
        (Method::GET, "/api/copy", "POST"),
        (Method::GET, "/api/blobs/sha256:0", "HEAD, POST"),
    ] {
        let answer = snug.send(method, path, &[], "").await;
        refused(&answer, 405);
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    snug.send(Method::DELETE, "/", &[], "").await.refusal(405, "method_not_allowed");
    for path in ["/api/copy", "/api/create/", "/api/push", "/api/blobs/sha256:0"] {
        assert!(!refused(&snug.post(path, &json!({})).await, 501).is_empty(), "{path}");
    }
    assert_eq!(snug.send(Method::HEAD, "/api/blobs/sha256:0", &[], "").await.status, 501);

    // A page of another site may look, and change nothing.
    let foreign = [JSON[0], ("origin", "https://evil.example")];
    let model = json!({ "model": "m" }).to_string();
    for (method, path) in [(Method::DELETE, "/api/delete"), (Method::POST, "/api/pull"), (Method::POST, "/api/create")]
    {
        assert!(refused(&snug.send(method, path, &foreign, &model).await, 401).contains("admin token"), "{path}");
    }
    snug.send(Method::POST, "/api/show", &foreign, &model).await.ok();
    assert_eq!(names(&snug).await.len(), 3);
}
