//! Answers that stream.

use serde_json::{Value, json};

use crate::{answer_to, chat_stream, events, through};

fn asked() -> Value {
    json!({ "model": "m", "max_tokens": 64, "messages": [], "stream": true, "stop_sequences": ["END"] })
}

fn streamed(deltas: &[Value], finish_reason: &str) -> String {
    through(&mut *answer_to(&asked()), &chat_stream(deltas, finish_reason))
}

/// The names of the events in order, and of blocks their place and kind.
fn outline(stream: &str) -> Vec<String> {
    let line = |(name, data): (String, Value)| {
        assert_eq!(data["type"], name.as_str());
        match name.as_str() {
            "content_block_start" => {
                format!("start {} {}", data["index"], data["content_block"]["type"].as_str().unwrap())
            }
            "content_block_stop" => format!("stop {}", data["index"]),
            "content_block_delta" => {
                let delta = data["delta"].as_object().unwrap();
                let text = delta.iter().find(|(field, _)| *field != "type").unwrap().1;
                format!("delta {} {}", data["index"], text.as_str().unwrap())
            }
            _ => name,
        }
    };
    events(stream).into_iter().map(line).collect()
}

fn check(deltas: &[Value], expected: &[&str]) {
    let stream = streamed(deltas, "stop");
    let outline = outline(&stream);
    let frame = [&["message_start", "ping"], expected, &["message_delta", "message_stop"]].concat();
    assert_eq!(outline, frame, "{stream}");
}

fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }] })
}

fn more(index: u64, arguments: &str) -> Value {
    json!({ "tool_calls": [{ "index": index, "function": { "arguments": arguments } }] })
}

#[test]
fn thoughts_text_and_a_call() {
    insta::assert_snapshot!(streamed(
        &[
            json!({ "role": "assistant", "content": null }),
            json!({ "reasoning_content": "Which " }),
            json!({ "reasoning_content": "file?" }),
            json!({ "content": "Let me " }),
            json!({ "content": "look." }),
            call(0, "call_1", "Read", ""),
            more(0, "{\"path\":"),
            more(0, " \"a\"}"),
        ],
        "tool_calls",
    ));
}

#[test]
fn text_only() {
    check(
        &[json!({ "content": "Hel" }), json!({ "content": "lo" })],
        &["start 0 text", "delta 0 Hel", "delta 0 lo", "stop 0"],
    );
    check(&[json!({ "role": "assistant", "content": "" })], &[]);
}

#[test]
fn blocks_come_one_after_another() {
    check(
        &[call(0, "a", "x", "{}"), call(1, "b", "y", "{\"k\":"), more(1, "1}"), json!({ "content": "Done." })],
        &[
            "start 0 tool_use",
            "delta 0 {}",
            "stop 0",
            "start 1 tool_use",
            "delta 1 {\"k\":",
            "delta 1 1}",
            "stop 1",
            "start 2 text",
            "delta 2 Done.",
            "stop 2",
        ],
    );
}

#[test]
fn calls_that_interleave_are_put_in_order() {
    check(
        &[
            call(0, "a", "x", "{\"p\":"),
            call(1, "b", "y", "{\"q\":"),
            more(0, "\"}\\\""),
            more(1, "2}"),
            more(0, "\"}"),
            json!({ "content": "Hm" }),
        ],
        &[
            "start 0 tool_use",
            "delta 0 {\"p\":",
            "delta 0 \"}\\\"",
            "delta 0 \"}",
            "stop 0",
            "start 1 tool_use",
            "delta 1 {\"q\":2}",
            "stop 1",
            "start 2 text",
            "delta 2 Hm",
            "stop 2",
        ],
    );
}

