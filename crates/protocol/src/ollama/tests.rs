//! Both ways, by example and at random.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Answer, Refused};

type Conversion = fn(&[u8], Moment) -> Result<Wish, Refused>;

fn moment() -> Moment {
    Moment { id: "1".to_owned(), created: 1_795_884_206 }
}

/// What a request becomes, for a person to read.
fn shown(conversion: Conversion, body: &Value) -> String {
    let wish = match conversion(body.to_string().as_bytes(), moment()) {
        Ok(wish) => wish,
        Err(Refused { param, message }) => return format!("refused: {message} [{}]", param.unwrap_or_default()),
    };
    let mut shown = format!("model {}", wish.model);
    if let Some(keep_alive) = wish.keep_alive {
        write!(shown, ", keep alive {keep_alive:?}").unwrap();
    }
    if let Some(context) = wish.context {
        write!(shown, ", context {context}").unwrap();
    }
    match wish.what {
        What::Load { done } => write!(shown, "\nload: {}", String::from_utf8(done).unwrap()).unwrap(),
        What::Unload { done } => write!(shown, "\nunload: {}", String::from_utf8(done).unwrap()).unwrap(),
        What::Ask { endpoint, request } => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            write!(shown, "\n{} {body:#}", endpoint.path()).unwrap();
        }
    }
    shown
}

fn asked(conversion: Conversion, body: &Value) -> (Value, Box<dyn Answer>) {
    match conversion(body.to_string().as_bytes(), moment()).unwrap().what {
        What::Ask { request, .. } => (serde_json::from_slice(&request.body).unwrap(), request.answer),
        _ => panic!("nothing is asked by {body}"),
    }
}

fn a_chat() -> Box<dyn Answer> {
    asked(chat, &json!({ "model": "m:latest", "messages": [{ "role": "user", "content": "hi" }] })).1
}

fn a_text() -> Box<dyn Answer> {
    asked(generate, &json!({ "model": "m", "prompt": "hi" })).1
}

/// All that a client gets of a stream.
fn told(mut answer: Box<dyn Answer>, stream: &[u8], cuts: &[usize]) -> String {
    let (mut out, mut at) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&stream.len()]) {
        out.extend(answer.piece(&stream[at..cut]).unwrap());
        at = cut;
    }
    out.extend(answer.end());
    String::from_utf8(out).unwrap()
}

fn events(chunks: &[Value]) -> String {
    let mut stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    stream.push_str("data: [DONE]\n\n");
    stream
}

fn delta(delta: &Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn finish(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

/// As `llama-server` writes it.
fn last() -> Value {
    json!({
        "choices": [],
        "usage": { "completion_tokens": 2, "prompt_tokens": 31, "total_tokens": 33 },
        "timings": {
            "cache_n": 30, "prompt_n": 1, "prompt_ms": 14.81, "predicted_n": 2, "predicted_ms": 19.177,
            "predicted_per_second": 52.1
        }
    })
}

#[test]
fn names_lose_what_means_nothing_here() {
    let check = |asked: &str, expected: &str| assert_eq!(name(asked), expected, "{asked}");
    check("m", "m");
    check("m:latest", "m");
    check("M:LATEST", "M");
    check("m:Q4_K_M", "m:Q4_K_M");
    check("org/m:latest", "org/m");
    check("hf.co/org/m:Q8_0", "org/m:Q8_0");
    check("HF.co/org/m", "org/m");
    check("huggingface.co/org/m:latest", "org/m");
    check(":latest", ":latest");
    check("", "");
    check("ähf.co/", "ähf.co/");
}

#[test]
fn a_plain_chat() {
    let body = json!({ "model": "smol:latest", "messages": [{ "role": "user", "content": "hi" }] });
    insta::assert_snapshot!(shown(chat, &body));
}

#[test]
fn a_chat_with_all_there_is() {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    insta::assert_snapshot!(shown(
        chat,
        &json!({
            "model": "hf.co/owner/repo:Q4_K_M",
            "stream": false,
            "keep_alive": "5m",
            "think": "high",
            "format": schema,
            "logprobs": true,
            "top_logprobs": 3,
            "tools": [{ "type": "function", "function": { "name": "weather", "parameters": schema } }],
            "options": {
                "num_predict": 40, "num_ctx": 8192, "temperature": 0.2, "top_k": 40.0, "top_p": 0.9, "min_p": 0.05, "seed": 7,
                "stop": "END", "repeat_penalty": 1.1, "repeat_last_n": 64, "presence_penalty": 0, "frequency_penalty": 0.1,
                "mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1, "typical_p": 1, "num_keep": 5, "num_gpu": 99,
                "num_thread": 8, "penalize_newline": true, "dry_multiplier": 0.8, "messages": [], "n": 5
            },
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "What is this?", "images": ["iVBORw0KGgoAAAAN", "/9j/4AAQSkZJRg"] },
                { "role": "assistant", "content": "", "thinking": "A map.", "tool_calls": [
                    { "function": { "name": "weather", "arguments": { "city": "Oslo", "deep": { "er": [1] } } } },
                    { "function": { "name": "time", "arguments": {} } },
                    { "id": "given", "function": { "name": "weather", "arguments": "{\"city\":\"Rome\"}" } }
                ] },
                { "role": "tool", "tool_name": "time", "content": "noon" },
                { "role": "tool", "content": "rain" },
                { "role": "tool", "tool_call_id": "given", "tool_name": "weather", "content": "sun" }
            ]
        })
    ));
}

