//! The way back: chat completions as a response, whole or in events.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::chat::{Choice, Completion, Usage};
use super::output::{Output, Stream};
use super::response::{Echo, Facts, Response, Status};
use crate::{Answer, Fault, Moment, sse};

/// Makes one answer a response.
pub(super) struct Back {
    moment: Moment,
    /// As the client wrote it, until the engine says better.
    model: String,
    echo: Echo,
    events: sse::Events,
    output: Output,
    stream: Stream,
    finish_reason: Option<String>,
    service_tier: Option<String>,
    usage: Option<Usage>,
    begun: bool,
    ended: bool,
}

/// An `error` event.
#[derive(Serialize)]
struct ErrorEvent<'a> {
    code: &'a str,
    message: &'a str,
    param: (),
}

#[derive(Serialize)]
struct OfResponse<'a> {
    response: Response<'a>,
}

impl Back {
    pub(super) fn new(moment: Moment, model: String, echo: Echo, custom: HashSet<String>) -> Self {
        let output = Output::new(moment.id.clone(), custom);
        Self {
            moment,
            model,
            echo,
            events: sse::Events::default(),
            output,
            stream: Stream::default(),
            finish_reason: None,
            service_tier: None,
            usage: None,
            begun: false,
            ended: false,
        }
    }

    fn response<'a>(&'a self, status: &'a Status) -> Response<'a> {
        let facts = Facts {
            moment: &self.moment,
            model: &self.model,
            service_tier: self.service_tier.as_deref(),
            echo: &self.echo,
            usage: self.usage.as_ref(),
        };
        Response::new(facts, status, self.output.views())
    }

    fn tell(&mut self, kind: &'static str, status: &Status) {
        let mut stream = std::mem::take(&mut self.stream);
        stream.event(kind, OfResponse { response: self.response(status) });
        self.stream = stream;
    }

    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.tell("response.created", &Status::InProgress);
            self.tell("response.in_progress", &Status::InProgress);
        }
    }

    fn event(&mut self, event: &sse::Event) -> Result<(), Fault> {
        if self.ended {
            return Ok(());
        }
        if event.is_done() {
            return self.complete();
        }
        let chunk = read(event.data.as_bytes())?;
        if let Some(error) = &chunk.error {
            let (code, message) = code_and_message(error);
            self.fail(code.as_deref().unwrap_or("server_error"), &message);
            return Ok(());
        }
        self.take(chunk)
    }

    /// A whole answer, or one more chunk.
    fn take(&mut self, completion: Completion) -> Result<(), Fault> {
        let Completion { model, choices, usage, service_tier, error: _ } = completion;
        if let Some(model) = model.filter(|model| !model.is_empty() && !self.begun) {
            self.model = model;
        }
        self.service_tier = service_tier.or(self.service_tier.take());
        self.usage = usage.or(self.usage.take());
        self.begin();
        for choice in choices.unwrap_or_default() {
            // Only one was asked for.
            if choice.index == 0 {
                self.choose(choice)?;
            }
        }
        Ok(())
    }

    fn choose(&mut self, choice: Choice) -> Result<(), Fault> {
        let Self { output, stream, .. } = self;
        let said = choice.message.unwrap_or_default();
        let thought = said.reasoning_content.filter(|text| !text.is_empty()).or(said.reasoning);
        output.think(thought.as_deref().unwrap_or_default(), stream)?;
        let text = said.content.map(super::chat::Content::into_text).unwrap_or_default();
        let logprobs = choice.logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
        output.say(&text, logprobs, stream)?;
        output.refuse(said.refusal.as_deref().unwrap_or_default(), stream)?;
        for call in said.tool_calls.unwrap_or_default() {
            let arguments = call.function.as_ref().map(super::chat::Function::arguments).unwrap_or_default();
            let name = call.function.and_then(|function| function.name);
            output.call(call.index, call.id, name, &arguments, stream)?;
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        Ok(())
    }

    /// How the answer ended, by the engine's word for it.
    fn status(&self) -> Status {
        match self.finish_reason.as_deref() {
            Some("length") => Status::Incomplete("max_output_tokens"),
            Some("content_filter") => Status::Incomplete("content_filter"),
            Some("error") => Status::Failed { message: "the engine failed while it answered".to_owned() },
            _ => Status::Completed,
        }
    }

    /// All was said.
    fn complete(&mut self) -> Result<(), Fault> {
        let status = self.status();
        self.begin();
        let (last, kind) = match &status {
            Status::Incomplete(_) => ("incomplete", "response.incomplete"),
            Status::Failed { .. } => ("incomplete", "response.failed"),
            Status::InProgress | Status::Completed => ("completed", "response.completed"),
        };
        self.output.finish(last, &mut self.stream)?;
        self.tell(kind, &status);
        self.ended = true;
        Ok(())
    }

    /// No more will come, and not all was said.
    fn fail(&mut self, code: &str, message: &str) {
        if self.ended {
            return;
        }
        self.begin();
        self.ended = true;
        self.output.abandon();
        self.stream.event("error", ErrorEvent { code, message, param: () });
        self.tell("response.failed", &Status::Failed { message: message.to_owned() });
    }
}

