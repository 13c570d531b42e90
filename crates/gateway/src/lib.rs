//! The way of a request: route by model id, stream bytes through, meter.
//!
//! Owns `/v1/models`, `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings`, the error object that all routes
//! answer with, and the request metrics. Knows no database and no node: it reads the route table and asks an
//! [`route::Activate`] for what is not ready.
//!
//! ```text
//!   request ─▶ body (bounded) ─▶ model's name ─▶ table ─▶ lease on a target ─▶ engine ─▶ relay ─▶ answer
//!                                                  │└─ not ready: activate, wait ┘
//!                                                  └─ nobody's: mock ─────────────────────────────▶ answer
//! ```
//!
//! What holds, whatever happens:
//! - Where both speak the same dialect, the engine gets the request's body byte for byte, but for the spans that a route
//!   rewrites, and the client the engine's answer byte for byte, frame for frame. Only of a failure the words are put right.
//! - Until the first byte for the client has come, another may be asked; from then on nobody is.
//! - No task is spawned. The connection to the engine is driven by the task that serves the client, so that a client
//!   who leaves takes the connection along and the engine stops.
//! - A stream that breaks ends in an error event; any other answer that breaks is cut, never ended as if it were whole.

mod ask;
mod attempt;
mod body;
mod count;
mod endpoint;
mod error;
mod forward;
mod headers;
mod meter;
mod metrics;
mod mock;
mod models;
mod patience;
mod pool;
mod relay;
mod remote;
mod reply;
mod request_id;
mod rewording;
mod rewrite;
mod router;
mod source;
mod speaks;
mod spread;
mod tally;
mod usage_chunk;

pub use endpoint::{Endpoint, Takes, Tongue};
pub use error::ApiError;
pub use meter::Usage;
pub use metrics::{Metrics, Outcome};
pub use remote::provider_models;
pub use request_id::{RequestId, X_REQUEST_ID};
pub use router::{Limits, LiveLimits, Parts, Shared, router};
pub use source::By;
pub use tally::{Bodies, Finished};
