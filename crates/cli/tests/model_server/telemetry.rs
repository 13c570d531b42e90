//! Section 3.4: what the machine does, what it did.

use serde_json::{Value, json};
use testkit::{eventually, gguf};

use crate::stage::fake;
use crate::table::{Table, error, get, row};

fn hardware() -> Value {
    json!({
        "total_ram_mb": "<integer>",
        "free_ram_mb": "<integer>",
        "cpu_cores": "<integer>",
        "cpu_utilization_percent": "<number>",
        "gpus": ["<any>", {
            "index": "<integer>",
            "name": "<text>",
            "backend": "<text>",
            "vram_total_mb": "<integer>",
            "vram_free_mb": "<integer>",
            "compute_capability": "<number>?",
            "utilization_percent": "<number>?"
        }]
    })
}

#[tokio::test]
async fn chapter_3_4() {
    let model = gguf::ChatModel::default().file();
    let stage = fake().model("one-Q4_K_M.gguf", &model).model("two-Q4_K_M.gguf", &model);
    let stage = stage.fake_model("slow-Q4_K_M.gguf", "--fake-tokens 100000 --fake-token-ms 50");
    let stage = stage.arguments(&["--max-loaded-models", "1"]);
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    let stats = |models: Value| {
        json!({
            "hardware": hardware(),
            "models": models,
            "avg_tokens_per_second": "<number>",
            "active_requests": "<integer>"
        })
    };

    let seen = table.row(row("3.4", "the hardware", get("/api/hardware"), 200, hardware())).await;
    let (total, free) = (seen["total_ram_mb"].as_u64(), seen["free_ram_mb"].as_u64());
    let sane = total > Some(0) && free > Some(0) && free <= total && seen["cpu_cores"].as_u64() > Some(0);
    table.holds("3.4", "there are cores and memory, and no more is free than there is", sane, &seen);
    let used = seen["cpu_utilization_percent"].as_f64().is_some_and(|percent| (0.0..=100.0).contains(&percent));
    table.holds("3.4", "the use of the processor is a percentage", used, &seen);

    table
        .rows([
            row("3.4", "a snapshot", get("/api/stats"), 200, stats(json!([]))),
            row(
                "3.4",
                "with nothing done yet",
                get("/api/stats"),
                200,
                json!({ "avg_tokens_per_second": 0, "active_requests": 0 }),
            ),
            row("3.4", "an empty history", get("/api/stats/history"), 200, json!([])),
            row("3.4", "no swaps", get("/api/stats/swaps"), 200, json!([])),
        ])
        .await;

    snug.chat("one", json!({ "max_tokens": 8 })).await.ok();
    let inference = |model: &str| {
        json!({
            "model": model,
            "variant": "Q4_K_M",
            "tokens_per_second": "<number>",
            "prompt_tokens": 7,
            "completion_tokens": 8,
            "latency_ms": "<number>",
            "total_time_ms": "<number>"
        })
    };
    table
        .eventually(row(
            "3.4",
            "what was answered is in the history",
            get("/api/stats/history"),
            200,
            json!([inference("one")]),
        ))
        .await;
    let rows = snug.get("/api/stats/history").await.json();
    let (latency, total) = (rows[0]["latency_ms"].as_f64(), rows[0]["total_time_ms"].as_f64());
    table.holds("3.4", "the first token came before the last", latency <= total && total > Some(0.0), &rows);
    table.holds("3.4", "speed is more than nothing", rows[0]["tokens_per_second"].as_f64() > Some(0.0), &rows);
    table
        .rows([
            row(
                "3.4",
                "a snapshot shows what is loaded",
                get("/api/stats"),
                200,
                stats(json!([
                    { "model": "one", "variant": "Q4_K_M", "state": "Loaded" }
                ])),
            ),
            row("3.4", "minutes=1", get("/api/stats/history?minutes=1"), 200, json!([inference("one")])),
            row("3.4", "minutes=60", get("/api/stats/history?minutes=60"), 200, json!([inference("one")])),
            row(
                "3.4",
                "minutes that are no number",
                get("/api/stats/history?minutes=some"),
                400,
                error("invalid_request_error"),
            ),
            row(
                "3.4",
                "minutes out of range",
                get("/api/stats/history?minutes=0"),
                400,
                error("invalid_request_error"),
            ),
            row(
                "3.4",
                "minutes out of range",
                get("/api/stats/history?minutes=61"),
                400,
                error("invalid_request_error"),
            ),
        ])
        .await;
    let stats = snug.get("/api/stats").await.json();
    table.holds(
        "3.4",
        "the average is that of the history",
        stats["avg_tokens_per_second"].as_f64() > Some(0.0),
        &stats,
    );

    snug.chat("two", json!({ "max_tokens": 8 })).await.ok();
    table
        .eventually(row(
            "3.4",
            "a model that made room for another is a swap",
            get("/api/stats/swaps"),
            200,
            json!([
                { "from": "one", "to": "two", "time_ms": "<number>" }
            ]),
        ))
        .await;
    let swaps = snug.get("/api/stats/swaps").await.json();
    table.holds("3.4", "a swap takes time", swaps[0]["time_ms"].as_f64() > Some(0.0), &swaps);
    table
        .eventually(row(
            "3.4",
            "both are in the history",
            get("/api/stats/history"),
            200,
            json!(["<some>", inference("one"), inference("two")]),
        ))
        .await;

    // One that goes on while it is looked at.
    let stream = snug.stream("slow", json!({})).await;
    table
        .eventually(row(
            "3.4",
            "a request in flight is counted",
            get("/api/stats"),
            200,
            json!({ "active_requests": 1 }),
        ))
        .await;
    drop(stream);
    eventually("it is counted no more", async || {
        (snug.get("/api/stats").await.json()["active_requests"] == 0).then_some(())
    })
    .await;
    table.done();
}

#[tokio::test]
async fn history_outlives_a_restart() {
    let stage = fake().model("one-Q4_K_M.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    snug.chat("one", json!({ "max_tokens": 8 })).await.ok();
    let before = eventually("it is in the history", async || {
        let rows = snug.get("/api/stats/history").await.json();
        rows.as_array().is_some_and(|rows| rows.len() == 1).then_some(rows)
    })
    .await;
    snug.terminate();
    let mut snug = snug;
    snug.ended().await;
    drop(snug);
    let snug = stage.start().await;
    let mut table = Table::of(&snug);
    table
        .row(row(
            "3.4",
            "history within its window outlives a restart",
            get("/api/stats/history?minutes=60"),
            200,
            before,
        ))
        .await;
    table.done();
}
