//! The Messages API and chat completions, each in the other's words.

mod from_chat;
mod properties;
mod streams;
mod to_chat;
mod turns;

use protocol::{Answer, Moment, Request, messages, sse};
use serde_json::Value;

fn moment() -> Moment {
    Moment { id: "01".to_owned(), created: 1_700_000_000 }
}

fn value(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

/// As a person reads it.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// What an engine is sent for a request of the Messages API.
fn to_chat(body: &Value) -> Value {
    value(&messages::to_chat(body.to_string().as_bytes(), moment()).unwrap().body)
}

/// What Anthropic is sent for a request of chat completions.
fn from_chat(body: &Value) -> Value {
    value(&messages::from_chat(body.to_string().as_bytes(), moment(), 4096).unwrap().body)
}

/// The way back to a client of the Messages API.
fn answer_to(body: &Value) -> Box<dyn Answer> {
    let Request { answer, .. } = messages::to_chat(body.to_string().as_bytes(), moment()).unwrap();
    answer
}

/// The way back to a client of chat completions.
fn answer_from(body: &Value) -> Box<dyn Answer> {
    let Request { answer, .. } = messages::from_chat(body.to_string().as_bytes(), moment(), 4096).unwrap();
    answer
}

/// A whole stream through a converter.
fn through(answer: &mut dyn Answer, stream: &str) -> String {
    let mut out = answer.piece(stream.as_bytes()).unwrap();
    out.extend(answer.end());
    String::from_utf8(out).unwrap()
}

/// The events in a stream, with their names.
fn events(stream: &str) -> Vec<(String, Value)> {
    let mut events = sse::Events::default();
    events.push(stream.as_bytes()).unwrap();
    let read = |event: sse::Event| {
        let data = if event.is_done() { Value::Null } else { value(event.data.as_bytes()) };
        (event.name.unwrap_or_default(), data)
    };
    events.map(read).collect()
}

/// A stream of chat completions with these deltas, as engines write them.
fn chat_stream(deltas: &[Value], finish_reason: &str) -> String {
    let mut stream = Vec::new();
    let chunk = |choices: Value| serde_json::json!({ "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices });
    for delta in deltas {
        let choice = serde_json::json!([{ "index": 0, "delta": delta, "finish_reason": null }]);
        sse::write(&mut stream, None, &chunk(choice));
    }
    let end = serde_json::json!([{ "index": 0, "delta": {}, "finish_reason": finish_reason }]);
    sse::write(&mut stream, None, &chunk(end));
    let mut last = chunk(serde_json::json!([]));
    last["usage"] = serde_json::json!({
        "prompt_tokens": 30,
        "completion_tokens": 5,
        "total_tokens": 35,
        "prompt_tokens_details": { "cached_tokens": 20 },
    });
    sse::write(&mut stream, None, &last);
    sse::write_done(&mut stream);
    String::from_utf8(stream).unwrap()
}
