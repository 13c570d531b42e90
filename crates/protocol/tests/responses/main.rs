//! Responses for clients, chat completions for the engine: what is written, what is read back, and OpenAI's own word on it.

mod answers;
mod golden;
mod official;
mod properties;
mod requests;
mod support;
