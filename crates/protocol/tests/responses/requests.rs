//! What each item and field of a request becomes, and what is refused.

use serde_json::{Value, json};

use crate::support::convert;

/// The messages that items become.
fn check_items(items: Value, expected: Value) {
    let request = json!({ "model": "m", "input": items });
    let (chat, _) = convert(&request).unwrap_or_else(|refused| panic!("{request}: {refused}"));
    assert_eq!(chat["messages"], expected, "{request}");
}

/// What the chat completions request has beside its messages and model.
fn check_fields(mut request: Value, expected: Value) {
    request["input"] = json!("?");
    let (mut chat, _) = convert(&request).unwrap_or_else(|refused| panic!("{request}: {refused}"));
    assert_eq!(chat["messages"], json!([{ "role": "user", "content": "?" }]));
    chat.as_object_mut().unwrap().remove("messages");
    assert_eq!(chat, expected, "{request}");
}

/// A request that is refused, for the field at fault and with a word that tells why.
fn check_refused(mut request: Value, param: &str, word: &str) {
    if request.get("input").is_none() {
        request["input"] = json!("?");
    }
    let Err(refused) = convert(&request) else { panic!("{request} is not refused") };
    assert_eq!(refused.param.as_deref(), Some(param), "{request}: {refused}");
    assert!(refused.message.contains(word), "{request}: {refused}");
}

fn user(content: Value) -> Value {
    json!({ "role": "user", "content": content })
}

#[test]
fn input_is_text_or_items() {
    check_items(json!("Hi"), json!([user(json!("Hi"))]));
    check_items(json!([]), json!([]));
    check_items(json!([{ "role": "user", "content": "Hi" }]), json!([user(json!("Hi"))]));
    check_items(json!([{ "type": "message", "role": "user", "content": [] }]), json!([user(json!(""))]));
    check_refused(json!({ "input": 7 }), "input", "a string or a list");
    check_refused(json!({ "input": null }), "input", "missing");
    check_refused(json!({ "input": ["Hi"] }), "input[0]", "object");
    check_refused(json!({ "input": [{}] }), "input[0].type", "missing");
    check_refused(json!({ "input": [{ "role": "user" }] }), "input[0].content", "missing");
    check_refused(json!({ "input": [{ "role": "tool", "content": "x" }] }), "input[0].role", "`assistant`");
}

#[test]
fn parts_of_a_message() {
    let check = |part: Value, expected: Value| {
        let parts = json!([{ "type": "input_text", "text": "See:" }, part]);
        let expected = json!([{ "type": "text", "text": "See:" }, expected]);
        check_items(json!([user(parts)]), json!([user(expected)]));
    };
    check(json!({ "type": "input_text", "text": "é\n" }), json!({ "type": "text", "text": "é\n" }));
    check(
        json!({ "type": "input_image", "image_url": "https://example.com/a.png" }),
        json!({ "type": "image_url", "image_url": { "url": "https://example.com/a.png" } }),
    );
    check(
        json!({ "type": "input_image", "image_url": "data:,", "detail": "high", "file_id": null }),
        json!({ "type": "image_url", "image_url": { "url": "data:,", "detail": "high" } }),
    );
    check(
        json!({ "type": "input_file", "file_data": "data:,", "filename": "a.pdf" }),
        json!({ "type": "file", "file": { "file_data": "data:,", "filename": "a.pdf" } }),
    );
    check(
        json!({ "type": "input_audio", "input_audio": { "data": "UklGRg==", "format": "wav" } }),
        json!({ "type": "input_audio", "input_audio": { "data": "UklGRg==", "format": "wav" } }),
    );
    let refused = |part: Value, place: &str, word: &str| {
        let place = format!("input[0].content[0]{place}");
        check_refused(json!({ "input": [user(json!([part]))] }), &place, word);
    };
    refused(json!({ "type": "input_image", "file_id": "file-1" }), ".file_id", "`image_url`");
    refused(json!({ "type": "input_file", "file_id": "file-1" }), ".file_id", "`file_data`");
    refused(json!({ "type": "input_file", "file_url": "https://example.com" }), ".file_url", "`file_data`");
    refused(json!({ "type": "input_image" }), ".image_url", "missing");
    refused(json!({ "type": "input_image", "image_url": { "url": "x" } }), ".image_url", "string");
    refused(json!({ "type": "input_audio" }), ".input_audio", "missing");
    refused(json!({ "type": "input_text" }), ".text", "missing");
    refused(json!({ "type": "image_url", "image_url": "x" }), "", "`input_image`");
    refused(json!("text"), "", "object");
}

