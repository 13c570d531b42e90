//! Section 3.6: the last lines of snug's log.

use serde_json::{Value, json};
use testkit::gguf;

use crate::stage::configured;
use crate::table::{Table, error, get, row};

/// From the least to the most severe.
const LEVELS: [&str; 6] = ["trace", "debug", "info", "warning", "error", "critical"];

fn entries() -> Value {
    json!({
        "logs": ["<any>", {
            "timestamp": "<time>",
            "epoch_ms": "<integer>",
            "level": format!("<{}>", LEVELS.join("|")),
            "message": "<text>"
        }]
    })
}

#[tokio::test]
async fn chapter_3_6() {
    let stage = configured(&json!({ "logging": { "level": "debug" } }));
    let stage = stage.model("tiny-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let stage = stage.fake_model("broken-Q4_K_M.gguf", "--fake-fail backend_error");
    let snug = stage.start().await;
    let prompt = "a prompt that nobody else may read";
    snug.chat("tiny", json!({ "messages": [{ "role": "user", "content": prompt }] })).await.ok();
    snug.load("broken", "").await.refusal(400, "model_load_error");
    let mut table = Table::of(&snug);

    let all = table.row(row("3.6", "recent entries", get("/api/logs"), 200, entries())).await;
    let all: Vec<Value> = all["logs"].as_array().cloned().unwrap_or_default();
    table.holds("3.6", "200 entries at most unless told otherwise", all.len() <= 200, all.len());
    table.holds("3.6", "something was logged", all.len() > 1, all.len());
    let times: Vec<u64> = all.iter().filter_map(|entry| entry["epoch_ms"].as_u64()).collect();
    table.holds("3.6", "oldest first", times.is_sorted(), format!("{times:?}"));
    let told = |model: &str| all.iter().any(|entry| entry["message"].as_str().is_some_and(|text| text.contains(model)));
    table.holds("3.6", "loads can be followed", told("tiny") && told("broken"), format!("{all:?}"));
    table.holds("3.6", "prompts are not logged", !told(prompt), "the prompt");
    let agree = all.iter().all(|entry| {
        let (seconds, text) = (entry["epoch_ms"].as_u64().unwrap_or_default() / 1000, entry["timestamp"].as_str());
        text.is_some_and(|text| text.ends_with('Z') && seconds % 60 == text[17..19].parse::<u64>().unwrap_or(60))
    });
    table.holds("3.6", "timestamp and epoch_ms are the same moment", agree, format!("{:?}", all.first()));

    let one = table.row(row("3.6", "`count` entries", get("/api/logs?count=1"), 200, entries())).await;
    let newest = one["logs"]
        .as_array()
        .is_some_and(|rows| rows.len() == 1 && rows[0]["epoch_ms"].as_u64() >= times.last().copied());
    table.holds("3.6", "and these are the newest", newest, &one);

    for (index, level) in LEVELS.into_iter().enumerate() {
        let path = format!("/api/logs?count=1000&level={level}");
        let found = table.row(row("3.6", format!("entries of at least {level}"), get(path), 200, entries())).await;
        let found = found["logs"].as_array().cloned().unwrap_or_default();
        let place = |entry: &Value| LEVELS.iter().position(|level| entry["level"] == *level);
        let within = found.iter().all(|entry| place(entry) >= Some(index));
        table.holds("3.6", "the filter leaves out what is less", within, format!("{level}: {found:?}"));
        let expected = all.iter().filter(|entry| place(entry) >= Some(index)).count();
        table.holds(
            "3.6",
            "the filter is a minimum, not one level",
            found.len() >= expected,
            format!("{} of {expected} for {level}", found.len()),
        );
    }
    table
        .rows([
            row("3.6", "a count of 1000", get("/api/logs?count=1000"), 200, entries()),
            row("3.6", "a count beyond 1000", get("/api/logs?count=5000"), [200, 400], Value::Null),
            row("3.6", "a count that is no number", get("/api/logs?count=many"), 400, error("invalid_request_error")),
            row("3.6", "a count below 0", get("/api/logs?count=-1"), 400, error("invalid_request_error")),
            row("3.6", "an unknown level", get("/api/logs?level=loud"), 400, error("invalid_request_error")),
        ])
        .await;

    // More than the ring holds.
    for _ in 0..600 {
        snug.load("nobody", "").await.refusal(400, "model_not_found");
    }
    let most = snug.get("/api/logs?count=1000").await.json()["logs"].as_array().map_or(0, Vec::len);
    table.holds("3.6", "no more than 1000 entries are kept", most <= 1000, most);
    table.done();
}
