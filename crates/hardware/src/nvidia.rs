//! NVIDIA: its library, or its program where the library is absent, or what the kernel knows. Knows which of the three to
//! believe, and which cards compute out of the system's memory.

pub(crate) mod nvml;
mod smi;

use nvml::{Answer, Device, Memory};
use types::ByteCount;

use crate::known;
use crate::pci;
use crate::probe::Probe;
use crate::{Accelerator, Link, PciId, Source, Vendor};

/// Every card and every slice of one.
pub(crate) fn look(probe: &mut Probe) -> Vec<Accelerator> {
    let cards = pci::cards(probe, 0x10de);
    let Some((answer, source)) = ask(probe, &cards) else { return without_driver(probe, &cards) };
    let found = accelerators(probe, &answer, source);
    for card in &cards {
        let is_told = |device: &Device| device.bus_id.as_deref().map(pci::address).as_ref() == Some(&card.address);
        if answer.devices.iter().any(is_told) {
            continue;
        }
        if card.driver.as_deref() == Some("vfio-pci") {
            probe.note(card.address.clone(), "this NVIDIA card is handed to a virtual machine", "");
        } else {
            probe.note(
                card.address.clone(),
                "the kernel lists this NVIDIA card and its driver does not",
                "in a container, give it all GPUs; else look for `NVRM` in `dmesg`",
            );
        }
    }
    found
}

/// What is used and free now, told anew by the door that told of it.
pub(crate) fn refresh(probe: &mut Probe, accelerators: &mut [Accelerator]) {
    let answer = match accelerators.iter().find(|one| one.vendor == Vendor::Nvidia).map(|one| one.source) {
        Some(Source::Nvml) => probe.nvml().ok(),
        Some(Source::NvidiaSmi) => {
            let csv = probe.run("nvidia-smi", &smi::QUERY).or_else(|_| probe.run("nvidia-smi", &smi::QUERY_OLD));
            csv.ok().map(|csv| smi::cards(&csv))
        }
        _ => None,
    };
    let devices = answer.into_iter().flat_map(|answer| answer.devices);
    for device in devices.flat_map(|card| card.mig.clone().unwrap_or_default().into_iter().chain([card])) {
        let is_it = |one: &&mut Accelerator| one.uuid.is_some() && one.uuid == device.uuid;
        let Some(one) = accelerators.iter_mut().find(is_it) else { continue };
        one.busy = busy(&device);
        if let Memory::Own { used, free, .. } = device.memory {
            one.used = used.map(ByteCount::bytes);
            one.free = free.map(ByteCount::bytes);
        }
    }
}

fn ask(probe: &mut Probe, cards: &[pci::Card]) -> Option<(Answer, Source)> {
    let silent = match probe.nvml() {
        Ok(answer) if answer.devices.iter().all(|card| card.error.is_some() || card.memory != Memory::Unknown) => {
            return Some((answer, Source::Nvml));
        }
        // Drivers before 510 do not tell the memory as it is asked for today; their program does.
        Ok(answer) => return Some(ask_program(probe).unwrap_or((answer, Source::Nvml))),
        Err(nvml::Absent::Library) => None,
        Err(nvml::Absent::Silent(why)) => Some(why),
    };
    if let Some(found) = ask_program(probe) {
        return Some(found);
    }
    // Without a card it is only a left-over of one, or an image made for machines that have some.
    if let Some(why) = silent.filter(|_| !cards.is_empty()) {
        let hint = "restart the machine if the driver was updated, else install it anew";
        probe.note("NVIDIA", format!("its library does not answer: {why}"), hint);
    }
    None
}

fn ask_program(probe: &mut Probe) -> Option<(Answer, Source)> {
    let csv = match probe.run("nvidia-smi", &smi::QUERY) {
        Err(crate::probe::RunError::Failed { .. }) => probe.run_noting(
            "nvidia-smi",
            &smi::QUERY_OLD,
            "try it by hand; the driver may need to be installed anew",
        )?,
        Err(crate::probe::RunError::NotInstalled) => return None,
        Err(error) => {
            probe.note("nvidia-smi", error.to_string(), "a card may hang: try it by hand, restart the machine");
            return None;
        }
        Ok(csv) => csv,
    };
    let mut answer = smi::cards(&csv);
    if answer.devices.is_empty() {
        probe.note("nvidia-smi", "prints nothing that looks like a card", "");
        return None;
    }
    if answer.devices.iter().any(|card| card.mig.is_some())
        && let Ok(list) = probe.run("nvidia-smi", &["-L"])
    {
        smi::add_slices(&mut answer, &list);
    }
    Some((answer, Source::NvidiaSmi))
}

