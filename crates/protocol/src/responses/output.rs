//! What the model says, as items, and the events that tell of each piece.
//!
//! One item after the other is open, thoughts or a message; it ends where the next begins. Calls may come interleaved, so all
//! of them stay open to the end.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::logprobs::{Logprob, Streamed};
use super::tools::CUSTOM_ARGUMENT;
use crate::{Fault, sse};

/// How much an answer may hold, in bytes.
const LARGEST: usize = 64 << 20;

/// How many calls an answer may make.
const MOST_CALLS: usize = 1024;

/// Events for the client, numbered. Of an answer that comes whole nobody is told in pieces.
#[derive(Default)]
pub(super) struct Stream {
    written: Vec<u8>,
    sequence: u64,
    pub(super) is_silent: bool,
}

#[derive(Serialize)]
struct Numbered<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    fields: T,
}

impl Stream {
    pub(super) fn event(&mut self, kind: &'static str, fields: impl Serialize) {
        if self.is_silent {
            return;
        }
        let numbered = Numbered { kind, sequence_number: self.sequence, fields };
        self.sequence += 1;
        sse::write(&mut self.written, Some(kind), &numbered);
    }

    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.written)
    }
}

/// The items of one answer.
pub(super) struct Output {
    /// What the ids of its items are made of.
    id: String,
    /// Functions that stand for custom tools.
    custom: HashSet<String>,
    items: Vec<Item>,
    /// Whether the last item that is not a call may go on.
    open: Option<usize>,
    calls: Vec<PendingCall>,
    held: usize,
}

struct Item {
    id: String,
    status: &'static str,
    body: Body,
}

enum Body {
    Reasoning(String),
    Message(Vec<Part>),
    Call { is_custom: bool, call_id: String, name: String, arguments: String },
}

/// A part of a message.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { text: String, annotations: [(); 0], logprobs: Vec<Logprob> },
    Refusal { refusal: String },
}

/// A call of the engine.
struct PendingCall {
    index: u64,
    id: Option<String>,
    /// Where its item stands, once its name is known.
    item: Option<usize>,
    /// Arguments that came before the name.
    arguments: String,
}

/// An item, as the client sees it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ItemView<'a> {
    Reasoning { id: &'a str, summary: [(); 0], content: Vec<ReasoningText<'a>>, status: &'static str },
    Message { id: &'a str, status: &'static str, role: &'static str, content: &'a [Part] },
    FunctionCall { id: &'a str, call_id: &'a str, name: &'a str, arguments: &'a str, status: &'static str },
    CustomToolCall { id: &'a str, call_id: &'a str, name: &'a str, input: &'a str },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "reasoning_text")]
pub(super) struct ReasoningText<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct OfItem<'a> {
    output_index: usize,
    item: ItemView<'a>,
}

#[derive(Serialize)]
struct OfPart<'a, T> {
    item_id: &'a str,
    output_index: usize,
    content_index: usize,
    part: T,
}

