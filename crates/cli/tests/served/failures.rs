//! Models that cannot be loaded: each gets its own reason, and the server goes on.

use serde_json::{Value, json};
use testkit::{Snug, eventually, gguf};

use crate::support::{fake, real};

/// A model with this name fails to load for this reason, however it is asked for, and others are served after it.
async fn check(snug: &Snug<'_>, model: &str, query: &str, reason: &str) -> Value {
    let error = snug.load(model, query).await.refusal(400, "model_load_error");
    assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!("model")), "{model}");
    let details = &error["details"];
    assert_eq!(details["reason"], reason, "{model}: {error}");
    assert_eq!((&details["model"], &details["error_code"]), (&json!(model), &json!("model_load_error")));
    assert!(details["recoverable"].is_boolean() && details["llama_log"].is_string(), "{details}");
    assert!(["action", "suggestion"].iter().all(|key| details[key].as_str().is_some_and(|text| !text.is_empty())));
    if query.is_empty() {
        let error = snug.chat(model, json!({})).await.refusal(503, "model_load_error");
        assert_eq!(error["details"]["reason"], reason, "{error}");
    }

    assert_eq!(snug.get("/health").await.status, 200);
    assert_eq!(
        snug.chat("Good", json!({})).await.ok()["choices"][0]["message"]["content"],
        gguf::ChatModel::sentence()
    );
    error
}

#[tokio::test]
async fn damaged_files_are_told_apart() {
    let Some(stage) = real() else { return };
    let good = gguf::ChatModel::default().file();
    let folder = stage.models_dir();
    for (name, bytes) in [
        ("half.gguf", gguf::damaged::half_downloaded(&good)),
        ("stub.gguf", gguf::damaged::cut(&good, 100)),
        ("magic.gguf", gguf::damaged::wrong_magic()),
        ("page.gguf", gguf::damaged::text()),
        ("empty.gguf", vec![]),
        ("endian.gguf", gguf::damaged::big_endian()),
        ("counts.gguf", gguf::damaged::hostile_counts()),
    ] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let stage = stage.model("Good-F32.gguf", &good).model("future.gguf", &gguf::damaged::unknown_architecture());
    let stage = stage.arguments(&["--model", "/nowhere/gone.gguf"]);
    let snug = stage.start().await;

    for name in ["half", "stub", "magic", "page", "empty", "endian", "counts"] {
        check(&snug, name, "", "file_corrupt").await;
    }
    let unknown = check(&snug, "future", "", "unsupported_arch").await;
    assert!(unknown["details"]["llama_log"].as_str().unwrap().contains("qwen99"), "{unknown}");
    assert_eq!(unknown["details"]["recoverable"], false);
    let gone = check(&snug, "gone", "", "file_not_found").await;
    assert_eq!(gone["details"]["action"], "redownload");
    assert!(gone["message"].as_str().unwrap().contains("/nowhere/gone.gguf"), "{gone}");
}

#[tokio::test]
async fn a_file_that_went_away_is_not_found() {
    let Some(stage) = real() else { return };
    let good = gguf::ChatModel::default().file();
    let stage = stage.model("Good-F32.gguf", &good).model("Fleeting-F32.gguf", &good);
    let path = stage.models_dir().join("Fleeting-F32.gguf");
    let path = path.to_str().unwrap().to_owned();
    let stage = stage.arguments(&["--model", &path]);
    let snug = stage.start().await;
    std::fs::remove_file(path).unwrap();
    check(&snug, "Fleeting", "", "file_not_found").await;
}

#[tokio::test]
async fn what_is_too_large_is_told_apart() {
    let Some(stage) = real() else { return };
    let long = gguf::ChatModel { context: 1 << 31, ..gguf::ChatModel::default() }.file();
    let large = gguf::ChatModel::default().with_file_size(3 << 30).file();
    let stage = stage.model("Good-F32.gguf", &gguf::ChatModel::default().file());
    let stage = stage.model("Long-F32.gguf", &long).model("Large-F32.gguf", &large);
    let stage = stage.arguments(&["--ram", "1G"]);
    let snug = stage.start().await;

    let more_than_trained = check(&snug, "Good", "?context=1000000", "context_too_large").await;
    assert_eq!(more_than_trained["details"]["context_requested"], 1_000_000);
    assert_eq!(more_than_trained["details"]["action"], "reduce_context");
    check(&snug, "Long", "?context=1000000000", "context_too_large").await;
    check(&snug, "Large", "", "insufficient_ram").await;

    // The same models with a context that fits.
    assert_eq!(snug.load("Long", "?context=4096").await.ok()["context_size"], 4096);
    assert_eq!(snug.load("Good", "?context=512").await.ok()["context_size"], 512);
    snug.load("Good", "?context=none").await.refusal(400, "invalid_request");
    snug.load("nobody", "").await.refusal(400, "model_not_found");
}

#[tokio::test]
async fn an_engine_that_breaks_has_its_words_passed_on() {
    let stage = fake()
        .fake_model("broken.gguf", "--fake-fail backend_error")
        .fake_model("full.gguf", "--fake-fail insufficient_vram");
    let stage = stage.fake_model("mute.gguf", "--fake-fail unknown");
    let snug = stage.start().await;
    for (model, reason, words) in [
        ("broken", "backend_error", "illegal memory access"),
        ("full", "insufficient_vram", "out of memory"),
        ("mute", "unknown", ""),
    ] {
        let details = &snug.load(model, "").await.refusal(400, "model_load_error")["details"];
        assert_eq!(details["reason"], reason, "{details}");
        assert!(details["llama_log"].as_str().unwrap().contains(words), "{details}");
    }
    // Who waited is told first; the list follows.
    eventually("nothing is left of them", async || snug.loaded().await.is_empty().then_some(())).await;
}
