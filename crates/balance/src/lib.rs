//! Which of several replicas gets a request: circuits, prefix affinity, the fewest in flight.
//!
//! Pure: the time is handed in, nothing is awaited. Must not know what a replica is, nor how a request is sent.
