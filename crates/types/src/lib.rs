//! The words every other crate speaks: ids, units and names of states.
//!
//! Owns types that carry meaning and nothing else. No I/O, no async, no clock. A type belongs here when two crates
//! that must not know each other both need its name; everything else lives with its owner.

mod backend;
mod bytes;
mod compute;
mod device;
mod failure;
mod instance;
mod key;
mod model;
mod provider;
mod secret;

pub use backend::Backend;
pub use bytes::{ByteCount, ParseByteCountError};
pub use compute::{CacheType, Pooling};
pub use device::{DeviceMemory, DeviceName, MemoryUse};
pub use failure::{Action, FailureClass, LoadFailure};
pub use instance::{InstanceId, InstanceState, LoadPhase};
pub use key::{DeploymentId, KeyId};
pub use model::{Mode, ModelId, ModelKey, Variant};
pub use provider::{Provider, UnknownProvider};
pub use secret::Secret;
