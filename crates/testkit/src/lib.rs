//! Small real programs for tests: a fake engine, a fake hub, a writer of GGUF files, a snug of one's own. Never shipped.

mod fake_engine;
pub mod gguf;
mod http;
mod hub;
mod snug;
mod wait;

pub use fake_engine::{fake_engine, fake_python};
pub use http::{Answer, Events, fetch, post};
pub use hub::{Asked, Content, Counts, FakeHub, Fault, sha256};
pub use reqwest::Method;
pub use snug::{Snug, Stage, is_alive, kill};
pub use wait::{LONG, eventually};
