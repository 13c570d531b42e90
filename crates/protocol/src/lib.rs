//! What a request and its answer in one dialect are in another: OpenAI's chat completions and responses, Anthropic's
//! messages, Ollama's API.
//!
//! Owns the conversions, the reading of streams (`sse`), and what routing needs of a body (`scan`, `form`). Bytes in, bytes out: no clock, no randomness, no network; ids
//! and times that an answer needs are handed in with [`Moment`]. Must not know which engine or provider speaks what: the
//! gateway picks.
//!
//! ```text
//!   client's dialect ── request(bytes) ──▶ engine's dialect          (once, whole)
//!   client's dialect ◀── Answer: whole | piece… end | error ── engine's dialect
//! ```
//!
//! - What has a counterpart is carried over faithfully; what has none and would change the answer's meaning is refused
//!   with [`Refused`], naming the field; what only refines it (`metadata`, `user`) is dropped.
//! - A field that nobody here knows goes along where both dialects are JSON objects of the same family.
//! - Streams may be cut anywhere; an event is converted once it is whole, and what is kept meanwhile is bounded.

mod answer;
mod fields;
pub mod form;
pub mod messages;
pub mod ollama;
pub mod responses;
pub mod scan;
pub mod sse;

pub use answer::{Answer, Fault, Moment, Refused, Request};
