//! Server-sent events: reading them as they come, and writing them.
//!
//! [`Events`] takes a stream in whatever pieces the network made of it. Every byte is looked at once: lines are put to use as
//! soon as they end, and only the last, unfinished one is kept beside the event's data. `id:` and `retry:` are for clients
//! that reconnect, which nobody does within an answer: they are skipped.

use std::collections::VecDeque;

use memchr::{memchr, memchr2};
use serde::Serialize;

use crate::Fault;

/// How large one event may be, in bytes.
pub const LARGEST: usize = 8 << 20;

/// One event that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What `event:` says, if anything.
    pub name: Option<String>,
    /// What the `data:` lines say, joined by line feeds. Bytes that are not UTF-8 were replaced.
    pub data: String,
}

impl Event {
    /// Whether this is `[DONE]`, with which chat completions end their streams.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.data.trim_ascii() == "[DONE]"
    }
}

/// Reads a stream of events, however it is cut.
///
/// ```
/// # use protocol::sse::Events;
/// let mut events = Events::default();
/// events.push(b"data: {\"a\"")?;
/// events.push(b":1}\n\nda")?;
/// assert_eq!(events.next().unwrap().data, r#"{"a":1}"#);
/// assert_eq!(events.next(), None);
/// # Ok::<(), protocol::Fault>(())
/// ```
#[derive(Debug, Default)]
pub struct Events {
    ready: VecDeque<Event>,
    /// The line that has not ended yet.
    line: Vec<u8>,
    name: Option<Vec<u8>>,
    /// The data lines so far, each with a line feed before it but for the first; `None` before the first.
    data: Option<Vec<u8>>,
    /// The last line ended in a carriage return: a line feed after it belongs to it.
    after_return: bool,
    /// A line has ended: no byte order mark can come any more.
    begun: bool,
}

impl Events {
    /// Takes the next bytes of the stream. Whole events come out of the iterator.
    ///
    /// # Errors
    /// An event is larger than [`LARGEST`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.line_ended(line)?;
            } else {
                self.keep(line)?;
                let mut whole = std::mem::take(&mut self.line);
                self.line_ended(&whole)?;
                whole.clear();
                self.line = whole;
            }
            let is_return = rest[0] == b'\r';
            bytes = &rest[1..];
            if is_return {
                self.after_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.keep(bytes)
    }

    /// The stream has ended: the event at its end, if the blank line after it is all that it lacks.
    pub fn end(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.line_ended(&line).is_err() {
            return None;
        }
        self.dispatch();
        self.next()
    }

    /// Whether an event has begun and not come to its end.
    #[must_use]
    pub fn is_within_event(&self) -> bool {
        !self.line.is_empty() || self.data.is_some() || self.name.is_some()
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), Fault> {
        self.admit(part.len())?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// Whether the event may grow by so much.
    fn admit(&self, more: usize) -> Result<(), Fault> {
        let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len) + self.name.as_ref().map_or(0, Vec::len);
        if held + more > LARGEST {
            return Err(Fault(format!("an event is larger than {LARGEST} bytes")));
        }
        Ok(())
    }

    fn line_ended(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = if self.begun { line } else { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            self.dispatch();
            return Ok(());
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                self.admit(value.len() + 1)?;
                match &mut self.data {
                    Some(data) => {
                        data.push(b'\n');
                        data.extend_from_slice(value);
                    }
                    None => self.data = Some(value.to_vec()),
                }
            }
            b"event" => {
                self.admit(value.len())?;
                self.name = Some(value.to_vec());
            }
            // A comment has an empty field name.
            _ => {}
        }
        Ok(())
    }

    /// A blank line came. Without data there is no event.
    fn dispatch(&mut self) {
        let name = self.name.take().filter(|name| !name.is_empty());
        if let Some(data) = self.data.take() {
            self.ready.push_back(Event { name: name.map(text), data: text(data) });
        }
    }
}

impl Iterator for Events {
    type Item = Event;

    /// The next event that is whole; `None` until more bytes come.
    fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Writes one event with JSON in it, which has no line breaks.
///
/// # Panics
/// `data` has what JSON cannot say: a map whose keys are not strings.
pub fn write(out: &mut Vec<u8>, name: Option<&str>, data: &impl Serialize) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    serde_json::to_writer(&mut *out, data).expect("an event's data is plain data");
    out.extend_from_slice(b"\n\n");
}