#[test]
fn a_text_by_its_template() {
    insta::assert_snapshot!(shown(
        generate,
        &json!({
            "model": "m", "system": "Be brief.", "prompt": "Describe it.", "images": ["UklGRiQAAAA"], "context": [1, 2, 3],
            "format": "json", "think": false, "keep_alive": -1, "options": { "num_predict": -1, "stop": ["a", "b"] }
        })
    ));
}

#[test]
fn a_raw_text() {
    insta::assert_snapshot!(shown(
        generate,
        &json!({
            "model": "m", "prompt": "<|user|>hi", "raw": true, "stream": false, "logprobs": true,
            "options": { "num_predict": 5 }
        })
    ));
}

#[test]
fn a_gap_to_be_filled() {
    insta::assert_snapshot!(shown(
        generate,
        &json!({
            "model": "m", "prompt": "def add(", "suffix": "return c", "options": { "num_predict": 5 }
        })
    ));
}

#[test]
fn nothing_to_say_is_a_load_or_an_unload() {
    let check = |conversion: Conversion, body: Value, expected: &str| assert_eq!(shown(conversion, &body), expected);
    check(
        generate,
        json!({ "model": "m:latest" }),
        "model m\nload: {\"model\":\"m:latest\",\"created_at\":\"2026-11-28T16:43:26.000000Z\",\"response\":\"\",\
         \"done\":true,\"done_reason\":\"load\"}",
    );
    check(
        chat,
        json!({ "model": "m", "messages": [], "keep_alive": "1h" }),
        "model m, keep alive For(3600s)\nload: {\"model\":\"m\",\"created_at\":\"2026-11-28T16:43:26.000000Z\",\
         \"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"load\"}",
    );
    let unloaded = shown(generate, &json!({ "model": "m", "prompt": "", "keep_alive": 0 }));
    assert!(unloaded.contains("\nunload: ") && unloaded.contains(r#""done_reason":"unload""#), "{unloaded}");
    let unloaded = shown(chat, &json!({ "model": "m", "keep_alive": "0s" }));
    assert!(unloaded.contains("\nunload: "), "{unloaded}");
    check(embed, json!({ "model": "m", "input": [] }), "model m\nload: {\"model\":\"m\",\"embeddings\":[]}");
    check(embeddings, json!({ "model": "m", "prompt": "" }), "model m\nload: {\"embedding\":[]}");
}

#[test]
fn what_cannot_be_is_refused_by_its_path() {
    #[track_caller]
    fn check(conversion: Conversion, body: Value, param: &str) {
        let refused = conversion(body.to_string().as_bytes(), moment()).err().expect("to be refused");
        assert_eq!(refused.param.as_deref(), Some(param), "{refused}");
        assert!(refused.message.contains(param), "{refused}");
    }
    let with = |message: Value| json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }, message] });
    check(chat, json!({ "messages": [] }), "model");
    check(chat, json!({ "model": " " }), "model");
    check(chat, json!({ "model": 7 }), "model");
    check(chat, json!({ "model": "m", "messages": {} }), "messages");
    check(chat, json!({ "model": "m", "messages": ["hi"] }), "messages[0]");
    check(chat, with(json!({ "content": "x" })), "messages[1].role");
    check(chat, with(json!({ "role": "user", "content": ["x"] })), "messages[1].content");
    check(chat, with(json!({ "role": "user", "images": [7] })), "messages[1].images[0]");
    check(chat, with(json!({ "role": "user", "images": ["http://inner/secret.png"] })), "messages[1].images[0]");
    let call = |function: Value| with(json!({ "role": "assistant", "tool_calls": [{ "function": function }] }));
    check(chat, call(json!({ "arguments": {} })), "messages[1].tool_calls[0].function.name");
    check(chat, call(json!({ "name": "f", "arguments": [] })), "messages[1].tool_calls[0].function.arguments");
    let with = |key: &str, value: Value| json!({ "model": "m", "prompt": "x", "messages": [{ "role": "user", "content": "x" }], key: value });
    check(chat, with("stream", json!("yes")), "stream");
    check(chat, with("tools", json!({})), "tools");
    check(chat, with("think", json!("hard")), "think");
    check(chat, with("format", json!("xml")), "format");
    check(chat, with("keep_alive", json!("soon")), "keep_alive");
    check(chat, with("options", json!([])), "options");
    check(chat, with("options", json!({ "temperature": "hot" })), "options.temperature");
    check(chat, with("options", json!({ "seed": 0.5 })), "options.seed");
    check(chat, with("options", json!({ "stop": 7 })), "options.stop");
    check(generate, with("template", json!("{{ .Prompt }}")), "template");
    check(generate, json!({ "model": "m", "prompt": "x", "raw": true, "images": ["aaaa"] }), "images");
    check(embed, json!({ "model": "m", "input": [1] }), "input");
    check(embeddings, json!({ "model": "m", "prompt": ["x"] }), "prompt");
    for body in ["", "[]", "{", "{\"model\":"] {
        assert_eq!(chat(body.as_bytes(), moment()).err().unwrap().param, None, "{body}");
    }
}

