//! Requests of the Messages API, and whole answers to them.

use protocol::messages;
use serde_json::{Value, json};

use crate::{answer_to, moment, pretty, to_chat, value};

fn asked(messages: &Value) -> Value {
    json!({ "model": "m", "max_tokens": 64, "messages": messages })
}

/// What a message with this content becomes.
fn shown(role: &str, content: &Value) -> String {
    pretty(&to_chat(&asked(&json!([{ "role": role, "content": content }])))["messages"])
}

fn check_refused(body: &Value, param: &str, message: &str) {
    let refused = messages::to_chat(body.to_string().as_bytes(), moment()).err().expect("it is refused");
    assert_eq!(refused.param.as_deref(), Some(param), "{refused}");
    assert!(refused.message.contains(message), "{refused}");
}

#[test]
fn text() {
    insta::assert_snapshot!(shown("user", &json!("Hello")));
    insta::assert_snapshot!(shown(
        "user",
        &json!([{ "type": "text", "text": "Hello", "cache_control": { "type": "ephemeral" } }])
    ));
    insta::assert_snapshot!(shown(
        "user",
        &json!([{ "type": "text", "text": "One" }, { "type": "text", "text": "Two" }])
    ));
}

#[test]
fn images() {
    insta::assert_snapshot!(shown(
        "user",
        &json!([
            { "type": "text", "text": "What is this?" },
            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0K" } },
            { "type": "image", "source": { "type": "url", "url": "https://example.org/cat.jpg" } },
        ])
    ));
}

#[test]
fn documents() {
    insta::assert_snapshot!(shown(
        "user",
        &json!([
            { "type": "document", "title": "Notes", "context": "Of May", "source": { "type": "text", "media_type": "text/plain", "data": "Rain." } },
            { "type": "document", "source": { "type": "content", "content": "Sun." } },
            { "type": "document", "source": { "type": "content", "content": [
                { "type": "text", "text": "Snow." },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0K" } },
            ] } },
        ])
    ));
}

#[test]
fn search_results() {
    insta::assert_snapshot!(shown(
        "user",
        &json!([
            { "type": "search_result", "title": "Oslo", "source": "https://example.org", "content": [{ "type": "text", "text": "A city." }] },
            { "type": "text", "text": "Where is it?" },
        ])
    ));
}

#[test]
fn tools_called_and_thoughts() {
    insta::assert_snapshot!(shown(
        "assistant",
        &json!([
            { "type": "thinking", "thinking": "They want the weather.", "signature": "" },
            { "type": "redacted_thinking", "data": "xyz" },
            { "type": "text", "text": "Let me look." },
            { "type": "tool_use", "id": "toolu_1", "name": "weather", "input": { "city": "Oslo", "at": [1, 2.50] } },
            { "type": "tool_use", "id": "toolu_2", "name": "time", "input": {} },
        ])
    ));
}

