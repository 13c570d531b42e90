//! Small real programs for tests: a fake engine, a writer of GGUF files. Never shipped.

mod fake_engine;
pub mod gguf;

pub use fake_engine::fake_engine;