/// A piece or the whole of a text, under the name that its event has for it.
#[derive(Serialize)]
struct OfText<'a, T> {
    item_id: &'a str,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_index: Option<usize>,
    #[serde(flatten)]
    text: T,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Words<'a> {
    Delta(&'a str),
    Text(&'a str),
    Refusal(&'a str),
    Arguments(&'a str),
    Input(&'a str),
}

#[derive(Serialize)]
struct Probable<'a> {
    #[serde(flatten)]
    words: Words<'a>,
    logprobs: Vec<Streamed<'a>>,
}

impl Output {
    pub(super) fn new(id: String, custom: HashSet<String>) -> Self {
        Self { id, custom, items: Vec::new(), open: None, calls: Vec::new(), held: 0 }
    }

    /// All items, in their order.
    pub(super) fn views(&self) -> Vec<ItemView<'_>> {
        self.items.iter().map(Item::view).collect()
    }

    /// More thoughts.
    pub(super) fn think(&mut self, delta: &str, stream: &mut Stream) -> Result<(), Fault> {
        if delta.is_empty() {
            return Ok(());
        }
        self.hold(delta.len())?;
        let at = match self.open {
            Some(at) if matches!(self.items[at].body, Body::Reasoning(_)) => at,
            _ => {
                self.close(stream, "completed");
                let at = self.add("rs", Body::Reasoning(String::new()), stream);
                let part = ReasoningText { text: "" };
                let item_id = &self.items[at].id;
                stream
                    .event("response.content_part.added", OfPart { item_id, output_index: at, content_index: 0, part });
                self.open = Some(at);
                at
            }
        };
        let Item { id, body: Body::Reasoning(text), .. } = &mut self.items[at] else { return Ok(()) };
        text.push_str(delta);
        let text = Words::Delta(delta);
        let event = OfText { item_id: id, output_index: at, content_index: Some(0), text };
        stream.event("response.reasoning_text.delta", event);
        Ok(())
    }

    /// More of what it says.
    pub(super) fn say(&mut self, delta: &str, logprobs: Vec<Logprob>, stream: &mut Stream) -> Result<(), Fault> {
        if delta.is_empty() && logprobs.is_empty() {
            return Ok(());
        }
        self.hold(delta.len() + logprobs.iter().map(Logprob::size).sum::<usize>())?;
        let at = self.message(stream);
        let is_text = |part: &Part| matches!(part, Part::OutputText { .. });
        self.part(at, is_text, Part::empty_text, stream);
        let Item { id, body: Body::Message(parts), .. } = &mut self.items[at] else { return Ok(()) };
        let content_index = Some(parts.len() - 1);
        let Some(Part::OutputText { text, logprobs: all, .. }) = parts.last_mut() else { return Ok(()) };
        text.push_str(delta);
        let words = Probable { words: Words::Delta(delta), logprobs: Logprob::streamed(&logprobs) };
        let event = OfText { item_id: id, output_index: at, content_index, text: words };
        stream.event("response.output_text.delta", event);
        all.extend(logprobs);
        Ok(())
    }

    /// More of why it will not.
    pub(super) fn refuse(&mut self, delta: &str, stream: &mut Stream) -> Result<(), Fault> {
        if delta.is_empty() {
            return Ok(());
        }
        self.hold(delta.len())?;
        let at = self.message(stream);
        let is_refusal = |part: &Part| matches!(part, Part::Refusal { .. });
        self.part(at, is_refusal, || Part::Refusal { refusal: String::new() }, stream);
        let Item { id, body: Body::Message(parts), .. } = &mut self.items[at] else { return Ok(()) };
        let content_index = Some(parts.len() - 1);
        let Some(Part::Refusal { refusal }) = parts.last_mut() else { return Ok(()) };
        refusal.push_str(delta);
        let event = OfText { item_id: id, output_index: at, content_index, text: Words::Delta(delta) };
        stream.event("response.refusal.delta", event);
        Ok(())
    }

    /// More of a call. Where the engine does not number them, one with an id is a new one.
    pub(super) fn call(
        &mut self,
        index: Option<u64>,
        id: Option<String>,
        name: Option<String>,
        arguments: &str,
        stream: &mut Stream,
    ) -> Result<(), Fault> {
        self.hold(arguments.len())?;
        let known = match index {
            Some(index) => self.calls.iter().rposition(|call| call.index == index),
            None if id.is_some() => None,
            None => self.calls.len().checked_sub(1),
        };
        let at = match known {
            Some(at) => at,
            None => {
                if self.calls.len() == MOST_CALLS {
                    return Err(Fault(format!("more than {MOST_CALLS} calls in one answer")));
                }
                let index = index.unwrap_or(u64::MAX);
                self.calls.push(PendingCall { index, id: None, item: None, arguments: String::new() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if call.id.is_none() {
            call.id = id.filter(|id| !id.is_empty());
        }
        match (call.item, name.filter(|name| !name.is_empty())) {
            (Some(item), _) => self.argue(item, arguments, stream),
            (None, Some(name)) => {
                let mut before = std::mem::take(&mut call.arguments);
                before.push_str(arguments);
                let item = self.begin_call(at, name, stream)?;
                self.argue(item, &before, stream);
            }
            (None, None) => call.arguments.push_str(arguments),
        }
        Ok(())
    }

    /// Ends all that is open. Of an answer that was cut short the last item is what `last` says.
    pub(super) fn finish(&mut self, last: &'static str, stream: &mut Stream) -> Result<(), Fault> {
        for at in 0..self.calls.len() {
            if self.calls[at].item.is_none() {
                // It never had a name. What the engine did say is passed on.
                let arguments = std::mem::take(&mut self.calls[at].arguments);
                let item = self.begin_call(at, String::new(), stream)?;
                self.argue(item, &arguments, stream);
            }
        }
        if self.items.is_empty() {
            // Nothing at all was said. Clients look for a message.
            let at = self.message(stream);
            self.part(at, |_| false, Part::empty_text, stream);
        }
        let end = self.items.len() - 1;
        if let Some(open) = self.open {
            self.close(stream, if open == end { last } else { "completed" });
        }
        for at in 0..self.items.len() {
            if matches!(self.items[at].body, Body::Call { .. }) && self.items[at].status == "in_progress" {
                self.end_call(at, if at == end { last } else { "completed" }, stream);
            }
        }
        Ok(())
    }

    /// Nothing more will come of what is open.
    pub(super) fn abandon(&mut self) {
        for item in self.items.iter_mut().filter(|item| item.status == "in_progress") {
            item.status = "incomplete";
        }
    }

    fn hold(&mut self, more: usize) -> Result<(), Fault> {
        self.held += more;
        if self.held > LARGEST {
            return Err(Fault(format!("an answer is larger than {LARGEST} bytes")));
        }
        Ok(())
    }

    /// Adds an item; where it stands.
    fn add(&mut self, prefix: &str, body: Body, stream: &mut Stream) -> usize {
        let at = self.items.len();
        self.items.push(Item { id: format!("{prefix}_{}_{at}", self.id), status: "in_progress", body });
        stream.event("response.output_item.added", OfItem { output_index: at, item: self.items[at].begun() });
        at
    }

    /// The message that is open, which may be a new one.
    fn message(&mut self, stream: &mut Stream) -> usize {
        match self.open {
            Some(at) if matches!(self.items[at].body, Body::Message(_)) => at,
            _ => {
                self.close(stream, "completed");
                let at = self.add("msg", Body::Message(Vec::new()), stream);
                self.open = Some(at);
                at
            }
        }
    }

    /// Makes sure that the last part of a message is of one kind.
    fn part(&mut self, at: usize, is_one: fn(&Part) -> bool, new: fn() -> Part, stream: &mut Stream) {
        let Item { id, body: Body::Message(parts), .. } = &mut self.items[at] else { return };
        if parts.last().is_some_and(is_one) {
            return;
        }
        end_part(id, at, parts, stream);
        parts.push(new());
        let (content_index, part) = (parts.len() - 1, &parts[parts.len() - 1]);
        stream.event("response.content_part.added", OfPart { item_id: id, output_index: at, content_index, part });
    }

    /// Ends the thoughts or the message that is open.
    fn close(&mut self, stream: &mut Stream, status: &'static str) {
        let Some(at) = self.open.take() else { return };
        let item = &mut self.items[at];
        item.status = status;
        match &item.body {
            Body::Reasoning(text) => {
                let (item_id, words) = (&item.id, Words::Text(text));
                let event = OfText { item_id, output_index: at, content_index: Some(0), text: words };
                stream.event("response.reasoning_text.done", event);
                let part = ReasoningText { text };
                stream
                    .event("response.content_part.done", OfPart { item_id, output_index: at, content_index: 0, part });
            }
            Body::Message(parts) => end_part(&item.id, at, parts, stream),
            Body::Call { .. } => {}
        }
        stream.event("response.output_item.done", OfItem { output_index: at, item: item.view() });
    }

    fn begin_call(&mut self, at: usize, name: String, stream: &mut Stream) -> Result<usize, Fault> {
        self.close(stream, "completed");
        self.hold(name.len())?;
        let is_custom = self.custom.contains(&name);
        let call_id = self.calls[at].id.clone().unwrap_or_else(|| format!("call_{}_{at}", self.id));
        let body = Body::Call { is_custom, call_id, name, arguments: String::new() };
        let item = self.add(if is_custom { "ctc" } else { "fc" }, body, stream);
        self.calls[at].item = Some(item);
        Ok(item)
    }

    fn argue(&mut self, at: usize, delta: &str, stream: &mut Stream) {
        let Item { id, body: Body::Call { is_custom, arguments, .. }, .. } = &mut self.items[at] else { return };
        arguments.push_str(delta);
        // The input of a custom tool lies within the arguments: it is told once they are whole.
        if !*is_custom && !delta.is_empty() {
            let event = OfText { item_id: id, output_index: at, content_index: None, text: Words::Delta(delta) };
            stream.event("response.function_call_arguments.delta", event);
        }
    }

    fn end_call(&mut self, at: usize, status: &'static str, stream: &mut Stream) {
        let item = &mut self.items[at];
        item.status = status;
        let item_id = &item.id;
        let Body::Call { is_custom, arguments, .. } = &mut item.body else { return };
        let of = |text| OfText { item_id, output_index: at, content_index: None, text };
        if *is_custom {
            if let Some(input) = custom_input(arguments) {
                *arguments = input;
            }
            if !arguments.is_empty() {
                stream.event("response.custom_tool_call_input.delta", of(Words::Delta(arguments)));
            }
            stream.event("response.custom_tool_call_input.done", of(Words::Input(arguments)));
        } else {
            stream.event("response.function_call_arguments.done", of(Words::Arguments(arguments)));
        }
        stream.event("response.output_item.done", OfItem { output_index: at, item: self.items[at].view() });
    }
}

/// Ends the last part of a message, if it has one.
fn end_part(item_id: &str, output_index: usize, parts: &[Part], stream: &mut Stream) {
    let Some((part, before)) = parts.split_last() else { return };
    let content_index = before.len();
    match part {
        Part::OutputText { text, logprobs, .. } => {
            let text = Probable { words: Words::Text(text), logprobs: Logprob::streamed(logprobs) };
            let event = OfText { item_id, output_index, content_index: Some(content_index), text };
            stream.event("response.output_text.done", event);
        }
        Part::Refusal { refusal } => {
            let text = Words::Refusal(refusal);
            let event = OfText { item_id, output_index, content_index: Some(content_index), text };
            stream.event("response.refusal.done", event);
        }
    }
    stream.event("response.content_part.done", OfPart { item_id, output_index, content_index, part });
}

/// The input of a custom tool, out of the arguments of the function that stands for it.
fn custom_input(arguments: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Arguments {
        input: String,
    }
    const { assert!(matches!(CUSTOM_ARGUMENT.as_bytes(), b"input")) };
    serde_json::from_str(arguments).ok().map(|Arguments { input }| input)
}

impl Part {
    fn empty_text() -> Self {
        Self::OutputText { text: String::new(), annotations: [], logprobs: Vec::new() }
    }
}

impl Item {
    /// How the client sees it when it begins.
    fn begun(&self) -> ItemView<'_> {
        match self.view() {
            ItemView::Reasoning { id, summary, status, .. } => {
                ItemView::Reasoning { id, summary, content: Vec::new(), status }
            }
            view => view,
        }
    }

    fn view(&self) -> ItemView<'_> {
        let Self { id, status, body } = self;
        match body {
            Body::Reasoning(text) => {
                ItemView::Reasoning { id, summary: [], content: vec![ReasoningText { text }], status }
            }
            Body::Message(content) => ItemView::Message { id, status, role: "assistant", content },
            Body::Call { is_custom: false, call_id, name, arguments } => {
                ItemView::FunctionCall { id, call_id, name, arguments, status }
            }
            Body::Call { is_custom: true, call_id, name, arguments } => {
                ItemView::CustomToolCall { id, call_id, name, input: arguments }
            }
        }
    }
}