#[test]
fn calls_of_engines_that_do_not_count() {
    check(
        &[
            call(0, "a", "x", "{}"),
            call(0, "b", "y", "{}"),
            json!({ "tool_calls": [{ "id": "c", "function": { "name": "z" } }] }),
        ],
        &[
            "start 0 tool_use",
            "delta 0 {}",
            "stop 0",
            "start 1 tool_use",
            "delta 1 {}",
            "stop 1",
            "start 2 tool_use",
            "stop 2",
        ],
    );
    let stream =
        streamed(&[json!({ "tool_calls": [{ "function": { "name": "z", "arguments": { "k": 1 } } }] })], "tool_calls");
    assert!(stream.contains(r#""id":"toolu_01_0""#) && stream.contains(r#"{\"k\":1}"#), "{stream}");
}

#[test]
fn arguments_that_are_no_object_are_wrapped() {
    check(
        &[call(0, "a", "x", " [1"), more(0, "]"), call(1, "b", "y", "so"), more(1, "on")],
        &[
            "start 0 tool_use",
            "delta 0 {\"arguments\":[1]}",
            "stop 0",
            "start 1 tool_use",
            "delta 1 {\"arguments\":\"soon\"}",
            "stop 1",
        ],
    );
}

#[test]
fn what_comes_after_the_arguments_is_left_out() {
    check(&[call(0, "a", "x", "{} {}"), more(0, "{}")], &["start 0 tool_use", "delta 0 {}", "stop 0"]);
}

#[test]
fn usage_and_reason_are_in_the_last_words() {
    let stream = streamed(&[json!({ "content": "Hi" })], "length");
    let events = events(&stream);
    let (_, delta) = events.iter().find(|(name, _)| name == "message_delta").unwrap();
    assert_eq!(delta["delta"], json!({ "stop_reason": "max_tokens", "stop_sequence": null }));
    let usage = json!({ "input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 20, "output_tokens": 5 });
    assert_eq!(delta["usage"], usage);
    let stream = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"stop_reason\":\"END\"}]}\n\n";
    let stream = through(&mut *answer_to(&asked()), stream);
    assert!(stream.contains(r#""stop_reason":"stop_sequence","stop_sequence":"END""#), "{stream}");
}

/// An error and nothing after it.
fn check_fails(stream: &str, kind: &str, message: &str) {
    let mut answer = answer_to(&asked());
    let out = through(&mut *answer, stream);
    let (name, data) = events(&out).pop().unwrap();
    assert_eq!((name.as_str(), &data["error"]["type"]), ("error", &json!(kind)), "{out}");
    assert!(data["error"]["message"].as_str().unwrap().contains(message), "{out}");
    assert!(answer.piece(b"data: {}\n\n").unwrap().is_empty() && answer.broken("x", "y").is_empty());
}

#[test]
fn a_stream_that_breaks_ends_in_an_error() {
    check_fails("", "api_error", "before it was complete");
    check_fails("data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\n", "api_error", "before it was complete");
    check_fails("data: {\"error\":{\"message\":\"out of memory\"}}\n\ndata: [DONE]\n\n", "api_error", "out of memory");
    check_fails("data: {\"error\":\"out of memory\"}\n\n", "api_error", "out of memory");
    let mut answer = answer_to(&asked());
    answer.piece(b"data: {\"choices\":[{\"delta\":{\"content\":\"H\"}}]}\n\n").unwrap();
    let out = String::from_utf8(answer.broken("timeout", "too quiet")).unwrap();
    assert_eq!(events(&out)[0].1["error"], json!({ "type": "timeout_error", "message": "too quiet" }));
    assert!(answer.end().is_empty());
}

#[test]
fn an_end_without_done_is_an_end() {
    let stream = chat_stream(&[json!({ "content": "Hi" })], "stop").replace("data: [DONE]\n\n", "");
    assert!(through(&mut *answer_to(&asked()), &stream).ends_with("{\"type\":\"message_stop\"}\n\n"));
}

#[test]
fn what_waits_is_bounded() {
    let mut answer = answer_to(&asked());
    answer.piece(chat_piece(&call(0, "a", "x", "{")).as_bytes()).unwrap();
    let piece = chat_piece(&call(1, "b", "y", &"[".repeat(1 << 20)));
    assert!((0..9).any(|_| answer.piece(piece.as_bytes()).is_err()));
    let mut answer = answer_to(&asked());
    assert!((0..2000).any(|n| answer.piece(chat_piece(&call(n, &n.to_string(), "x", "{}")).as_bytes()).is_err()));
    assert!(answer_to(&asked()).piece(b"data: nonsense\n\n").is_err());
}

fn chat_piece(delta: &Value) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "delta": delta }] }))
}
