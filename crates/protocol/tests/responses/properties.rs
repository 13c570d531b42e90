//! What holds for every conversation and every answer.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{convert, events, stream_of, streamed, whole};

/// An answer of the model, and the order in which it comes piece by piece.
#[derive(Debug, Clone)]
struct Answered {
    thoughts: Vec<String>,
    words: Vec<String>,
    refusal: Vec<String>,
    /// Name and arguments, cut.
    calls: Vec<(String, Vec<String>)>,
    /// Whose arguments go on next.
    turns: Vec<prop::sample::Index>,
    reason: &'static str,
}

fn pieces() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-z é\"\\\\\n\u{1F600}]{0,6}", 0..4)
}

fn answered() -> impl Strategy<Value = Answered> {
    let calls = prop::collection::vec(("a|[a-z_]{1,8}", pieces()), 0..4);
    let turns = prop::collection::vec(any::<prop::sample::Index>(), 0..20);
    let reason = prop::sample::select(vec!["stop", "length", "tool_calls", "content_filter"]);
    (pieces(), pieces(), pieces(), calls, turns, reason).prop_map(|(thoughts, words, refusal, calls, turns, reason)| {
        Answered { thoughts, words, refusal, calls, turns, reason }
    })
}

const USAGE: (u64, u64) = (30, 12);

impl Answered {
    fn usage() -> Value {
        json!({ "prompt_tokens": USAGE.0, "completion_tokens": USAGE.1 })
    }

    fn whole(&self) -> Value {
        let calls: Vec<_> = (self.calls.iter().enumerate())
            .map(|(index, (name, arguments))| {
                json!({ "id": format!("call_{index}"), "type": "function", "function": { "name": name, "arguments": arguments.concat() } })
            })
            .collect();
        let message = json!({
            "role": "assistant", "reasoning_content": self.thoughts.concat(), "content": self.words.concat(),
            "refusal": self.refusal.concat(), "tool_calls": calls,
        });
        json!({ "model": "m", "choices": [{ "index": 0, "finish_reason": self.reason, "message": message }], "usage": Self::usage() })
    }

    fn chunks(&self) -> Vec<Value> {
        let delta = |delta: Value| json!({ "model": "m", "choices": [{ "index": 0, "delta": delta }] });
        let mut chunks = vec![delta(json!({ "role": "assistant", "content": null }))];
        chunks.extend(self.thoughts.iter().map(|piece| delta(json!({ "reasoning_content": piece }))));
        chunks.extend(self.words.iter().map(|piece| delta(json!({ "content": piece }))));
        chunks.extend(self.refusal.iter().map(|piece| delta(json!({ "refusal": piece }))));
        for (index, (name, _)) in self.calls.iter().enumerate() {
            let function = json!({ "name": name, "arguments": "" });
            let call =
                json!({ "index": index, "id": format!("call_{index}"), "type": "function", "function": function });
            chunks.push(delta(json!({ "tool_calls": [call] })));
        }
        let mut left: Vec<_> = self.calls.iter().map(|(_, pieces)| pieces.iter()).collect();
        let mut turns = self.turns.iter();
        while left.iter().any(|pieces| pieces.len() > 0) {
            let open: Vec<_> = (0..left.len()).filter(|&index| left[index].len() > 0).collect();
            let index = turns.next().map_or(open[0], |turn| open[turn.index(open.len())]);
            let function = json!({ "arguments": left[index].next().unwrap() });
            chunks.push(delta(json!({ "tool_calls": [{ "index": index, "function": function }] })));
        }
        chunks.push(json!({ "model": "m", "choices": [{ "index": 0, "delta": {}, "finish_reason": self.reason }] }));
        chunks.push(json!({ "model": "m", "choices": [], "usage": Self::usage() }));
        chunks
    }
}

fn request() -> Value {
    json!({ "model": "m", "input": "?", "tools": [{ "type": "custom", "name": "a" }] })
}

/// The `field` of every event of a kind that is about one item and part, together.
fn told(events: &[Value], kind: &str, field: &str, item: &Value, part: &Value) -> String {
    let is_about = |event: &&Value| {
        event["type"] == format!("response.{kind}") && event["item_id"] == *item && event["content_index"] == *part
    };
    events.iter().filter(is_about).map(|event| event[field].as_str().unwrap()).collect()
}

