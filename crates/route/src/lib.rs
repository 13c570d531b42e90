//! The route table: model name to ready target, and the leases that requests hold on targets.
//!
//! The seam between those who run models (`node`, later `fleet`) and the one who forwards requests (`gateway`):
//! the former publish immutable [`Routes`] into a [`Table`], the latter reads them without a lock and takes a
//! [`Lease`]. Neither knows the other. What the configuration says of names is in the [`Directory`]. No I/O here.
//!
//! ```text
//!   node ── publish(Routes) ──▶ Table ◀── current() ── gateway
//!   node ── Target::close() ──▶ Target ◀── lease(), wait() ── gateway
//! ```
//!
//! **A busy target is never closed.** `close` succeeds only while no lease is out, and no lease is given once it has
//! succeeded; both are one atomic step, so there is no moment between "it is idle" and "it is gone". One that is full keeps
//! a queue, in which callers take turns; a place goes from hand to hand there, and the target is busy all the while.

mod activate;
mod directory;
mod queue;
mod table;
mod target;
mod turn;

pub use activate::{Activate, Activation, Blocker, Keep, Unavailable};
pub use directory::{
    Chain, Dialect, Directory, Listed, Local, Meaning, Member, Names, Provider, Remote, Rewrite, Step,
};
pub use table::{Listing, Route, Routes, Table};
pub use target::{IdleSignal, Lease, Target, TargetLoad};
pub use turn::{NotServed, QueueBounds};
