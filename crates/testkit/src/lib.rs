//! Small real programs for tests: a fake engine, a writer of GGUF files. Never shipped.

pub mod gguf;
