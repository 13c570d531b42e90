//! What the machine does and did: `/api/stats…` and `/api/hardware`.

use serde_json::{Value, json};
use store::Store;
use testkit::{Snug, eventually};

use crate::support::fake;

async fn history(snug: &Snug<'_>) -> Vec<Value> {
    snug.get("/api/stats/history").await.ok().as_array().expect("a bare list").clone()
}

#[tokio::test]
async fn an_answer_is_history_at_once() {
    let stage = fake().fake_model("m-Q4_0.gguf", "--fake-token-ms 2 --fake-tokens 5");
    let snug = stage.start().await;
    assert_eq!(history(&snug).await, Vec::<Value>::new());
    assert_eq!(snug.get("/api/stats/swaps").await.ok(), json!([]));
    let before = snug.get("/api/stats").await.ok();
    assert_eq!(before["avg_tokens_per_second"], 0.0, "{before}");

    let answer = snug.chat("m", json!({})).await.ok();
    snug.stream("m", json!({})).await.complete().await.unwrap();
    let rows =
        eventually("both answers are there", async || Some(history(&snug).await).filter(|rows| rows.len() == 2)).await;
    for row in &rows {
        assert_eq!((&row["model"], &row["variant"]), (&json!("m"), &json!("Q4_0")), "{row}");
        assert_eq!(row["prompt_tokens"], answer["usage"]["prompt_tokens"], "{row}");
        assert_eq!(row["completion_tokens"], 5, "{row}");
        assert_eq!(row["tokens_per_second"], answer["timings"]["predicted_per_second"], "the engine's own: {row}");
        let (latency, total) = (row["latency_ms"].as_f64().unwrap(), row["total_time_ms"].as_f64().unwrap());
        assert!(0.0 <= latency && latency <= total && total > 0.0, "{row}");
    }
    assert_eq!(snug.get("/api/stats/history?minutes=60").await.ok(), Value::from(rows));
    snug.chat("nobody", json!({})).await.refusal(404, "model_not_found");

    let stats = snug.get("/api/stats").await.ok();
    assert_eq!(stats["avg_tokens_per_second"], answer["timings"]["predicted_per_second"], "{stats}");
    assert_eq!((&stats["totals"]["inferences"], &stats["totals"]["completion_tokens"]), (&json!(2), &json!(10)));
    assert_eq!(stats["active_requests"], 0);
    let without_times = |mut rows: Vec<Value>| {
        rows.iter_mut().for_each(|row| row["idle_ms"] = Value::Null);
        rows
    };
    assert_eq!(
        without_times(stats["models"].as_array().unwrap().clone()),
        without_times(snug.loaded().await),
        "the same rows"
    );
}

#[tokio::test]
async fn requests_in_flight_are_counted() {
    let stage = fake().fake_model("quiet.gguf", "--fake-stall-after 3");
    let snug = stage.start().await;
    let mut streams = vec![];
    for _ in 0..2 {
        let mut stream = snug.stream("quiet", json!({})).await;
        stream.next().await.unwrap().unwrap();
        streams.push(stream);
    }
    assert_eq!(snug.get("/api/stats").await.ok()["active_requests"], 2);
    drop(streams);
    eventually("they are over", async || (snug.get("/api/stats").await.ok()["active_requests"] == 0).then_some(()))
        .await;
    assert_eq!(history(&snug).await, Vec::<Value>::new(), "what a client left was not completed");
}

#[tokio::test]
async fn minutes_are_whole_and_sixty_at_most() {
    let stage = fake();
    let snug = stage.start().await;
    for query in ["minutes=0", "minutes=61", "minutes=some", "minutes=", "minutes=5.5", "minutes=-1"] {
        let error = snug.get(&format!("/api/stats/history?{query}")).await.refusal(400, "invalid_request");
        let (message, value) = (error["message"].as_str().unwrap(), query.split_once('=').unwrap().1);
        assert!(message.contains("from 1 to 60") && message.contains(&format!("`{value}`")), "{error}");
        assert_eq!((&error["param"], &error["type"]), (&json!("minutes"), &json!("invalid_request_error")));
    }
    let error = snug.get("/api/stats/history?hours=1").await.refusal(400, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("minutes"), "{error}");
    for query in ["", "?minutes=1", "?minutes=60"] {
        assert_eq!(snug.get(&format!("/api/stats/history{query}")).await.ok(), json!([]));
    }
}

#[tokio::test]
async fn hardware_is_read_for_each_call() {
    let stage = fake();
    let snug = stage.start().await;
    let hardware = snug.get("/api/hardware").await.ok();
    let number = |name: &str| hardware[name].as_f64().unwrap_or_else(|| panic!("{name}: {hardware}"));
    assert!(number("total_ram_mb") >= number("free_ram_mb") && number("free_ram_mb") > 0.0, "{hardware}");
    assert!(number("cpu_cores") >= 1.0 && hardware["gpus"].is_array(), "{hardware}");
    // Two looks, and something done between them, make a use of the processor.
    eventually("the use of the processor is known", async || {
        let busy = snug.get("/api/hardware").await.ok()["cpu_utilization_percent"].as_f64()?;
        (busy > 0.0 && busy <= 100.0).then_some(())
    })
    .await;
    let shown = snug.get("/api/stats").await.ok()["hardware"].clone();
    assert_eq!(shown["total_ram_mb"], hardware["total_ram_mb"]);
}

#[tokio::test]
async fn history_outlives_the_program_however_it_ends() {
    let stage = fake().fake_model("m.gguf", "");
    let mut snug = stage.start().await;
    snug.chat("m", json!({})).await.ok();
    let first = history(&snug).await;
    assert_eq!(first.len(), 1);
    // At once, so that it is the end that writes.
    snug.terminate();
    assert!(snug.ended().await.success());

    let snug = stage.start().await;
    assert_eq!(history(&snug).await, first);
    snug.chat("m", json!({})).await.ok();
    let both = eventually("both are there", async || Some(history(&snug).await).filter(|rows| rows.len() == 2)).await;
    assert_eq!(both[0], first[0]);
    // Within a second of the answer; then nothing can take it any more.
    let store = Store::open(&stage.data_dir().join("snug.db")).await.unwrap();
    eventually("the second is written", async || {
        (store.inferences_since(0, 10).await.unwrap().len() == 2).then_some(())
    })
    .await;
    snug.kill();
    store.close().await;
    let snug = stage.start().await;
    assert_eq!(history(&snug).await, both);
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_its_name() {
    let stage = fake();
    stage.start().await.kill();
    let database = stage.data_dir().join("snug.db");
    std::fs::write(&database, "not a database, and long enough to be looked at as one".repeat(100)).unwrap();
    let _gone = std::fs::remove_file(stage.data_dir().join("snug.db-wal"));
    let output = stage.serve().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(database.to_str().unwrap()) && said.contains("is damaged"), "{said}");
}
