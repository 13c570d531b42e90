//! An answer of the Messages API as one of chat completions.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::asked::Asked;
use crate::messages::error::{self, Told};
use crate::messages::json::Text;
use crate::sse::{self, Event, Events};
use crate::{Answer, Fault, Moment};

/// The way back to a client that speaks chat completions.
pub(super) struct Completion {
    moment: Moment,
    model: String,
    includes_usage: bool,
    events: Events,
    is_begun: bool,
    is_over: bool,
    /// How many tools were called.
    calls: usize,
    /// The call whose block is open: its block's index, and whether arguments came.
    open: Option<(u64, bool)>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    content: VecDeque<Block<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// An event of any type.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    message: Option<Start<'a>>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Start<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

/// What was read and written so far, in tokens.
#[derive(Clone, Copy, Default, Deserialize)]
struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Usage {
    /// Later figures are totals; one that is missing stands as it was.
    fn update(&mut self, later: Usage) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.output_tokens_details = later.output_tokens_details.or(self.output_tokens_details);
    }

    /// The same in OpenAI's words, where what came from the cache is a part of the prompt.
    fn to_chat(self) -> Value {
        let cached = self.cache_read_input_tokens.unwrap_or(0);
        let read = [self.input_tokens, self.cache_creation_input_tokens].into_iter().flatten();
        let prompt = read.fold(cached, u64::saturating_add);
        let written = self.output_tokens.unwrap_or(0);
        let mut usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt.saturating_add(written),
            "prompt_tokens_details": { "cached_tokens": cached },
        });
        if let Some(thinking) = self.output_tokens_details.and_then(|details| details.thinking_tokens) {
            usage["completion_tokens_details"] = json!({ "reasoning_tokens": thinking });
        }
        usage
    }
}

impl Completion {
    pub(super) fn new(asked: &Asked<'_>, moment: Moment) -> Self {
        Self {
            moment,
            model: asked.model.to_string(),
            includes_usage: asked.includes_usage(),
            events: Events::default(),
            is_begun: false,
            is_over: false,
            calls: 0,
            open: None,
            usage: Usage::default(),
        }
    }

    fn id(&self) -> String {
        format!("chatcmpl-{}", self.moment.id)
    }

    fn event(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.is_over {
            return Ok(());
        }
        let told: Said<'_> = read(event.data.as_bytes())?;
        match &*told.kind {
            "message_start" => {
                let start = told.message.ok_or_else(|| Fault("its start has no message".to_owned()))?;
                if let Some(model) = start.model {
                    self.model = model.to_string();
                }
                self.usage.update(start.usage.unwrap_or_default());
                self.begin(out);
            }
            "content_block_start" => {
                let block = told.content_block.ok_or_else(|| Fault("a block's start has no block".to_owned()))?;
                self.block(told.index, &block, out);
            }
            "content_block_delta" => {
                let delta = told.delta.ok_or_else(|| Fault("a delta is missing".to_owned()))?;
                self.delta(told.index, &delta, out);
            }
            "content_block_stop" => self.close(told.index, out),
            "message_delta" => {
                self.usage.update(told.usage.unwrap_or_default());
                if let Some(reason) = told.delta.and_then(|delta| delta.stop_reason) {
                    self.chunk(json!({}), Some(finish_reason(&reason)), out);
                }
            }
            "message_stop" => self.finish(out),
            "error" => {
                let said = told.error.and_then(|error| Told::of(&error));
                let message = said.as_ref().map_or("the provider gave up", |said| &said.message);
                let kind = said.as_ref().and_then(|said| said.kind.as_deref()).unwrap_or("api_error");
                self.fail(kind, message, out);
            }
            // `ping`, and what will be invented.
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.is_begun {
            self.is_begun = true;
            self.chunk(json!({ "role": "assistant", "content": "" }), None, out);
        }
    }

    fn block(&mut self, index: u64, block: &Block<'_>, out: &mut Vec<u8>) {
        self.begin(out);
        let non_empty = |text: &Option<Text<'_>>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        match &*block.kind {
            "text" => {
                if let Some(text) = non_empty(&block.text) {
                    self.chunk(json!({ "content": text }), None, out);
                }
            }
            "thinking" => {
                if let Some(text) = non_empty(&block.thinking) {
                    self.chunk(json!({ "reasoning_content": text }), None, out);
                }
            }
            "tool_use" => {
                // Some give the whole input at once.
                let input = block.input.map(RawValue::get).filter(|input| !is_empty_object(input)).unwrap_or_default();
                let call = json!({
                    "index": self.calls,
                    "id": block.id.as_deref().unwrap_or_default(),
                    "type": "function",
                    "function": { "name": block.name.as_deref().unwrap_or_default(), "arguments": input },
                });
                self.open = Some((index, !input.is_empty()));
                self.calls += 1;
                self.chunk(json!({ "tool_calls": [call] }), None, out);
            }
            // What Anthropic's own servers ran, and thoughts that nobody can read.
            _ => {}
        }
    }

