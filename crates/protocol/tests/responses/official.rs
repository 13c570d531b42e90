//! What OpenAI says of it: every fixture against the types of its own package for Python, which are made from its OpenAPI
//! description.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{convert, events, fixtures, stream_of, streamed, whole};

/// What the script says where the package is not installed (`EX_UNAVAILABLE`).
const NOT_INSTALLED: i32 = 69;

/// All that is written for the fixtures, a line for each.
fn written() -> Vec<Value> {
    let mut lines = Vec::new();
    for fixture in fixtures() {
        let mut add = |kind, value: Value| lines.push(json!({ "kind": kind, "where": fixture.name, "value": value }));
        // What a fixture asks is official too, but for `top_k`, which is there to go along.
        add("responses request", fixture.request.clone());
        add("chat request", convert(&fixture.request).unwrap().0);
        if let Some(answer) = &fixture.answer {
            add("response", whole(&fixture.request, answer));
        }
        for event in events(&streamed(&fixture.request, &stream_of(&fixture.stream), &[])) {
            add("event", event);
        }
    }
    lines
}

/// What the types find wrong, if they are there.
fn check(lines: &[Value]) -> Option<(bool, String)> {
    let mut check = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/openai-python/run"))
        .arg("responses.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = check.stdin.take().unwrap();
    for line in lines {
        // Where nobody reads, the status says why.
        let _ = writeln!(input, "{line}");
    }
    drop(input);
    let output = check.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.code() == Some(NOT_INSTALLED) {
        assert!(std::env::var_os("CI").is_none(), "{text}");
        #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
        {
            eprintln!("skipped: {text}");
        }
        return None;
    }
    Some((output.status.success(), text))
}

#[test]
fn all_that_is_written_keeps_to_the_types() {
    let Some((is_fine, text)) = check(&written()) else { return };
    assert!(is_fine, "{text}");
}

#[test]
fn the_types_find_what_is_wrong() {
    let fixture = fixtures().into_iter().find(|fixture| fixture.name == "functions").unwrap();
    let right = whole(&fixture.request, &fixture.answer.unwrap());
    let wrong = |path: &str, value: Value| {
        let mut wrong = right.clone();
        *wrong.pointer_mut(path).unwrap() = value;
        json!({ "kind": "response", "where": path, "value": wrong })
    };
    let mut with_more = right.clone();
    with_more["output"][1]["colour"] = json!("blue");
    let lines = [
        wrong("/output/0/type", json!("thought")),
        wrong("/usage/input_tokens", json!("90")),
        wrong("/output/1/content/0/text", Value::Null),
        json!({ "kind": "response", "where": "more", "value": with_more }),
        json!({ "kind": "event", "where": "event", "value": { "type": "response.output_text.delta" } }),
    ];
    let Some((is_fine, text)) = check(&lines) else { return };
    assert!(!is_fine);
    assert!(text.contains(&format!("{0} values checked, {0} do not", lines.len())), "{text}");
}
