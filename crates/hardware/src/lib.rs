//! What this machine has: its processor and RAM as this process may use them, its accelerators, what is free of them now;
//! and machines that somebody made up. Knows nothing of models.
//!
//! ```text
//!           files below a root, programs, NVIDIA's library
//!                              │ probe: bounded in size and time, remembered
//!        ┌────────┬───────┬────┴──┬────────┬─────────┐
//!     nvidia     amd    intel   ascend   apple    (vulkan, where they told of none)      each a thread of its own
//!        └────────┴───────┴────┬──┴────────┴─────────┘
//!                           detect ──▶ System ◀── simulated (a name, a file)
//!                              │          ▲
//!                            watch     overrides
//! ```
//!
//! Nothing here fails for want of hardware: what could not be read is a [`Note`] in the [`System`].

mod amd;
mod apple;
mod ascend;
pub mod bandwidth;
mod cgroup;
mod cpu;
mod detect;
mod intel;
mod known;
mod live;
mod nvidia;
mod overrides;
pub mod parts;
mod pci;
mod probe;
mod ram;
mod report;
mod simulated;
mod system;
mod vulkan;

#[cfg(test)]
mod machines;

pub use detect::detect;
pub use live::{Settings, Watch};
pub use overrides::{CardMemory, OverrideError, Overrides};
pub use probe::{Doors, Os, Record};
pub use ram::{Ram, ram};
pub use report::{Report, report};
pub use simulated::{DescribedAccelerator, DescribedCpu, Description, SimulatedError};
pub use system::{Accelerator, Cpu, Link, Note, PciId, Source, System, Vendor};

/// This machine's name, for people: its host name, or `localhost` if it has none.
pub fn node_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}
