//! A stream of chat completions without the chunk that tells its usage: we asked for it, the client did not.

use memchr::memmem;
use protocol::{Answer, Fault};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::speaks::broken_chat;

/// An event that grows beyond this passes as it comes: a chunk of usage is small.
const HELD_MAX: usize = 64 << 10;

/// Takes the chunk out; all else passes byte for byte.
#[derive(Default)]
pub(crate) struct WithoutUsage {
    /// The event that has not ended yet.
    held: Vec<u8>,
    /// Whether the rest of an event passes whose beginning has.
    passes: bool,
}

impl Answer for WithoutUsage {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(body.to_owned())
    }

    fn error(&mut self, _: u16, body: &[u8]) -> Vec<u8> {
        body.to_owned()
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        // An end of an event may be cut in two.
        let mut from = self.held.len().saturating_sub(3);
        self.held.extend_from_slice(bytes);
        let mut passed = Vec::with_capacity(self.held.len());
        let mut event = 0;
        while let Some(end) = end_of_event(&self.held[from..]).map(|end| from + end) {
            if std::mem::take(&mut self.passes) || !tells_usage_only(&self.held[event..end]) {
                passed.extend_from_slice(&self.held[event..end]);
            }
            event = end;
            from = end;
        }
        self.held.drain(..event);
        if self.held.len() > HELD_MAX {
            // The last bytes may be half of its end.
            let sure = self.held.len() - 3;
            passed.extend(self.held.drain(..sure));
            self.passes = true;
        }
        Ok(passed)
    }

    fn end(&mut self) -> Vec<u8> {
        let last = std::mem::take(&mut self.held);
        if tells_usage_only(&last) { Vec::new() } else { last }
    }

    fn broken(&mut self, code: &str, message: &str) -> Vec<u8> {
        let mut last = std::mem::take(&mut self.held);
        if self.passes || !last.is_empty() {
            last.extend_from_slice(b"\n\n");
        }
        last.extend(broken_chat(code, message));
        last
    }
}

/// Where the first event ends: after its blank line.
fn end_of_event(bytes: &[u8]) -> Option<usize> {
    let after = |blank: &[u8]| memmem::find(bytes, blank).map(|at| at + blank.len());
    [after(b"\n\n"), after(b"\r\n\r\n")].into_iter().flatten().min()
}

/// Whether an event is a chunk of no choices, and of usage.
fn tells_usage_only(event: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<IgnoredAny>,
        usage: Option<IgnoredAny>,
    }
    if memmem::find(event, b"\"usage\"").is_none() {
        return false;
    }
    let data = event.strip_prefix(b"data:").and_then(|data| serde_json::from_slice::<Chunk>(data).ok());
    data.is_some_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\"\"}}],\"usage\":null}\n\n\
        : ping\r\n\r\ndata: {\"choices\":[{}],\"usage\":{\"prompt_tokens\":1}}\n\n";
    const USAGE: &str = "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    fn passed(stream: &str, pieces: usize) -> String {
        let mut answer = WithoutUsage::default();
        let mut passed = Vec::new();
        for piece in stream.as_bytes().chunks(pieces) {
            passed.extend(answer.piece(piece).unwrap());
        }
        passed.extend(answer.end());
        String::from_utf8(passed).unwrap()
    }

    #[test]
    fn only_the_chunk_of_usage_is_taken_out_however_it_is_cut() {
        let stream = [STREAM, USAGE, DONE].concat();
        for pieces in 1..=stream.len() {
            assert_eq!(passed(&stream, pieces), [STREAM, DONE].concat(), "{pieces}");
        }
        assert_eq!(passed(USAGE.trim_end(), 7), "");
        let filtered = "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n";
        assert_eq!(passed(filtered, 9), filtered);
    }

    #[test]
    fn what_is_large_is_not_held() {
        let mut answer = WithoutUsage::default();
        let piece = vec![b'x'; HELD_MAX];
        let passed: usize = (0..10).map(|_| answer.piece(&piece).unwrap().len()).sum();
        assert!(passed > 8 * HELD_MAX);
        assert_eq!(answer.piece(format!("\n\n{USAGE}{DONE}").as_bytes()).unwrap().len() % HELD_MAX, 5 + DONE.len());
    }

    proptest! {
        #[test]
        fn any_stream_passes(stream in "(data: |\\{|\"usage\"|\n|\r|x){0,40}", pieces in 1..9_usize) {
            prop_assert_eq!(passed(&stream, pieces), stream);
        }
    }
}