/// Writes `[DONE]`, with which chat completions end their streams.
pub fn write_done(out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: [DONE]\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a stream says when it comes in pieces that end at `cuts`.
    fn read(stream: &[u8], cuts: &[usize]) -> Vec<Event> {
        let mut events = Events::default();
        let mut found = Vec::new();
        let mut at = 0;
        for &cut in cuts.iter().chain([&stream.len()]) {
            events.push(&stream[at..cut]).unwrap();
            found.extend(events.by_ref());
            at = cut;
        }
        found
    }

    fn check(stream: &str, expected: &[(Option<&str>, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, data)| Event { name: name.map(str::to_owned), data: (*data).to_owned() })
            .collect();
        assert_eq!(read(stream.as_bytes(), &[]), expected, "{stream:?}");
        for cut in 0..=stream.len() {
            assert_eq!(read(stream.as_bytes(), &[cut]), expected, "{stream:?} cut at {cut}");
        }
        let everywhere: Vec<_> = (0..stream.len()).collect();
        assert_eq!(read(stream.as_bytes(), &everywhere), expected, "{stream:?} byte by byte");
    }

    #[test]
    fn reads_events() {
        check("", &[]);
        check("data: a\n\n", &[(None, "a")]);
        check("data: a\n\ndata: [DONE]\n\n", &[(None, "a"), (None, "[DONE]")]);
        check("event: x\ndata: {}\n\n", &[(Some("x"), "{}")]);
        check("data: {}\nevent: x\n\ndata:y\n\n", &[(Some("x"), "{}"), (None, "y")]);
        check("data: a\ndata: b\n\n", &[(None, "a\nb")]);
        check("data:  two spaces\n\n", &[(None, " two spaces")]);
        check("data: a: b\n\n", &[(None, "a: b")]);
        check("data\n\n", &[(None, "")]);
        check("data:\ndata:\n\n", &[(None, "\n")]);
        check("data: größe ✓\n\n", &[(None, "größe ✓")]);
        check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &[(None, "a")]);
    }

    #[test]
    fn every_line_end_is_one() {
        check("data: a\r\n\r\ndata: b\r\n\r\n", &[(None, "a"), (None, "b")]);
        check("data: a\r\rdata: b\r\r", &[(None, "a"), (None, "b")]);
        check("data: a\r\ndata: b\n\r\n", &[(None, "a\nb")]);
        check("event: x\rdata: a\n\r", &[(Some("x"), "a")]);
    }

    #[test]
    fn skips_what_is_no_event() {
        check(": a comment\n\ndata: a\n\n", &[(None, "a")]);
        check("data: a\n: waiting\nid: 7\nretry: 5\nunknown\n\n", &[(None, "a")]);
        check("event: x\n\ndata: a\n\n", &[(None, "a")]);
        check("event:\ndata: a\n\n", &[(None, "a")]);
        check(" data: a\n\n", &[]);
        check("\n\n\r\n\r\r", &[]);
        check("data: never ended\n", &[]);
    }

    #[test]
    fn the_end_may_stand_for_the_blank_line() {
        let end = |stream: &[u8]| {
            let mut events = Events::default();
            events.push(stream).unwrap();
            (events.is_within_event(), events.end().map(|event| event.data))
        };
        assert_eq!(end(b"data: a\n"), (true, Some("a".to_owned())));
        assert_eq!(end(b"data: a"), (true, Some("a".to_owned())));
        assert_eq!(end(b": a"), (true, None));
        assert_eq!(end(b""), (false, None));
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        assert_eq!(read(b"data: \xff\n\n", &[])[0].data, "\u{fffd}");
    }

    #[test]
    fn an_event_is_bounded() {
        let mebibyte = vec![b'x'; 1 << 20];
        let pushed = |before: &[u8], after: &[u8]| {
            let mut events = Events::default();
            (0..9).find(|_| [before, &mebibyte, after].iter().any(|part| events.push(part).is_err()))
        };
        assert_eq!(pushed(b"", b""), Some(8), "one line");
        assert_eq!(pushed(b"data:", b"\n"), Some(7), "many lines");
        assert_eq!(pushed(b":", b""), Some(7), "a comment");
        assert_eq!(pushed(b"data:", b"\n\n"), None, "many events");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        write(&mut out, Some("x"), &serde_json::json!({ "text": "a\nb\r\u{2028}" }));
        write(&mut out, None, &7);
        write_done(&mut out);
        let events = read(&out, &[]);
        assert_eq!(events[0].name.as_deref(), Some("x"));
        assert_eq!(events[0].data, "{\"text\":\"a\\nb\\r\u{2028}\"}");
        assert_eq!(events[1].data, "7");
        assert!(events[2].is_done() && !events[1].is_done());
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            lines in prop::collection::vec("(data|event|id|)(: ?[a-z:é]{0,4})?(\n|\r\n|\r|\n\n)", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = lines.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(read(&stream, &cuts), read(&stream, &[]));
        }

        #[test]
        fn any_bytes_are_survived(stream: Vec<u8>) {
            let mut events = Events::default();
            events.push(&stream).unwrap();
            let _ = events.end();
        }
    }
}
