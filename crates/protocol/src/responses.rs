//! OpenAI's Responses for clients, chat completions for the engine.
//!
//! Nothing is stored here: what only a store could know (`previous_response_id`, references to items, uploaded files) is
//! refused with the advice to send it along, and every answer says `store: false`. So are tools that OpenAI hosts. Custom
//! tools become functions with one text argument and are turned back on the way home; a grammar of theirs is told to the
//! model but cannot be enforced.
//!
//! What is chosen where the two dialects, or engines of the second, differ:
//!
//! - `max_output_tokens` is written as `max_tokens`: every engine reads that one. Those at OpenAI that insist on
//!   `max_completion_tokens` speak Responses themselves.
//! - One function that must be called, or some that may be, are said by sending only those tools and `required` or `auto`:
//!   engines that know no objects in `tool_choice` would let the model do as it likes.
//! - `developer` is written as `system`, and what instructs before the conversation begins is one message: templates of
//!   models know one system message, at the start.
//! - The text that a model thinks is `reasoning_content` there, and raw reasoning (`reasoning_text`) here: nobody made a
//!   summary of it.

mod answer;
mod chat;
mod input;
mod logprobs;
mod output;
mod request;
mod response;
mod tools;

pub use request::to_chat;
