//! Which of the accelerators that the engine lists are used, and what they are said to have.

use std::collections::BTreeMap;

use engine::llama_cpp::ListedDevice;
use types::{Backend, ByteCount, DeviceName};

/// Those that are used, in the order of the list: all, or those of one interface where some are preferred. An engine with
/// several interfaces lists a card once for each, and its memory must not be counted twice.
///
/// A preference is no ban: where nothing of what is preferred is listed, all are used. The CPU, preferred, leaves all
/// accelerators out.
pub(crate) fn preferred(devices: Vec<ListedDevice>, backends: &[Backend]) -> Vec<ListedDevice> {
    let is_of = |device: &ListedDevice, backend| backend_of(&device.name) == Some(backend);
    let is_there = |backend: &Backend| backend.is_cpu() || devices.iter().any(|device| is_of(device, *backend));
    match backends.iter().find(|backend| is_there(backend)) {
        Some(backend) => devices.into_iter().filter(|device| is_of(device, *backend)).collect(),
        None => devices,
    }
}

/// With the memory that somebody says single ones have, by their number in this list. What others use of it stays used.
pub(crate) fn as_said(mut devices: Vec<ListedDevice>, vram: &BTreeMap<u32, ByteCount>) -> Vec<ListedDevice> {
    for (&number, &total) in vram {
        let Some(device) = usize::try_from(number).ok().and_then(|number| devices.get_mut(number)) else {
            tracing::warn!(
                "hardware.vram_overrides says what accelerator {number} has, and the engine uses {}",
                devices.len()
            );
            continue;
        };
        let used = device.total.saturating_sub(device.free);
        (device.total, device.free) = (total, total.saturating_sub(used));
        tracing::info!(device = %device.name, %total, free = %device.free, "memory as configured");
    }
    devices
}

/// The argument that keeps an engine to these, where some are preferred and the owner does not say which himself.
pub(crate) fn argument(devices: &[ListedDevice], backends: &[Backend], said: &[String]) -> Vec<String> {
    let says = |argument: &String| matches!(argument.split('=').next(), Some("-dev" | "--device"));
    if backends.is_empty() || said.iter().any(says) {
        return vec![];
    }
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(",") };
    vec!["--device".to_owned(), names]
}

/// By the engine's names: `CUDA0`, `MTL0`.
fn backend_of(name: &DeviceName) -> Option<Backend> {
    match name.as_str().trim_end_matches(|c: char| c.is_ascii_digit()) {
        "CUDA" => Some(Backend::Cuda),
        "ROCm" | "HIP" => Some(Backend::Rocm),
        "Metal" | "MTL" => Some(Backend::Metal),
        "Vulkan" => Some(Backend::Vulkan),
        "SYCL" => Some(Backend::Sycl),
        "CANN" => Some(Backend::Ascend),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &str) -> Vec<ListedDevice> {
        let one = |name: &str| ListedDevice {
            name: DeviceName::new(name),
            description: "a card".to_owned(),
            total: ByteCount::gib(24),
            free: ByteCount::gib(20),
        };
        names.split_whitespace().map(one).collect()
    }

    fn names(devices: &[ListedDevice]) -> String {
        devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn check(devices: &str, backends: &[Backend], used: &str, argument_expected: &str) {
        let devices = preferred(listed(devices), backends);
        assert_eq!(names(&devices), used, "{backends:?}");
        assert_eq!(argument(&devices, backends, &[]).join(" "), argument_expected, "{backends:?}");
    }

    #[test]
    fn one_interface_is_used_where_some_are_preferred() {
        use Backend::{CpuX86, Cuda, Rocm, Vulkan};
        let both = "CUDA0 CUDA1 Vulkan0 Vulkan1 Vulkan2";
        check(both, &[], both, "");
        check(both, &[Cuda, Vulkan], "CUDA0 CUDA1", "--device CUDA0,CUDA1");
        check(both, &[Rocm, Vulkan, Cuda], "Vulkan0 Vulkan1 Vulkan2", "--device Vulkan0,Vulkan1,Vulkan2");
        check(both, &[Rocm], both, "--device CUDA0,CUDA1,Vulkan0,Vulkan1,Vulkan2");
        check(both, &[Rocm, CpuX86, Cuda], "", "--device none");
        check("RPC0", &[Cuda], "RPC0", "--device RPC0");
        check("", &[Cuda], "", "--device none");
        for said in ["-dev", "--device=CUDA1"] {
            assert!(argument(&listed(both), &[Cuda], &[said.to_owned(), "CUDA0".to_owned()]).is_empty());
        }
    }

    #[test]
    fn memory_is_what_somebody_says_and_used_stays_used() {
        let said = |number, gib| as_said(listed("CUDA0 CUDA1"), &[(number, ByteCount::gib(gib))].into());
        let sizes = |devices: &[ListedDevice]| devices.iter().map(|one| (one.total, one.free)).collect::<Vec<_>>();
        let as_it_was = (ByteCount::gib(24), ByteCount::gib(20));
        assert_eq!(sizes(&said(0, 32)), [(ByteCount::gib(32), ByteCount::gib(28)), as_it_was]);
        assert_eq!(sizes(&said(1, 3)), [as_it_was, (ByteCount::gib(3), ByteCount::ZERO)]);
        assert_eq!(sizes(&said(2, 8)), [as_it_was, as_it_was]);
    }
}
