//! A conversation of many turns with tools, as Claude Code leads it: every request begins with what the one before it said.

use serde_json::{Value, json};

use crate::{answer_to, chat_stream, events, through, to_chat};

const TURNS: usize = 20;

fn request(messages: &[Value], turn: usize) -> Value {
    let stamp = format!("x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli; cch={turn:05x};");
    let mut messages = messages.to_vec();
    // The mark for the cache wanders with the last message.
    let last = messages.last_mut().unwrap();
    if let Some(text) = last["content"].as_str().map(str::to_owned) {
        last["content"] = json!([{ "type": "text", "text": text }]);
    }
    last["content"].as_array_mut().unwrap().last_mut().unwrap()["cache_control"] = json!({ "type": "ephemeral" });
    json!({
        "model": "m",
        "max_tokens": 1024,
        "stream": true,
        "system": [{ "type": "text", "text": stamp }, { "type": "text", "text": "You are a coder.", "cache_control": { "type": "ephemeral" } }],
        "tools": [{ "name": "read", "input_schema": { "type": "object", "properties": { "path": { "type": "string" } } } }],
        "metadata": { "user_id": format!("session-{turn}") },
        "messages": messages,
    })
}

/// The message that the official client puts together from the events.
fn accumulated(stream: &str) -> Value {
    let mut content: Vec<Value> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    for (name, data) in events(stream) {
        match name.as_str() {
            "content_block_start" => {
                assert_eq!(data["index"], content.len());
                content.push(data["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let at = usize::try_from(data["index"].as_u64().unwrap()).unwrap();
                let field = match data["delta"]["type"].as_str().unwrap() {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "signature_delta" => "signature",
                    _ => {
                        inputs[at].push_str(data["delta"]["partial_json"].as_str().unwrap());
                        continue;
                    }
                };
                let text = content[at][field].as_str().unwrap().to_owned() + data["delta"][field].as_str().unwrap();
                content[at][field] = text.into();
            }
            _ => {}
        }
    }
    for (block, input) in content.iter_mut().zip(inputs) {
        if block["type"] == "tool_use" && !input.is_empty() {
            block["input"] = serde_json::from_str(&input).unwrap();
        }
    }
    json!({ "role": "assistant", "content": content })
}

#[test]
fn a_loop_of_twenty_turns_keeps_its_prefix() {
    let mut messages = vec![json!({ "role": "user", "content": "Read all files." })];
    let mut before: Vec<Value> = Vec::new();
    let mut tools = Value::Null;
    for turn in 0..TURNS {
        let body = request(&messages, turn);
        let chat = to_chat(&body);
        assert_eq!(chat, to_chat(&body));
        let now = chat["messages"].as_array().unwrap().clone();
        assert!(now.len() > before.len() && now.starts_with(&before), "turn {turn}: {chat}");
        assert!(turn == 0 || chat["tools"] == tools);
        tools = chat["tools"].clone();
        before = now;

        let deltas = [
            json!({ "reasoning_content": format!("File {turn} is next.") }),
            json!({ "content": "Reading." }),
            json!({ "tool_calls": [{ "index": 0, "id": format!("call_{turn}"), "function": { "name": "read", "arguments": "" } }] }),
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"path\":" } }] }),
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": format!("\"{turn}.rs\"}}") } }] }),
        ];
        let stream = through(&mut *answer_to(&body), &chat_stream(&deltas, "tool_calls"));
        let said = accumulated(&stream);
        assert_eq!(said["content"][2]["input"], json!({ "path": format!("{turn}.rs") }));
        messages.push(said);
        let result = json!({ "type": "tool_result", "tool_use_id": format!("call_{turn}"), "content": format!("fn f{turn}() {{}}") });
        messages.push(json!({ "role": "user", "content": [result] }));
    }
    // What the engine said comes back to it as it said it.
    let last = &to_chat(&request(&messages, TURNS))["messages"];
    let call = &last[last.as_array().unwrap().len() - 2];
    assert_eq!(call["reasoning_content"], "File 19 is next.");
    assert_eq!(call["tool_calls"][0]["function"]["arguments"], "{\"path\":\"19.rs\"}");
}
