//! The memory ledger: what models may use of each device, who holds what, who is in whose way.

use std::collections::BTreeMap;

use engine::llama_cpp::ListedDevice;
use types::{ByteCount, DeviceName};

use crate::node::Config;
use crate::ready::Ready;
use crate::running::Running;

/// What models may use of each device, with nothing loaded and nothing ready. RAM is looked at anew each time: others use it too.
pub(crate) fn capacity(
    config: &Config,
    devices: &[ListedDevice],
    running: &[Running],
    ready: &Ready,
) -> BTreeMap<DeviceName, ByteCount> {
    let taken: ByteCount = running.iter().map(|instance| instance.has_taken(&DeviceName::cpu())).sum();
    // Locked pages are gone from what the system calls available, those that an engine has mapped too only once.
    let held = taken + ready.has_taken(running);
    let ram = config.ram.unwrap_or_else(|| match hardware::ram() {
        Some(ram) => ram.for_models(held),
        None => ByteCount::bytes(u64::MAX),
    });
    let all: ByteCount = devices.iter().map(|device| device.total).sum();
    let limited = |device: &ListedDevice| match config.memory {
        Some(limit) if limit < all => {
            let share = u128::from(limit.as_u64()) * u128::from(device.total.as_u64()) / u128::from(all.as_u64());
            ByteCount::bytes(u64::try_from(share).unwrap_or(u64::MAX)).min(device.free)
        }
        _ => device.free,
    };
    let accelerators = devices.iter().map(|device| (device.name.clone(), limited(device)));
    std::iter::once((DeviceName::cpu(), ram)).chain(accelerators).collect()
}

/// What is free of each device, in words: `3.1 GiB on CPU`.
pub(crate) fn free_text(snapshot: &placement::Snapshot) -> String {
    let free = placement::free(snapshot);
    free.iter().map(|(device, free)| format!("{free} on {device}")).collect::<Vec<_>>().join(", ")
}

/// The picture that `placement` decides on.
pub(crate) fn snapshot(
    config: &Config,
    capacity: BTreeMap<DeviceName, ByteCount>,
    running: &[Running],
    kept: Vec<placement::Weights>,
) -> placement::Snapshot {
    placement::Snapshot {
        capacity,
        residents: running.iter().map(Running::resident).collect(),
        kept,
        instances_max: config.instances_max,
    }
}