#[test]
fn what_instructs_before_the_conversation_is_one_message() {
    let items = json!([
        { "role": "developer", "content": "A" }, { "role": "system", "content": "B" },
        { "role": "user", "content": "C" }, { "role": "developer", "content": "D" },
    ]);
    let request = json!({ "model": "m", "instructions": "First.", "input": items });
    let (chat, _) = convert(&request).unwrap();
    let expected = json!([
        { "role": "system", "content": "First.\n\nA\n\nB" }, { "role": "user", "content": "C" },
        { "role": "system", "content": "D" },
    ]);
    assert_eq!(chat["messages"], expected);
    check_refused(json!({ "instructions": ["A"] }), "instructions", "string");
}

#[test]
fn a_turn_is_one_message() {
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "f", "arguments": "{}" });
    let called = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let output = |id: &str| json!({ "type": "function_call_output", "call_id": id, "output": "1" });
    let given = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "1" });
    let said = |text: &str| json!({ "role": "assistant", "content": text });
    let thought = |text: &str| json!({ "type": "reasoning", "id": "rs", "summary": [], "content": [{ "type": "reasoning_text", "text": text }] });
    check_items(
        json!([call("1"), call("2"), output("1"), output("2")]),
        json!([{ "role": "assistant", "content": null, "tool_calls": [called("1"), called("2")] }, given("1"), given("2")]),
    );
    check_items(
        json!([thought("a"), thought("b"), said("x"), call("1"), said("y"), output("1"), said("z")]),
        json!([
            { "role": "assistant", "reasoning_content": "a\n\nb", "content": "xy", "tool_calls": [called("1")] },
            given("1"), said("z"),
        ]),
    );
    check_items(json!([said("x"), said("y")]), json!([said("x"), said("y")]));
    check_items(
        json!([said("x"), thought("a"), said("y")]),
        json!([said("x"), { "role": "assistant", "reasoning_content": "a", "content": "y" }]),
    );
    check_items(
        json!([call("1"), thought("a"), call("2")]),
        json!([{ "role": "assistant", "reasoning_content": "a", "content": null, "tool_calls": [called("1"), called("2")] }]),
    );
    check_items(
        json!([thought("a"), user(json!("go on"))]),
        json!([{ "role": "assistant", "reasoning_content": "a", "content": "" }, user(json!("go on"))]),
    );
    // What is encrypted cannot be told.
    check_items(
        json!([{ "type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x" }, said("x")]),
        json!([said("x")]),
    );
    check_refused(
        json!({ "input": [{ "type": "function_call", "name": "f", "arguments": "{}" }] }),
        "input[0].call_id",
        "missing",
    );
    check_refused(
        json!({ "input": [{ "type": "function_call_output", "output": "1" }] }),
        "input[0].call_id",
        "missing",
    );
    check_refused(
        json!({ "input": [{ "type": "function_call_output", "call_id": "1" }] }),
        "input[0].output",
        "missing",
    );
    check_refused(
        json!({ "input": [{ "role": "assistant", "content": [{ "type": "input_image", "image_url": "x" }] }] }),
        "input[0].content[0]",
        "`output_text`",
    );
}

