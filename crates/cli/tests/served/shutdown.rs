//! Being told to stop: streams finish, engines end, or stay where that was asked for.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{eventually, gguf, is_alive};

use crate::support::{SAMPLE, fake, real, real_with_sample};

#[tokio::test]
async fn streams_in_flight_finish_and_no_process_is_left() {
    let Some(stage) = real_with_sample() else { return };
    let stage = stage.model("Tiny-F32.gguf", &gguf::ChatModel::default().file());
    let mut snug = stage.start().await;
    snug.chat("Tiny", json!({})).await.ok();
    let mut streams =
        join_all((0..4).map(|_| snug.stream(SAMPLE, json!({ "max_tokens": 60, "ignore_eos": true })))).await;
    for stream in &mut streams {
        stream.next().await.unwrap().unwrap();
    }
    let pids = [snug.engine_pid("Tiny").await, snug.engine_pid(SAMPLE).await];
    snug.terminate();
    for result in join_all(streams.iter_mut().map(testkit::Events::complete)).await {
        result.unwrap_or_else(|error| panic!("{error}\n{}", snug.log()));
    }
    assert!(snug.ended().await.success());
    for pid in pids {
        assert!(!is_alive(pid), "engine {pid} was left behind: {}", snug.log());
    }
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_told_and_cut() {
    let stage = fake().fake_model("endless.gguf", "--fake-token-ms 50 --fake-tokens 100000");
    let stage = stage.fake_model("stubborn.gguf", "--fake-ignore-term");
    let stage = stage.config("[gateway]\nshutdown_grace = \"500ms\"\n[engine]\nstop_timeout = \"500ms\"\n");
    let mut snug = stage.start().await;
    snug.load("stubborn", "").await.ok();
    let mut stream = snug.stream("endless", json!({})).await;
    stream.next().await.unwrap().unwrap();
    let pids = [snug.engine_pid("endless").await, snug.engine_pid("stubborn").await];

    snug.terminate();
    let events = stream.rest().await.unwrap();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "engine_failed", "{last}");
    assert!(snug.ended().await.success());
    assert!(pids.iter().all(|&pid| !is_alive(pid)), "{}", snug.log());
}

#[tokio::test]
async fn a_second_request_to_stop_does_not_wait() {
    let stage = fake().fake_model("endless.gguf", "--fake-token-ms 50 --fake-tokens 100000");
    let stage = stage.config("[gateway]\nshutdown_grace = \"10m\"\n");
    let mut snug = stage.start().await;
    let mut stream = snug.stream("endless", json!({})).await;
    stream.next().await.unwrap().unwrap();
    let pid = snug.engine_pid("endless").await;
    snug.terminate();
    eventually("it has heard", async || snug.log().contains("stopping").then_some(())).await;
    let begun = Instant::now();
    snug.terminate();
    assert!(snug.ended().await.success());
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn those_who_wait_for_a_load_are_told() {
    let stage = fake().fake_model("slow.gguf", "--fake-hang-load").config("[gateway]\nshutdown_grace = \"1s\"\n");
    let mut snug = stage.start().await;
    let answer = {
        let waits = snug.chat("slow", json!({}));
        let (answer, ()) = tokio::join!(waits, async {
            eventually("it loads", async || snug.loaded().await.first().map(|_| ())).await;
            snug.terminate();
        });
        answer
    };
    answer.refusal(503, "shutting_down");
    assert!(!answer.header("retry-after").is_empty());
    assert!(snug.ended().await.success());
}

#[tokio::test]
async fn engines_stay_where_that_was_asked_for() {
    let Some(stage) = real() else { return };
    let stage = stage.model("Tiny-F32.gguf", &gguf::ChatModel::default().file()).arguments(&["--keep-engines"]);
    let mut snug = stage.start().await;
    snug.load("Tiny", "").await.ok();
    let pid = snug.engine_pid("Tiny").await;
    snug.terminate();
    assert!(snug.ended().await.success());
    assert!(is_alive(pid), "it was to stay");

    let snug = stage.start().await;
    let row = snug.instance("Tiny").await;
    assert_eq!((&row["pid"], &row["adopted"]), (&json!(pid), &json!(true)));
    snug.chat("Tiny", json!({})).await.ok();
}
