//! Any bytes as a stream of events: cut in two, or byte by byte, it says the same as in one piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::sse::{Event, Events};

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, stream)) = bytes.split_first() else { return };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| -> Vec<Event> {
        let mut events = Events::default();
        for piece in pieces {
            events.push(piece).expect("it is small");
        }
        let mut all: Vec<_> = events.by_ref().collect();
        all.extend(events.end());
        all
    };
    let whole = read(&mut [stream].into_iter());
    let (one, two) = stream.split_at(usize::from(cut).min(stream.len()));
    assert_eq!(read(&mut [one, two].into_iter()), whole);
    assert_eq!(read(&mut stream.chunks(1)), whole);
});