#[test]
fn what_is_stored_elsewhere_is_refused() {
    for item in [
        json!({ "type": "item_reference", "id": "msg_1" }),
        json!({ "id": "msg_1" }),
        json!({ "type": null, "id": "msg_1" }),
    ] {
        check_refused(json!({ "input": [item] }), "input[0]", "stored");
    }
    check_refused(json!({ "previous_response_id": "resp_1" }), "previous_response_id", "whole conversation");
    check_refused(json!({ "conversation": { "id": "conv_1" } }), "conversation", "whole conversation");
    check_refused(json!({ "prompt": { "id": "pmpt_1" } }), "prompt", "stored");
    check_refused(json!({ "background": true }), "background", "stored");
    check_refused(json!({ "moderation": { "model": "x" } }), "moderation", "not done");
    check_fields(
        json!({ "model": "m", "previous_response_id": null, "conversation": null, "prompt": null, "background": false, "store": true }),
        json!({ "model": "m" }),
    );
}

#[test]
fn items_of_hosted_tools_are_refused() {
    for kind in [
        "web_search_call",
        "file_search_call",
        "computer_call",
        "computer_call_output",
        "code_interpreter_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "tool_search_call",
        "tool_search_output",
        "additional_tools",
        "configuration_update",
        "compaction",
        "compaction_trigger",
        "program",
        "program_output",
        "nonsense",
    ] {
        let item = json!({ "type": kind, "id": "x", "call_id": "y", "status": "completed" });
        check_refused(json!({ "input": [{ "role": "user", "content": "?" }, item] }), "input[1]", kind);
    }
    for kind in [
        "web_search",
        "file_search",
        "computer",
        "code_interpreter",
        "mcp",
        "image_generation",
        "local_shell",
        "namespace",
    ] {
        check_refused(json!({ "tools": [{ "type": kind }] }), "tools[0]", kind);
        check_refused(json!({ "tool_choice": { "type": kind } }), "tool_choice", kind);
    }
}

fn function(name: &str) -> Value {
    json!({ "type": "function", "name": name, "parameters": { "type": "object" }, "strict": true })
}

fn nested(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" }, "strict": true } })
}

#[test]
fn which_tool_is_called() {
    let check = |choice: Value, tools: &[&str], expected: Option<&str>| {
        let request =
            json!({ "model": "m", "tools": [function("a"), function("b"), function("c")], "tool_choice": choice });
        let mut wanted = json!({ "model": "m", "tools": tools.iter().map(|name| nested(name)).collect::<Vec<_>>() });
        if let Some(expected) = expected {
            wanted["tool_choice"] = json!(expected);
        }
        check_fields(request, wanted);
    };
    check(Value::Null, &["a", "b", "c"], None);
    check(json!("auto"), &["a", "b", "c"], Some("auto"));
    check(json!("none"), &["a", "b", "c"], Some("none"));
    check(json!("required"), &["a", "b", "c"], Some("required"));
    check(json!({ "type": "function", "name": "b" }), &["b"], Some("required"));
    let allowed = |mode: &str| json!({ "type": "allowed_tools", "mode": mode, "tools": [{ "type": "function", "name": "c" }, { "type": "function", "name": "a" }] });
    check(allowed("auto"), &["a", "c"], Some("auto"));
    check(allowed("required"), &["a", "c"], Some("required"));
    check_fields(
        json!({ "model": "m", "tools": [], "tool_choice": "auto", "parallel_tool_calls": true }),
        json!({ "model": "m" }),
    );
    check_refused(
        json!({ "tools": [function("a")], "tool_choice": { "type": "function", "name": "z" } }),
        "tool_choice",
        "`z`",
    );
    check_refused(json!({ "tools": [function("a")], "tool_choice": "often" }), "tool_choice", "`often`");
    check_refused(json!({ "tools": [{ "type": "function" }] }), "tools[0].name", "missing");
    check_refused(json!({ "tools": "x" }), "tools", "list");
}

