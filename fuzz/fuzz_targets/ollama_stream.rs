//! Any bytes as an engine's stream for an Ollama client: they may be cut anywhere, and each line told is a JSON object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::ollama::{What, Wish, chat};
use protocol::{Fault, Moment};

fn told(pieces: &[&[u8]]) -> Result<Vec<u8>, Fault> {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let wish = chat(body, Moment { id: "1".into(), created: 0 }).expect("a plain chat");
    let Wish { what: What::Ask { request, .. }, .. } = wish else { unreachable!("a chat is asked") };
    let mut answer = request.answer;
    let mut told = Vec::new();
    for piece in pieces {
        told.extend(answer.piece(piece)?);
    }
    told.extend(answer.end());
    Ok(told)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, stream) = input;
    let (one, two) = stream.split_at(usize::from(cut) % (stream.len() + 1));
    let whole = told(&[stream]);
    assert_eq!(whole, told(&[one, two]));
    for line in whole.unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|line| line.is_object()));
    }
});
