//! The last resort: devices that only `vulkaninfo` tells of.

use types::{Backend, ByteCount};

use crate::amd;
use crate::intel;
use crate::known;
use crate::probe::Probe;
use crate::{Accelerator, PciId, Source, Vendor};

/// Every device that is none of software. To be asked where no other door told of any.
pub(crate) fn look(probe: &mut Probe) -> Vec<Accelerator> {
    let Ok(summary) = probe.run("vulkaninfo", &["--summary"]) else { return vec![] };
    let mut found = Vec::new();
    for device in parse(&summary) {
        let Some(kind) = device.kind else { continue };
        let id = device.id();
        if kind == Kind::Integrated && id.is_some_and(|id| intel::is_too_old(id) || amd::is_too_small(id)) {
            // The vendor's own door has said why.
            continue;
        }
        let vendor = id.map_or(Vendor::Other, |id| Vendor::of_pci(id.vendor));
        let mut one = match kind {
            Kind::Integrated => {
                // Its heap is between a half and three quarters of the system's memory, by driver; the summary does not tell.
                let ram = probe.ram;
                let half = ByteCount::bytes(ram.total.as_u64() / 2);
                Accelerator::new(device.name, vendor, half, Source::Vulkaninfo).unified(ram)
            }
            Kind::Discrete => {
                let Some(memory) = id.and_then(|id| known::memory(id, &device.name)) else {
                    probe.note(device.name, "only Vulkan tells of it, and not how much memory it has", "give --memory");
                    continue;
                };
                Accelerator::new(device.name, vendor, memory, Source::Vulkaninfo)
            }
        };
        one.backend = Backend::Vulkan;
        one.pci_id = id;
        one.driver = device.driver;
        found.push(one);
    }
    found
}

#[derive(Debug, PartialEq, Eq)]
struct Device {
    name: String,
    vendor: Option<u16>,
    device: Option<u16>,
    driver: Option<String>,
    /// `None`: software, or something stranger.
    kind: Option<Kind>,
}

impl Device {
    /// Devices that are on no PCI bus have longer numbers.
    fn id(&self) -> Option<PciId> {
        Some(PciId { vendor: self.vendor?, device: self.device? })
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Kind {
    Integrated,
    Discrete,
}

/// The blocks `GPU0:` and so on, of lines `key = value`.
fn parse(summary: &str) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for line in summary.lines() {
        let is_head = line.strip_prefix("GPU").and_then(|rest| rest.strip_suffix(':'));
        if is_head.is_some_and(|number| number.parse::<u32>().is_ok()) {
            devices.push(Device { name: "GPU".to_owned(), vendor: None, device: None, driver: None, kind: None });
            continue;
        }
        let (Some(device), Some((key, value))) = (devices.last_mut(), line.split_once('=')) else { continue };
        let value = value.trim();
        let hex = || u16::from_str_radix(value.trim_start_matches("0x"), 16).ok();
        match key.trim() {
            "vendorID" => device.vendor = hex(),
            "deviceID" => device.device = hex(),
            "deviceName" => value.clone_into(&mut device.name),
            "driverInfo" => device.driver = Some(value.to_owned()).filter(|text| !text.is_empty()),
            "deviceType" => {
                device.kind = match value {
                    "PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU" => Some(Kind::Integrated),
                    "PHYSICAL_DEVICE_TYPE_DISCRETE_GPU" | "PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU" => Some(Kind::Discrete),
                    _ => None,
                }
            }
            _ => {}
        }
    }
    for device in &mut devices {
        let name = device.name.to_ascii_lowercase();
        if ["llvmpipe", "lavapipe", "swiftshader"].iter().any(|software| name.contains(software)) {
            device.kind = None;
        }
    }
    devices
}
