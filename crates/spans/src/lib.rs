//! Finished requests become spans of OpenTelemetry, in the words of its conventions for generative AI, and go to a
//! collector by OTLP (HTTP, protobuf).
//!
//! Owns the queue between those who serve and the collector, and what of a request is told. Knows neither HTTP routes nor
//! engines. Never prompts or answers.
//!
//! ```text
//!  finished ─▶ queue (bounded; the newest is lost when it is full) ─ a second, or half full ─▶ spans ─▶ POST /v1/traces
//! ```
//!
//! A request is a span of kind SERVER, `chat MODEL`, child of the one that its `traceparent` names; the call of whoever
//! answered is a span of kind CLIENT below it. What cannot be sent is lost and counted: a collector that is away costs
//! memory for [`QUEUE_MAX`] requests and nobody's time.

mod finished;
mod send;
mod span;
mod traceparent;

pub use finished::{Called, Finished};
pub use send::{Config, Counts, Handle, QUEUE_MAX, StartError, start};
