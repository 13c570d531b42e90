//! Devices that hold memory, and how much of each something uses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ByteCount;
use crate::model::name;

name! {
    /// A device as the engine names it: `CUDA0`, `Vulkan1`, `Metal`; the machine's RAM is `CPU`.
    DeviceName
}

impl DeviceName {
    /// The machine's RAM.
    pub fn cpu() -> Self {
        Self::new("CPU")
    }

    /// Whether this is the machine's RAM rather than an accelerator.
    pub fn is_cpu(&self) -> bool {
        self.as_str() == "CPU"
    }
}

/// What one instance holds on one device, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMemory {
    /// Weights.
    pub model: ByteCount,
    /// KV cache and recurrent state.
    pub kv: ByteCount,
    /// Compute and output buffers.
    pub compute: ByteCount,
}

impl DeviceMemory {
    /// All kinds together.
    pub fn total(&self) -> ByteCount {
        self.model + self.kv + self.compute
    }
}

/// What one instance holds on every device, estimated before a load or reported by the engine after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemoryUse(pub BTreeMap<DeviceName, DeviceMemory>);

impl MemoryUse {
    /// The total held on `device`.
    pub fn on(&self, device: &DeviceName) -> ByteCount {
        self.0.get(device).map(DeviceMemory::total).unwrap_or_default()
    }

    /// The entry for `device`, made empty if absent.
    pub fn entry(&mut self, device: DeviceName) -> &mut DeviceMemory {
        self.0.entry(device).or_default()
    }

    /// The total over all devices.
    pub fn total(&self) -> ByteCount {
        self.0.values().map(DeviceMemory::total).sum()
    }

    /// The total over accelerators.
    pub fn on_accelerators(&self) -> ByteCount {
        self.0.iter().filter(|(device, _)| !device.is_cpu()).map(|(_, memory)| memory.total()).sum()
    }
}

impl fmt::Display for MemoryUse {
    /// `CPU 512.0 MiB, CUDA0 4.1 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (device, memory)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{device} {}", memory.total())?;
        }
        Ok(())
    }
}