#[test]
fn a_stream_of_a_chat() {
    let stream = events(&[
        delta(&json!({ "role": "assistant", "content": null })),
        delta(&json!({ "reasoning_content": "Hm." })),
        json!({ "choices": [{ "index": 0, "delta": { "content": "Hello" }, "logprobs": { "content": [{
            "id": 9085, "token": "Hello", "bytes": [72], "logprob": -0.5,
            "top_logprobs": [{ "id": 1, "token": "Hi", "bytes": [72], "logprob": -1.5 }]
        }] } }] }),
        delta(&json!({ "content": " you" })),
        delta(
            &json!({ "tool_calls": [{ "index": 0, "id": "abc", "type": "function", "function": { "name": "weather", "arguments": "" } }] }),
        ),
        delta(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"city\":" } }] })),
        delta(&json!({ "tool_calls": [{ "index": 1, "function": { "name": "now", "arguments": "{}" } }] })),
        delta(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "\"Oslo\"}" } }] })),
        finish("tool_calls"),
        last(),
    ]);
    let lines = told(a_chat(), stream.as_bytes(), &[]);
    insta::assert_snapshot!(lines);
    for cut in 0..=stream.len() {
        assert_eq!(told(a_chat(), stream.as_bytes(), &[cut]), lines, "cut at {cut}");
    }
}

#[test]
fn a_stream_of_a_text() {
    let texts = events(&[
        json!({ "choices": [{ "text": "Hel", "index": 0, "logprobs": null, "finish_reason": null }] }),
        json!({ "choices": [{ "text": "lo", "index": 0, "finish_reason": "length" }], "usage": { "prompt_tokens": 3, "completion_tokens": 2 } }),
    ]);
    insta::assert_snapshot!(told(a_text(), texts.as_bytes(), &[]));
    let infill = asked(generate, &json!({ "model": "m", "prompt": "a", "suffix": "b" })).1;
    // llama.cpp's own streams end without a word.
    let own = "data: {\"content\":\"c\",\"stop\":false}\n\ndata: {\"content\":\"\",\"stop\":true,\"stop_type\":\"limit\",\
               \"tokens_predicted\":1,\"timings\":{\"prompt_n\":4,\"prompt_ms\":1.5,\"predicted_n\":1,\"predicted_ms\":2}}\n\n";
    insta::assert_snapshot!(told(infill, own.as_bytes(), &[]));
}

#[test]
fn whole_answers() {
    let (_, mut answer) = asked(chat, &json!({ "model": "m", "stream": false, "messages": [{ "role": "user" }] }));
    let mut body = last();
    body["choices"] = json!([{ "index": 0, "finish_reason": "stop", "message": {
        "role": "assistant", "content": "Hi", "reasoning_content": "Hm.",
        "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{\"x\":1}" } },
            { "id": "b", "type": "function", "function": { "name": "g", "arguments": "" } },
            { "id": "c", "type": "function", "function": { "name": "h", "arguments": "{\"cut" } }
        ]
    } }]);
    insta::assert_snapshot!(String::from_utf8(answer.whole(body.to_string().as_bytes()).unwrap()).unwrap());
    let text = json!({ "choices": [{ "text": "lo", "finish_reason": "length" }] });
    insta::assert_snapshot!(String::from_utf8(a_text().whole(text.to_string().as_bytes()).unwrap()).unwrap());
    let infill = json!({ "content": "c", "stop": true, "stop_type": "eos" });
    insta::assert_snapshot!(String::from_utf8(a_text().whole(infill.to_string().as_bytes()).unwrap()).unwrap());
}

