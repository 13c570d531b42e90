//! Fixtures, and conversions of them.

use std::path::Path;

use protocol::sse::{Event, Events};
use protocol::{Answer, Moment, Refused, responses};
use serde::Deserialize;
use serde_json::Value;

/// A request, what an engine answers, and how it streams that.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) request: Value,
    pub(crate) answer: Option<Value>,
    pub(crate) stream: Vec<Value>,
}

/// All of them, by name.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/responses"));
    let mut fixtures: Vec<Fixture> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let read: Fixture = serde_json::from_slice(&std::fs::read(&path).unwrap()).expect("a fixture");
            Fixture { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), ..read }
        })
        .collect();
    fixtures.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!fixtures.is_empty());
    fixtures
}

/// The chat completions request, and the way back.
pub(crate) fn convert(request: &Value) -> Result<(Value, Box<dyn Answer>), Refused> {
    let moment = Moment { id: "7".to_owned(), created: 1_700_000_000 };
    let converted = responses::to_chat(request.to_string().as_bytes(), moment)?;
    Ok((serde_json::from_slice(&converted.body).unwrap(), converted.answer))
}

/// What a whole answer becomes.
pub(crate) fn whole(request: &Value, answer: &Value) -> Value {
    let (_, mut back) = convert(request).unwrap();
    serde_json::from_slice(&back.whole(answer.to_string().as_bytes()).unwrap()).unwrap()
}

/// A stream as engines write it.
pub(crate) fn stream_of(chunks: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in chunks {
        protocol::sse::write(&mut out, None, chunk);
    }
    protocol::sse::write_done(&mut out);
    out
}

/// What a stream becomes that comes in pieces which end at `cuts`.
pub(crate) fn streamed(request: &Value, stream: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (_, mut back) = convert(request).unwrap();
    let mut out = Vec::new();
    let mut at = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        out.extend(back.piece(&stream[at..cut]).unwrap());
        at = cut;
    }
    out.extend(back.end());
    out
}

/// The events of a stream. Each has the name that its data says, and they are numbered.
pub(crate) fn events(stream: &[u8]) -> Vec<Value> {
    let mut scanner = Events::default();
    scanner.push(stream).unwrap();
    let events: Vec<Value> = scanner
        .enumerate()
        .map(|(number, Event { name, data })| {
            let event: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(event["type"].as_str(), name.as_deref());
            assert_eq!(event["sequence_number"], number);
            event
        })
        .collect();
    events
}
