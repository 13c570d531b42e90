//! What is counted.

use crate::support::{House, engine, key};

const USAGE: &str = r#"{"choices":[{"text":"\"prompt_tokens\":999"}],"usage":{"completion_tokens":4,"prompt_tokens":31},"timings":{"predicted_per_second":12.5}}"#;

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
        house.post("/v1/chat/completions", body).await.bytes().await.unwrap();
        let completed = house.completed.recv().await.unwrap();
        assert_eq!(completed.model, key());
        assert_eq!(completed.instance.as_str(), "instance-1");
        assert_eq!((completed.prompt_tokens, completed.completion_tokens), (31, 4));
        assert_eq!(completed.tokens_per_second, Some(12.5));
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
