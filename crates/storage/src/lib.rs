//! The models kept on this machine: their configurations, files, flags and downloads, the limit on them, and clean-up.
//!
//! Owns which models may be had and which of their files may go. Must not know HTTP, engines, or who is asking.
//!
//! ```text
//!   configs (files, API) ──entries──▶ node ──library, what runs──┐
//!   downloads ── hub ──files──▶ disk ──found──▶ node             ├──▶ inventory ──▶ lists, clean-up
//!   flags, use ── store ─────────────────────────────────────────┘
//! ```
//!
//! **Nothing guarded goes.** Whether a file may be deleted is looked at and acted on under one lock, which setting a flag
//! takes too. What is deleted is first taken away from the node, so that no engine reads a file that goes.

mod choice;
mod cleanup;
mod configs;
mod error;
mod fetch;
mod inventory;
mod keeper;
mod places;
mod remembered;
mod settings;
mod space;
mod state;
mod time;

pub use cleanup::{Policy, candidates};
pub use configs::Changed;
pub use error::Error;
pub use fetch::{Fetch, Load, Phase};
pub use inventory::{Sort, Stored};
pub use keeper::{Begun, Cleaned, Config, Repositories, Setup, Storage};
pub use remembered::{Flag, Used};
pub use space::Usage;
pub use state::RuntimeState;
