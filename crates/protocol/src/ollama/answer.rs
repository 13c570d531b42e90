//! The way back of `chat` and `generate`: what an engine says, told in Ollama's words.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{STREAM_TYPE, created_at, error};
use crate::sse::Events;
use crate::{Answer, Fault, Moment};

/// No answer has more calls than this.
const CALLS_MAX: usize = 512;
/// Bytes that calls may have together while they come.
const CALLS_BYTES_MAX: usize = 8 << 20;
/// An engine's error that is no JSON is told up to this many characters.
const ERROR_CHARS_MAX: usize = 1000;

/// In which of two forms an answer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `message`, with its role.
    Chat,
    /// `response`.
    Generate,
}

/// An answer while it is told.
#[derive(Debug)]
pub(super) struct Telling {
    shape: Shape,
    model: String,
    created_at: String,
    events: Events,
    calls: Calls,
    counts: Counts,
    finish: Option<String>,
    /// The last line was written.
    is_over: bool,
}

impl Telling {
    pub(super) fn new(shape: Shape, model: String, moment: &Moment) -> Self {
        Self {
            shape,
            model,
            created_at: created_at(moment),
            events: Events::default(),
            calls: Calls::default(),
            counts: Counts::default(),
            finish: None,
            is_over: false,
        }
    }

    /// What is told where nothing was generated.
    pub(super) fn held(&self, reason: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out, Piece { done_reason: Some(reason), ..Piece::default() });
        out
    }

    /// One object of the engine's: the line for it, if it says anything, and a last one if it is the end.
    fn take(&mut self, chunk: Chunk, out: &mut Vec<u8>) -> Result<(), Fault> {
        if let Some(fault) = chunk.error {
            out.extend(error(&message_of(&fault).unwrap_or_else(|| fault.to_string())));
            out.push(b'\n');
            self.is_over = true;
            return Ok(());
        }
        self.counts.take(&chunk);
        let choice = chunk.choices.unwrap_or_default().into_iter().find(|choice| choice.index.unwrap_or(0) == 0);
        let choice = choice.unwrap_or_else(|| Choice {
            finish_reason: chunk.stop.unwrap_or(false).then(|| chunk.stop_type.unwrap_or_default()),
            text: chunk.content,
            ..Choice::default()
        });
        self.finish = choice.finish_reason.or(self.finish.take());
        let said = choice.delta.or(choice.message).unwrap_or_default();
        let text = said.content.or(choice.text).unwrap_or_default();
        let thinking = said.reasoning_content.or(said.reasoning).unwrap_or_default();
        for (index, call) in said.tool_calls.unwrap_or_default().into_iter().enumerate() {
            self.calls.take(index, call)?;
        }
        let logprobs = choice.logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
        if !text.is_empty() || !thinking.is_empty() || !logprobs.is_empty() {
            self.write(out, Piece { text: &text, thinking: &thinking, logprobs, ..Piece::default() });
            out.push(b'\n');
        }
        Ok(())
    }

    /// The engine has said all.
    fn finish(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        let (calls, broken) = self.calls.told();
        if !calls.is_empty() || !broken.is_empty() {
            self.write(out, Piece { text: &broken, calls, ..Piece::default() });
            out.push(b'\n');
        }
        self.write(out, Piece { done_reason: Some(self.reason()), ..Piece::default() });
        out.push(b'\n');
    }

    /// Why it ended, in Ollama's words.
    fn reason(&self) -> &str {
        match self.finish.as_deref() {
            Some("length" | "limit") => "length",
            Some("content_filter") => "content_filter",
            _ => "stop",
        }
    }

    fn write(&self, out: &mut Vec<u8>, piece: Piece<'_>) {
        let Piece { text, thinking, calls, logprobs, done_reason } = piece;
        let thinking = Some(thinking).filter(|thinking| !thinking.is_empty());
        let is_chat = self.shape == Shape::Chat;
        let calls = Some(calls).filter(|calls| !calls.is_empty());
        let line = Line {
            model: &self.model,
            created_at: &self.created_at,
            message: is_chat.then_some(Message { role: "assistant", content: text, thinking, tool_calls: calls }),
            response: (!is_chat).then_some(text),
            thinking: thinking.filter(|_| !is_chat),
            done: done_reason.is_some(),
            done_reason,
            logprobs: Some(logprobs).filter(|logprobs| !logprobs.is_empty()),
            times: if done_reason.is_some() { self.counts.times() } else { Times::default() },
        };
        serde_json::to_writer(out, &line).expect("a line is plain data");
    }
}