#[test]
fn fields_have_counterparts() {
    check_fields(json!({ "model": "m", "max_output_tokens": 7 }), json!({ "model": "m", "max_tokens": 7 }));
    check_fields(
        json!({ "model": "m", "max_output_tokens": 7, "max_tokens": 9, "max_completion_tokens": 9 }),
        json!({ "model": "m", "max_tokens": 7 }),
    );
    check_fields(
        json!({ "model": "m", "reasoning": { "effort": "high" } }),
        json!({ "model": "m", "reasoning_effort": "high" }),
    );
    check_fields(json!({ "model": "m", "reasoning": { "effort": null, "summary": "auto" } }), json!({ "model": "m" }));
    check_fields(
        json!({ "model": "m", "text": { "verbosity": "low", "format": { "type": "text" } } }),
        json!({ "model": "m", "verbosity": "low" }),
    );
    check_fields(
        json!({ "model": "m", "text": { "format": { "type": "json_object" } } }),
        json!({ "model": "m", "response_format": { "type": "json_object" } }),
    );
    check_fields(
        json!({ "model": "m", "include": ["message.output_text.logprobs"] }),
        json!({ "model": "m", "logprobs": true }),
    );
    check_fields(
        json!({ "model": "m", "top_logprobs": 3 }),
        json!({ "model": "m", "logprobs": true, "top_logprobs": 3 }),
    );
    check_fields(json!({ "model": "m", "top_logprobs": 0 }), json!({ "model": "m" }));
    check_fields(
        json!({ "model": "m", "stream": true, "stream_options": { "include_obfuscation": false } }),
        json!({ "model": "m", "stream": true, "stream_options": { "include_usage": true, "include_obfuscation": false } }),
    );
    check_fields(
        json!({ "model": "m", "stream": false, "stream_options": {} }),
        json!({ "model": "m", "stream": false }),
    );
    let same = json!({
        "model": "m", "temperature": 0.5, "top_p": 1, "user": "u", "service_tier": "flex", "prompt_cache_key": "k",
        "safety_identifier": "s", "seed": 7, "chat_template_kwargs": { "enable_thinking": false }, "response_format": { "type": "json_object" },
    });
    check_fields(same.clone(), same);
    check_fields(
        json!({ "model": "m", "metadata": { "a": "b" }, "truncation": "auto", "include": [], "max_tool_calls": 1 }),
        json!({ "model": "m" }),
    );
    check_refused(json!({ "max_output_tokens": -1 }), "max_output_tokens", "whole number");
    check_refused(json!({ "stream": "yes" }), "stream", "true or false");
    check_refused(json!({ "text": { "format": { "type": "grammar" } } }), "text.format.type", "`json_schema`");
    check_refused(json!({ "text": "plain" }), "text", "object");
    check_refused(json!({ "reasoning": { "effort": 3 } }), "reasoning.effort", "string");
    check_refused(json!({ "messages": [] }), "messages", "`input`");
    check_refused(json!({ "model": 7 }), "model", "string");
}

/// The order of a schema's properties is the order in which a model fills them.
#[test]
fn schemas_stay_as_they_were_written() {
    let schema = r#"{"type":"object","properties":{"why":{"type":"string"},"answer":{"maximum":1.50}}}"#;
    let request = format!(
        r#"{{"model":"m","input":"?","text":{{"format":{{"type":"json_schema","name":"n","schema":{schema}}}}},"tools":[{{"type":"function","name":"f","parameters":{schema}}}]}}"#
    );
    let moment = protocol::Moment { id: "7".to_owned(), created: 0 };
    let mut converted = protocol::responses::to_chat(request.as_bytes(), moment).unwrap();
    let body = String::from_utf8(converted.body).unwrap();
    assert_eq!(body.matches(schema).count(), 2, "{body}");
    let answer = converted.answer.whole(br#"{"choices":[{"message":{"content":"x"}}]}"#).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches(schema).count(), 2, "{answer}");
}

#[test]
fn a_body_that_is_no_object_is_refused() {
    let moment = || protocol::Moment { id: "7".to_owned(), created: 0 };
    for body in ["", "[]", "{\"input\":", "{\"input\":\"\\ud800\"}", "\"input\""] {
        assert!(protocol::responses::to_chat(body.as_bytes(), moment()).is_err(), "{body}");
    }
    let deep = format!(r#"{{"input":"?","x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(protocol::responses::to_chat(deep.as_bytes(), moment()).is_ok());
}
