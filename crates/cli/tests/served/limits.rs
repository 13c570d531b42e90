//! What happens at the bounds: of time, of queues, of room.

use futures_util::future::join_all;
use serde_json::json;
use testkit::{Answer, eventually, is_alive};

use crate::support::fake;

#[tokio::test]
async fn an_unused_model_is_unloaded() {
    let stage = fake().fake_model("m.gguf", "").fake_model("busy.gguf", "--fake-token-ms 100 --fake-tokens 30");
    let stage = stage.arguments(&["--idle-unload", "1s"]);
    let snug = stage.start().await;
    let mut stream = snug.stream("busy", json!({})).await;
    snug.chat("m", json!({})).await.ok();
    let pid = snug.engine_pid("m").await;
    eventually("it is unloaded", async || snug.loaded().await.iter().all(|row| row["model"] != "m").then_some(()))
        .await;
    assert!(!is_alive(pid));
    stream.complete().await.expect("what is in use stays");
    snug.chat("m", json!({})).await.ok();
}

#[tokio::test]
async fn a_load_that_hangs_is_given_up() {
    let stage = fake().fake_model("hangs.gguf", "--fake-hang-load").fake_model("m.gguf", "");
    let stage = stage.config("[engine]\nload_timeout = \"1s\"\nstop_timeout = \"1s\"\n");
    let snug = stage.start().await;
    let (by_hand, by_chat) = tokio::join!(snug.load("hangs", ""), snug.chat("hangs", json!({})));
    let error = by_hand.refusal(400, "model_load_error");
    assert_eq!(error["details"]["reason"], "unknown");
    assert!(error["message"].as_str().unwrap().contains("1 s"), "{error}");
    by_chat.refusal(503, "model_load_error");
    // Who waited is told first; the list follows.
    eventually("nothing is left of it", async || snug.loaded().await.is_empty().then_some(())).await;
    snug.chat("m", json!({})).await.ok();
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let stage = fake().fake_model("slow.gguf", "--fake-hang-load");
    // Those that wait are let go by the end of the load.
    let stage = stage.config("[engine]\nload_timeout = \"3s\"\n[gateway]\nmax_waiting = 2\n");
    let snug = stage.start().await;
    let answers = join_all((0..5).map(|_| snug.chat("slow", json!({})))).await;
    let of = |code: &str| -> Vec<&Answer> {
        answers.iter().filter(|answer| answer.json()["error"]["code"] == code).collect()
    };
    let (refused, waited) = (of("queue_full"), of("model_load_error"));
    assert_eq!((refused.len(), waited.len()), (3, 2), "{answers:?}");
    for answer in refused {
        let details = &answer.refusal(503, "queue_full")["details"];
        assert_eq!((&details["waiting"], &details["limit"]), (&json!(2), &json!(2)));
        assert!(!answer.header("retry-after").is_empty());
    }
}

#[tokio::test]
async fn one_engine_takes_only_so_many_requests() {
    let stage = fake().fake_model("m.gguf", "--fake-token-ms 50 --fake-tokens 100000");
    let stage = stage.config("[gateway]\nmax_in_flight = 2\nmax_queued = 0\n");
    let snug = stage.start().await;
    let (_first, _second) = (snug.stream("m", json!({})).await, snug.stream("m", json!({})).await);
    let answer = snug.chat("m", json!({})).await;
    answer.refusal(429, "queue_full");
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_busy_model_is_not_put_out() {
    let stage = fake().fake_model("busy.gguf", "--fake-token-ms 100 --fake-tokens 60").fake_model("other.gguf", "");
    let stage = stage.arguments(&["--max-loaded-models", "1"]).config("[gateway]\nmax_wait = \"1s\"\n");
    let snug = stage.start().await;
    let mut stream = snug.stream("busy", json!({})).await;
    stream.next().await.unwrap().unwrap();
    let answer = snug.chat("other", json!({})).await;
    let details = &answer.refusal(503, "insufficient_memory")["details"];
    let blocker = &details["blockers"][0];
    assert_eq!(blocker["in_flight"], 1, "{details}");
    assert!(blocker["model"].as_str().unwrap().contains("busy"), "{details}");
    assert!(!answer.header("retry-after").is_empty());

    stream.complete().await.expect("it was busy, so it stayed");
    snug.chat("other", json!({})).await.ok();
    assert_eq!(snug.loaded().await.len(), 1);
}
