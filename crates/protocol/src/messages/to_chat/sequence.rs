//! Blocks one after another, of what comes in any order.
//!
//! A stream of chat completions may go on with one tool call after it began the next; in the Messages API a block is over
//! when the next one begins. So the first block is passed on as it comes, and what belongs to later ones waits for its end.
//!
//! ```text
//!   text, thinking: ends when anything else begins
//!   a tool call:    begins once its name is known, ends when its arguments are a whole object, or with the answer
//! ```

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::completion::Call;
use crate::messages::json::object;
use crate::{Fault, sse};

/// How much may wait, in bytes.
const HELD_MAX: usize = 8 << 20;

/// How many tools one answer may call.
const CALLS_MAX: usize = 1024;

/// The blocks of one answer that are not over.
#[derive(Default)]
pub(super) struct Sequence {
    waiting: VecDeque<Block>,
    /// The first of them was begun.
    is_open: bool,
    /// Its place in the message.
    index: usize,
    /// How much of them was not passed on, in bytes.
    held: usize,
    /// All calls so far: the index and the id that chat completions gave each.
    calls: Vec<(u64, String)>,
}

struct Block {
    kind: Kind,
    /// What was not passed on yet.
    text: String,
}

enum Kind {
    Text,
    Thinking,
    Tool { call: usize, id: String, name: String, arguments: Arguments },
}

/// How far the arguments of a call have come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Nothing,
    /// Within an object: so many braces and brackets deep, perhaps within a text, perhaps after a backslash.
    Object {
        depth: usize,
        in_text: bool,
        escaped: bool,
    },
    Whole,
    /// They are no object: wrapped in one when the answer is over.
    Other,
}

impl Sequence {
    /// Whether any tool was called.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// More of what the model says.
    pub(super) fn text(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        let goes_on = matches!(self.waiting.back(), Some(Block { kind: Kind::Text, .. }));
        self.more(Kind::Text, goes_on, text, out)
    }

    /// More of what it thinks.
    pub(super) fn thinking(&mut self, text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        let goes_on = matches!(self.waiting.back(), Some(Block { kind: Kind::Thinking, .. }));
        self.more(Kind::Thinking, goes_on, text, out)
    }

    fn more(&mut self, kind: Kind, goes_on: bool, text: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
        if text.is_empty() {
            return Ok(());
        }
        self.hold(text)?;
        if !goes_on {
            self.waiting.push_back(Block { kind, text: String::new() });
        }
        self.waiting.back_mut().expect("it goes on, or was just put there").text.push_str(text);
        self.advance(false, out);
        Ok(())
    }

    /// More of a tool call. `made` names a call to which the engine gave no id.
    pub(super) fn call(
        &mut self,
        delta: &Call<'_>,
        made: impl Fn(usize) -> String,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let index = delta.index.unwrap_or(0);
        let id = delta.id.as_deref().filter(|id| !id.is_empty());
        let function = delta.function.as_ref();
        let name = function.and_then(|function| function.name.as_deref()).unwrap_or_default();
        let arguments = function.and_then(|function| function.arguments.as_ref()).map_or("", |text| &text.0);
        // Another id under a known index is another call: some never count.
        let known = self.calls.iter().rposition(|call| call.0 == index);
        let known = known.filter(|&call| name.is_empty() || id.is_none_or(|id| self.calls[call].1 == id));
        let call = match known {
            Some(call) => call,
            None => self.begin(index, id, made)?,
        };
        // What comes after a call is over is of no use to anybody.
        let Some(block) = self.waiting.iter_mut().find(|block| block.is_call(call)) else { return Ok(()) };
        if let Kind::Tool { name: known, .. } = &mut block.kind
            && known.is_empty()
        {
            known.push_str(name);
        }
        let taken = block.arguments(arguments);
        self.hold(taken)?;
        let block = self.waiting.iter_mut().find(|block| block.is_call(call));
        block.expect("it was there").text.push_str(taken);
        self.advance(false, out);
        Ok(())
    }

    fn begin(&mut self, index: u64, id: Option<&str>, made: impl Fn(usize) -> String) -> Result<usize, Fault> {
        let call = self.calls.len();
        if call == CALLS_MAX {
            return Err(Fault(format!("an answer calls more than {CALLS_MAX} tools")));
        }
        let id = id.map_or_else(|| made(call), str::to_owned);
        self.hold(&id)?;
        self.calls.push((index, id.clone()));
        let kind = Kind::Tool { call, id, name: String::new(), arguments: Arguments::Nothing };
        self.waiting.push_back(Block { kind, text: String::new() });
        Ok(call)
    }

