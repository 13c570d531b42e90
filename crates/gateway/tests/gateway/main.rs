//! The gateway over real sockets: its router on port 0, engines that are scripted byte by byte or real processes, and
//! an ordinary HTTP client.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's runtime ends its tasks, and a test's length bounds its queues"
)]

mod answers;
mod cast;
mod dialects;
mod errors;
mod fairness;
mod faults;
mod keys;
mod metering;
mod mock;
mod models;
mod providers;
mod replicas;
mod routes;
mod support;
