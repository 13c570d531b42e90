//! AMD: what the driver `amdgpu` and the compute driver `kfd` say below `/sys`, and ROCm's programs for names that it does not
//! tell.
//!
//! Processors with graphics (APUs) compute out of the system's memory. Two pools are open to them: the carve-out that
//! firmware keeps for them (`mem_info_vram_total`; the system's RAM is smaller by it) and the system's memory that the
//! driver lends them (`mem_info_gtt_total`, half of RAM unless set otherwise). Compute takes one of the two, the larger, and
//! never both: since Linux 6.10 `amdgpu` sets `apu_prefer_gtt` where the carve-out is smaller than the other. So a Strix
//! Halo with 512 MB carved out and a GTT of 120 GB has 120 GB, and one with 96 GB carved out has those 96 GB.

mod programs;

use std::path::PathBuf;

use types::{Backend, ByteCount};

use crate::known;
use crate::pci::{self, Card};
use crate::probe::Probe;
use crate::{Accelerator, PciId, Source, Vendor};

const NAMES_HINT: &str = "its cards are listed under the names that the kernel knows";

/// Every card, and a processor's graphics if they are worth computing on.
pub(crate) fn look(probe: &mut Probe) -> Vec<Accelerator> {
    let cards = pci::cards(probe, 0x1002);
    let topology = topology(probe);
    let mut found: Vec<(Accelerator, bool)> = Vec::new();
    for card in &cards {
        if let Some(one) = accelerator(probe, card, &topology) {
            let is_named = one.name != fallback_name(card);
            found.push((one, is_named));
        }
    }
    if found.iter().any(|(_, is_named)| !is_named) {
        for told in programs(probe) {
            let is_it = |one: &&mut (Accelerator, bool)| !one.1 && one.0.address.as_deref() == Some(&told.address);
            if let Some((one, is_named)) = found.iter_mut().find(is_it) {
                one.name = with_vendor(told.name);
                *is_named = true;
            }
        }
    }
    found.into_iter().map(|(one, _)| one).collect()
}

/// What is used and free of its own memory now, and how busy it is.
pub(crate) fn refresh(probe: &mut Probe, accelerators: &mut [Accelerator]) {
    let is_card = |one: &&mut Accelerator| one.vendor == Vendor::Amd && one.source == Source::Sysfs && !one.unified;
    let mut told: Vec<&mut Accelerator> = accelerators.iter_mut().filter(is_card).collect();
    if told.is_empty() {
        return;
    }
    for card in pci::cards(probe, 0x1002) {
        let Some(one) = told.iter_mut().find(|one| one.address.as_ref() == Some(&card.address)) else { continue };
        if let Some(used) = probe.number(card.folder.join("mem_info_vram_used")).map(ByteCount::bytes) {
            one.used = Some(used);
            one.free = Some(one.memory.saturating_sub(used));
        }
        one.busy = busy(probe, &card);
    }
}

fn busy(probe: &mut Probe, card: &Card) -> Option<f64> {
    let percent = probe.number(card.folder.join("gpu_busy_percent"))?;
    Some(f64::from(u8::try_from(percent).unwrap_or(100).min(100)) / 100.0)
}

