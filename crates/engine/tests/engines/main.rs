//! The life of engines: the real `llama-server`, and a fake one for what the real one cannot be made to do.

mod fake_engine;
mod fake_python;
mod llama_server;
mod memory;
mod prompt_cache;
mod stage;