#[test]
fn vectors() {
    let check = |conversion: Conversion, body: Value, expected: Value| {
        let (sent, mut answer) = asked(conversion, &body);
        assert_eq!((&sent["model"], &sent["encoding_format"]), (&json!("m"), &json!("float")));
        let from_engine = json!({ "usage": { "prompt_tokens": 5 }, "data": [
            { "index": 1, "embedding": [0.0, 1.0, 0.5] }, { "index": 0, "embedding": [3.0, 4.0, 0.25] }
        ] });
        let told = answer.whole(from_engine.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&told).unwrap(), expected);
    };
    check(
        embed,
        json!({ "model": "m:latest", "input": ["a", "b"], "truncate": true }),
        json!({ "model": "m:latest", "embeddings": [[3.0, 4.0, 0.25], [0.0, 1.0, 0.5]], "prompt_eval_count": 5 }),
    );
    check(
        embed,
        json!({ "model": "m", "input": "a", "dimensions": 2 }),
        json!({ "model": "m", "embeddings": [[0.6, 0.8], [0.0, 1.0]], "prompt_eval_count": 5 }),
    );
    check(embeddings, json!({ "model": "m", "prompt": "a" }), json!({ "embedding": [3.0, 4.0, 0.25] }));
}

#[test]
fn schemas_and_arguments_keep_their_order() {
    let schema = r#"{"type":"object","properties":{"zeal":{"type":"string"},"age":{"type":"number"}}}"#;
    let tool = format!(r#"{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}"#);
    let body = format!(
        r#"{{"model":"m","tools":[{tool}],"format":{schema},"messages":[{{"role":"assistant","tool_calls":
            [{{"function":{{"name":"f","arguments":{{"z":1,"a":2}}}}}}]}}]}}"#
    );
    let Ok(Wish { what: What::Ask { request, .. }, .. }) = chat(body.as_bytes(), moment()) else { panic!("not asked") };
    let sent = String::from_utf8(request.body).unwrap();
    assert!(sent.contains(&tool) && sent.matches(schema).count() == 2, "{sent}");
    assert!(sent.contains(r#""arguments":"{\"z\":1,\"a\":2}""#), "{sent}");

    let call = json!({ "tool_calls": [{ "index": 0, "function": { "name": "f", "arguments": "{\"z\": 1,\n \"a\": \"\\n\"}" } }] });
    let lines = told(a_chat(), events(&[delta(&call), finish("tool_calls")]).as_bytes(), &[]);
    assert!(lines.contains(r#""arguments":{"z": 1,  "a": "\n"}"#), "{lines}");
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

#[test]
fn errors_keep_their_words() {
    let check = |body: &str, expected: &str| {
        let told = a_chat().error(500, body.as_bytes());
        assert_eq!(serde_json::from_slice::<Value>(&told).unwrap(), json!({ "error": expected }), "{body}");
    };
    check(r#"{"error":{"code":500,"message":"no image","type":"server_error"}}"#, "no image");
    check(r#"{"error":"text"}"#, "text");
    check(r#"{"detail":"not found"}"#, "not found");
    check("upstream broke", "upstream broke");
    check("", "the engine answered 500 and did not say why");
}

#[test]
fn a_broken_stream_says_so() {
    let check = |stream: &str, expected: &str| assert_eq!(told(a_chat(), stream.as_bytes(), &[]), expected, "{stream}");
    let broken = |text: &str| format!("{}\n", json!({ "error": text }));
    check("", &broken("the engine's answer ended before it was complete"));
    check("data: {\"error\":{\"message\":\"out of memory\"}}\n\ndata: [DONE]\n\n", &broken("out of memory"));
    let mut answer = a_chat();
    assert_eq!(answer.broken("timeout", "it said nothing"), broken("it said nothing").into_bytes());
    assert!(answer.end().is_empty() && answer.broken("again", "again").is_empty(), "an answer breaks once");
    let mut answer = a_chat();
    answer.piece(events(&[finish("stop")]).as_bytes()).unwrap();
    assert!(answer.broken("late", "late").is_empty(), "all was said before it broke");
    assert!(a_chat().piece(b"data: nonsense\n\n").is_err());
    assert!(a_chat().whole(b"{}").is_err() && a_chat().whole(b"").is_err());
}

#[test]
fn calls_without_end_are_a_fault() {
    let call = |index: usize| delta(&json!({ "tool_calls": [{ "index": index, "function": { "name": "f" } }] }));
    let many = events(&(0..600).map(call).collect::<Vec<_>>());
    assert!(a_chat().piece(many.as_bytes()).is_err());
}

/// The texts of a stream of lines, and whether it came to its end.
fn heard(lines: &str) -> (String, String, Vec<Value>, bool) {
    let (mut text, mut thinking, mut calls, mut done) = (String::new(), String::new(), Vec::new(), false);
    for line in lines.lines() {
        assert!(!done, "nothing comes after the end: {line}");
        let line: Value = serde_json::from_str(line).unwrap();
        let message = &line["message"];
        text += message["content"].as_str().unwrap();
        thinking += message["thinking"].as_str().unwrap_or_default();
        calls.extend(message["tool_calls"].as_array().into_iter().flatten().cloned());
        done = line["done"].as_bool().unwrap();
    }
    (text, thinking, calls, done)
}

proptest! {
    #[test]
    fn what_is_said_adds_up_however_it_is_cut(
        pieces in prop::collection::vec((any::<bool>(), ".{0,12}"), 0..12),
        arguments in prop::collection::btree_map("[a-z]{1,4}", ".{0,6}", 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let arguments = json!(arguments);
        let written: Vec<char> = arguments.to_string().chars().collect();
        let said = |(thinks, text): &(bool, String)| {
            delta(&if *thinks { json!({ "reasoning_content": text }) } else { json!({ "content": text }) })
        };
        let mut chunks: Vec<Value> = pieces.iter().map(said).collect();
        chunks.push(delta(&json!({ "tool_calls": [{ "index": 0, "id": "i", "function": { "name": "f" } }] })));
        chunks.extend(written.chunks(3).map(|part| {
            let part: String = part.iter().collect();
            delta(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": part } }] }))
        }));
        chunks.extend([finish("stop"), last()]);
        let stream = events(&chunks);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let lines = told(a_chat(), stream.as_bytes(), &cuts);
        let of = |thinks: bool| pieces.iter().filter(|piece| piece.0 == thinks).map(|piece| piece.1.as_str()).collect::<String>();
        let (text, thinking, calls, done) = heard(&lines);
        prop_assert_eq!((text, thinking, done), (of(false), of(true), true));
        prop_assert_eq!(&calls[0]["function"]["arguments"], &arguments);
    }

    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for conversion in [chat, generate, embed, embeddings] {
            let _ = conversion(&bytes, moment());
        }
        let mut answer = a_chat();
        let _ = answer.piece(&bytes);
        let _ = answer.end();
        let _ = a_chat().whole(&bytes);
        let _ = a_chat().error(500, &bytes);
        let _ = name(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_request_is_too_much(body in json_of_any_kind()) {
        for conversion in [chat, generate, embed, embeddings] {
            if let Ok(Wish { what: What::Ask { request, .. }, .. }) = conversion(body.to_string().as_bytes(), moment()) {
                let sent: Value = serde_json::from_slice(&request.body).unwrap();
                prop_assert_eq!(&sent["model"], &json!("m"));
            }
        }
        let _ = a_chat().whole(body.to_string().as_bytes());
        let _ = a_chat().piece(format!("data: {body}\n\n").as_bytes());
    }
}

/// Requests whose fields have names that we read, and values of any kind.
fn json_of_any_kind() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "messages",
        "role",
        "content",
        "images",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "options",
        "stop",
        "seed",
        "format",
        "think",
        "stream",
        "prompt",
        "suffix",
        "system",
        "raw",
        "input",
        "keep_alive",
        "choices",
        "delta",
        "message",
        "index",
        "id",
        "usage",
        "timings",
        "error",
        "tools",
        "logprobs",
        "top_logprobs",
        "num_predict",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9]{0,6}".prop_map(Value::from),
        Just(json!("tool")),
    ];
    let value = leaf.prop_recursive(4, 32, 5, move |inner| {
        let fields = prop::collection::hash_map(words.clone(), inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    });
    let fields =
        prop::sample::select(vec!["messages", "prompt", "input", "options", "tools", "think", "format", "choices"]);
    prop::collection::hash_map(fields, value, 0..6).prop_map(|fields| {
        let mut body: serde_json::Map<String, Value> =
            fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        body.insert("model".to_owned(), json!("m"));
        body.into()
    })
}