fn accelerator(probe: &mut Probe, card: &Card, topology: &[Node]) -> Option<Accelerator> {
    let about = format!("AMD card {} ({})", card.address, card.id);
    if let Some(driver) = card.driver.as_deref().filter(|&driver| driver != "amdgpu") {
        let text = match driver {
            "vfio-pci" => "is handed to a virtual machine",
            _ => "runs on an old driver, which engines cannot use",
        };
        probe.note(about, format!("{text} ({driver})"), "");
        return None;
    }
    let size = |probe: &mut Probe, name: &str| probe.number(card.folder.join(name)).map(ByteCount::bytes);
    let vram = size(probe, "mem_info_vram_total");
    let Some(vram) = vram else {
        let hint =
            if card.driver.is_none() && card.card.is_none() { "load the driver amdgpu" } else { "give --memory" };
        probe.note(about, "does not tell how much memory it has", hint);
        return None;
    };
    let vram_used = size(probe, "mem_info_vram_used");
    let gtt = size(probe, "mem_info_gtt_total").unwrap_or_default();
    let name = name(probe, card, vram);
    if let Some(render) = card.render.as_ref().map(|render| format!("dev/dri/{render}")) {
        if !probe.exists(&render) {
            probe.note(name, format!("/{render} is not here"), "give the container its devices: --device /dev/dri");
            return None;
        }
        if !probe.may_open(&render) {
            let hint = "add this user to the groups `render` and `video`, and log in anew";
            probe.note(name, format!("/{render} may not be opened by this user"), hint);
            return None;
        }
    }
    let kind = if is_apu(card.id.device) { graphics(card.id.device) } else { Graphics::Card };
    let mut one = match kind {
        Graphics::TooSmall => {
            probe.note(name, "the processor's own graphics are too small to compute on: its cores are as fast", "");
            return None;
        }
        Graphics::Card => {
            let mut one = Accelerator::new(name, Vendor::Amd, vram, Source::Sysfs);
            one.used = vram_used;
            one.free = vram_used.map(|used| vram.saturating_sub(used));
            one
        }
        Graphics::Old | Graphics::Modern if gtt > vram => {
            let ram = probe.ram;
            // The driver's half is of what the machine has; a cgroup may leave us less.
            let memory = if ram.total > ByteCount::ZERO { gtt.min(ram.total) } else { gtt };
            Accelerator::new(name, Vendor::Amd, memory, Source::Sysfs).unified(ram)
        }
        Graphics::Old | Graphics::Modern => {
            let mut one = Accelerator::new(name, Vendor::Amd, vram, Source::Sysfs);
            one.unified = true;
            one.used = vram_used;
            one.free = vram_used.map(|used| vram.saturating_sub(used));
            one
        }
    };
    one.busy = busy(probe, card);
    one.pci_id = Some(card.id);
    one.address = Some(card.address.clone());
    one.uuid = probe.text(card.folder.join("unique_id"));
    one.driver = probe.text("sys/module/amdgpu/version");
    if !one.unified {
        one.link = card.link(probe);
    }
    let node = topology.iter().find(|node| node.address == card.address);
    one.compute_capability = node.map(|node| node.target.clone());
    one.backend = backend(probe, card, &one.name, kind, node);
    Some(one)
}

fn backend(probe: &mut Probe, card: &Card, name: &str, kind: Graphics, node: Option<&Node>) -> Backend {
    // Before gfx9 (Vega) ROCm has no code for it; 67xx to 69xx are Polaris, Fiji and older.
    let is_old = kind == Graphics::Old
        || node.map_or(matches!(card.id.device, 0x6600..=0x685f | 0x6880..=0x699f), |node| node.version < 90_000);
    if is_old {
        return Backend::Vulkan;
    }
    if probe.exists("dev/kfd") && probe.may_open("dev/kfd") {
        return Backend::Rocm;
    }
    let text = "/dev/kfd is not here or may not be opened: ROCm cannot use it, only Vulkan can";
    probe.note(name, text, "in a container give --device /dev/kfd; add this user to the group `render`");
    Backend::Vulkan
}

/// What kind of graphics a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Graphics {
    /// A card with its own memory.
    Card,
    /// A processor's, of the generations that ROCm knows.
    Modern,
    /// A processor's, older than that.
    Old,
    /// Two compute units to draw a desktop.
    TooSmall,
}

/// Whether it is part of a processor: AMD numbers those 0x13xx to 0x19xx, and 0x98xx before.
/// Source: the rows with `AMD_IS_APU` in the kernel's `amdgpu_drv.c`, and libdrm's `amdgpu.ids`.
fn is_apu(device: u16) -> bool {
    matches!(device, 0x1000..=0x1fff | 0x9830..=0x98ff)
}

fn graphics(device: u16) -> Graphics {
    match device {
        // Raphael, Dragon Range, Granite Ridge: desktop processors.
        0x164e | 0x13c0 => Graphics::TooSmall,
        // Kaveri, Mullins, Kabini, Carrizo; Raven, Picasso; Renoir, Lucienne, Cezanne, Barcelo.
        0x1304..=0x131d | 0x9830..=0x98ff | 0x15d8 | 0x15dd | 0x1636 | 0x1638 | 0x164c | 0x15e7 => Graphics::Old,
        _ => Graphics::Modern,
    }
}

/// Whether it is a processor's graphics that only draw a desktop.
pub(crate) fn is_too_small(id: PciId) -> bool {
    id.vendor == 0x1002 && graphics(id.device) == Graphics::TooSmall
}

