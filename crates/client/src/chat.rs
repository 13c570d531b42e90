//! One streamed chat completion.

use std::collections::VecDeque;

use reqwest::Response;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::events::{Events, is_event_stream};

/// What to ask a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// Which model.
    pub model: String,
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// Most tokens to generate; the model's own limit if absent.
    pub max_tokens: Option<u64>,
    /// Sampling temperature; the engine's own if absent.
    pub temperature: Option<f64>,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What.
    pub content: String,
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever set the conversation up.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatEvent {
    /// Text of the answer.
    Text(String),
    /// Text of the thinking before it.
    Reasoning(String),
    /// Why it ended: `stop`, `length`, …
    Finished(String),
    /// What it cost; comes last, if it comes.
    Usage(Usage),
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Tokens written per second, as the engine measured.
    pub tokens_per_second: Option<f64>,
}

/// An answer as it comes. Dropping it closes the connection, which stops the generation.
#[derive(Debug)]
pub struct Chat {
    events: Events,
    waiting: VecDeque<ChatEvent>,
    done: bool,
}

impl Chat {
    pub(crate) fn of(response: Response) -> Result<Self, Error> {
        if !is_event_stream(&response) {
            let reason = "a streamed answer was asked for and the server sent another kind".to_owned();
            return Err(Error::Protocol { reason });
        }
        Ok(Self { events: Events::of(response), waiting: VecDeque::new(), done: false })
    }

    /// The next piece; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::MidStream`] if the server reports one, [`Error::Broken`] or [`Error::Protocol`] if the stream is cut.
    pub async fn next(&mut self) -> Result<Option<ChatEvent>, Error> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            if self.done {
                return Ok(None);
            }
            let Some(event) = self.events.next().await? else {
                return Err(Error::Protocol { reason: "the answer ended before its end".to_owned() });
            };
            if event.data == "[DONE]" {
                self.done = true;
                continue;
            }
            let wrong = |error| Error::Protocol { reason: format!("a piece of the answer cannot be read: {error}") };
            let chunk: Chunk = serde_json::from_str(&event.data).map_err(wrong)?;
            if chunk.error.is_some() {
                self.done = true;
                return Err(Error::MidStream { body: Box::new(crate::error::error_body(event.data.as_bytes(), 500)) });
            }
            self.take(chunk);
        }
    }

    fn take(&mut self, chunk: Chunk) {
        for choice in chunk.choices {
            let texts = [
                choice.delta.reasoning_content.map(ChatEvent::Reasoning),
                choice.delta.content.map(ChatEvent::Text),
                choice.finish_reason.map(ChatEvent::Finished),
            ];
            let has_text = |event: &ChatEvent| !matches!(event, ChatEvent::Text(text) | ChatEvent::Reasoning(text) if text.is_empty());
            self.waiting.extend(texts.into_iter().flatten().filter(has_text));
        }
        if let Some(usage) = chunk.usage {
            self.waiting.push_back(ChatEvent::Usage(Usage {
                prompt_tokens: usage.prompt_tokens,
                completion_tokens: usage.completion_tokens,
                tokens_per_second: chunk.timings.and_then(|timings| timings.predicted_per_second),
            }));
        }
    }
}

/// The body of the request.
pub(crate) fn wire(request: &ChatRequest) -> impl Serialize {
    #[derive(Serialize)]
    struct Wire {
        model: String,
        messages: Vec<Message>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        temperature: Option<f64>,
        stream: bool,
        stream_options: StreamOptions,
    }
    #[derive(Serialize)]
    struct StreamOptions {
        include_usage: bool,
    }
    Wire {
        model: request.model.clone(),
        messages: request.messages.clone(),
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
    }
}

/// What is read of one event; tool calls and everything else are left out.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
    timings: Option<Timings>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Timings {
    predicted_per_second: Option<f64>,
}
