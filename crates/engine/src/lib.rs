//! One instance of an engine: a pure life cycle in a shell that spawns a process, reads its output, probes it, stops it,
//! and finds it again after snug was killed.
//!
//! Owns the engine's process, its log file, its record and what is kept of its prompts on disk. Decides nothing about placement: which model runs, with
//! how much memory, and who has to leave for it, is `node`'s and `placement`'s business. Nobody else signals the process.
//!
//! ```text
//!   Launch ──start()──▶ owner task ── Status (watch) ──▶ node
//!                        │   ▲
//!              lifecycle::step(state, event) → effects      (pure, tested as a table and by random walks)
//!                        │   ▲
//!      spawn, TERM, KILL ▼   │ exit, log lines, /health, /slots
//!                       llama-server (own process group, writes its own log file, outlives us)
//! ```

pub mod adapter;
mod instance;
pub mod lifecycle;
pub mod llama_cpp;
mod log_file;
mod loopback;
mod probe;
mod process;
mod programs;
mod prompt_cache;
mod record;
mod slots;
mod spec;
mod stable_hash;

pub use adapter::Adapter;
pub use instance::{Folders, Handle, Instance, Launch, Policy, Status};
pub use log_file::LogWatch;
pub use probe::{Health, health};
pub use programs::Programs;
pub use prompt_cache::PromptCaches;
pub use record::{Record, Records};
pub use spec::Spec;
use stable_hash::stable_hash;
