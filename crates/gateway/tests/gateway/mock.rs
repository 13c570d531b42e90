//! Models that nobody runs, and those of providers that are not called yet.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use types::Provider;

use crate::support::{House, Setup, error_of, key};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

async fn house(provider: Provider) -> House {
    let house = House::start(Setup::default()).await;
    house.publish_of(provider);
    house
}

/// A request for the model, with these fields.
fn request(fields: Value) -> String {
    let mut request = json!({ "model": "org/model" });
    for (field, value) in fields.as_object().unwrap() {
        request[field] = value.clone();
    }
    request.to_string()
}

fn says(content: impl Into<Value>) -> Value {
    json!({ "messages": [{ "role": "user", "content": content.into() }] })
}

fn and(mut fields: Value, more: Value) -> Value {
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

/// A whole answer, with the checks that hold for all of them.
async fn answer(house: &House, path: &str, fields: Value) -> Value {
    let response = house.post(path, request(fields)).await;
    assert_eq!(response.status(), 200, "{:?}", response.text().await);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-snug-provider"], "mock");
    assert!(response.headers().contains_key("x-request-id"));
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["model"], "org/model");
    body
}

/// The chunks of a stream, without its end, which is checked.
async fn stream(house: &House, path: &str, fields: Value) -> Vec<Value> {
    let response = house.post(path, request(and(fields, json!({ "stream": true })))).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-snug-provider"], "mock");
    let text = response.text().await.unwrap();
    let events: Vec<&str> = text.strip_suffix("\n\n").unwrap().split("\n\n").collect();
    let data = events.iter().map(|event| event.strip_prefix("data: ").unwrap());
    let (done, chunks): (Vec<&str>, Vec<&str>) = data.partition(|data| *data == "[DONE]");
    assert_eq!((done.len(), events.last()), (1, Some(&"data: [DONE]")));
    chunks.into_iter().map(|chunk| serde_json::from_str(chunk).unwrap()).collect()
}

#[tokio::test]
async fn a_chat_is_answered_with_its_echo() {
    let house = house(Provider::Mock).await;
    let body = answer(&house, CHAT, says("please <Echo> Hello there! </ECHO> now")).await;
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["system_fingerprint"], "mock");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-mock-"), "{body}");
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(
        body["choices"],
        json!([{
            "index": 0, "message": { "role": "assistant", "content": "Hello there!" }, "finish_reason": "stop",
            "logprobs": null,
        }])
    );
    // 38 and 12 characters.
    assert_eq!(body["usage"], json!({ "prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13 }));

    // Over all messages, and over the texts of parts.
    let conversation = json!({ "messages": [
        { "role": "system", "content": "<echo>from the" },
        { "role": "assistant", "content": null },
        { "role": "user", "content": [
            { "type": "image_url", "image_url": { "url": "data:," } }, { "type": "text", "text": "system</echo>" },
        ] },
        { "role": "user", "content": "<echo>later</echo>" },
    ] });
    let body = answer(&house, CHAT, conversation).await;
    assert_eq!(body["choices"][0]["message"]["content"], "from the\nsystem");

    let body = answer(&house, CHAT, says("Hello!")).await;
    let hint = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(hint.contains("mock") && hint.contains("<echo>"), "{hint}");
}

#[tokio::test]
async fn a_stream_comes_in_pieces() {
    let house = house(Provider::Mock).await;
    let text = "größe 模型 and twenty more characters";
    let chunks = stream(&house, CHAT, says(format!("<echo>{text}</echo>"))).await;
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas[0], &json!({ "role": "assistant", "content": "größe 模型 a" }));
    assert_eq!(deltas[1], &json!({ "content": "nd twenty " }));
    let pieces: Vec<&str> = deltas.iter().filter_map(|delta| delta["content"].as_str()).collect();
    assert_eq!(pieces.concat(), text);
    assert!(pieces.iter().all(|piece| (1..=10).contains(&piece.chars().count())), "{pieces:?}");
    assert_eq!(deltas.last(), Some(&&json!({})));
    let reasons: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    let (last, others) = reasons.split_last().unwrap();
    assert!(others.iter().all(|reason| reason.is_null()) && *last == "stop", "{reasons:?}");
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!((&chunk["id"], &chunk["created"]), (&chunks[0]["id"], &chunks[0]["created"]));
        assert!(chunk.get("usage").is_none(), "nobody asked: {chunk}");
    }

    let asks_usage = json!({ "stream_options": { "include_usage": true }, "max_tokens": 1 });
    let chunks = stream(&house, CHAT, and(says("<echo>five+five!</echo>"), asks_usage)).await;
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], json!({ "prompt_tokens": 6, "completion_tokens": 1, "total_tokens": 7 }));
    assert!(others.iter().all(|chunk| chunk["usage"] == Value::Null && chunk.get("usage").is_some()));
    assert_eq!(others.last().unwrap()["choices"][0]["finish_reason"], "length");

    // Nothing to say is said as well.
    let chunks = stream(&house, CHAT, says("<echo></echo>")).await;
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
}

