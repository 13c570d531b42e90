//! What is counted.

use std::time::{Duration, Instant};

use gateway::Usage;
use tokio::sync::mpsc::error::TryRecvError;

use crate::support::{House, engine, key};

const USAGE: &str = r#"{"choices":[{"text":"\"prompt_tokens\":999"}],"usage":{"completion_tokens":4,"prompt_tokens":31},"timings":{"cache_n":30,"prompt_n":1,"prompt_ms":2.5,"prompt_per_second":400.0,"predicted_n":4,"predicted_ms":320.0,"predicted_per_second":12.5}}"#;

#[tokio::test]
async fn whole_and_streamed_answers_are_metered() {
    let address = engine(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            if !request.body.contains("stream") {
                peer.answer(USAGE).await;
                continue;
            }
            peer.begin_stream().await;
            for _ in 0..20 {
                peer.chunk("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n").await;
            }
            peer.chunk(&format!("data: {USAGE}\n\n")).await;
            peer.chunk("data: [DONE]\n\n").await;
            peer.end_stream().await;
        }
    });
    let mut house = House::before(address.await).await;
    for body in [r#"{"model":"org/model"}"#, r#"{"model":"org/model:Q4_0","stream":true}"#] {
        let asked = Instant::now();
        house.post("/v1/chat/completions", body).await.bytes().await.unwrap();
        let completed = house.completed.recv().await.unwrap();
        assert!(completed.first_piece <= completed.total && completed.total <= asked.elapsed(), "{completed:?}");
        assert_eq!(completed.is_stream, body.contains("stream"));
        let by = completed.by.unwrap();
        assert_eq!((by.model, by.instance.as_str()), (key(), "instance-1"));
        let expected = Usage {
            prompt_tokens: 31,
            completion_tokens: 4,
            cached_tokens: Some(30),
            prompt_time: Some(Duration::from_micros(2500)),
            prompt_tokens_per_second: Some(400.0),
            generation_time: Some(Duration::from_millis(320)),
            tokens_per_second: Some(12.5),
        };
        assert_eq!(completed.usage, expected);
    }
    for line in [
        "snug_requests_total{model=\"org/model\",endpoint=\"chat_completions\",status=\"2xx\"} 2",
        "snug_tokens_total{model=\"org/model\",kind=\"prompt\"} 62",
        "snug_tokens_total{model=\"org/model\",kind=\"completion\"} 8",
        "snug_time_to_first_token_seconds_count{model=\"org/model\"} 1",
        "snug_request_duration_seconds_count{model=\"org/model\"} 2",
        "snug_overhead_seconds_count 2",
        "snug_requests_in_flight{model=\"org/model\"} 0",
        "snug_requests_in_flight{model=\"unknown\"} 0",
    ] {
        house.await_metric(line).await;
    }
}

#[tokio::test]
async fn the_first_token_is_not_the_last() {
    let (go_on, gone_on) = tokio::sync::oneshot::channel::<()>();
    let gone_on = std::sync::Mutex::new(Some(gone_on));
    let address = engine(move |mut peer, _| {
        let gone_on = gone_on.lock().unwrap().take();
        async move {
            peer.request().await;
            peer.begin_stream().await;
            peer.chunk("data: {}\n\n").await;
            gone_on.unwrap().await.unwrap();
            peer.chunk("data: [DONE]\n\n").await;
            peer.end_stream().await;
        }
    });
    let mut house = House::before(address.await).await;
    let mut answer = house.post("/v1/chat/completions", r#"{"model":"org/model","stream":true}"#).await;
    answer.chunk().await.unwrap().unwrap();
    let first = Instant::now();
    let more = Instant::now();
    go_on.send(()).unwrap();
    answer.bytes().await.unwrap();
    let completed = house.completed.recv().await.unwrap();
    assert!(completed.first_piece + (more - first) <= completed.total, "{completed:?}");
    assert!(completed.first_piece < completed.total, "{completed:?}");
}

#[tokio::test]
async fn only_good_answers_that_are_complete_are_told() {
    let address = engine(|mut peer, _| async move {
        while let Some(request) = peer.request().await {
            if request.body.contains("refused") {
                peer.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}").await;
            } else if request.body.contains("broken") {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").await;
                return;
            } else {
                peer.answer(USAGE).await;
            }
        }
    });
    let mut house = House::before(address.await).await;
    for word in ["refused", "broken"] {
        let body = format!(r#"{{"model":"org/model","word":"{word}"}}"#);
        // The one that breaks may be cut before its head is seen.
        if let Ok(answer) = house.client.post(house.url("/v1/chat/completions")).body(body).send().await {
            let _cut = answer.bytes().await;
        }
    }
    house.await_metric("snug_requests_in_flight{model=\"org/model\"} 0").await;
    assert_eq!(house.completed.try_recv().unwrap_err(), TryRecvError::Empty);
    house.chat().await.bytes().await.unwrap();
    assert_eq!(house.completed.recv().await.unwrap().usage.completion_tokens, 4);
}