    fn delta(&mut self, index: u64, delta: &Delta<'_>, out: &mut Vec<u8>) {
        if let Some(text) = &delta.text {
            self.chunk(json!({ "content": &**text }), None, out);
        }
        if let Some(text) = &delta.thinking {
            self.chunk(json!({ "reasoning_content": &**text }), None, out);
        }
        if let Some(text) = delta.partial_json.as_deref().filter(|text| !text.is_empty())
            && let Some((open, has_arguments)) = &mut self.open
            && *open == index
        {
            *has_arguments = true;
            self.arguments(text, out);
        }
    }

    /// A block is over. A call without arguments gets those that are JSON.
    fn close(&mut self, index: u64, out: &mut Vec<u8>) {
        if let Some((open, has_arguments)) = self.open
            && open == index
        {
            self.open = None;
            if !has_arguments {
                self.arguments("{}", out);
            }
        }
    }

    fn arguments(&mut self, text: &str, out: &mut Vec<u8>) {
        let call = json!({ "index": self.calls - 1, "function": { "arguments": text } });
        self.chunk(json!({ "tool_calls": [call] }), None, out);
    }

    #[expect(clippy::needless_pass_by_value, reason = "made for it on the spot")]
    fn chunk(&mut self, delta: Value, finish_reason: Option<&str>, out: &mut Vec<u8>) {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
        self.write(&json!([choice]), None, out);
    }

    fn write(&self, choices: &Value, usage: Option<Value>, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.id(),
            "object": "chat.completion.chunk",
            "created": self.moment.created,
            "model": self.model,
            "choices": choices,
        });
        if self.includes_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        sse::write(out, None, &chunk);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        if self.includes_usage {
            self.write(&json!([]), Some(self.usage.to_chat()), out);
        }
        sse::write_done(out);
    }

    fn fail(&mut self, kind: &str, message: &str, out: &mut Vec<u8>) {
        self.is_over = true;
        sse::write(out, None, &error::to_chat(error::openai_kind(kind), Some(kind), message));
    }
}

impl Answer for Completion {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let message: Whole<'_> = read(body)?;
        let (mut content, mut thinking, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for block in &message.content {
            match &*block.kind {
                "text" => content.push(block.text.as_deref().unwrap_or_default()),
                "thinking" => thinking.push(block.thinking.as_deref().unwrap_or_default()),
                "tool_use" => {
                    let arguments = block.input.map_or("{}", RawValue::get);
                    calls.push(json!({
                        "id": block.id.as_deref().unwrap_or_default(),
                        "type": "function",
                        "function": { "name": block.name.as_deref().unwrap_or_default(), "arguments": arguments },
                    }));
                }
                _ => {}
            }
        }
        let mut said = json!({ "role": "assistant", "content": null });
        if !content.is_empty() || calls.is_empty() {
            said["content"] = content.concat().into();
        }
        if !thinking.is_empty() {
            said["reasoning_content"] = thinking.concat().into();
        }
        if !calls.is_empty() {
            said["tool_calls"] = calls.into();
        }
        let model = message.model.as_deref().unwrap_or(&self.model);
        let reason = finish_reason(message.stop_reason.as_deref().unwrap_or_default());
        let completion = json!({
            "id": self.id(),
            "object": "chat.completion",
            "created": self.moment.created,
            "model": model,
            "choices": [{ "index": 0, "message": said, "logprobs": null, "finish_reason": reason }],
            "usage": message.usage.to_chat(),
        });
        Ok(completion.to_string().into_bytes())
    }

    fn error(&mut self, status: u16, body: &[u8]) -> Vec<u8> {
        let told = Told::read(status, body);
        let kind = told.kind.as_deref().unwrap_or(error::kind(status));
        error::to_chat(error::openai_kind(kind), Some(kind), &told.message).to_string().into_bytes()
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
        if !self.is_over {
            self.fail("api_error", "the provider's answer ended before it was complete", &mut out);
        }
        out
    }

    fn broken(&mut self, code: &str, message: &str) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.is_over {
            self.is_over = true;
            sse::write(&mut out, None, &error::to_chat("server_error", Some(code), message));
        }
        out
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(text).map_err(|error| Fault(format!("it is no message: {error}")))
}

fn is_empty_object(input: &str) -> bool {
    input.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
}

/// Why the answer ended, in OpenAI's words.
fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}
