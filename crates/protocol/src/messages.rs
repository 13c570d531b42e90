//! Anthropic's Messages API and OpenAI's chat completions, each in the other's words.
//!
//! ```text
//!   client: Messages ── to_chat, to_openai ──▶ engine: chat completions
//!   client: chat completions ── from_chat ──▶ engine: Messages (Anthropic's API)
//! ```
//!
//! What a model is shown must begin the same in every turn of a conversation, or its prompt cache is worth nothing. So each
//! message is converted by itself, a tool's input and a schema keep the bytes they came with, nothing made up here gets into
//! a prompt, and the stamp that Claude Code puts into its first system block, another one in each request, is taken out.
//!
//! What has no counterpart:
//! - Tools, and blocks of tools, that Anthropic's own servers run (web search, code execution, …) are refused by name; so
//!   are its tools for clients that come without a schema (`bash_20250124`, `text_editor_…`), since only its own models
//!   know how to call them.
//! - PDF documents and files of Anthropic's store are refused; plain text goes along.
//! - `redacted_thinking`, `cache_control`, citations and all that refines an answer without being asked about are dropped.
//! - Of sampling, Anthropic has `temperature` up to 1, `top_p` and `top_k`: penalties and seeds are dropped on the way there,
//!   `n` above 1, `logprobs` and `response_format` of type `json_object` are refused.
//!
//! Thinking:
//! - To an engine, `thinking` of type `enabled` or `disabled` becomes llama.cpp's and vLLM's
//!   `chat_template_kwargs.enable_thinking`, its budget llama.cpp's `thinking_budget_tokens`; `adaptive` leaves it to the
//!   model. `output_config.effort` becomes `reasoning_effort`. Thinking is `reasoning_content` both ways, its signature empty.
//! - To Anthropic, `reasoning_effort` becomes `output_config.effort` and `thinking` of type `adaptive` (`none`: `disabled`),
//!   which needs no signed thinking of earlier turns. For models that only know a budget, a client may send Anthropic's
//!   `thinking` itself: it goes along as it is. `reasoning_content` of earlier turns is dropped, as it has no signature.

mod error;
mod from_chat;
mod json;
mod to_chat;

use self::to_chat::Fields;
use crate::{Moment, Refused, Request};

pub use error::error;

/// A request of the Messages API for an engine that speaks chat completions and knows llama.cpp's or vLLM's fields.
///
/// # Errors
/// It is no such request, or says what chat completions cannot.
pub fn to_chat(body: &[u8], moment: Moment) -> Result<Request, Refused> {
    to_chat::request(body, moment, Fields::Engines)
}

/// The same for a provider that may refuse what OpenAI's own reference does not name.
///
/// `top_k`, `thinking` and thinking of earlier turns are dropped; `max_tokens` is called `max_completion_tokens`, which
/// OpenAI's reasoning models insist on.
///
/// # Errors
/// As [`to_chat`].
pub fn to_openai(body: &[u8], moment: Moment) -> Result<Request, Refused> {
    to_chat::request(body, moment, Fields::OpenAi)
}

/// A request of chat completions for Anthropic's API.
///
/// `max_tokens_default` goes along where the client sets no limit, as Anthropic demands one; in tokens.
///
/// # Errors
/// It is no such request, or says what the Messages API cannot.
pub fn from_chat(body: &[u8], moment: Moment, max_tokens_default: u32) -> Result<Request, Refused> {
    from_chat::request(body, moment, max_tokens_default)
}

/// A request of `/v1/messages/count_tokens` as the chat request whose prompt is to be counted: llama.cpp's
/// `/apply-template` makes the prompt of it, its `/tokenize` the tokens.
///
/// # Errors
/// As [`to_chat`].
pub fn count_tokens_to_chat(body: &[u8]) -> Result<Vec<u8>, Refused> {
    to_chat::prompt(body)
}

/// The answer to a request of `/v1/messages/count_tokens`.
#[must_use]
pub fn count_tokens_answer(input_tokens: u64) -> Vec<u8> {
    format!(r#"{{"input_tokens":{input_tokens}}}"#).into_bytes()
}
