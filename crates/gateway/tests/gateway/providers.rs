//! Models that somebody else runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use route::{Dialect, Provider};
use serde_json::{Value, json};

use crate::cast::{Act, Actor, PROVIDERS_KEY, chain, header, nowhere, provider, provider_at, remote, stream, well};
use crate::support::{House, Received, Setup, error_of, eventually};

const HELLO: &str = r#"{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;

async fn house_of(provider: Provider) -> House {
    let house = House::start(Setup::default()).await;
    house.has(&[]);
    house.knows(provider);
    house
}

async fn openai(act: Act) -> (House, Actor) {
    let actor = Actor::always(act).await;
    (house_of(provider(&actor, Dialect::OpenAi)).await, actor)
}

#[tokio::test]
async fn only_the_name_is_another_and_only_the_right_key_goes_there() {
    let (house, actor) = openai(well(HELLO)).await;
    let sent = r#" {"x":[1.50, 1e3], "model" : "cloud/org/gpt\u002d4","messages":[ ],"y":"\u00e9"} "#;
    let expected = r#" {"x":[1.50, 1e3], "model" : "org/gpt-4","messages":[ ],"y":"\u00e9"} "#;
    let request = house
        .client
        .post(house.url("/v1/chat/completions"))
        .header("authorization", "Bearer of-the-client")
        .header("x-api-key", "of-the-client")
        .header("cookie", "session=of-the-client")
        .header("openai-beta", "x=1")
        .body(sent);
    let response = request.send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "x-snug-model")), (200, "cloud/org/gpt-4"));
    assert_eq!(response.text().await.unwrap(), HELLO);
    let asked = actor.last();
    assert_eq!((asked.line(), asked.body.as_str()), ("POST /v1/chat/completions", expected));
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {PROVIDERS_KEY}").as_str()));
    assert_eq!(asked.header("openai-beta"), Some("x=1"));
    assert!(!asked.head.contains("of-the-client"), "{}", asked.head);
}