impl Answer for Back {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        self.stream.is_silent = true;
        let completion = read(body)?;
        if let Some(error) = &completion.error {
            return Err(Fault(code_and_message(error).1));
        }
        if completion.choices.as_ref().is_none_or(Vec::is_empty) {
            return Err(Fault("it has no choices".to_owned()));
        }
        self.take(completion)?;
        self.complete()?;
        let status = self.status();
        serde_json::to_vec(&self.response(&status)).map_err(|error| Fault(error.to_string()))
    }

    fn error(&mut self, status: u16, body: &[u8]) -> Vec<u8> {
        // The two dialects have the same errors.
        if let Ok(WithError { error: Some(_) }) = serde_json::from_slice(body) {
            return body.to_vec();
        }
        let kind = if status < 500 { "invalid_request_error" } else { "server_error" };
        let message = bare_message(body).unwrap_or_else(|| format!("the engine answered with status {status}"));
        let error = serde_json::json!({ "message": message, "type": kind, "param": null, "code": null });
        serde_json::json!({ "error": error }).to_string().into_bytes()
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        self.events.push(bytes)?;
        while let Some(event) = self.events.next() {
            self.event(&event)?;
        }
        Ok(self.stream.take())
    }

    fn end(&mut self) -> Vec<u8> {
        let fault = self.events.end().and_then(|event| self.event(&event).err());
        if !self.ended && fault.is_none() && self.finish_reason.is_some() && self.complete().is_ok() {
            return self.stream.take();
        }
        let message = match fault {
            Some(fault) => fault.to_string(),
            None => "the engine's stream ended before the answer was complete".to_owned(),
        };
        self.broken("engine_failed", &message)
    }

    fn broken(&mut self, code: &str, message: &str) -> Vec<u8> {
        if !self.ended && self.finish_reason.is_some() && self.complete().is_ok() {
            // All was said; only the stream did not end as it should.
            return self.stream.take();
        }
        self.fail(code, message);
        self.stream.take()
    }
}

fn read(body: &[u8]) -> Result<Completion, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault(error.to_string()))
}

#[derive(Deserialize)]
struct WithError {
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(rename = "message")]
    _message: String,
}

/// What an error within a stream says.
fn code_and_message(error: &RawValue) -> (Option<String>, String) {
    #[derive(Default, Deserialize)]
    struct Told {
        message: Option<String>,
        code: Option<serde_json::Value>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let told: Told = serde_json::from_str(error.get()).unwrap_or_default();
    let code = match told.code {
        Some(serde_json::Value::String(code)) => Some(code),
        _ => told.kind,
    };
    let message = told.message.or_else(|| serde_json::from_str(error.get()).ok());
    (code, message.unwrap_or_else(|| shortened(error.get())))
}

/// What an error says that is not in OpenAI's form: the forms of frameworks, or plain text.
fn bare_message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Bare {
        #[serde(alias = "error", alias = "message")]
        detail: String,
    }
    if let Ok(Bare { detail }) = serde_json::from_slice(body) {
        return Some(detail);
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(LONGEST_MESSAGE * 4)]);
    let text = text.trim();
    (!text.is_empty()).then(|| shortened(text))
}

/// How many characters of an answer that is no error object are repeated.
const LONGEST_MESSAGE: usize = 1000;

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_MESSAGE).collect()
}
