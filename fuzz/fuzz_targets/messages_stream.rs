//! Any bytes as an answer, in both directions, cut in two: reading it ends, without a panic; the client gets whole events, and
//! the same ones however the stream is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{Answer, Moment, messages, sse};

const ASKED: &[u8] = br#"{"model": "m", "max_tokens": 1, "messages": [], "stop_sequences": ["END"]}"#;

fn stream(answer: &mut dyn Answer, pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(answer.piece(piece).ok()?);
    }
    out.extend(answer.end());
    Some(out)
}

fuzz_target!(|input: (usize, &[u8])| {
    let (cut, bytes) = input;
    let (before, after) = bytes.split_at(cut % (bytes.len() + 1));
    let moment = || Moment { id: "0".to_owned(), created: 0 };
    let to_chat = || messages::to_chat(ASKED, moment()).expect("it is a request").answer;
    let from_chat = || messages::from_chat(ASKED, moment(), 1).expect("it is a request").answer;
    for make in [&to_chat as &dyn Fn() -> Box<dyn Answer>, &from_chat] {
        let _ = make().whole(bytes);
        make().error(500, bytes);
        let whole = stream(&mut *make(), &[bytes]);
        if let Some(whole) = &whole {
            let mut events = sse::Events::default();
            events.push(whole).expect("events are small, or were refused");
            assert!(!events.is_within_event());
        }
        assert_eq!(whole, stream(&mut *make(), &[before, after]));
    }
});
