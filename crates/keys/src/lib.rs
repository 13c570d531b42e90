//! API keys: who is asking, what they may use, and how much of it.
//!
//! Owns the keys as requests see them, in memory. Whoever changes a key writes it down elsewhere first, then tells
//! [`Keys`]. Must not know HTTP or a database.
//!
//! ```text
//!   what was presented ─▶ Keys::check ─▶ Caller ─┬─ may_use_endpoint, may_use_model   (Scope)
//!                            │                   ├─ admit ─▶ Permit, back on drop     (Limits)
//!                            └▶ Denied           └─ spent(tokens), after the answer
//! ```
//!
//! What holds:
//! - **The doors are open until a permanent key exists.** Temporary keys alone do not close them. A key that is known
//!   counts all the same: its scope, its limits, its end.
//! - A key is kept as its SHA-256 only. It is looked up by that hash, so the time it takes tells nothing of any key.
//! - A check takes no lock; a limit's is held for a few instructions. What a key takes of memory does not grow with use.

mod caller;
mod check;
mod key;
mod limits;
mod scope;
mod secret;
mod window;

pub use caller::{Caller, Permit};
pub use check::{Denied, Keys};
pub use key::{Key, Kind};
pub use limits::{Limit, Limited, Limits};
pub use scope::{ENDPOINTS, InvalidPattern, ModelPattern, Scope, endpoint};
pub use secret::{Hash, Secret};