#[tokio::test]
async fn anthropics_api_has_its_own_headers() {
    let actor = Actor::always(well("{}")).await;
    let house = house_of(provider(&actor, Dialect::Anthropic)).await;
    let url = house.url("/v1/messages?beta=true");
    let request = house.client.post(url).header("authorization", "Bearer of-the-client").header("anthropic-beta", "b");
    request.body(r#"{"model":"cloud/claude","max_tokens":1}"#).send().await.unwrap();
    let asked = actor.last();
    assert_eq!((asked.line(), asked.body.as_str()), ("POST /v1/messages", r#"{"model":"claude","max_tokens":1}"#));
    let told = ["x-api-key", "anthropic-version", "anthropic-beta"].map(|name| asked.header(name));
    assert_eq!(told, [Some(PROVIDERS_KEY), Some("2023-06-01"), Some("b")]);
    assert!(!asked.head.contains("of-the-client"), "{}", asked.head);
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let other = Actor::always(well(HELLO)).await;
    for status in [301, 302, 307, 308] {
        let location: &'static str = format!("Location: http://{}/\r\n", other.address).leak();
        let (house, actor) = openai(Act::AnswerWith(status, location, "{}".to_owned())).await;
        let (found, error) = error_of(house.ask("cloud/m").await).await;
        assert_eq!((found, error["code"].as_str()), (502, Some("provider_unavailable")));
        assert!(error["message"].as_str().unwrap().contains("base_url"), "{error}");
        assert_eq!((actor.count(), other.count()), (1, 0));
    }
}

#[tokio::test]
async fn its_failures_are_told_as_they_are() {
    let failure = r#"{"error":{"message":"no","type":"x","code":"y"}}"#;
    for status in [400, 401, 402, 403, 404, 422, 429, 500, 503, 529] {
        let (house, _) = openai(Act::AnswerWith(status, "Retry-After: 9\r\n", failure.to_owned())).await;
        let response = house.ask("cloud/m").await;
        assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (status, "9"));
        assert_eq!(response.text().await.unwrap(), failure);
    }
}

#[tokio::test]
async fn its_key_is_never_told() {
    let talkative = |request: &Received| {
        let key = request.header("authorization").unwrap();
        Act::Answer(401, format!(r#"{{"error":{{"message":"{key} is wrong, {key}"}}}}"#))
    };
    let actor = Actor::plays(talkative).await;
    let provider = provider(&actor, Dialect::OpenAi);
    assert!(!format!("{provider:?}").contains(PROVIDERS_KEY));
    let house = house_of(provider.clone()).await;
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let body = r#"{"model":"cloud/m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#;
        let text = house.post(path, body).await.text().await.unwrap();
        assert!(text.contains("Bearer *** is wrong, Bearer ***"), "{text}");
    }
    // Nor where it cannot be sent at all.
    let unsendable = Provider { key: Some(types::Secret::new("sk-of\nthe-provider")), ..provider };
    let text = house_of(unsendable).await.ask("cloud/m").await.text().await.unwrap();
    assert!(text.contains("provider_unavailable") && !text.contains("sk-of"), "{text}");
}

/// Everything that is logged, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_key_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let (talks, hangs) = (Actor::always(Act::Answer(401, "{}".to_owned())).await, Actor::always(Act::Hang).await);
    let mut base = provider_at(nowhere(), Dialect::OpenAi);
    base.base.push_str("?key=sk-of-the-address");
    for provider in [
        base,
        provider(&talks, Dialect::Anthropic),
        Provider { idle_timeout: Duration::from_millis(50), ..provider(&hangs, Dialect::OpenAi) },
    ] {
        let house = house_of(provider).await;
        let request = house.client.post(house.url("/v1/messages")).bearer_auth("sk-of-the-client");
        let body = r#"{"model":"cloud/m","max_tokens":1,"messages":[{"role":"user","content":"a secret"}]}"#;
        let text = request.body(body).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("sk-of"), "{text}");
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("a provider did not answer"), "{text}");
    // What the test's own client says of itself is not ours.
    let ours = text.lines().filter(|line| line.contains(" gateway::"));
    for line in ours {
        assert!(!line.contains("sk-of") && !line.contains("a secret"), "{line}");
    }
}

#[tokio::test]
async fn who_is_not_there_or_says_nothing() {
    let unreachable = provider_at(nowhere(), Dialect::OpenAi);
    let silent = Actor::always(Act::Hang).await;
    let silent = Provider { idle_timeout: Duration::from_millis(100), ..provider(&silent, Dialect::OpenAi) };
    for (provider, status, code) in [(unreachable, 502, "provider_unavailable"), (silent, 504, "timeout")] {
        let (found, error) = error_of(house_of(provider).await.ask("cloud/m").await).await;
        assert_eq!((found, error["code"].as_str()), (status, Some(code)));
        assert!(error["message"].as_str().unwrap().contains("cloud"), "{error}");
    }
    let stalls = Actor::always(Act::HangAfterHead).await;
    let stalls = Provider { idle_timeout: Duration::from_millis(100), ..provider(&stalls, Dialect::OpenAi) };
    let text = house_of(stalls).await.ask("cloud/m").await.text().await.unwrap();
    assert!(text.contains("\"code\":\"timeout\""), "{text}");
}

#[tokio::test]
async fn it_gets_no_more_at_once_than_it_is_to_have() {
    let actor = Actor::always(Act::HangAfterHead).await;
    let house = house_of(Provider { in_flight_max: 1, ..provider(&actor, Dialect::OpenAi) }).await;
    let first = house.ask("cloud/m").await;
    let response = house.ask("cloud/m").await;
    assert_eq!(header(&response, "retry-after"), "1");
    let (status, error) = error_of(response).await;
    assert_eq!((status, error["code"].as_str(), actor.count()), (429, Some("queue_full"), 1));
    drop(first);
    // The place comes back with the client's leaving.
    let second = async {
        for _ in 0..2000 {
            if house.ask("cloud/m").await.status() == 200 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    };
    assert!(second.await);
}

const CHUNK: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}],\"usage\":null}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn a_stream_is_metered_whether_its_client_wants_to_know_or_not() {
    for (options, chunks) in [
        ("", [CHUNK, DONE].concat()),
        (r#","stream_options":{"include_usage":false}"#, [CHUNK, DONE].concat()),
        (r#","stream_options":{"include_usage":true}"#, [CHUNK, USAGE, DONE].concat()),
    ] {
        let (mut house, actor) = openai(stream(&[CHUNK, &USAGE[..20], &USAGE[20..], DONE])).await;
        let body = format!(r#"{{"model":"cloud/m","stream":true{options}}}"#);
        let response = house.post("/v1/chat/completions", body).await;
        assert_eq!(header(&response, "content-type"), "text/event-stream");
        assert_eq!(response.text().await.unwrap(), chunks, "{options}");
        assert_eq!(actor.last().json()["stream_options"], json!({ "include_usage": true }));
        let usage = house.completed.recv().await.unwrap().usage;
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (31, 4), "{options}");
    }
    // What breaks says so, and what fails stays as it is.
    let (house, _) = openai(Act::BreakOff(vec![CHUNK.to_owned()])).await;
    let text = house.post("/v1/completions", r#"{"model":"cloud/m","stream":true}"#).await.text().await.unwrap();
    assert!(text.starts_with(CHUNK) && text.contains("\"code\":\"engine_failed\""), "{text}");
    let (house, _) = openai(Act::Answer(400, "<html>".to_owned())).await;
    let response = house.post("/v1/completions", r#"{"model":"cloud/m","stream":true}"#).await;
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (400, "<html>"));
}

#[tokio::test]
async fn who_speaks_chat_only_is_asked_for_responses_once() {
    let actor = Actor::plays(|request| match request.line() {
        "POST /v1/chat/completions" => well(HELLO),
        _ => Act::Answer(404, "{}".to_owned()),
    });
    let actor = actor.await;
    let house = house_of(provider(&actor, Dialect::OpenAi)).await;
    for count in [2, 3] {
        let response = house.post("/v1/responses", r#"{"model":"cloud/m","input":"x"}"#).await;
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["output"][0]["content"][0]["text"], "hello", "{answer}");
        assert_eq!(actor.count(), count);
    }
    assert_eq!(actor.last().json()["model"], "m");
}

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hello"},{"type":"tool_use","id":"toolu_1","name":"look","input":{"at":1}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":31,"output_tokens":4}}"#;

