//! Chat completions asked of Anthropic.

use protocol::messages;
use serde_json::{Value, json};

use crate::{answer_from, events, from_chat, moment, pretty, through, value};

fn asked(messages: &Value) -> Value {
    json!({ "model": "claude", "messages": messages })
}

fn shown(messages: &Value) -> String {
    let body = from_chat(&asked(messages));
    pretty(&json!({ "system": body["system"], "messages": body["messages"] }))
}

fn with(field: &str, given: Value) -> Value {
    let mut body = asked(&json!([{ "role": "user", "content": "Hi" }]));
    body["tools"] = json!([{ "type": "function", "function": { "name": "x" } }]);
    body[field] = given;
    body
}

#[test]
fn system_prompts_and_turns() {
    insta::assert_snapshot!(shown(&json!([
        { "role": "system", "content": "Be brief." },
        { "role": "developer", "content": [{ "type": "text", "text": "Be kind.", "cache_control": { "type": "ephemeral" } }] },
        { "role": "user", "content": "One", "name": "anna" },
        { "role": "user", "content": [{ "type": "text", "text": "Two" }, { "type": "text", "text": "" }] },
        { "role": "assistant", "content": "Three", "reasoning_content": "Count on." },
        { "role": "assistant", "content": null, "refusal": null },
        { "role": "assistant", "content": [{ "type": "refusal", "refusal": "No four." }] },
    ])));
}

#[test]
fn images_and_files() {
    insta::assert_snapshot!(shown(&json!([{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0K", "detail": "high" } },
        { "type": "image_url", "image_url": { "url": "https://example.org/cat.jpg" } },
        { "type": "image_url", "image_url": "https://example.org/dog.jpg" },
        { "type": "file", "file": { "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf" } },
    ] }])));
}

#[test]
fn tools_called_and_their_results() {
    insta::assert_snapshot!(shown(&json!([
        { "role": "user", "content": "Weather and time?" },
        { "role": "assistant", "content": "", "tool_calls": [
            { "id": "call_1", "type": "function", "function": { "name": "weather", "arguments": "{\"city\": \"Oslo\"}" } },
            { "id": "functions.time:1", "type": "function", "function": { "name": "time", "arguments": "" } },
            { "id": "call_3", "type": "function", "function": { "name": "odd", "arguments": "oh" } },
        ] },
        { "role": "tool", "tool_call_id": "call_1", "content": "Rain" },
        { "role": "tool", "tool_call_id": "functions.time:1", "content": [{ "type": "text", "text": "Noon" }] },
        { "role": "tool", "tool_call_id": "call_3", "content": "" },
        { "role": "user", "content": "And?" },
    ])));
}

#[test]
fn every_field() {
    let body = json!({
        "model": "claude",
        "messages": [{ "role": "user", "content": "Hi" }],
        "max_completion_tokens": 100, "max_tokens": 50,
        "stop": ["a", "b"], "temperature": 1.5, "top_p": 0.5, "top_k": 4,
        "presence_penalty": 1, "seed": 7, "user": "somebody", "n": 1, "logprobs": false, "store": true,
        "tools": [
            { "type": "function", "function": { "name": "x", "description": "d", "strict": true,
              "parameters": { "type": "object", "properties": { "k": { "type": "string" } } } } },
            { "type": "function", "function": { "name": "y" } },
        ],
        "tool_choice": "required", "parallel_tool_calls": false,
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "strict": true, "schema": { "type": "object" } } },
        "reasoning_effort": "minimal",
        "stream": true, "stream_options": { "include_usage": true },
    });
    insta::assert_snapshot!(pretty(&from_chat(&body)));
}