impl Answer for Telling {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let answer: Chunk = serde_json::from_slice(body).map_err(|error| Fault(error.to_string()))?;
        if answer.choices.is_none() && answer.content.is_none() {
            return Err(Fault("it has no `choices`".to_owned()));
        }
        self.counts.take(&answer);
        let choice = answer.choices.unwrap_or_default().into_iter().next().unwrap_or_else(|| Choice {
            finish_reason: Some(answer.stop_type.unwrap_or_default()),
            text: answer.content,
            ..Choice::default()
        });
        self.finish = choice.finish_reason;
        let said = choice.message.or(choice.delta).unwrap_or_default();
        for (index, call) in said.tool_calls.unwrap_or_default().into_iter().enumerate() {
            self.calls.take(index, call)?;
        }
        let (calls, broken) = self.calls.told();
        let text = said.content.or(choice.text).unwrap_or_default() + &broken;
        let thinking = said.reasoning_content.or(said.reasoning).unwrap_or_default();
        let logprobs = choice.logprobs.and_then(|logprobs| logprobs.content).unwrap_or_default();
        let mut out = Vec::new();
        let done_reason = Some(self.reason());
        self.write(&mut out, Piece { text: &text, thinking: &thinking, calls, logprobs, done_reason });
        Ok(out)
    }

    fn error(&mut self, status: u16, body: &[u8]) -> Vec<u8> {
        error_of(status, body)
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        self.events.push(bytes)?;
        let mut out = Vec::new();
        while let Some(event) = self.events.next() {
            if self.is_over {
                continue;
            }
            if event.is_done() {
                self.finish(&mut out);
                continue;
            }
            let chunk = serde_json::from_str(&event.data).map_err(|error| Fault(error.to_string()))?;
            self.take(chunk, &mut out)?;
        }
        Ok(out)
    }

    fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.events.end().filter(|_| !self.is_over) {
            Some(event) if event.is_done() => self.finish(&mut out),
            Some(event) => {
                let taken = serde_json::from_str(&event.data).map(|chunk| self.take(chunk, &mut out));
                if !matches!(taken, Ok(Ok(()))) {
                    self.finish = None;
                }
            }
            None => {}
        }
        if !self.is_over {
            match self.finish {
                Some(_) => self.finish(&mut out),
                None => out.extend(self.broken("engine_failed", "the engine's answer ended before it was complete")),
            }
        }
        out
    }

    fn broken(&mut self, _code: &str, message: &str) -> Vec<u8> {
        if std::mem::replace(&mut self.is_over, true) {
            return Vec::new();
        }
        let mut line = error(message);
        line.push(b'\n');
        line
    }

    fn stream_type(&self) -> &'static str {
        STREAM_TYPE
    }
}

/// An engine's error, told in Ollama's form.
pub(super) fn error_of(status: u16, body: &[u8]) -> Vec<u8> {
    let told =
        serde_json::from_slice::<Value>(body).ok().and_then(|body| message_of(body.get("error").unwrap_or(&body)));
    let text = || {
        let text: String = String::from_utf8_lossy(body).trim().chars().take(ERROR_CHARS_MAX).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    error(&told.or_else(text).unwrap_or_else(|| format!("the engine answered {status} and did not say why")))
}

/// What an error object says, in the words of whoever's it is.
fn message_of(error: &Value) -> Option<String> {
    let words = ["message", "detail", "error"].into_iter().find_map(|key| error.get(key)?.as_str());
    error.as_str().or(words).map(str::to_owned)
}

/// What a line says.
#[derive(Default)]
struct Piece<'a> {
    text: &'a str,
    thinking: &'a str,
    calls: Vec<ToldCall>,
    logprobs: Vec<Likelihood>,
    /// Why this is the last one.
    done_reason: Option<&'a str>,
}

/// A line, or a whole answer.
#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<Likelihood>>,
    #[serde(flatten)]
    times: Times,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToldCall>>,
}

/// Tokens, and times in nanoseconds; what the engine did not say is left out. How long the model took to load is not the
/// engine's to say.
#[derive(Default, Serialize)]
struct Times {
    #[serde(skip_serializing_if = "Option::is_none")]
    total_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_eval_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_duration: Option<u64>,
}

/// What engines say of an answer, the latest of each.
#[derive(Debug, Default)]
struct Counts {
    usage: Usage,
    timings: Timings,
}

impl Counts {
    fn take(&mut self, chunk: &Chunk) {
        if let Some(usage) = chunk.usage {
            self.usage = usage;
        }
        if let Some(timings) = chunk.timings {
            self.timings = timings;
        }
    }