    /// The answer is over: what waits is passed on.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.advance(true, out);
    }

    fn hold(&mut self, text: &str) -> Result<(), Fault> {
        self.held += text.len();
        if self.held > HELD_MAX {
            return Err(Fault(format!("more than {HELD_MAX} bytes of tool calls wait for one before them to end")));
        }
        Ok(())
    }

    fn advance(&mut self, is_over: bool, out: &mut Vec<u8>) {
        while let Some(block) = self.waiting.front_mut() {
            if !self.is_open {
                if !block.may_begin() && !is_over {
                    return;
                }
                let start =
                    json!({ "type": "content_block_start", "index": self.index, "content_block": block.start() });
                sse::write(out, Some("content_block_start"), &start);
                self.is_open = true;
            }
            if is_over && block.is_other() {
                let whole = object(&block.text);
                self.held -= block.text.len();
                block.text.clear();
                delta(self.index, &block.delta(whole.get()), out);
            } else if !block.text.is_empty() && !block.is_other() {
                self.held -= block.text.len();
                let text = std::mem::take(&mut block.text);
                delta(self.index, &block.delta(&text), out);
            }
            let is_closed = is_over
                || match &block.kind {
                    Kind::Text | Kind::Thinking => self.waiting.len() > 1,
                    Kind::Tool { arguments, .. } => *arguments == Arguments::Whole,
                };
            if !is_closed {
                return;
            }
            let Some(block) = self.waiting.pop_front() else { return };
            if let Kind::Thinking = block.kind {
                // Nobody here can sign; the clients want the field.
                delta(self.index, &json!({ "type": "signature_delta", "signature": "" }), out);
            }
            let stop = json!({ "type": "content_block_stop", "index": self.index });
            sse::write(out, Some("content_block_stop"), &stop);
            self.is_open = false;
            self.index += 1;
        }
    }
}

impl Block {
    fn is_call(&self, number: usize) -> bool {
        matches!(self.kind, Kind::Tool { call, .. } if call == number)
    }

    fn is_other(&self) -> bool {
        matches!(self.kind, Kind::Tool { arguments: Arguments::Other, .. })
    }

    fn may_begin(&self) -> bool {
        !matches!(&self.kind, Kind::Tool { name, .. } if name.is_empty())
    }

    fn start(&self) -> Value {
        match &self.kind {
            Kind::Text => json!({ "type": "text", "text": "" }),
            Kind::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Kind::Tool { id, name, .. } => json!({ "type": "tool_use", "id": id, "name": name, "input": {} }),
        }
    }

    fn delta(&self, text: &str) -> Value {
        match &self.kind {
            Kind::Text => json!({ "type": "text_delta", "text": text }),
            Kind::Thinking => json!({ "type": "thinking_delta", "thinking": text }),
            Kind::Tool { .. } => json!({ "type": "input_json_delta", "partial_json": text }),
        }
    }

    /// As much of `more` as belongs to the arguments.
    fn arguments<'m>(&mut self, more: &'m str) -> &'m str {
        match &mut self.kind {
            Kind::Tool { arguments, .. } => arguments.pass(more),
            Kind::Text | Kind::Thinking => more,
        }
    }
}

impl Arguments {
    /// Sees more of them go by: what belongs to them is given back.
    fn pass<'m>(&mut self, more: &'m str) -> &'m str {
        let mut from = 0;
        if *self == Self::Nothing {
            from = more.bytes().take_while(u8::is_ascii_whitespace).count();
            match more.as_bytes().get(from) {
                None => return "",
                Some(b'{') => *self = Self::Object { depth: 0, in_text: false, escaped: false },
                Some(_) => *self = Self::Other,
            }
        }
        let Self::Object { depth, in_text, escaped } = self else {
            return if *self == Self::Whole { "" } else { &more[from..] };
        };
        for (at, byte) in more.bytes().enumerate().skip(from) {
            match byte {
                _ if *escaped => *escaped = false,
                b'\\' if *in_text => *escaped = true,
                b'"' => *in_text = !*in_text,
                _ if *in_text => {}
                b'{' | b'[' => *depth += 1,
                b'}' | b']' => {
                    *depth -= 1;
                    if *depth == 0 {
                        *self = Self::Whole;
                        return &more[from..=at];
                    }
                }
                _ => {}
            }
        }
        &more[from..]
    }
}

fn delta(index: usize, delta: &Value, out: &mut Vec<u8>) {
    sse::write(
        out,
        Some("content_block_delta"),
        &json!({ "type": "content_block_delta", "index": index, "delta": delta }),
    );
}