const MESSAGE_EVENTS: [&str; 10] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":31,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hel\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"lo\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"look\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"at\\\":1}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":4}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

/// A request for each dialect, with a tool.
fn requests(is_stream: bool) -> [(&'static str, Value); 4] {
    let messages = json!([{ "role": "user", "content": "x" }]);
    let schema = json!({ "type": "object", "properties": { "at": { "type": "integer" } } });
    let function = json!({ "name": "look", "parameters": schema });
    let tools = json!([{ "type": "function", "function": function }]);
    [
        (
            "/v1/chat/completions",
            json!({ "model": "cloud/claude", "stream": is_stream, "messages": messages, "tools": tools }),
        ),
        (
            "/v1/responses",
            json!({ "model": "cloud/claude", "stream": is_stream, "input": "x",
                "tools": [{ "type": "function", "name": "look", "parameters": schema }] }),
        ),
        (
            "/v1/messages",
            json!({ "model": "cloud/claude", "stream": is_stream, "messages": messages, "max_tokens": 9,
                "tools": [{ "name": "look", "input_schema": schema }] }),
        ),
        ("/api/chat", json!({ "model": "cloud/claude", "stream": is_stream, "messages": messages, "tools": tools })),
    ]
}

/// What was said and which tool was called, in any dialect, whole or as a stream.
fn said(path: &str, text: &str) -> (String, String) {
    let lines = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let values: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (mut words, mut call) = (String::new(), String::new());
    let mut add = |to_words: &Value, to_call: &Value| {
        words.push_str(to_words.as_str().unwrap_or_default());
        match to_call {
            Value::Null => {}
            Value::String(text) => call.push_str(text),
            object => call.push_str(&object.to_string()),
        }
    };
    for value in &values {
        match path {
            "/v1/chat/completions" => {
                let choice = &value["choices"][0];
                let message = if choice["message"].is_null() { &choice["delta"] } else { &choice["message"] };
                add(&message["content"], &message["tool_calls"][0]["function"]["arguments"]);
            }
            "/v1/responses" if value["object"] == "response" => {
                add(&value["output"][0]["content"][0]["text"], &value["output"][1]["arguments"]);
            }
            "/v1/responses" => match value["type"].as_str() {
                Some("response.output_text.delta") => add(&value["delta"], &Value::Null),
                Some("response.function_call_arguments.delta") => add(&Value::Null, &value["delta"]),
                _ => {}
            },
            "/v1/messages" if value["type"] == "message" => {
                add(&value["content"][0]["text"], &value["content"][1]["input"]);
            }
            "/v1/messages" => add(&value["delta"]["text"], &value["delta"]["partial_json"]),
            _ => add(&value["message"]["content"], &value["message"]["tool_calls"][0]["function"]["arguments"]),
        }
    }
    (words, call)
}

#[tokio::test]
async fn anthropics_api_answers_all_dialects() {
    let actor = Actor::plays(|request| match request.json()["stream"].as_bool() {
        Some(true) => stream(&MESSAGE_EVENTS),
        _ => well(MESSAGE),
    });
    let actor = actor.await;
    let mut house = house_of(provider(&actor, Dialect::Anthropic)).await;
    for is_stream in [false, true] {
        for (path, request) in requests(is_stream) {
            let response = house.post(path, request.to_string()).await;
            assert_eq!(response.status(), 200, "{path}");
            let expected = match (is_stream, path) {
                (false, _) => "application/json",
                (true, "/api/chat") => "application/x-ndjson",
                (true, _) => "text/event-stream",
            };
            assert_eq!(header(&response, "content-type"), expected, "{path}");
            let text = response.text().await.unwrap();
            assert_eq!(said(path, &text), ("hello".to_owned(), r#"{"at":1}"#.to_owned()), "{path}: {text}");
            if path == "/v1/messages" {
                assert_eq!(text, if is_stream { MESSAGE_EVENTS.concat() } else { MESSAGE.to_owned() });
            }
            let asked = actor.last();
            assert_eq!(asked.line(), "POST /v1/messages");
            let body = asked.json();
            assert_eq!((&body["model"], &body["tools"][0]["name"]), (&"claude".into(), &"look".into()), "{path}");
            assert!(body["max_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{path}");
            let usage = house.completed.recv().await.unwrap().usage;
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (31, 4), "{path} {is_stream}");
        }
    }
    house.post("/v1/messages/count_tokens", r#"{"model":"cloud/claude","messages":[]}"#).await;
    let asked = actor.last();
    assert_eq!(
        (asked.line(), asked.body.as_str()),
        ("POST /v1/messages/count_tokens", r#"{"model":"claude","messages":[]}"#)
    );
    let (status, error) = error_of(house.post("/v1/embeddings", r#"{"model":"cloud/claude","input":"x"}"#).await).await;
    assert_eq!((status, error["code"].as_str()), (400, Some("endpoint_not_offered")));
}

#[tokio::test]
async fn anthropics_failures_are_told_in_each_dialect() {
    let failure = r#"{"type":"error","error":{"type":"overloaded_error","message":"too much"}}"#;
    for (path, request) in requests(true) {
        let actor = Actor::always(Act::Answer(529, failure.to_owned())).await;
        let house = house_of(provider(&actor, Dialect::Anthropic)).await;
        let response = house.post(path, request.to_string()).await;
        assert_eq!(response.status(), 529, "{path}");
        let body: Value = response.json().await.unwrap();
        match path {
            "/v1/messages" => assert_eq!(body.to_string(), serde_json::from_str::<Value>(failure).unwrap().to_string()),
            "/api/chat" => assert_eq!(body, json!({ "error": "too much" })),
            _ => assert_eq!((&body["error"]["message"], body["error"]["type"].is_string()), (&"too much".into(), true)),
        }
        // A stream that breaks.
        let actor = Actor::always(Act::BreakOff(MESSAGE_EVENTS[..3].iter().map(|&event| event.into()).collect())).await;
        let house = house_of(provider(&actor, Dialect::Anthropic)).await;
        let text = house.post(path, request.to_string()).await.text().await.unwrap();
        let last = text.trim_end().lines().last().unwrap();
        let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap_or(last)).unwrap();
        match path {
            "/v1/messages" => {
                assert_eq!((&last["type"], last["error"]["message"].is_string()), (&"error".into(), true))
            }
            "/api/chat" => assert!(last["error"].is_string(), "{last}"),
            "/v1/responses" => assert_eq!(last["type"], "response.failed"),
            _ => assert_eq!(last["error"]["code"], "engine_failed"),
        }
    }
}

#[tokio::test]
async fn what_one_cannot_do_another_may() {
    let (claude, gpt) = (Actor::always(well(MESSAGE)).await, Actor::always(well(HELLO)).await);
    let house = House::start(Setup::default()).await;
    house.has(&[]);
    let members =
        [remote(&provider(&claude, Dialect::Anthropic), "claude"), remote(&provider(&gpt, Dialect::OpenAi), "gpt")];
    house.means([chain("any", &[&members[..1], &members[1..]])]);
    let body = r#"{"model":"any","n":2,"messages":[{"role":"user","content":"x"}]}"#;
    let response = house.post("/v1/chat/completions", body).await;
    assert_eq!((response.status().as_u16(), header(&response, "x-snug-model")), (200, "cloud/gpt"));
    assert_eq!(header(&response, "x-snug-fallback"), "cloud/claude (invalid_request)");
    assert_eq!(claude.count(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let actor = Actor::always(Act::HangAfterHead).await;
    let provider = Provider { in_flight_max: 1, ..provider(&actor, Dialect::OpenAi) };
    let house = Arc::new(house_of(provider).await);
    let asking = Arc::clone(&house);
    let caller = tokio::spawn(async move { asking.ask("cloud/m").await.bytes().await });
    eventually("it is asked", || actor.count() == 1).await;
    caller.abort();
    house
        .await_metric("snug_requests_total{model=\"cloud/other\",endpoint=\"chat_completions\",status=\"cancelled\"} 1")
        .await;
}

/// Nobody's prompts leave for a likeness of names.
#[tokio::test]
async fn a_model_of_this_machine_goes_before_a_provider_of_that_name() {
    let (here, there) = (Actor::always(well(HELLO)).await, Actor::always(well(HELLO)).await);
    let house = House::start(Setup::default()).await;
    house.has(&[("cloud/m", Some(&here.target("cloud/m")))]);
    house.knows(provider(&there, Dialect::OpenAi));
    assert_eq!(house.ask("cloud/m").await.status(), 200);
    assert_eq!((here.count(), there.count()), (1, 0));
    assert_eq!(house.ask("cloud/other-one").await.status(), 200);
    assert_eq!((here.count(), there.count()), (1, 1));
    let endless = format!("cloud/{}", "x".repeat(300));
    assert_eq!(house.ask(&endless).await.status(), 404);
}