#[test]
fn fields_one_by_one() {
    let check = |field: &str, given: Value, to: &str, expected: Value| {
        assert_eq!(from_chat(&with(field, given))[to], expected, "{field}");
    };
    check("seed", json!(1), "max_tokens", json!(4096));
    check("max_tokens", json!(5), "max_tokens", json!(5));
    check("stop", json!("x"), "stop_sequences", json!(["x"]));
    check("temperature", json!(0.3), "temperature", json!(0.3));
    check("temperature", json!(1), "temperature", json!(null));
    check("tool_choice", json!("auto"), "tool_choice", json!({ "type": "auto" }));
    check("tool_choice", json!("none"), "tool_choice", json!({ "type": "none" }));
    let named = json!({ "type": "function", "function": { "name": "x" } });
    check("tool_choice", named, "tool_choice", json!({ "type": "tool", "name": "x" }));
    let single = json!({ "type": "auto", "disable_parallel_tool_use": true });
    check("parallel_tool_calls", json!(false), "tool_choice", single);
    check("parallel_tool_calls", json!(true), "tool_choice", json!(null));
    check("reasoning_effort", json!("high"), "thinking", json!({ "type": "adaptive" }));
    check("reasoning_effort", json!("high"), "output_config", json!({ "effort": "high" }));
    check("reasoning_effort", json!("none"), "thinking", json!({ "type": "disabled" }));
    check("reasoning_effort", json!("none"), "output_config", json!(null));
    let budget = json!({ "type": "enabled", "budget_tokens": 2000 });
    check("thinking", budget.clone(), "thinking", budget);
    check("cache_control", json!({ "type": "ephemeral" }), "cache_control", json!({ "type": "ephemeral" }));
    check("response_format", json!({ "type": "text" }), "output_config", json!(null));
    check("user", json!("u"), "metadata", json!({ "user_id": "u" }));
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let check = |body: Value, param: &str| {
        let refused = messages::from_chat(body.to_string().as_bytes(), moment(), 4096).err().expect("it is refused");
        assert_eq!(refused.param.as_deref(), Some(param), "{refused}");
    };
    check(with("n", json!(2)), "n");
    check(with("logprobs", json!(true)), "logprobs");
    check(with("top_logprobs", json!(3)), "logprobs");
    check(with("logit_bias", json!({ "1": 5 })), "logit_bias");
    check(with("modalities", json!(["text", "audio"])), "modalities");
    check(with("functions", json!([])), "functions");
    check(with("response_format", json!({ "type": "json_object" })), "response_format.type");
    check(with("reasoning_effort", json!("huge")), "reasoning_effort");
    check(with("tools", json!([{ "type": "custom", "custom": {} }])), "tools[0].type");
    check(with("tool_choice", json!({ "type": "allowed_tools" })), "tool_choice.type");
    check(with("tool_choice", json!("always")), "tool_choice");
    check(with("stop", json!(5)), "stop");
    let said = |content: Value| asked(&json!([{ "role": "user", "content": [content] }]));
    check(said(json!({ "type": "input_audio", "input_audio": {} })), "messages[0].content[0].type");
    check(said(json!({ "type": "file", "file": { "file_id": "f" } })), "messages[0].content[0].file");
    check(said(json!({ "type": "image_url", "image_url": {} })), "messages[0].content[0].image_url");
    check(asked(&json!([{ "role": "tool", "content": "x" }])), "messages[0].tool_call_id");
    check(asked(&json!([{ "role": "function", "content": "x" }])), "messages[0].role");
}

fn message() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
        "content": [
            { "type": "thinking", "thinking": "Which file?", "signature": "c2ln" },
            { "type": "redacted_thinking", "data": "xyz" },
            { "type": "text", "text": "Let me " },
            { "type": "text", "text": "look." },
            { "type": "tool_use", "id": "toolu_1", "name": "read", "input": { "path": "a" } },
            { "type": "tool_use", "id": "toolu_2", "name": "ls", "input": {} },
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 20, "output_tokens": 7,
            "output_tokens_details": { "thinking_tokens": 3 },
        },
    })
}

#[test]
fn a_whole_answer() {
    let mut answer = answer_from(&asked(&json!([])));
    insta::assert_snapshot!(pretty(&value(&answer.whole(message().to_string().as_bytes()).unwrap())));
    assert!(answer.whole(b"{}").is_err());
}

#[test]
fn why_an_answer_ended() {
    for (theirs, ours) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ] {
        let mut message = message();
        message["stop_reason"] = theirs.into();
        let mut answer = answer_from(&asked(&json!([])));
        let completion = value(&answer.whole(message.to_string().as_bytes()).unwrap());
        assert_eq!(completion["choices"][0]["finish_reason"], ours);
    }
}

/// As Anthropic streams.
const STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":20,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Which file?"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Let me look."}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"read","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"path\": \"a\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_2","name":"ls","input":{}}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}}

event: message_stop
data: {"type":"message_stop"}

"#;

#[test]
fn a_stream() {
    let mut body = asked(&json!([]));
    body["stream_options"] = json!({ "include_usage": true });
    insta::assert_snapshot!(through(&mut *answer_from(&body), STREAM));
    let without = through(&mut *answer_from(&asked(&json!([]))), STREAM);
    assert!(!without.contains("usage") && without.ends_with("data: [DONE]\n\n"), "{without}");
}

#[test]
fn errors() {
    let check = |status: u16, body: &str, kind: &str, code: &str, message: &str| {
        let error = value(&answer_from(&asked(&json!([]))).error(status, body.as_bytes()));
        assert_eq!(error, json!({ "error": { "message": message, "type": kind, "param": null, "code": code } }));
    };
    let said = r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"},"request_id":"req_1"}"#;
    check(404, said, "not_found_error", "not_found_error", "model: x");
    let said = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    check(529, said, "server_error", "overloaded_error", "Overloaded");
    check(502, "bad gateway", "server_error", "api_error", "bad gateway");
}

#[test]
fn a_stream_that_breaks_ends_in_an_error() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    for (stream, code) in [("", "api_error"), (&STREAM[..600], "api_error"), (error, "overloaded_error")] {
        let out = through(&mut *answer_from(&asked(&json!([]))), stream);
        let (_, last) = events(&out).pop().unwrap();
        assert_eq!(last["error"]["code"], code, "{out}");
        assert!(!out.contains("[DONE]"), "{out}");
    }
    let mut answer = answer_from(&asked(&json!([])));
    let out = String::from_utf8(answer.broken("timeout", "too quiet")).unwrap();
    assert_eq!(events(&out)[0].1["error"]["code"], "timeout");
    assert!(answer.end().is_empty());
}
