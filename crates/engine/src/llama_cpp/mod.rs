//! The llama.cpp adapter: how `llama-server` is started and what its output means.
//!
//! Everything here is a function over values; the process is driven by [`crate::Instance`].

mod arguments;
mod devices;
mod output;
mod slots;

pub use arguments::{RESERVED_ARGUMENTS, arguments};
pub use devices::{ListedDevice, list_devices};
pub use output::{Buffer, BufferKind, Diagnosis, Observation, observe};
pub(crate) use slots::{HeldSlot, SlotAction, SlotOutcome, held_slots, slot_outcome};