#[test]
fn results_of_tools() {
    insta::assert_snapshot!(shown(
        "user",
        &json!([
            { "type": "text", "text": "Go on." },
            { "type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain", "cache_control": { "type": "ephemeral" } },
            { "type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [{ "type": "text", "text": "no clock" }] },
            { "type": "tool_result", "tool_use_id": "toolu_3" },
            { "type": "tool_result", "tool_use_id": "toolu_4", "content": [
                { "type": "text", "text": "A map:" },
                { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBORw0K" } },
            ] },
            { "type": "tool_result", "tool_use_id": "toolu_5", "content": [
                { "type": "tool_reference", "tool_name": "deploy" },
                { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "Read me." } },
                { "type": "search_result", "title": "T", "source": "s", "content": [{ "type": "text", "text": "Found." }] },
            ] },
        ])
    ));
}

#[test]
fn a_message_of_results_only_leaves_no_empty_message() {
    let message =
        json!([{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": "1" }] }]);
    let chat = to_chat(&asked(&message));
    assert_eq!(chat["messages"], json!([{ "role": "tool", "tool_call_id": "t", "content": "1" }]));
}

#[test]
fn system_prompts() {
    let system = |system: Value| {
        let mut body = asked(&json!([{ "role": "user", "content": "Hi" }]));
        body["system"] = system;
        to_chat(&body)["messages"][0].clone()
    };
    let check = |given: Value, text: &str| assert_eq!(system(given), json!({ "role": "system", "content": text }));
    check(json!("Be brief."), "Be brief.");
    check(json!([{ "type": "text", "text": "Be brief.", "cache_control": { "type": "ephemeral" } }]), "Be brief.");
    check(
        json!([{ "type": "text", "text": "Be brief." }, { "type": "text", "text": "Be kind." }]),
        "Be brief.\n\nBe kind.",
    );
    // What changes with each request must not stand at the prompt's beginning.
    let stamp = "x-anthropic-billing-header: cc_version=2.1.101.e51; cc_entrypoint=cli; cch=a5145;";
    check(json!(format!("{stamp}You are a coder.")), "You are a coder.");
    check(
        json!([{ "type": "text", "text": stamp }, { "type": "text", "text": "You are a coder." }]),
        "You are a coder.",
    );
    check(json!("x-anthropic-billing-header: none"), "x-anthropic-billing-header: none");
    assert_eq!(system(json!("")), json!({ "role": "user", "content": "Hi" }));
    let later =
        to_chat(&asked(&json!([{ "role": "user", "content": "Hi" }, { "role": "system", "content": "Be brief." }])));
    assert_eq!(later["messages"][1], json!({ "role": "system", "content": "Be brief." }));
}

/// As Claude Code asks, and more.
fn everything() -> Value {
    json!({
        "model": "m",
        "max_tokens": 32000,
        "system": [{ "type": "text", "text": "You are a coder.", "cache_control": { "type": "ephemeral" } }],
        "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "The answer is" }],
        "tools": [
            { "name": "Read", "description": "Reads.", "strict": true, "cache_control": { "type": "ephemeral" },
              "input_schema": { "type": "object", "properties": { "path": { "type": "string" } }, "required": ["path"] } },
            { "type": "custom", "name": "Ls", "input_schema": { "type": "object" } },
        ],
        "tool_choice": { "type": "auto", "disable_parallel_tool_use": true },
        "stop_sequences": ["END"],
        "temperature": 1,
        "top_p": 0.9,
        "top_k": 40,
        "thinking": { "type": "enabled", "budget_tokens": 31999 },
        "output_config": { "effort": "xhigh", "format": { "type": "json_schema", "schema": { "type": "object" } } },
        "metadata": { "user_id": "somebody" },
        "context_management": { "edits": [] },
        "service_tier": "auto",
        "stream": true,
    })
}

#[test]
fn every_field() {
    insta::assert_snapshot!(pretty(&to_chat(&everything())));
}

#[test]
fn every_field_for_openai() {
    let mut body = everything();
    body["messages"][1]["content"] = json!([{ "type": "thinking", "thinking": "Hm.", "signature": "" }, { "type": "text", "text": "The answer is" }]);
    let request = messages::to_openai(body.to_string().as_bytes(), moment()).unwrap();
    insta::assert_snapshot!(pretty(&value(&request.body)));
}

#[test]
fn a_schema_and_an_input_keep_their_bytes() {
    let body = r#"{"model":"m","max_tokens":1,"tools":[{"name":"t","input_schema":{"z":1, "a":2}}],"messages":[
        {"role":"assistant","content":[{"type":"tool_use","id":"i","name":"t","input":{"z": 1.0,"a":"\u00e9"}}]}]}"#;
    let chat = messages::to_chat(body.as_bytes(), moment()).unwrap().body;
    let chat = String::from_utf8(chat).unwrap();
    assert!(chat.contains(r#""parameters":{"z":1, "a":2}"#), "{chat}");
    assert!(chat.contains(r#""arguments":"{\"z\": 1.0,\"a\":\"\\u00e9\"}""#), "{chat}");
}

#[test]
fn tool_choices() {
    let check = |choice: Value, chosen: Value| {
        let mut body = everything();
        body["tool_choice"] = choice;
        assert_eq!(to_chat(&body)["tool_choice"], chosen);
    };
    check(json!({ "type": "auto" }), json!("auto"));
    check(json!({ "type": "any" }), json!("required"));
    check(json!({ "type": "none" }), json!("none"));
    check(json!({ "type": "tool", "name": "Ls" }), json!({ "type": "function", "function": { "name": "Ls" } }));
}

#[test]
fn thinking() {
    let check = |thinking: Value, written: Value, kwargs: Value, budget: Value| {
        let mut body = asked(&json!([{ "role": "user", "content": "Hi" }]));
        body["thinking"] = thinking;
        body["chat_template_kwargs"] = written;
        let chat = to_chat(&body);
        assert_eq!((&chat["chat_template_kwargs"], &chat["thinking_budget_tokens"]), (&kwargs, &budget));
    };
    let budget = json!({ "type": "enabled", "budget_tokens": 2048 });
    check(budget.clone(), json!(null), json!({ "enable_thinking": true }), json!(2048));
    check(json!({ "type": "disabled" }), json!(null), json!({ "enable_thinking": false }), json!(null));
    check(json!({ "type": "adaptive" }), json!(null), json!(null), json!(null));
    check(json!(null), json!({ "x": 1 }), json!({ "x": 1 }), json!(null));
    check(budget, json!({ "enable_thinking": false }), json!({ "enable_thinking": false }), json!(2048));
}

#[test]
fn a_long_user_is_left_out() {
    let mut body = everything();
    body["metadata"]["user_id"] = json!("u".repeat(65));
    assert_eq!(to_chat(&body)["user"], json!(null));
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let tool = |kind: &str| json!({ "model": "m", "messages": [], "tools": [{ "type": kind, "name": "x" }] });
    check_refused(&tool("web_search_20250305"), "tools[0].type", "web_search_20250305");
    check_refused(&tool("web_search_20250305"), "tools[0].type", "Anthropic's own servers");
    check_refused(&tool("code_execution_20250825"), "tools[0].type", "Anthropic's own servers");
    check_refused(&tool("bash_20250124"), "tools[0].type", "input_schema");
    check_refused(&tool("text_editor_20250728"), "tools[0].type", "input_schema");
    check_refused(
        &json!({ "model": "m", "messages": [], "mcp_servers": [{}] }),
        "mcp_servers",
        "Anthropic's own servers",
    );

    let block = |role: &str, block: Value| asked(&json!([{ "role": role, "content": [block] }]));
    for kind in ["server_tool_use", "web_search_tool_result", "mcp_tool_use", "container_upload"] {
        let body = block("assistant", json!({ "type": kind, "id": "1", "content": { "type": "e" }, "input": 1 }));
        check_refused(&body, "messages[0].content[0].type", kind);
    }
    let pdf = json!({ "type": "document", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBERi0=" } });
    check_refused(&block("user", pdf.clone()), "messages[0].content[0].source.type", "send its text");
    let result = json!({ "type": "tool_result", "tool_use_id": "t", "content": [pdf] });
    check_refused(&block("user", result), "messages[0].content[0].content[0].source.type", "send its text");
    let file = json!({ "type": "image", "source": { "type": "file", "file_id": "f" } });
    check_refused(&block("user", file), "messages[0].content[0].source.type", "base64");
    check_refused(
        &block("user", json!({ "type": "tool_use", "id": "1", "name": "n" })),
        "messages[0].content[0].type",
        "tool_use",
    );
}

#[test]
fn what_is_no_request_is_refused_with_its_place() {
    let refused = |body: &str| messages::to_chat(body.as_bytes(), moment()).err().expect("it is refused");
    assert_eq!(refused("{").param, None);
    assert_eq!(refused("{}").message, "missing field `model` at line 1 column 2");
    assert_eq!(refused(r#"{"model":"m","messages":[]} x"#).param, None);
    for (body, param) in [
        (json!({ "model": "m", "messages": "Hi" }), "messages"),
        (json!({ "model": "m", "messages": [], "max_tokens": "many" }), "max_tokens"),
        (asked(&json!([{ "role": "user", "content": 5 }])), "messages[0].content"),
        (
            asked(&json!([{ "role": "user", "content": [{ "type": "text", "text": 5 }] }])),
            "messages[0].content[0].text",
        ),
        (asked(&json!([{ "role": "user", "content": [{ "type": "text" }] }])), "messages[0].content[0].text"),
        (asked(&json!([{ "role": "user", "content": [{ "type": "image" }] }])), "messages[0].content[0].source"),
        (
            asked(
                &json!([{ "role": "user", "content": [{ "type": "image", "source": { "type": "base64", "media_type": "image/png" } }] }]),
            ),
            "messages[0].content[0].source.data",
        ),
        (asked(&json!([{ "role": "robot", "content": "Hi" }])), "messages[0].role"),
        (
            asked(
                &json!([{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": [{ "type": "text" }] }] }]),
            ),
            "messages[0].content[0].content[0].text",
        ),
        (json!({ "model": "m", "messages": [], "tools": [{ "name": "x" }] }), "tools[0].input_schema"),
        (json!({ "model": "m", "messages": [], "output_config": { "effort": "some" } }), "output_config.effort"),
    ] {
        let refused = refused(&body.to_string());
        assert_eq!(refused.param.as_deref(), Some(param), "{refused}");
    }
}

#[test]
fn tokens_are_counted_of_the_same_prompt() {
    let mut body = everything();
    body.as_object_mut().unwrap().retain(|field, _| field != "max_tokens" && field != "stream");
    let counted = value(&messages::count_tokens_to_chat(body.to_string().as_bytes()).unwrap());
    let asked = to_chat(&everything());
    assert_eq!(counted["messages"], asked["messages"]);
    assert_eq!(counted["tools"], asked["tools"]);
    assert_eq!(value(&messages::count_tokens_answer(42)), json!({ "input_tokens": 42 }));
}

fn answered(completion: &Value) -> String {
    pretty(&value(&answer_to(&everything()).whole(completion.to_string().as_bytes()).unwrap()))
}

fn completion(message: &Value, finish_reason: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "engine's",
        "choices": [{ "index": 0, "message": message, "finish_reason": finish_reason }],
        "usage": { "prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35, "prompt_tokens_details": { "cached_tokens": 20 } },
    })
}

#[test]
fn a_whole_answer() {
    let call = |id: Value, arguments: Value| json!({ "id": id, "type": "function", "function": { "name": "Read", "arguments": arguments } });
    let message = json!({
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "Which file?",
        "tool_calls": [
            call(json!("call_1"), json!("{\"path\": \"a\"}")),
            call(json!(null), json!("")),
            call(json!("call_3"), json!("not JSON")),
            call(json!("call_4"), json!("[1]")),
            call(json!("call_5"), json!({ "path": "b" })),
        ],
    });
    insta::assert_snapshot!(answered(&completion(&message, "tool_calls")));
}

#[test]
fn why_an_answer_ended() {
    let check = |choice: Value, reason: &str, sequence: Value| {
        let body = json!({ "choices": [choice] });
        let message = value(&answer_to(&everything()).whole(body.to_string().as_bytes()).unwrap());
        assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!(reason), &sequence));
    };
    let hi = json!({ "content": "Hi" });
    check(json!({ "message": hi, "finish_reason": "stop" }), "end_turn", json!(null));
    check(json!({ "message": hi, "finish_reason": "length" }), "max_tokens", json!(null));
    check(json!({ "message": hi, "finish_reason": "content_filter" }), "refusal", json!(null));
    check(json!({ "message": hi, "finish_reason": "stop", "stop_reason": "END" }), "stop_sequence", json!("END"));
    check(json!({ "message": hi, "finish_reason": "stop", "stop_reason": 128001 }), "end_turn", json!(null));
    check(json!({ "message": { "refusal": "No." }, "finish_reason": "stop" }), "refusal", json!(null));
    let call = json!({ "tool_calls": [{ "id": "1", "function": { "name": "x", "arguments": "{}" } }] });
    check(json!({ "message": call, "finish_reason": "stop" }), "tool_use", json!(null));
}

#[test]
fn an_answer_that_is_none_is_a_fault() {
    for body in [
        "",
        "{}",
        "[]",
        r#"{"choices":[]}"#,
        r#"{"error":{"message":"no"}}"#,
        r#"{"choices":[{"message":{"content":[]}}]}"#,
    ] {
        assert!(answer_to(&everything()).whole(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn errors_keep_what_was_said() {
    let check = |status: u16, body: &str, kind: &str, message: &str| {
        let error = value(&answer_to(&everything()).error(status, body.as_bytes()));
        assert_eq!(error, json!({ "type": "error", "error": { "type": kind, "message": message } }));
    };
    check(
        400,
        r#"{"error":{"message":"too long","type":"invalid_request_error"}}"#,
        "invalid_request_error",
        "too long",
    );
    check(401, r#"{"error":{"message":"who?"}}"#, "authentication_error", "who?");
    check(403, r#"{"message":"not you"}"#, "permission_error", "not you");
    check(404, r#"{"error":"no such model"}"#, "not_found_error", "no such model");
    check(413, r#"{"detail":"too much"}"#, "request_too_large", "too much");
    check(429, "slow down", "rate_limit_error", "slow down");
    check(500, "", "api_error", "the engine answered 500 without a word");
    check(503, r#"{"error":{"message":"loading"}}"#, "overloaded_error", "loading");
    check(529, r#"{"error":{"message":"busy"}}"#, "overloaded_error", "busy");
    check(504, r#"{"error":{"message":"late"}}"#, "timeout_error", "late");
    let ours = json!({ "type": "error", "error": { "type": "not_found_error", "message": "no \"m\"" } });
    assert_eq!(value(&messages::error(404, "no \"m\"")), ours);
}