fn fallback_name(card: &Card) -> String {
    format!("AMD GPU {}", card.id)
}

/// The maker's name on the board, the driver library's list of names, our table of parts, or its number.
fn name(probe: &mut Probe, card: &Card, memory: ByteCount) -> String {
    let revision = probe.text(card.folder.join("revision"));
    let revision = revision.and_then(|text| u8::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    let board = probe.text(card.folder.join("product_name")).map(with_vendor);
    board
        .or_else(|| {
            let list = probe.peek("usr/share/libdrm/amdgpu.ids")?;
            name_in_ids(&list, card.id.device, revision?).map(with_vendor)
        })
        .or_else(|| known::name(card.id, memory))
        .unwrap_or_else(|| fallback_name(card))
}

fn with_vendor(name: String) -> String {
    if name.to_ascii_uppercase().starts_with("AMD") { name } else { format!("AMD {name}") }
}

/// `744C, C8, AMD Radeon RX 7900 XTX` in libdrm's list.
fn name_in_ids(list: &str, device: u16, revision: u8) -> Option<String> {
    list.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = line.splitn(3, ',').map(str::trim);
        let is_it = u16::from_str_radix(fields.next()?, 16).ok()? == device
            && u8::from_str_radix(fields.next()?, 16).ok()? == revision;
        fields.next().filter(|name| is_it && !name.is_empty()).map(str::to_owned)
    })
}

/// A compute node that `kfd` lists.
struct Node {
    address: String,
    /// `gfx1100`
    target: String,
    /// The same as a number: 110000.
    version: u64,
}

fn topology(probe: &mut Probe) -> Vec<Node> {
    let folder = PathBuf::from("sys/class/kfd/kfd/topology/nodes");
    let names = probe.names(&folder);
    names.iter().filter_map(|name| node(&probe.text(folder.join(name).join("properties"))?)).collect()
}

/// `gfx_target_version 90402` is gfx942: decimal pairs, the last two in hexadecimal.
fn node(properties: &str) -> Option<Node> {
    let number = |name: &str| {
        let line = properties.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    let version = number("gfx_target_version").filter(|&version| version > 0)?;
    let location = number("location_id")?;
    let domain = number("domain").unwrap_or(0);
    let (bus, device, function) = (location >> 8 & 0xff, location >> 3 & 0x1f, location & 7);
    Some(Node {
        address: format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"),
        target: format!("gfx{}{:x}{:x}", version / 10_000, version / 100 % 100, version % 100),
        version,
    })
}

/// Names by ROCm's programs, the newer one first.
fn programs(probe: &mut Probe) -> Vec<programs::Named> {
    if let Some(json) = probe.run_noting("amd-smi", &["static", "--asic", "--bus", "--json"], NAMES_HINT) {
        let named = programs::amd_smi(&json);
        if !named.is_empty() {
            return named;
        }
    }
    let arguments = ["--showproductname", "--showbus", "--json"];
    probe.run_noting("rocm-smi", &arguments, NAMES_HINT).map(|json| programs::rocm_smi(&json)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_places_of_compute_nodes() {
        let check = |version: u64, location: u64, expected: &str| {
            let node = node(&format!("simd_count 96\nlocation_id {location}\ngfx_target_version {version}\n")).unwrap();
            assert_eq!(format!("{} {}", node.address, node.target), expected);
        };
        check(110_000, 768, "0000:03:00.0 gfx1100");
        check(90_402, 0xc100, "0000:c1:00.0 gfx942");
        check(90_010, 0x305, "0000:03:00.5 gfx90a");
        check(110_501, 0xc500, "0000:c5:00.0 gfx1151");
        assert!(node("gfx_target_version 0\nlocation_id 0\n").is_none());
        assert!(node("garbage").is_none());
    }

    #[test]
    fn names_by_device_and_revision() {
        let list =
            "# List of AMDGPU IDs\n1.0.0\n744C,\tC8,\tAMD Radeon RX 7900 XTX\n744C,\tCC,\tAMD Radeon RX 7900 XT\n";
        assert_eq!(name_in_ids(list, 0x744c, 0xcc).as_deref(), Some("AMD Radeon RX 7900 XT"));
        assert_eq!(name_in_ids(list, 0x744c, 0x01), None);
    }
}
