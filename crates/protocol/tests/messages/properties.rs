//! What holds for all requests and answers.

use proptest::prelude::*;
use protocol::{Answer, messages};
use serde_json::{Value, json};

use crate::{answer_from, answer_to, chat_stream, events, from_chat, moment, to_chat, value};

fn asked() -> Value {
    json!({ "model": "m", "max_tokens": 64, "messages": [] })
}

/// One delta of an engine, of any kind.
#[derive(Debug, Clone)]
enum Delta {
    Text(String),
    Thought(String),
    Call { arguments: Value, cuts: Vec<usize> },
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn json_object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(any::<String>(), json_value(), 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn delta() -> impl Strategy<Value = Delta> {
    prop_oneof![
        any::<String>().prop_map(Delta::Text),
        any::<String>().prop_map(Delta::Thought),
        (json_object(), prop::collection::vec(any::<usize>(), 0..4))
            .prop_map(|(arguments, cuts)| Delta::Call { arguments, cuts }),
    ]
}

/// The deltas of an answer; the pieces of calls with odd numbers come after all others.
fn written(answer: &[Delta]) -> Vec<Value> {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    let mut calls = 0;
    for delta in answer {
        match delta {
            Delta::Text(text) => first.push(json!({ "content": text })),
            Delta::Thought(text) => first.push(json!({ "reasoning_content": text })),
            Delta::Call { arguments, cuts } => {
                let text = arguments.to_string();
                let mut cuts: Vec<_> =
                    cuts.iter().map(|cut| floor(&text, cut % (text.len() + 1))).chain([0, text.len()]).collect();
                cuts.sort_unstable();
                first.push(json!({ "tool_calls": [{ "index": calls, "id": format!("c{calls}"), "function": { "name": "t", "arguments": "" } }] }));
                let pieces = if calls % 2 == 0 { &mut first } else { &mut later };
                for pair in cuts.windows(2) {
                    pieces.push(json!({ "tool_calls": [{ "index": calls, "function": { "arguments": &text[pair[0]..pair[1]] } }] }));
                }
                calls += 1;
            }
        }
    }
    first.extend(later);
    first
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A stream in pieces that end at `cuts`.
fn cut(answer: &mut dyn Answer, stream: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (stream.len() + 1)).chain([0, stream.len()]).collect();
    cuts.sort_unstable();
    let mut out = Vec::new();
    for pair in cuts.windows(2) {
        out.extend(answer.piece(&stream[pair[0]..pair[1]]).unwrap());
    }
    out.extend(answer.end());
    out
}

/// All that is said in a message's blocks: text, thoughts, and the calls in their order.
fn said<'v>(blocks: impl Iterator<Item = &'v Value>) -> (String, String, Vec<Value>) {
    let mut said = (String::new(), String::new(), Vec::new());
    for block in blocks {
        match block["type"].as_str().unwrap() {
            "text" => said.0 += block["text"].as_str().unwrap(),
            "thinking" => said.1 += block["thinking"].as_str().unwrap(),
            _ => said.2.push(json!([block["id"], block["name"], block["input"]])),
        }
    }
    said
}

/// The blocks of a stream, which come strictly one after another.
fn blocks(stream: &[u8]) -> Vec<Value> {
    let mut blocks: Vec<Value> = Vec::new();
    let mut open = None;
    let mut input = String::new();
    for (name, data) in events(str::from_utf8(stream).unwrap()) {
        match name.as_str() {
            "content_block_start" => {
                assert_eq!((open, &data["index"]), (None, &json!(blocks.len())));
                open = Some(blocks.len());
                input.clear();
                blocks.push(data["content_block"].clone());
            }
            "content_block_delta" => {
                let block = &mut blocks[open.unwrap()];
                let (field, text) =
                    data["delta"].as_object().unwrap().iter().find(|(field, _)| *field != "type").unwrap();
                let text = text.as_str().unwrap();
                if field == "partial_json" {
                    input += text;
                } else {
                    block[field] = (block[field].as_str().unwrap().to_owned() + text).into();
                }
            }
            "content_block_stop" => {
                let block = &mut blocks[open.take().unwrap()];
                if block["type"] == "tool_use" && !input.is_empty() {
                    block["input"] = serde_json::from_str(&input).unwrap();
                }
            }
            _ => {}
        }
    }
    assert_eq!(open, None);
    blocks
}

proptest! {
    #[test]
    fn a_stream_says_the_same_however_it_is_cut(
        answer in prop::collection::vec(delta(), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let stream = chat_stream(&written(&answer), "stop");
        let whole = cut(&mut *answer_to(&asked()), stream.as_bytes(), &[]);
        let pieces = cut(&mut *answer_to(&asked()), stream.as_bytes(), &cuts);
        prop_assert_eq!(String::from_utf8(whole).unwrap(), String::from_utf8(pieces).unwrap());
    }

    #[test]
    fn the_deltas_add_up_to_the_whole(answer in prop::collection::vec(delta(), 0..6)) {
        let stream = chat_stream(&written(&answer), "stop");
        let streamed = blocks(&cut(&mut *answer_to(&asked()), stream.as_bytes(), &[]));

        let text: String = answer.iter().filter_map(|delta| if let Delta::Text(text) = delta { Some(&**text) } else { None }).collect();
        let thought: String = answer.iter().filter_map(|delta| if let Delta::Thought(text) = delta { Some(&**text) } else { None }).collect();
        let arguments = answer.iter().filter_map(|delta| if let Delta::Call { arguments, .. } = delta { Some(arguments) } else { None });
        let calls: Vec<_> = arguments.enumerate()
            .map(|(n, arguments)| json!({ "id": format!("c{n}"), "function": { "name": "t", "arguments": arguments.to_string() } }))
            .collect();
        let completion = json!({ "choices": [{
            "message": { "content": text, "reasoning_content": thought, "tool_calls": calls }, "finish_reason": "stop",
        }] });
        let message = value(&answer_to(&asked()).whole(completion.to_string().as_bytes()).unwrap());
        let whole = message["content"].as_array().unwrap();
        prop_assert_eq!(said(streamed.iter()), said(whole.iter()));
    }

    #[test]
    fn calls_and_results_survive_there_and_back(
        calls in prop::collection::vec(("[a-zA-Z0-9_-]{1,12}", json_object(), "[^\0]{1,20}"), 1..5),
    ) {
        let used: Vec<_> = calls.iter()
            .map(|(id, input, _)| json!({ "type": "tool_use", "id": id, "name": "t", "input": input })).collect();
        let results: Vec<_> = calls.iter()
            .map(|(id, _, text)| json!({ "type": "tool_result", "tool_use_id": id, "content": [{ "type": "text", "text": text }] }))
            .collect();
        let messages = json!([{ "role": "assistant", "content": used }, { "role": "user", "content": results }]);
        let mut body = asked();
        body["messages"] = messages.clone();
        prop_assert_eq!(&from_chat(&to_chat(&body))["messages"], &messages);
    }

    #[test]
    fn nothing_panics(body: Vec<u8>, cuts: Vec<usize>) {
        let _ = messages::to_chat(&body, moment());
        let _ = messages::from_chat(&body, moment(), 1);
        for mut answer in [answer_to(&asked()), answer_from(&asked())] {
            let _ = answer.whole(&body);
            answer.error(500, &body);
            let at = cuts.first().map_or(0, |cut| cut % (body.len() + 1));
            let _ = answer.piece(&body[..at]);
            let _ = answer.piece(&body[at..]);
            answer.end();
            answer.broken("x", "y");
        }
    }

    #[test]
    fn no_value_panics(block in json_value(), other in json_value()) {
        for body in [
            json!({ "model": "m", "messages": [{ "role": "user", "content": [{ "type": "tool_result", "content": block }] }], "system": other }),
            json!({ "model": "m", "messages": [{ "role": "user", "content": block }], "tool_choice": other, "tools": [block] }),
            json!({ "model": "m", "messages": [{ "role": "tool", "content": [block], "tool_call_id": other }] }),
        ] {
            let body = body.to_string();
            let _ = messages::to_chat(body.as_bytes(), moment());
            let _ = messages::from_chat(body.as_bytes(), moment(), 1);
        }
    }
}
