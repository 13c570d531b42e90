//! Loads, leases and evictions of a whole node, with the fake engine.
//!
//! A lease that is held is a request in flight: nothing here needs a client.

mod configured;
mod loads;
mod named;
mod ready;
mod reconfigured;
mod support;
mod variants;