#[tokio::test]
async fn limits_and_numbers_are_kept() {
    let house = house(Provider::Mock).await;
    let ask = says("<echo>0123456789</echo>");
    for (more, text, finish_reason) in [
        (json!({ "max_tokens": 2 }), "01234567", "length"),
        (json!({ "max_completion_tokens": 1 }), "0123", "length"),
        (json!({ "max_tokens": 3, "max_completion_tokens": 1 }), "0123456789", "stop"),
        (json!({ "max_tokens": null, "max_completion_tokens": 1 }), "0123", "length"),
        (json!({ "max_tokens": -1 }), "0123456789", "stop"),
        (json!({ "stop": "5" }), "01234", "stop"),
        (json!({ "stop": ["9", "3", ""] }), "012", "stop"),
    ] {
        let body = answer(&house, CHAT, and(ask.clone(), more.clone())).await;
        assert_eq!(body["choices"][0]["message"]["content"], text, "{more}");
        assert_eq!(body["choices"][0]["finish_reason"], finish_reason, "{more}");
    }
    let body = answer(&house, CHAT, and(ask.clone(), json!({ "n": 3 }))).await;
    let indices: Vec<u64> = body["choices"].as_array().unwrap().iter().map(|c| c["index"].as_u64().unwrap()).collect();
    assert_eq!((indices, &body["usage"]["completion_tokens"]), (vec![0, 1, 2], &json!(9)));
    let chunks = stream(&house, CHAT, and(ask, json!({ "n": 2 }))).await;
    let ends = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"] == "stop");
    assert_eq!(ends.map(|chunk| chunk["choices"][0]["index"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn texts_are_completed() {
    let house = house(Provider::Mock).await;
    let body = answer(&house, COMPLETIONS, json!({ "prompt": ["<echo>one</echo>", "<echo>two</echo>"] })).await;
    assert_eq!(body["object"], "text_completion");
    assert_eq!((&body["choices"][0]["text"], &body["choices"][1]["text"]), (&json!("one"), &json!("two")));
    assert_eq!(body["usage"], json!({ "prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10 }));
    let chunks = stream(&house, COMPLETIONS, json!({ "prompt": "<echo>eleven chars</echo>" })).await;
    let texts: Vec<&str> = chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["eleven cha", "rs", ""]);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "stop");
    // Tokens are nothing that could be echoed.
    let body = answer(&house, COMPLETIONS, json!({ "prompt": [1, 2, 3] })).await;
    assert!(body["choices"][0]["text"].as_str().unwrap().contains("mock"));
}

#[tokio::test]
async fn texts_are_embedded() {
    let house = house(Provider::Mock).await;
    let vectors = |body: &Value| -> Vec<Vec<f64>> {
        let rows = body["data"].as_array().unwrap().iter();
        rows.map(|row| serde_json::from_value(row["embedding"].clone()).unwrap()).collect()
    };
    let body = answer(&house, EMBEDDINGS, json!({ "input": ["Hello, world!", "bye"] })).await;
    assert_eq!((&body["object"], &body["data"][1]["object"]), (&json!("list"), &json!("embedding")));
    assert_eq!(body["data"][1]["index"], 1);
    // 13 and 3 characters.
    assert_eq!(body["usage"], json!({ "prompt_tokens": 5, "total_tokens": 5 }));
    let found = vectors(&body);
    for vector in &found {
        let norm: f64 = vector.iter().map(|value| value * value).sum();
        assert!(vector.len() == 384 && (norm - 1.0).abs() < 1e-4, "{norm}");
    }
    assert_ne!(found[0], found[1]);
    let again = answer(&house, EMBEDDINGS, json!({ "input": "Hello, world!", "encoding_format": "float" })).await;
    assert_eq!(vectors(&again)[0], found[0], "the same text has the same vector");
    let short = answer(&house, EMBEDDINGS, json!({ "input": [[1, 2], [3]], "dimensions": 8 })).await;
    assert_eq!(vectors(&short).iter().map(Vec::len).collect::<Vec<_>>(), [8, 8]);
    let packed = answer(&house, EMBEDDINGS, json!({ "input": "x", "encoding_format": "base64" })).await;
    assert_eq!(packed["data"][0]["embedding"].as_str().unwrap().len(), 384 * 4 / 3 * 4);
}

#[tokio::test]
async fn bad_requests_are_refused_before_anything_is_said() {
    let house = house(Provider::Mock).await;
    for (path, fields, param) in [
        (CHAT, json!({}), "messages"),
        (CHAT, json!({ "messages": [] }), "messages"),
        (CHAT, json!({ "messages": "hi", "stream": true }), "messages"),
        (CHAT, json!({ "messages": ["hi"] }), "messages"),
        (CHAT, json!({ "messages": [{ "content": "hi" }] }), "messages"),
        (CHAT, json!({ "messages": [{ "role": "user", "content": 5 }] }), "messages"),
        (CHAT, and(says("hi"), json!({ "stream": "yes" })), "stream"),
        (CHAT, and(says("hi"), json!({ "stream_options": 1 })), "stream_options"),
        (CHAT, and(says("hi"), json!({ "max_tokens": "many" })), "max_tokens"),
        (CHAT, and(says("hi"), json!({ "max_completion_tokens": 1.5 })), "max_completion_tokens"),
        (CHAT, and(says("hi"), json!({ "stop": [1] })), "stop"),
        (CHAT, and(says("hi"), json!({ "n": 0 })), "n"),
        (CHAT, and(says("hi"), json!({ "n": u64::MAX })), "n"),
        (COMPLETIONS, json!({}), "prompt"),
        (COMPLETIONS, json!({ "prompt": [] }), "prompt"),
        (COMPLETIONS, json!({ "prompt": vec!["x"; 129] }), "n"),
        (EMBEDDINGS, json!({}), "input"),
        (EMBEDDINGS, json!({ "input": ["a", {}] }), "input"),
        (EMBEDDINGS, json!({ "input": vec!["x"; 2049] }), "input"),
        (EMBEDDINGS, json!({ "input": "x", "dimensions": 0 }), "dimensions"),
        (EMBEDDINGS, json!({ "input": "x", "dimensions": 100_000 }), "dimensions"),
        (EMBEDDINGS, json!({ "input": "x", "encoding_format": "hex" }), "encoding_format"),
    ] {
        let (status, error) = error_of(house.post(path, request(fields.clone())).await).await;
        assert_eq!((status, error["code"].as_str()), (400, Some("invalid_request")), "{path} {fields}: {error}");
        assert_eq!(error["param"], param, "{path} {fields}: {error}");
    }
    let large = request(says("x".repeat(5 << 20)));
    let (status, error) = error_of(house.post(CHAT, large).await).await;
    assert_eq!((status, error["code"].as_str()), (413, Some("body_too_large")));
}

#[tokio::test]
async fn what_is_said_is_counted() {
    let mut house = house(Provider::Mock).await;
    answer(&house, CHAT, says("<echo>Hello there!</echo>")).await;
    stream(&house, CHAT, says("<echo>Hello there!</echo>")).await;
    answer(&house, EMBEDDINGS, json!({ "input": "x" })).await;
    for (prompt_tokens, completion_tokens) in [(7, 3), (7, 3), (1, 0)] {
        let completed = house.completed.recv().await.unwrap();
        let by = completed.by.unwrap();
        assert_eq!((by.model, by.instance.as_str()), (key(), "mock"));
        assert_eq!(
            (completed.usage.prompt_tokens, completed.usage.completion_tokens),
            (prompt_tokens, completion_tokens)
        );
        assert_eq!(completed.usage.tokens_per_second, None);
    }
    for line in [
        "snug_requests_total{model=\"org/model\",endpoint=\"chat_completions\",status=\"2xx\"} 2",
        "snug_requests_total{model=\"org/model\",endpoint=\"embeddings\",status=\"2xx\"} 1",
        "snug_tokens_total{model=\"org/model\",kind=\"prompt\"} 15",
        "snug_tokens_total{model=\"org/model\",kind=\"completion\"} 6",
        "snug_time_to_first_token_seconds_count{model=\"org/model\"} 1",
        "snug_requests_in_flight{model=\"org/model\"} 0",
        "snug_requests_in_flight{model=\"unknown\"} 0",
    ] {
        house.await_metric(line).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_as_such() {
    let mut house = house(Provider::Mock).await;
    // More than all buffers between here and there hold.
    let text = "x".repeat(200_000);
    let body = request(and(says(format!("<echo>{text}</echo>")), json!({ "stream": true, "n": 50 })));
    let mut client = tokio::net::TcpStream::connect(house.address).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(body.as_bytes()).await.unwrap();
    client.read_exact(&mut [0; 1000]).await.unwrap();
    drop(client);
    house
        .await_metric("snug_requests_total{model=\"org/model\",endpoint=\"chat_completions\",status=\"cancelled\"} 1")
        .await;
    assert!(house.completed.try_recv().is_err(), "nothing was completed");
}

#[tokio::test]
async fn who_is_not_known_how_to_be_called_says_so() {
    for provider in [Provider::OpenAi, Provider::Anthropic, Provider::DeepSeek, Provider::OpenRouter] {
        let house = house(provider).await;
        for path in [CHAT, COMPLETIONS, EMBEDDINGS] {
            let (status, error) = error_of(house.post(path, request(says("hi"))).await).await;
            assert_eq!((status, error["code"].as_str()), (503, Some("provider_unavailable")), "{error}");
            assert_eq!(error["details"]["provider"], provider.as_str());
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("api_key") && message.contains(provider.as_str()), "{message}");
        }
        house.await_metric("snug_requests_total{model=\"org/model\",endpoint=\"completions\",status=\"5xx\"} 1").await;
    }
}