fn accelerators(probe: &mut Probe, answer: &Answer, source: Source) -> Vec<Accelerator> {
    let mut found = Vec::new();
    for (index, card) in answer.devices.iter().enumerate() {
        if let Some(error) = &card.error {
            probe.note(format!("NVIDIA GPU {index}"), error.clone(), "look for `Xid` in `dmesg`; restart the machine");
            continue;
        }
        let Some(slices) = &card.mig else {
            found.extend(accelerator(probe, answer, card, source));
            continue;
        };
        if slices.is_empty() {
            let hint = "make some with `nvidia-smi mig`, or end it with `nvidia-smi -mig 0`";
            probe.note(card.name.clone(), "is to be cut into slices (MIG) and has none", hint);
        }
        for slice in slices {
            let mut slice = slice.clone();
            // A slice is on its card's bus and of its card's kind, whether or not it says so itself.
            slice.bus_id = slice.bus_id.or_else(|| card.bus_id.clone());
            slice.pci_device_id = slice.pci_device_id.or(card.pci_device_id);
            slice.compute_capability = slice.compute_capability.or(card.compute_capability);
            slice.link = slice.link.or(card.link);
            let mut one = accelerator(probe, answer, &slice, source);
            if let Some(one) = &mut one {
                let profile = one.name.split_once(" MIG ").map(|(_, profile)| profile.to_owned());
                one.mig = Some(profile.unwrap_or_else(|| "slice".to_owned()));
            }
            found.extend(one);
        }
    }
    found
}

fn accelerator(probe: &mut Probe, answer: &Answer, device: &Device, source: Source) -> Option<Accelerator> {
    let pci_id = device.pci_device_id.and_then(pci_id);
    let name = if device.name.is_empty() { "NVIDIA GPU".to_owned() } else { device.name.clone() };
    let mut one = match device.memory {
        Memory::Own { total, used, free } => {
            let mut one = Accelerator::new(name, Vendor::Nvidia, ByteCount::bytes(total), source);
            one.used = used.map(ByteCount::bytes);
            one.free = free.map(ByteCount::bytes);
            one
        }
        // GB10 and Jetson: the driver has no memory to speak of, all of the system's is the GPU's too.
        Memory::NotSupported => {
            let ram = probe.ram;
            Accelerator::new(name, Vendor::Nvidia, ram.total, source).unified(ram)
        }
        Memory::Unknown => {
            probe.note(name, "its driver does not tell how much memory it has", "update the driver, or give --memory");
            return None;
        }
    };
    one.busy = busy(device);
    one.pci_id = pci_id;
    one.address = device.bus_id.as_deref().map(pci::address).filter(|address| !address.is_empty());
    one.uuid = device.uuid.clone();
    one.driver = answer.driver.clone();
    one.compute_capability = device.compute_capability.map(|(major, minor)| format!("{major}.{minor}"));
    one.link = device.link.map(|(generation, width)| Link { generation, width });
    Some(one)
}

fn busy(device: &Device) -> Option<f64> {
    device.busy_percent.map(|percent| f64::from(percent.min(100)) / 100.0)
}

/// Neither library nor program: what the kernel says.
fn without_driver(probe: &mut Probe, cards: &[pci::Card]) -> Vec<Accelerator> {
    if let Some(jetson) = jetson(probe) {
        return vec![jetson];
    }
    let mut found = Vec::new();
    for card in cards {
        let told = probe.text(format!("proc/driver/nvidia/gpus/{}/information", card.address));
        let Some(told) = told.filter(|_| probe.exists("dev/nvidiactl")) else {
            let (text, hint) = match card.driver.as_deref() {
                Some("nouveau") => ("runs on the driver nouveau, which engines cannot use", "install NVIDIA's driver"),
                Some("vfio-pci") => ("is handed to a virtual machine", ""),
                Some("nvidia") => ("has its driver and cannot be reached from here", "give the container its GPUs"),
                _ => ("has no driver", "install NVIDIA's driver"),
            };
            probe.note(format!("NVIDIA card {} ({})", card.address, card.id), text, hint);
            continue;
        };
        let field = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(':').trim().to_owned()).filter(|value| !value.is_empty())
        };
        let name = field("Model").unwrap_or_else(|| "NVIDIA GPU".to_owned());
        let Some(memory) = known::memory(card.id, &name) else {
            let hint = "install libnvidia-ml or nvidia-smi, or give --memory";
            probe.note(name, "without NVIDIA's library nobody tells how much memory it has", hint);
            continue;
        };
        let hint = "install libnvidia-ml, or give the container the driver capability `utility`";
        probe.note(name.clone(), format!("has {memory} by its name: NVIDIA's library is absent"), hint);
        let mut one = Accelerator::new(name, Vendor::Nvidia, memory, Source::Sysfs);
        one.pci_id = Some(card.id);
        one.address = Some(card.address.clone());
        one.uuid = field("GPU UUID");
        one.driver = probe.text("sys/module/nvidia/version");
        one.link = card.link(probe);
        found.push(one);
    }
    found
}

/// A Jetson has no PCI card and, before JetPack 6, neither library nor program: its device tree names it.
fn jetson(probe: &mut Probe) -> Option<Accelerator> {
    let model = probe.text("proc/device-tree/model")?;
    // Strings in a device tree end with a zero byte.
    let model = model.trim_end_matches('\0').trim();
    if !model.contains("Jetson") {
        return None;
    }
    let ram = probe.ram;
    Some(Accelerator::new(model, Vendor::Nvidia, ram.total, Source::Sysfs).unified(ram))
}

fn pci_id(combined: u32) -> Option<PciId> {
    let [device_high, device_low, vendor_high, vendor_low] = combined.to_be_bytes();
    let vendor = u16::from_be_bytes([vendor_high, vendor_low]);
    (vendor != 0).then(|| PciId { vendor, device: u16::from_be_bytes([device_high, device_low]) })
}
