//! API keys: who is asking, what they may use, and how much of it.
//!
//! In memory; whoever changes a key writes it down elsewhere. Must not know HTTP or a database.