    fn times(&self) -> Times {
        let Self { usage, timings } = self;
        let nanos = |millis: Option<f64>| {
            let millis = millis.filter(|millis| millis.is_finite() && *millis >= 0.0)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative; `as` stops at the end"
            )]
            Some((millis * 1e6).round() as u64)
        };
        let (read, wrote) = (nanos(timings.prompt_ms), nanos(timings.predicted_ms));
        let prompt = || Some(timings.prompt_n?.saturating_add(timings.cache_n.unwrap_or(0)));
        Times {
            total_duration: read.zip(wrote).map(|(read, wrote)| read.saturating_add(wrote)),
            prompt_eval_count: usage.prompt_tokens.or_else(prompt),
            prompt_eval_duration: read,
            eval_count: usage.completion_tokens.or(timings.predicted_n),
            eval_duration: wrote,
        }
    }
}

/// Calls while they come, piece by piece.
#[derive(Debug, Default)]
struct Calls {
    calls: Vec<Call>,
    bytes: usize,
}

#[derive(Debug)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    /// A piece of a call; `place` is where it stands among the pieces that came with it.
    fn take(&mut self, place: usize, piece: CallPiece) -> Result<(), Fault> {
        let index = piece.index.unwrap_or(place as u64);
        let known = self.calls.iter().position(|call| call.index == index);
        let known = match known {
            Some(known) => known,
            None if self.calls.len() >= CALLS_MAX => {
                return Err(Fault(format!("it has more than {CALLS_MAX} tool calls")));
            }
            None => {
                let empty = String::new;
                self.calls.push(Call { index, id: empty(), name: empty(), arguments: empty() });
                self.calls.len() - 1
            }
        };
        let CallFunction { name, arguments } = piece.function.unwrap_or_default();
        let (id, name, arguments) =
            (piece.id.unwrap_or_default(), name.unwrap_or_default(), arguments.unwrap_or_default());
        self.bytes += id.len() + name.len() + arguments.len();
        if self.bytes > CALLS_BYTES_MAX {
            return Err(Fault(format!("its tool calls are longer than {CALLS_BYTES_MAX} bytes")));
        }
        let call = &mut self.calls[known];
        // Some engines say both with each piece.
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name.is_empty() {
            call.name = name;
        }
        call.arguments.push_str(&arguments);
        Ok(())
    }

    /// The calls in Ollama's form; and those whose arguments are no object, as text: no client can be told less or more
    /// than what the model wrote.
    fn told(&mut self) -> (Vec<ToldCall>, String) {
        let (mut told, mut broken) = (Vec::new(), String::new());
        for Call { id, name, arguments, .. } in std::mem::take(&mut self.calls) {
            match object(&arguments) {
                Some(arguments) => {
                    let function = ToldFunction { index: told.len(), name, arguments };
                    told.push(ToldCall { id: Some(id).filter(|id| !id.is_empty()), function });
                }
                None => {
                    broken.push_str(&name);
                    broken.push_str(&arguments);
                }
            }
        }
        (told, broken)
    }
}

/// Arguments as they were written, if they are an object; no text at all is one without fields.
fn object(text: &str) -> Option<Box<RawValue>> {
    // Within JSON's own texts there are no line breaks, and within a line of answers there must be none.
    let line = match text.trim() {
        "" => "{}".to_owned(),
        text => text.replace(['\n', '\r'], " "),
    };
    RawValue::from_string(line).ok().filter(|object| object.get().starts_with('{'))
}

/// A call in Ollama's form.
#[derive(Serialize)]
struct ToldCall {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    function: ToldFunction,
}

#[derive(Serialize)]
struct ToldFunction {
    index: usize,
    name: String,
    arguments: Box<RawValue>,
}

// ---- what engines say ----

/// A chat's chunk, a completion's, one of llama.cpp's own infill, or a whole answer of any.
#[derive(Default, Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    error: Option<Value>,
    content: Option<String>,
    stop: Option<bool>,
    stop_type: Option<String>,
}

#[derive(Default, Deserialize)]
struct Choice {
    index: Option<u64>,
    delta: Option<Said>,
    message: Option<Said>,
    text: Option<String>,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
}

#[derive(Default, Deserialize)]
struct Said {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Deserialize)]
struct CallPiece {
    index: Option<u64>,
    id: Option<String>,
    function: Option<CallFunction>,
}

#[derive(Default, Deserialize)]
struct CallFunction {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Likelihood>>,
}

/// How likely a token was.
#[derive(Deserialize, Serialize)]
struct Likelihood {
    token: String,
    logprob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Alternative>>,
}

/// A token that could have come instead.
#[derive(Deserialize, Serialize)]
struct Alternative {
    token: String,
    logprob: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Vec<u8>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Timings {
    cache_n: Option<u64>,
    prompt_n: Option<u64>,
    prompt_ms: Option<f64>,
    predicted_n: Option<u64>,
    predicted_ms: Option<f64>,
}
