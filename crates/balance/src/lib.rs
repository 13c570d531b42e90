//! Which of several replicas gets a request: circuits, prefix affinity, the fewest in flight.
//!
//! ```text
//!   the conversation's bytes ──▶ Prefix ──▶ Affinity: who read the most of it before ─┐
//!   outcomes ──▶ Circuit of each replica: may it be asked? ───────────────────────────┼──▶ choose ──▶ one of them
//!   what each has to do (the caller counts) ──────────────────────────────────────────┘
//! ```
//!
//! [`Replicas`] holds the state of one set of replicas and joins the three; the pieces are there for themselves.
//!
//! Pure: the time is handed in, nothing is awaited. Must not know what a replica is, nor how a request is sent: replicas
//! are numbers, those of the caller's list.

mod affinity;
mod choice;
mod circuit;
mod prefix;
mod replicas;

pub use affinity::{Affinity, Match};
pub use choice::{Balance, Candidate, Choice, NoChoice, Reason, choose};
pub use circuit::{Circuit, Permit, Rules};
pub use prefix::Prefix;
pub use replicas::{Load, Replicas};
