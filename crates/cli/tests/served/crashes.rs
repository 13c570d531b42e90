//! Engines that are killed, a snug that is killed, and what goes on all the same.

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{eventually, gguf, is_alive, kill};

use crate::support::{SAMPLE, fake, real, real_with_sample};

#[tokio::test]
async fn an_engine_killed_in_mid_stream_says_so_and_is_started_again() {
    let Some(stage) = real_with_sample() else { return };
    let snug = stage.start().await;
    let mut stream = snug.stream(SAMPLE, json!({ "max_tokens": 2000, "ignore_eos": true })).await;
    stream.next().await.unwrap().unwrap();
    let pid = snug.engine_pid(SAMPLE).await;
    kill(pid);

    let events = stream.rest().await.unwrap();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "engine_failed", "an error event, then the end: {last}");
    assert_eq!(last["error"]["type"], "server_error");

    snug.chat(SAMPLE, json!({ "max_tokens": 4 })).await.ok();
    let row = snug.instance(SAMPLE).await;
    assert_ne!(row["pid"], pid);
    assert_eq!(row["restarts"], 1, "{row}");
}

#[tokio::test]
async fn a_request_outlives_one_engine_not_two() {
    let stage = fake().fake_model("m.gguf", "--fake-token-ms 300 --fake-tokens 10");
    let stage = stage.config("[engine]\nrestart_backoff = \"10ms\"\n");
    let snug = stage.start().await;
    // Kills the engine that is at the request, unless it is `spared`, and returns its process id.
    let kill_but = async |spared: u64| {
        let pid = eventually("the request is at an engine", async || {
            let row = snug.loaded().await.into_iter().find(|row| row["active_requests"] == 1)?;
            row["pid"].as_u64().filter(|&pid| pid != spared)
        })
        .await;
        kill(u32::try_from(pid).unwrap());
        pid
    };

    let (answer, _) = tokio::join!(snug.chat("m", json!({})), kill_but(0));
    answer.ok();

    let (answer, ()) = tokio::join!(snug.chat("m", json!({})), async {
        let first = kill_but(0).await;
        kill_but(first).await;
    });
    let error = answer.refusal(503, "deployment_unreachable");
    assert!(error["message"].as_str().unwrap().contains("safe to retry"), "{error}");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_killed_snug_finds_its_engines_again() {
    let Some(stage) = real_with_sample() else { return };
    let stage = stage.model("Tiny-F32.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    snug.load("Tiny", "").await.ok();
    let mut streams =
        join_all((0..4).map(|_| snug.stream(SAMPLE, json!({ "max_tokens": 1000, "ignore_eos": true })))).await;
    for stream in &mut streams {
        stream.next().await.unwrap().unwrap();
    }
    let before: Vec<u32> = vec![snug.engine_pid("Tiny").await, snug.engine_pid(SAMPLE).await];
    snug.kill();
    for stream in &mut streams {
        assert!(stream.rest().await.is_err(), "a stream ended as if it were complete");
    }

    let snug = stage.start().await;
    for (model, pid) in ["Tiny", SAMPLE].into_iter().zip(&before) {
        let row = snug.instance(model).await;
        assert_eq!((&row["pid"], &row["adopted"]), (&json!(pid), &json!(true)), "{row}");
        assert_eq!(row["instance_state"], "ready");
        assert!(row["ram_usage_mb"].as_u64().is_some_and(|mib| mib > 0), "its memory is known without a load: {row}");
        snug.chat(model, json!({ "max_tokens": 4 })).await.ok();
        assert_eq!(snug.engine_pid(model).await, *pid, "the same process serves");
    }
    assert!(!snug.log().contains("loading "), "{}", snug.log());

    // What was found again is treated like any other: it can be told to leave, and starts anew when it dies.
    snug.post("/api/models/Tiny/unload", &Value::Null).await.ok();
    eventually("the engine is gone", async || (!is_alive(before[0])).then_some(())).await;
    kill(before[1]);
    eventually("the killed engine was started again", async || {
        let row = snug.loaded().await.into_iter().find(|row| row["model"] == SAMPLE)?;
        (row["instance_state"] == "ready" && row["pid"] != before[1]).then_some(())
    })
    .await;
    snug.chat(SAMPLE, json!({ "max_tokens": 4 })).await.ok();
}

#[tokio::test]
async fn an_engine_that_was_still_loading_is_not_left_behind() {
    let stage = fake().fake_model("slow.gguf", "--fake-hang-load");
    let snug = stage.start().await;
    let pid = tokio::select! {
        _ = snug.load("slow", "") => panic!("it never loads"),
        pid = eventually("its process is known", async || snug.loaded().await.first()?["pid"].as_u64()) => pid,
    };
    let pid = u32::try_from(pid).unwrap();
    snug.kill();
    let snug = stage.start().await;
    eventually("the half-started engine is gone", async || (!is_alive(pid)).then_some(())).await;
    assert_eq!(snug.loaded().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_crash_loop_is_given_up_and_begun_again_by_hand() {
    let stage = fake().fake_model("frail.gguf", "--fake-exit-after-requests 1").fake_model("well.gguf", "");
    let stage = stage.config("[engine]\nmax_restarts = 2\nrestart_backoff = \"10ms\"\n");
    let snug = stage.start().await;
    let refused = eventually("its restarts are used up", async || {
        let answer = snug.chat("frail", json!({})).await;
        (answer.status == 503
            && answer.json()["error"]["code"] == "model_load_error"
            && !answer.header("retry-after").is_empty())
        .then_some(answer)
    })
    .await;
    let details = &refused.refusal(503, "model_load_error")["details"];
    assert_eq!(details["reason"], "backend_error", "the class is kept: {details}");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 1);
    let starts = snug.log().matches("frail is ready").count();
    snug.chat("frail", json!({})).await.refusal(503, "model_load_error");
    assert_eq!(snug.log().matches("frail is ready").count(), starts, "a request does not begin it again");
    snug.chat("well", json!({})).await.ok();

    snug.load("frail", "").await.ok();
    assert_eq!(snug.instance("frail").await["restarts"], 0, "a person does, from the beginning");
}

#[tokio::test]
async fn a_start_that_failed_once_may_be_tried_again() {
    let stage = fake();
    let counter = stage.models_dir().join("starts");
    let stage = stage.fake_model("late.gguf", &format!("--fake-crash-times {}:1", counter.display()));
    let snug = stage.start().await;
    let details = &snug.load("late", "").await.refusal(400, "model_load_error")["details"];
    assert_eq!(details["reason"], "backend_error", "{details}");
    snug.load("late", "").await.ok();
}

#[tokio::test]
async fn streams_end_in_an_error_event_wherever_the_engine_dies() {
    let stage = fake().fake_model("m.gguf", "--fake-die-mid-stream 5").config("[engine]\nrestart_backoff = \"10ms\"\n");
    let snug = stage.start().await;
    let mut stream = snug.stream("m", json!({})).await;
    let events = stream.rest().await.unwrap();
    assert_eq!(events.len(), 6, "{events:?}");
    assert!(events[5].contains("engine_failed"), "{events:?}");
}

#[tokio::test]
async fn a_real_engine_restarts_for_those_who_wait() {
    let Some(stage) = real() else { return };
    let stage = stage.model("Tiny-F32.gguf", &gguf::ChatModel::default().file());
    let snug = stage.start().await;
    snug.load("Tiny", "").await.ok();
    kill(snug.engine_pid("Tiny").await);
    // Whether or not its death has been seen yet.
    for answer in join_all((0..8).map(|_| snug.chat("Tiny", json!({})))).await {
        answer.ok();
    }
}
