//! An answer of chat completions as one of the Messages API.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::asked::Asked;
use super::completion::{Completion, Usage, stop_reason};
use super::sequence::Sequence;
use crate::messages::error::{self, Told};
use crate::messages::json::{Text, object};
use crate::sse::{self, Event, Events};
use crate::{Answer, Fault, Moment};

/// The way back to a client that speaks Messages.
pub(super) struct Message {
    moment: Moment,
    /// The model that was asked for, which an engine need not repeat.
    model: String,
    stop_sequences: Vec<String>,
    events: Events,
    state: State,
    sequence: Sequence,
    finish_reason: Option<String>,
    stopped_at: Option<String>,
    usage: Usage,
}

#[derive(PartialEq, Eq)]
enum State {
    Nothing,
    Begun,
    Over,
}

/// A whole message.
#[derive(Serialize)]
struct Whole<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    usage: Value,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Thinking { thinking: Text<'a>, signature: &'static str },
    Text { text: Text<'a> },
    ToolUse { id: String, name: Text<'a>, input: Box<RawValue> },
}

impl Message {
    pub(super) fn new(asked: &Asked<'_>, moment: Moment) -> Self {
        let stop_sequences = asked.stop_sequences.iter().flatten().map(|text| text.to_string()).collect();
        Self {
            moment,
            model: asked.model.to_string(),
            stop_sequences,
            events: Events::default(),
            state: State::Nothing,
            sequence: Sequence::default(),
            finish_reason: None,
            stopped_at: None,
            usage: Usage::default(),
        }
    }

    fn id(&self) -> String {
        format!("msg_{}", self.moment.id)
    }

    /// The stop sequence at which the engine says it stopped, if the client named it.
    fn stopped_at(&self, stop_reason: Option<&Value>) -> Option<String> {
        let stop_reason = stop_reason?.as_str()?;
        self.stop_sequences.iter().find(|text| *text == stop_reason).cloned()
    }

    fn event(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.state == State::Over {
            return Ok(());
        }
        if event.is_done() {
            self.finish(out);
            return Ok(());
        }
        let mut chunk = Completion::read(event.data.as_bytes())?;
        if let Some(error) = &chunk.error {
            let told = Told::of(error).or_else(|| Told::of(&json!({ "error": error })));
            let message = told.as_ref().map_or("the engine gave up", |told| &told.message);
            self.fail("api_error", message, out);
            return Ok(());
        }
        if self.state == State::Nothing {
            self.start(chunk.model.as_deref(), out);
        }
        if let Some(usage) = chunk.usage {
            self.usage = usage;
        }
        let Some(choice) = chunk.choice() else { return Ok(()) };
        let mut said = choice.message.unwrap_or_default();
        if let Some(thought) = said.thought() {
            self.sequence.thinking(&thought, out)?;
        }
        for text in [&said.content, &said.refusal].into_iter().flatten() {
            self.sequence.text(text, out)?;
        }
        let moment = &self.moment;
        for call in said.tool_calls.iter().flatten() {
            self.sequence.call(call, |number| made_id(moment, number), out)?;
        }
        if said.refusal.is_some_and(|refusal| !refusal.is_empty()) {
            self.finish_reason = Some("content_filter".to_owned());
        } else if let Some(reason) = choice.finish_reason {
            self.finish_reason.get_or_insert_with(|| reason.to_string());
            self.stopped_at = self.stopped_at(choice.stop_reason.as_ref());
        }
        Ok(())
    }

    fn start(&mut self, model: Option<&str>, out: &mut Vec<u8>) {
        self.state = State::Begun;
        let model = model.filter(|model| !model.is_empty()).unwrap_or(&self.model);
        let message = json!({
            "id": self.id(),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": Usage::default().to_messages(),
        });
        sse::write(out, Some("message_start"), &json!({ "type": "message_start", "message": message }));
        sse::write(out, Some("ping"), &json!({ "type": "ping" }));
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if self.state == State::Nothing {
            self.start(None, out);
        }
        self.state = State::Over;
        self.sequence.finish(out);
        let stopped_at = self.stopped_at.take();
        let reason = stop_reason(self.finish_reason.as_deref(), self.sequence.has_calls(), stopped_at.as_deref());
        let delta = json!({ "stop_reason": reason, "stop_sequence": stopped_at });
        let event = json!({ "type": "message_delta", "delta": delta, "usage": self.usage.to_messages() });
        sse::write(out, Some("message_delta"), &event);
        sse::write(out, Some("message_stop"), &json!({ "type": "message_stop" }));
    }

    fn fail(&mut self, kind: &str, message: &str, out: &mut Vec<u8>) {
        self.state = State::Over;
        sse::write(out, Some("error"), &error::to_messages(kind, message));
    }
}

impl Answer for Message {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut completion = Completion::read(body)?;
        if let Some(error) = &completion.error {
            let told = Told::of(&json!({ "error": error }));
            return Err(Fault(told.map_or_else(|| "it is an error".to_owned(), |told| told.message)));
        }
        let choice = completion.choice().ok_or_else(|| Fault("it has no choices".to_owned()))?;
        let mut said = choice.message.unwrap_or_default();
        let mut content = Vec::new();
        content.extend(said.thought().map(|thinking| Block::Thinking { thinking, signature: "" }));
        let is_refusal = said.refusal.as_ref().is_some_and(|refusal| !refusal.is_empty());
        let texts = [said.content.take(), said.refusal.take()].into_iter().flatten();
        content.extend(texts.filter(|text| !text.is_empty()).map(|text| Block::Text { text }));
        let calls = said.tool_calls.unwrap_or_default();
        let has_calls = !calls.is_empty();
        for (number, call) in calls.into_iter().enumerate() {
            let function = call.function.unwrap_or_default();
            let id = call.id.filter(|id| !id.is_empty());
            content.push(Block::ToolUse {
                id: id.map_or_else(|| made_id(&self.moment, number), |id| id.to_string()),
                name: function.name.unwrap_or_default(),
                input: object(function.arguments.as_ref().map_or("", |arguments| &arguments.0)),
            });
        }
        let stop_sequence = self.stopped_at(choice.stop_reason.as_ref());
        let finish_reason = if is_refusal { Some("content_filter") } else { choice.finish_reason.as_deref() };
        let model = completion.model.as_deref().filter(|model| !model.is_empty()).unwrap_or(&self.model);
        let message = Whole {
            id: self.id(),
            kind: "message",
            role: "assistant",
            model,
            content,
            stop_reason: stop_reason(finish_reason, has_calls, stop_sequence.as_deref()),
            stop_sequence,
            usage: completion.usage.unwrap_or_default().to_messages(),
        };
        serde_json::to_vec(&message).map_err(|error| Fault(error.to_string()))
    }

    fn error(&mut self, status: u16, body: &[u8]) -> Vec<u8> {
        error::error(status, &Told::read(status, body).message)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        self.events.push(bytes)?;
        while let Some(event) = self.events.next() {
            self.event(&event, &mut out)?;
        }
        Ok(out)
    }

    fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(event) = self.events.end()
            && let Err(Fault(fault)) = self.event(&event, &mut out)
        {
            self.fail("api_error", &fault, &mut out);
        }
        match self.state {
            State::Over => {}
            _ if self.finish_reason.is_some() => self.finish(&mut out),
            _ => self.fail("api_error", "the engine's answer ended before it was complete", &mut out),
        }
        out
    }

    fn broken(&mut self, code: &str, message: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if self.state != State::Over {
            self.fail(error::kind_of_code(code), message, &mut out);
        }
        out
    }
}

/// The id of a call to which the engine gave none.
fn made_id(moment: &Moment, number: usize) -> String {
    format!("toolu_{}_{number}", moment.id)
}
