//! The OpenAI routes, answered by a real engine with a real model.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{Method, Stage, gguf};

use crate::support::{SAMPLE, fake, real, real_with_sample};

#[tokio::test]
async fn chat_completions_and_embeddings_are_answered() {
    let Some(stage) = real_with_sample() else { return };
    let snug = stage.start().await;

    let answer = snug.chat(SAMPLE, json!({ "max_tokens": 12, "temperature": 0 })).await.ok();
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["choices"][0]["message"]["content"].as_str().is_some_and(|text| !text.trim().is_empty()));
    assert!(answer["usage"]["completion_tokens"].as_u64().is_some_and(|tokens| (1..=12).contains(&tokens)));

    let prompt = json!({ "model": SAMPLE, "prompt": "One, two, three,", "max_tokens": 8, "temperature": 0 });
    let answer = snug.post("/v1/completions", &prompt).await.ok();
    assert!(answer["choices"][0]["text"].as_str().is_some_and(|text| !text.trim().is_empty()));

    let texts = json!({ "model": SAMPLE, "input": ["a cat", "a tax return"] });
    let answer = snug.post("/v1/embeddings", &texts).await.ok();
    let vector = |index: usize| answer["data"][index]["embedding"].as_array().unwrap();
    assert_eq!(vector(0).len(), 576, "the model's width");
    assert_ne!(vector(0), vector(1));

    let row = snug.instance(SAMPLE).await;
    assert_eq!((&row["instance_state"], &row["adopted"]), (&json!("ready"), &json!(false)));
    assert_eq!(row["context_size"], 2048);
    assert!(row["ram_usage_mb"].as_u64().is_some_and(|mib| mib > 90), "the engine's own report: {row}");
}

#[tokio::test]
async fn a_stream_comes_piece_by_piece() {
    let Some(stage) = real_with_sample() else { return };
    let snug = stage.start().await;
    let mut stream = snug.stream(SAMPLE, json!({ "max_tokens": 40, "ignore_eos": true })).await;
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.contains("chat.completion.chunk"), "{first}");
    let text = stream.complete().await.unwrap();
    assert!(!text.trim().is_empty());
    assert!(stream.pieces > 10, "forty tokens came in {} pieces", stream.pieces);
}

#[tokio::test]
async fn a_stream_is_not_held_back() {
    // The engine stops after three events and says nothing more: what it said must be here all the same.
    let stage = fake().fake_model("quiet.gguf", "--fake-stall-after 3");
    let snug = stage.start().await;
    let mut stream = snug.stream("quiet", json!({})).await;
    for _ in 0..3 {
        assert!(stream.next().await.unwrap().unwrap().contains("chunk"));
    }
}

#[tokio::test]
async fn eight_at_once_are_all_answered() {
    let Some(stage) = real_with_sample() else { return };
    let snug = stage.start().await;
    // All of them come before the model is loaded: there is one load, and it serves all.
    let answers = join_all((0..8).map(|_| snug.chat(SAMPLE, json!({ "max_tokens": 8 })))).await;
    for answer in answers {
        assert!(answer.ok()["choices"][0]["message"]["content"].is_string());
    }
    assert_eq!(snug.log().matches("loading SmolLM2").count(), 1, "{}", snug.log());
}

fn tiny(stage: Stage) -> Stage {
    let model = gguf::ChatModel::default().file();
    let path = stage.models_dir().join("elsewhere.gguf");
    let entry = format!("[[models]]\nid = \"org/name\"\npath = {:?}\n", path.to_str().unwrap());
    stage.model("Tiny-F32.gguf", &model).model("elsewhere.gguf", &model).config(&entry)
}

