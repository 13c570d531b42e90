//! The gateway over real sockets: its router on port 0, engines that are scripted byte by byte or real processes, and
//! an ordinary HTTP client.

mod answers;
mod errors;
mod faults;
mod metering;
mod models;
mod support;
