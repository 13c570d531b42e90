//! Any bytes as an engine's stream: cut in two it becomes the same events, each of them JSON with the next number, and
//! exactly one tells of the end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Moment, responses, sse};

const REQUEST: &[u8] = br#"{"model":"m","input":"?","stream":true,"tools":[{"type":"custom","name":"sh"}]}"#;

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, stream)) = bytes.split_first() else { return };
    let (one, two) = stream.split_at(usize::from(cut).min(stream.len()));
    let whole = converted(&[stream]);
    assert!(converted(&[one, two]) == whole, "a cut changed something");

    let mut events = sse::Events::default();
    events.push(&whole).expect("it is small");
    let mut ends = 0;
    for (number, event) in events.enumerate() {
        let data: serde_json::Value = serde_json::from_str(&event.data).expect("it was just written");
        assert_eq!(data["sequence_number"], number);
        assert_eq!(data["type"].as_str(), event.name.as_deref());
        let status = data["response"]["status"].as_str();
        ends += usize::from(matches!(status, Some("completed" | "incomplete" | "failed")));
    }
    assert_eq!(ends, 1);
});

/// What the pieces of a stream become.
fn converted(pieces: &[&[u8]]) -> Vec<u8> {
    let moment = Moment { id: "7".to_owned(), created: 0 };
    let mut answer = responses::to_chat(REQUEST, moment).expect("a request").answer;
    let mut out = Vec::new();
    for piece in pieces {
        match answer.piece(piece) {
            Ok(told) => out.extend(told),
            Err(fault) => {
                out.extend(answer.broken("engine_failed", &fault.to_string()));
                return out;
            }
        }
    }
    out.extend(answer.end());
    out
}
