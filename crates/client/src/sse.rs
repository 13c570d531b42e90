//! Server-sent events (WHATWG HTML, section 9.2.6) from bytes as they come, bounded.

use std::collections::VecDeque;

/// Longest line: one event of a chat stream is some hundred bytes, an error with an engine's log some thousand.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Most data of one event.
const DATA_BYTES_MAX: usize = 4 << 20;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` where the stream names none.
    pub(crate) name: String,
    pub(crate) data: String,
}

/// A stream that breaks the rules or the bounds; nothing more can be read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid(pub(crate) &'static str);

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    /// The last byte was a CR, so that an LF right after it belongs to the same line end.
    after_cr: bool,
    past_first_line: bool,
    events: VecDeque<Event>,
}

impl Parser {
    /// The next complete event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes bytes, cut anywhere.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Invalid> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (rest_of_line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + rest_of_line.len() > LINE_BYTES_MAX {
                return Err(Invalid("a line of the event stream is longer than 1 MiB"));
            }
            self.line.extend_from_slice(rest_of_line);
            bytes = rest;
            if end.is_some() {
                self.after_cr = bytes[0] == b'\r';
                bytes = &bytes[1..];
                let line = std::mem::take(&mut self.line);
                let line = std::str::from_utf8(&line).map_err(|_| Invalid("the event stream is not UTF-8"))?;
                self.line_ended(line)?;
            }
        }
        Ok(())
    }

    fn line_ended(&mut self, line: &str) -> Result<(), Invalid> {
        let first = !std::mem::replace(&mut self.past_first_line, true);
        let line = if first { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        if line.is_empty() {
            self.event_ended();
            return Ok(());
        }
        // A line that begins with a colon is a comment: its field name is empty, which no field has.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if self.data.len() + value.len() > DATA_BYTES_MAX {
                    return Err(Invalid("an event of the event stream is larger than 4 MiB"));
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
        Ok(())
    }

    /// An event without data is not one.
    fn event_ended(&mut self) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            let name = if name.is_empty() { "message".to_owned() } else { name };
            self.events.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(String, String)>, Invalid> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece)?;
            while let Some(event) = parser.next() {
                events.push((event.name, event.data));
            }
        }
        Ok(events)
    }

    #[track_caller]
    fn check(stream: &str, expected: &[(&str, &str)]) {
        let events = parse([stream.as_bytes()]).unwrap();
        let events: Vec<_> = events.iter().map(|(name, data)| (name.as_str(), data.as_str())).collect();
        assert_eq!(events, expected, "{stream:?}");
    }

    #[test]
    fn reads_what_the_standard_says() {
        check("data: a\n\n", &[("message", "a")]);
        check("data:a\r\n\r\ndata: b\r\rdata:  c\n\n", &[("message", "a"), ("message", "b"), ("message", " c")]);
        check("event: loaded\ndata: {}\n\n", &[("loaded", "{}")]);
        check("data: a\ndata\ndata: b\n\n", &[("message", "a\n\nb")]);
        check(": comment\n\nid: 3\nretry: 5\n\n", &[]);
        check("event: lonely\n\ndata: x\n\n", &[("message", "x")]);
        check("\u{feff}data: x\n\n", &[("message", "x")]);
        check("data: not ended\n", &[]);
    }

    #[test]
    fn hostile_streams_are_bounded() {
        let endless = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(parse([endless.as_slice()]).is_err());
        let line = format!("data: {}\n", "x".repeat(LINE_BYTES_MAX - 6));
        assert!(parse(std::iter::repeat_n(line.as_bytes(), 5)).is_err());
        assert!(parse([b"data: \xff\n\n".as_slice()]).is_err());
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            texts in prop::collection::vec("[a-zäöü🦀 :]{0,12}", 1..6),
            ending in prop::sample::select(vec!["\n", "\r\n", "\r"]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stream: String =
                texts.iter().map(|text| format!("event: e{ending}data: {text}{ending}{ending}")).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]);
            let expected: Vec<_> = texts.iter().map(|text| ("e".to_owned(), text.clone())).collect();
            prop_assert_eq!(parse(pieces), Ok(expected));
        }
    }
}
