//! What this machine has. Knows nothing of models.
//!
//! Accelerators are still told by the engine itself (`engine::llama_cpp::list_devices`): it is the one that has to use them.

pub mod parts;
mod ram;

pub use ram::{Ram, ram};

/// This machine's name, for people: its host name, or `localhost` if it has none.
pub fn node_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