/// Every `done` event says what the deltas before it said, and an item is what was said of it.
fn check_deltas(events: &[Value]) {
    for event in events {
        let kind = event["type"].as_str().unwrap().trim_start_matches("response.");
        let field = match kind {
            "output_text.done" | "reasoning_text.done" => "text",
            "refusal.done" => "refusal",
            "function_call_arguments.done" => "arguments",
            "custom_tool_call_input.done" => "input",
            _ => continue,
        };
        let delta = kind.replace(".done", ".delta");
        let deltas = told(events, &delta, "delta", &event["item_id"], &event["content_index"]);
        assert_eq!(event[field], deltas, "{event}");
    }
    let output = &events.last().unwrap()["response"]["output"];
    for (index, item) in output.as_array().unwrap().iter().enumerate() {
        let done: Vec<_> = events
            .iter()
            .filter(|event| event["type"] == "response.output_item.done" && event["output_index"] == index)
            .collect();
        assert_eq!(done.len(), 1, "{item}");
        assert_eq!(&done[0]["item"], item);
        let added = |event: &&Value| event["type"] == "response.output_item.added" && event["output_index"] == index;
        assert_eq!(events.iter().filter(added).map(|event| &event["item"]["id"]).collect::<Vec<_>>(), [&item["id"]]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_stream_says_what_the_whole_answer_says(
        answer in answered(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let stream = stream_of(&answer.chunks());
        let uncut = streamed(&request(), &stream, &[]);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&streamed(&request(), &stream, &cuts), &uncut);
        let events = events(&uncut);
        check_deltas(&events);
        prop_assert_eq!(&events.last().unwrap()["response"], &whole(&request(), &answer.whole()));
    }

    /// What the model answered comes back as items, and these as the message that it was.
    #[test]
    fn an_answer_said_again_is_the_same(answer in answered()) {
        let chat = answer.whole();
        let response = whole(&request(), &chat);
        let mut items = vec![json!({ "role": "user", "content": "?" })];
        items.extend(response["output"].as_array().unwrap().iter().cloned());
        for index in 0..answer.calls.len() {
            let custom = answer.calls[index].0 == "a";
            let kind = if custom { "custom_tool_call_output" } else { "function_call_output" };
            items.push(json!({ "type": kind, "call_id": format!("call_{index}"), "output": format!("{index}") }));
        }
        let (again, _) = convert(&json!({ "model": "m", "input": items })).unwrap();
        let said = &chat["choices"][0]["message"];
        let message = &again["messages"][1];
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        prop_assert_eq!(&message["role"], "assistant");
        prop_assert_eq!(text(&message["reasoning_content"]), text(&said["reasoning_content"]));
        prop_assert_eq!(text(&message["content"]), text(&said["content"]) + &text(&said["refusal"]));
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(calls.len(), answer.calls.len());
        for (index, (call, (name, arguments))) in calls.iter().zip(&answer.calls).enumerate() {
            prop_assert_eq!(&call["id"], &format!("call_{index}"));
            prop_assert_eq!(&call["function"]["name"], name);
            let arguments = arguments.concat();
            // What a model made of a custom tool's arguments otherwise was its input.
            let custom = json!({ "input": arguments }).to_string();
            prop_assert_eq!(&call["function"]["arguments"], if name == "a" { &custom } else { &arguments });
            let output = &again["messages"][2 + index];
            prop_assert_eq!((&output["role"], &output["tool_call_id"]), (&json!("tool"), &call["id"]));
        }
    }

    /// Texts, whatever is in them, and their order.
    #[test]
    fn what_is_said_is_kept(said in prop::collection::vec(("user|assistant|system", any::<String>()), 0..8)) {
        let items: Vec<_> = said.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect();
        let mut expected: Vec<_> = items.clone();
        while let [first, second, ..] = &expected[..]
            && first["role"] == "system" && second["role"] == "system"
        {
            let both = format!("{}\n\n{}", first["content"].as_str().unwrap(), second["content"].as_str().unwrap());
            expected.splice(..2, [json!({ "role": "system", "content": both })]);
        }
        let (chat, _) = convert(&json!({ "model": "m", "input": items })).unwrap();
        prop_assert_eq!(&chat["messages"], &json!(expected));
    }

    #[test]
    fn any_json_is_survived(items in prop::collection::vec(item(), 0..6), choice in value(), text in value(), tools in value()) {
        let request = json!({ "model": "m", "input": items, "tool_choice": choice, "text": text, "tools": tools });
        if let Ok((chat, _)) = convert(&request) {
            prop_assert!(chat["messages"].is_array());
        }
    }

    #[test]
    fn any_answer_is_survived(choices in value(), usage in value(), bytes: Vec<u8>) {
        let answer = json!({ "choices": choices, "usage": usage });
        let (_, mut back) = convert(&request()).unwrap();
        let _ = back.whole(answer.to_string().as_bytes());
        let (_, mut back) = convert(&request()).unwrap();
        let _ = back.piece(format!("data: {answer}\n\n").as_bytes());
        let _ = back.piece(&bytes);
        let _ = back.end();
        let (_, mut back) = convert(&request()).unwrap();
        let error: Value = serde_json::from_slice(&back.error(500, &bytes)).unwrap();
        prop_assert!(error["error"]["message"].is_string());
    }
}

/// JSON with the names that conversions look for.
fn value() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "type",
        "role",
        "content",
        "text",
        "name",
        "input",
        "output",
        "call_id",
        "arguments",
        "summary",
        "function",
        "delta",
        "message",
        "index",
        "tool_calls",
        "finish_reason",
        "logprobs",
        "token",
        "bytes",
        "format",
        "tools",
        "mode",
        "input_text",
        "input_image",
        "image_url",
        "output_text",
        "custom",
        "json_schema",
        "allowed_tools",
        "user",
        "assistant",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..300).prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// Something that looks like an item.
fn item() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec![
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    ]);
    (kind, value(), value(), value()).prop_map(|(kind, content, output, name)| {
        json!({
            "type": kind, "role": "user", "content": content, "output": output, "name": name, "call_id": "c",
            "arguments": "{}", "input": "x",
        })
    })
}
