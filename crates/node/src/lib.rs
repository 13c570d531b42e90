//! One machine's instances, owned by one task.
//!
//! Owns: which models there are ([`Library`]), which of them run, who waits for which, and what each holds (the ledger).
//! Must not know: the store, the fleet, HTTP. What is decided is decided by `fit` (how a model starts) and `placement` (who
//! leaves for it); what happens to a process happens in `engine`.
//!
//! ```text
//!  gateway ─ activate(name) ─┐                                        ┌─▶ route::Table   (names → ready targets)
//!  server ── load, unload ───┼─▶ owner task ── plan ▸ admit ▸ start ──┤
//!  library ─ found models ───┤    │      ▲                            └─▶ View           (what people are shown)
//!  engine ── status ─────────┘    ▼      │
//!                            engine::Instance (one task per process)
//! ```
//!
//! **A load is a job.** The first caller makes it, the others join it; all get the same answer. Jobs wait in the order in
//! which they came. Weights that are only kept ready leave for them first, then idle instances, least recently used first, all at
//! once. A busy one is never ended for another: when a job has waited for [`Config::patience`], the busy instances in its way get no *new* requests, finish
//! those they have, and leave; new requests for them queue behind the job. So two models under a limit of one take turns.

mod choice;
mod demand;
mod devices;
mod handle;
mod ledger;
mod library;
mod measurements;
mod models_folder;
mod node;
mod owner;
mod ready;
mod routes;
mod running;
mod sizing;
mod speeds;
mod view;

pub use choice::{Choice, Considered};
pub use handle::{Handle, KeepFor, Loaded, NotPinned, NotUnloaded, Swap, Unloaded};
pub use library::{Declared, Entry, Library, Model, Settings, Sources};
pub use node::{Config, Node, StartError};
pub use sizing::wish;
pub use view::{InstanceView, ReadyState, ReadyView, View, WaitingView};
