//! Clients that leave: the engine stops working for them at once.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;

use crate::support::{SAMPLE, fake, real_with_sample};

/// The promise is one second; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(5);
/// So often in a row it does not happen that a request is not sent in time.
const TRIES: usize = 3;

#[tokio::test]
async fn the_real_engine_stops_when_the_client_has_gone() {
    let Some(stage) = real_with_sample() else { return };
    let snug = stage.start().await;
    let mut stream = snug.stream(SAMPLE, json!({ "max_tokens": 100_000, "ignore_eos": true })).await;
    stream.next().await.unwrap().unwrap();
    let engine = format!("http://127.0.0.1:{}/slots", snug.instance(SAMPLE).await["port"]);
    let busy = async || {
        let slots: Value = serde_json::from_str(&testkit::fetch(&engine).await).unwrap();
        slots.as_array().unwrap().iter().any(|slot| slot["is_processing"] == true)
    };
    assert!(busy().await);
    drop(stream);
    let idle = eventually("the engine is idle", async || (!busy().await).then_some(()));
    tokio::time::timeout(SOON, idle).await.expect("the engine went on for nobody");
    assert_eq!(snug.instance(SAMPLE).await["active_requests"], 0);
}

#[tokio::test]
async fn the_engine_hears_of_it_streamed_or_not() {
    let stage = fake();
    let record = stage.models_dir().join("record");
    let faults = format!("--fake-token-ms 50 --fake-tokens 100000 --fake-record {}", record.display());
    let stage = stage.fake_model("m.gguf", &faults);
    let snug = stage.start().await;
    let cancelled = async |count: usize| {
        let look = eventually("the engine was told", async || {
            let text = std::fs::read_to_string(&record).unwrap_or_default();
            (text.matches("cancelled").count() == count).then_some(())
        });
        tokio::time::timeout(SOON, look).await
    };

    let mut stream = snug.stream("m", json!({})).await;
    stream.next().await.unwrap().unwrap();
    drop(stream);
    cancelled(1).await.expect("the engine went on for nobody");

    // A client may leave before its request was sent, and then the engine never hears of it.
    for _ in 0..TRIES {
        tokio::select! {
            answer = snug.chat("m", json!({})) => panic!("{answer:?}"),
            () = eventually("the request is on its way to the engine", async || {
                (snug.instance("m").await["active_requests"] == 1).then_some(())
            }) => {}
        }
        if cancelled(2).await.is_ok() {
            return;
        }
    }
    panic!("the engine went on for nobody");
}