#[tokio::test]
async fn every_name_of_a_model_names_it() {
    let Some(stage) = real().map(tiny) else { return };
    let snug = stage.start().await;

    let listed = snug.get("/v1/models").await.ok();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"Tiny") && ids.contains(&"org/name"), "{ids:?}");

    for (path, id) in [
        ("Tiny", "Tiny"),
        ("Tiny:F32", "Tiny"),
        ("Tiny-F32", "Tiny"),
        ("org/name", "org/name"),
        ("org%2Fname", "org/name"),
        ("org/name/", "org/name"),
    ] {
        let one = snug.get(&format!("/v1/models/{path}")).await.ok();
        assert_eq!((&one["id"], &one["object"]), (&json!(id), &json!("model")), "{path}");
    }
    snug.get("/v1/models/org/nobody").await.refusal(404, "model_not_found");

    for name in ["Tiny", "Tiny:F32", "Tiny-F32", "org/name"] {
        let answer = snug.chat(name, json!({})).await.ok();
        assert_eq!(answer["choices"][0]["message"]["content"], gguf::ChatModel::sentence(), "{name}");
    }
    assert_eq!(snug.loaded().await.len(), 2, "names of one model share its engine");
    for name in ["org/name", "org%2Fname"] {
        assert_eq!(snug.load(name, "").await.ok()["model"], "org/name", "{name}");
    }
}

#[tokio::test]
async fn a_request_id_comes_back() {
    let stage = fake().fake_model("m.gguf", "");
    let snug = stage.start().await;
    let headers = [("x-request-id", "from-the-client"), ("content-type", "application/json")];
    let body = json!({ "model": "m", "messages": [] }).to_string();
    for (method, path, body) in [
        (Method::POST, "/v1/chat/completions", body.as_str()),
        (Method::GET, "/health", ""),
        (Method::GET, "/nowhere", ""),
    ] {
        let answer = snug.send(method, path, &headers, body).await;
        assert_eq!(answer.header("x-request-id"), "from-the-client", "{path}");
    }
    assert!(!snug.chat("m", json!({})).await.header("x-request-id").is_empty(), "without one, it is given one");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_the_error_object() {
    let stage = fake().fake_model("m.gguf", "").config("[gateway]\nmax_body = \"64K\"\n");
    let snug = stage.start().await;
    let chat = "/v1/chat/completions";

    snug.get("/v1/nowhere").await.refusal(404, "route_not_found");
    let wrong_method = snug.get(chat).await;
    wrong_method.refusal(405, "method_not_allowed");
    assert_eq!(wrong_method.header("allow"), "POST");
    snug.post("/v1/models", &json!({})).await.refusal(405, "method_not_allowed");

    let unknown = snug.chat("nobody", json!({})).await.refusal(404, "model_not_found");
    assert_eq!(unknown["param"], "model");
    assert!(unknown["message"].as_str().unwrap().contains('m'), "{unknown}");
    assert_eq!(unknown["details"]["available"], json!(["m"]));

    let send = async |body: &str| snug.send(Method::POST, chat, &[("content-type", "application/json")], body).await;
    send("{\"model\": \"m\", ").await.refusal(400, "invalid_json");
    send("").await.refusal(400, "invalid_json");
    assert_eq!(send("{\"messages\": []}").await.refusal(400, "missing_model")["param"], "model");
    let long = json!({ "model": "m", "messages": [{ "role": "user", "content": "x".repeat(100_000) }] });
    snug.post(chat, &long).await.refusal(413, "body_too_large");

    assert_eq!(snug.loaded().await, Vec::<Value>::new(), "none of these was a reason to load");
    snug.chat("m", json!({})).await.ok();
}

#[tokio::test]
async fn life_and_readiness_and_version_are_told() {
    let stage = fake();
    let snug = stage.start().await;
    for path in ["/health", "/v1/health", "/api/health", "/healthz"] {
        let health = snug.get(path).await.ok();
        assert_eq!((&health["status"], &health["router"]), (&json!("ok"), &json!("healthy")), "{path}");
    }
    assert_eq!(snug.get("/readyz").await.ok()["ready"], true);
    assert!(snug.get("/api/version").await.ok()["major"].is_u64());
    assert!(snug.get("/metrics").await.text.contains("# HELP"));
}
