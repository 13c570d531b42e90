//! Engines that answer otherwise than they should, or not to the end.

use protocol::sse::write;
use serde_json::{Value, json};

use crate::support::{convert, events, stream_of, streamed, whole};

fn request() -> Value {
    json!({ "model": "asked", "input": "?" })
}

fn message(message: Value) -> Value {
    whole(&request(), &json!({ "choices": [{ "index": 0, "finish_reason": "stop", "message": message }] }))
}

fn chunk(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn end(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

/// The names of events, without their common beginning.
fn names(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .map(|name| name.trim_start_matches("response."))
        .collect()
}

#[test]
fn dialects_of_the_dialect_are_read() {
    assert_eq!(
        message(json!({ "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] }))["output"][0]
            ["content"][0]["text"],
        "ab"
    );
    assert_eq!(message(json!({ "reasoning": "hm", "content": "a" }))["output"][0]["content"][0]["text"], "hm");
    let call =
        message(json!({ "tool_calls": [{ "function": { "name": "f", "arguments": { "b": 1, "a": 2 } } }] }))["output"]
            [0]
        .clone();
    assert_eq!(call["arguments"], r#"{"a":2,"b":1}"#);
    assert_eq!(call["call_id"], "call_7_0");
    assert_eq!(
        message(json!({ "tool_calls": [{ "id": "c", "function": { "name": "f", "arguments": null } }] }))["output"][0]
            ["arguments"],
        ""
    );
    let unnamed = whole(&request(), &json!({ "choices": [{ "message": { "content": "a" } }] }));
    assert_eq!(
        (&unnamed["model"], &unnamed["status"], &unnamed["usage"]),
        (&json!("asked"), &json!("completed"), &Value::Null)
    );
}

#[test]
fn an_answer_that_is_cut_short_is_incomplete() {
    for (reason, status, why) in [
        ("stop", "completed", Value::Null),
        ("tool_calls", "completed", Value::Null),
        ("length", "incomplete", json!({ "reason": "max_output_tokens" })),
        ("content_filter", "incomplete", json!({ "reason": "content_filter" })),
        ("error", "failed", Value::Null),
    ] {
        let message =
            json!({ "content": "a", "tool_calls": [{ "id": "c", "function": { "name": "f", "arguments": "{" } }] });
        let response = whole(&request(), &json!({ "choices": [{ "finish_reason": reason, "message": message }] }));
        assert_eq!((&response["status"], &response["incomplete_details"]), (&json!(status), &why));
        let last = if status == "completed" { "completed" } else { "incomplete" };
        assert_eq!(response["output"][0]["status"], "completed", "{reason}");
        assert_eq!(response["output"][1]["status"], last, "{reason}");
        assert_eq!(response["error"].is_null(), status != "failed", "{reason}");
    }
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for body in ["", "{}", "[]", r#"{"choices":[]}"#, r#"{"choices":7}"#, r#"{"choices":[{"message":{"content":7}}]}"#]
    {
        assert!(convert(&request()).unwrap().1.whole(body.as_bytes()).is_err(), "{body}");
    }
    let fault = convert(&request()).unwrap().1.whole(br#"{"error":{"message":"no room"}}"#).unwrap_err();
    assert!(fault.to_string().contains("no room"), "{fault}");
    assert!(convert(&request()).unwrap().1.piece(b"data: {\"choices\":\n\n").is_err());
}

#[test]
fn errors_stay_as_they_are() {
    let check = |status: u16, body: &str, expected: &str| {
        let error = convert(&request()).unwrap().1.error(status, body.as_bytes());
        assert_eq!(String::from_utf8(error).unwrap(), expected);
    };
    let error = r#"{"error": {"message": "too long", "type": "invalid_request_error", "code": 400, "n_ctx": 512}}"#;
    check(400, error, error);
    let made = |message: &str, kind: &str| {
        format!(r#"{{"error":{{"code":null,"message":"{message}","param":null,"type":"{kind}"}}}}"#)
    };
    check(400, r#"{"error":"bad"}"#, &made("bad", "invalid_request_error"));
    check(422, r#"{"detail":"bad"}"#, &made("bad", "invalid_request_error"));
    check(500, r#"{"object":"error","message":"bad","code":500}"#, &made("bad", "server_error"));
    check(502, "<html>bad gateway</html>\n", &made("<html>bad gateway</html>", "server_error"));
    check(503, "", &made("the engine answered with status 503", "server_error"));
    check(500, &"x".repeat(100_000), &made(&"x".repeat(1000), "server_error"));
}

#[test]
fn a_stream_that_breaks_says_so() {
    let stream = |chunks: &[Value]| {
        let mut out = Vec::new();
        chunks.iter().for_each(|chunk| write(&mut out, None, chunk));
        out
    };
    let broken = |chunks: &[Value]| {
        let (_, mut back) = convert(&request()).unwrap();
        let mut out = back.piece(&stream(chunks)).unwrap();
        out.extend(back.broken("engine_failed", "it died"));
        assert!(back.broken("engine_failed", "again").is_empty() && back.end().is_empty());
        events(&out)
    };
    let told = broken(&[chunk(json!({ "content": "a" }))]);
    assert_eq!(
        names(&told),
        ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "error", "failed"]
    );
    assert_eq!((&told[5]["code"], &told[5]["message"]), (&json!("engine_failed"), &json!("it died")));
    let last = &told[6]["response"];
    assert_eq!((&last["status"], &last["error"]["message"]), (&json!("failed"), &json!("it died")));
    assert_eq!(
        (&last["output"][0]["status"], &last["output"][0]["content"][0]["text"]),
        (&json!("incomplete"), &json!("a"))
    );
    assert_eq!(names(&broken(&[])), ["created", "in_progress", "error", "failed"]);
    // All was said.
    assert_eq!(names(&broken(&[chunk(json!({ "content": "a" })), end("stop")])).pop(), Some("completed"));

    let ended = |chunks: &[Value]| events(&streamed(&request(), &stream(chunks), &[]));
    assert_eq!(names(&ended(&[chunk(json!({ "content": "a" }))])).pop(), Some("failed"));
    assert_eq!(names(&ended(&[chunk(json!({ "content": "a" })), end("stop")])).pop(), Some("completed"));
    // Engines that fail say so in an event; what comes after it does not count.
    let told = ended(&[
        chunk(json!({ "content": "a" })),
        json!({ "error": { "message": "no room", "type": "x" } }),
        end("stop"),
    ]);
    assert_eq!(names(&told)[5..], ["error", "failed"]);
    assert_eq!((&told[5]["code"], &told[5]["message"]), (&json!("x"), &json!("no room")));
}

#[test]
fn nothing_is_said_after_the_end() {
    let mut stream = stream_of(&[chunk(json!({ "content": "a" })), end("stop")]);
    stream.extend(stream_of(&[chunk(json!({ "content": "b" }))]));
    let told = events(&streamed(&request(), &stream, &[]));
    assert_eq!(names(&told).iter().filter(|name| **name == "completed").count(), 1);
    assert_eq!(told.last().unwrap()["response"]["output"][0]["content"][0]["text"], "a");
}

#[test]
fn thoughts_and_words_may_alternate() {
    let told = events(&streamed(
        &request(),
        &stream_of(&[
            chunk(json!({ "content": "a" })),
            chunk(json!({ "reasoning_content": "hm" })),
            chunk(json!({ "content": "b" })),
            chunk(json!({ "refusal": "no" })),
            end("stop"),
        ]),
        &[],
    ));
    let output = &told.last().unwrap()["response"]["output"];
    let kinds: Vec<_> = output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "reasoning", "message"]);
    assert_eq!(output[2]["content"][1], json!({ "type": "refusal", "refusal": "no" }));
    let closed = names(&told).iter().filter(|name| **name == "output_item.done").count();
    assert_eq!(closed, 3);
}

#[test]
fn calls_of_sloppy_engines_are_told_apart() {
    let calls = |pieces: &[Value]| {
        let mut chunks: Vec<_> = pieces.iter().map(|piece| chunk(json!({ "tool_calls": [piece] }))).collect();
        chunks.push(end("tool_calls"));
        let told = events(&streamed(&request(), &stream_of(&chunks), &[]));
        let output = told.last().unwrap()["response"]["output"].clone();
        let items = output.as_array().unwrap().iter();
        items
            .map(|item| format!("{} {}", item["name"].as_str().unwrap(), item["arguments"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    // Without numbers, an id begins a new one.
    assert_eq!(
        calls(&[
            json!({ "id": "a", "function": { "name": "f", "arguments": "{" } }),
            json!({ "function": { "arguments": "}" } }),
            json!({ "id": "b", "function": { "name": "g", "arguments": "{}" } }),
        ]),
        ["f {}", "g {}"]
    );
    // The name again and again, or late, or never.
    assert_eq!(
        calls(&[
            json!({ "index": 0, "function": { "name": "f", "arguments": "{" } }),
            json!({ "index": 0, "function": { "name": "f", "arguments": "}" } })
        ]),
        ["f {}"]
    );
    assert_eq!(
        calls(&[
            json!({ "index": 4, "function": { "arguments": "{" } }),
            json!({ "index": 4, "function": { "name": "f", "arguments": "}" } })
        ]),
        ["f {}"]
    );
    assert_eq!(calls(&[json!({ "index": 0, "function": { "arguments": "{}" } })]), [" {}"]);
}

#[test]
fn an_answer_is_bounded() {
    let (_, mut back) = convert(&request()).unwrap();
    let mut piece = Vec::new();
    let unnamed = json!({ "index": 0, "function": { "arguments": "x".repeat(4 << 20) } });
    write(&mut piece, None, &chunk(json!({ "tool_calls": [unnamed] })));
    let refused = (0..20).find(|_| back.piece(&piece).is_err());
    assert_eq!(refused, Some(16));
    let last = back.broken("engine_failed", "too large");
    assert!(!last.is_empty());

    let (_, mut back) = convert(&request()).unwrap();
    let many: Vec<_> = (0..2000).map(|index| json!({ "index": index, "function": { "name": "f" } })).collect();
    let mut piece = Vec::new();
    write(&mut piece, None, &chunk(json!({ "tool_calls": many })));
    assert!(back.piece(&piece).unwrap_err().to_string().contains("1024 calls"));
}

/// A custom tool's input lies in the arguments; what a model made of them otherwise is passed on as it is.
#[test]
fn the_input_of_a_custom_tool() {
    let request = json!({ "model": "m", "input": "?", "tools": [{ "type": "custom", "name": "sh" }] });
    for (arguments, input) in [
        (r#"{"input":"ls \"a\""}"#, r#"ls "a""#),
        (r#"{"input":""}"#, ""),
        ("ls", "ls"),
        (r#"{"command":"ls"}"#, r#"{"command":"ls"}"#),
    ] {
        let chunks = [
            chunk(
                json!({ "tool_calls": [{ "index": 0, "id": "c", "function": { "name": "sh", "arguments": arguments } }] }),
            ),
            end("tool_calls"),
        ];
        let told = events(&streamed(&request, &stream_of(&chunks), &[]));
        let item = &told.last().unwrap()["response"]["output"][0];
        assert_eq!(
            item,
            &json!({ "type": "custom_tool_call", "id": "ctc_7_0", "call_id": "c", "name": "sh", "input": input })
        );
        let delta: String = told
            .iter()
            .filter(|event| event["type"] == "response.custom_tool_call_input.delta")
            .filter_map(|event| event["delta"].as_str())
            .collect();
        assert_eq!(delta, input);
    }
}
