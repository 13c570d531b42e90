//! Each fixture, as a person reads it.

use std::fmt::Write;

use serde_json::Value;

use crate::support::{convert, events, fixtures, stream_of, streamed, whole};

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn every_fixture() {
    for fixture in fixtures() {
        let (chat, _) = convert(&fixture.request).unwrap();
        let mut text = format!("chat completions request\n{}\n", pretty(&chat));
        if let Some(answer) = &fixture.answer {
            let _ = writeln!(text, "\nresponse\n{}", pretty(&whole(&fixture.request, answer)));
        }
        text.push_str("\nevents\n");
        let stream = streamed(&fixture.request, &stream_of(&fixture.stream), &[]);
        for mut event in events(&stream) {
            // Whole responses stand above; what matters of them here is how far they are.
            if let Some(response) = event.get_mut("response") {
                *response = serde_json::json!({ "status": response["status"], "output": response["output"], "error": response["error"] });
            }
            let _ = writeln!(text, "{event}");
        }
        insta::assert_snapshot!(fixture.name.as_str(), text);
    }
}

#[test]
fn a_stream_ends_as_the_whole_answer_is() {
    for fixture in fixtures() {
        let Some(answer) = &fixture.answer else { continue };
        let stream = streamed(&fixture.request, &stream_of(&fixture.stream), &[]);
        let last = events(&stream).pop().unwrap();
        assert_eq!(last["response"], whole(&fixture.request, answer), "{}", fixture.name);
    }
}
