//! An answer in pieces, made as they are fetched.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Choice, Head, usage_object};
use crate::endpoint::Endpoint;
use crate::meter::Usage;

/// Characters of a piece.
const PIECE: usize = 10;

/// The events of a streamed answer: one choice after the other, then what was used, then the end.
pub(super) struct Events {
    head: Head,
    choices: Vec<Choice>,
    usage: Option<Usage>,
    /// Which choice is next.
    choice: usize,
    /// Bytes of it that were said; `None` before its first piece.
    said: Option<usize>,
    rest: Rest,
}

/// What follows the choices.
#[derive(Clone, Copy)]
enum Rest {
    Usage,
    Done,
    Nothing,
}

impl Events {
    /// `usage` is told if it is there.
    pub(super) fn new(head: Head, choices: Vec<Choice>, usage: Option<Usage>) -> Self {
        let rest = if usage.is_some() { Rest::Usage } else { Rest::Done };
        Self { head, choices, usage, choice: 0, said: None, rest }
    }

    /// The next event of a choice: its first piece, another piece, its end.
    fn piece(&mut self) -> Option<Value> {
        let choice = self.choices.get(self.choice)?;
        let index = self.choice;
        let is_first = self.said.is_none();
        let rest = &choice.text[self.said.unwrap_or(0)..];
        let (piece, finish_reason) = if rest.is_empty() && !is_first {
            self.choice += 1;
            self.said = None;
            (None, Some(choice.finish_reason))
        } else {
            let end = rest.char_indices().nth(PIECE).map_or(rest.len(), |(at, _)| at);
            self.said = Some(self.said.unwrap_or(0) + end);
            (Some(&rest[..end]), None)
        };
        let mut event = json!({ "index": index, "finish_reason": finish_reason, "logprobs": null });
        if self.head.endpoint != Endpoint::ChatCompletions {
            event["text"] = json!(piece.unwrap_or_default());
        } else {
            event["delta"] = match piece {
                Some(piece) if is_first => json!({ "role": "assistant", "content": piece }),
                Some(piece) => json!({ "content": piece }),
                None => json!({}),
            };
        }
        Some(event)
    }

    fn chunk(&self, choices: Value) -> Value {
        let is_chat = self.head.endpoint == Endpoint::ChatCompletions;
        let mut chunk = self.head.object(if is_chat { "chat.completion.chunk" } else { "text_completion" }, choices);
        if self.usage.is_some() {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}

impl Iterator for Events {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let chunk = match (self.piece(), self.rest) {
            (Some(piece), _) => self.chunk(json!([piece])),
            (None, Rest::Usage) => {
                self.rest = Rest::Done;
                let mut chunk = self.chunk(json!([]));
                chunk["usage"] = self.usage.as_ref().map_or(Value::Null, usage_object);
                chunk
            }
            (None, Rest::Done) => {
                self.rest = Rest::Nothing;
                return Some(Bytes::from_static(b"data: [DONE]\n\n"));
            }
            (None, Rest::Nothing) => return None,
        };
        Some(format!("data: {chunk}\n\n").into())
    }
}
