//! Intel: what the drivers `i915` and `xe` say below `/sys`.

use types::ByteCount;

use crate::known;
use crate::pci::{self, Card};
use crate::probe::Probe;
use crate::{Accelerator, PciId, Source, Vendor};

/// Every card, and a processor's graphics if they are worth computing on.
pub(crate) fn look(probe: &mut Probe) -> Vec<Accelerator> {
    let cards = pci::cards(probe, 0x8086);
    cards.iter().filter_map(|card| accelerator(probe, card)).collect()
}

fn accelerator(probe: &mut Probe, card: &Card) -> Option<Accelerator> {
    let own = own_memory(probe, card);
    let is_integrated = own.is_none() && card.is_at_intel_igpu_place();
    let name = known::name(card.id, own.unwrap_or_default())
        .or_else(|| Some(format!("Intel {}", generation(card.id.device)?)))
        .unwrap_or_else(|| format!("Intel GPU {}", card.id));
    if card.driver.as_deref() == Some("vfio-pci") {
        probe.note(name, "is handed to a virtual machine", "");
        return None;
    }
    let mut one = if is_integrated {
        if is_too_old(card.id) {
            let text = format!("graphics of a generation that does not compute faster than its cores ({})", card.id);
            probe.note("Intel", text, "");
            return None;
        }
        let ram = probe.ram;
        Accelerator::new(name, Vendor::Intel, ram.total, Source::Sysfs).unified(ram)
    } else {
        let Some(memory) = own.or_else(|| known::memory(card.id, &name)) else {
            let hint = if card.card.is_none() { "load the driver xe or i915" } else { "give --memory" };
            probe.note(name, "does not tell how much memory it has", hint);
            return None;
        };
        let mut one = Accelerator::new(name, Vendor::Intel, memory, Source::Sysfs);
        one.link = card.link(probe);
        one
    };
    one.pci_id = Some(card.id);
    one.address = Some(card.address.clone());
    one.driver = card.driver.clone();
    if let Some(render) = card.render.as_ref().map(|render| format!("dev/dri/{render}"))
        && !(probe.exists(&render) && probe.may_open(&render))
    {
        let hint = "add this user to the group `render`; in a container give --device /dev/dri";
        probe.note(one.name, format!("/{render} is not here or may not be opened"), hint);
        return None;
    }
    Some(one)
}

/// A card's own memory: `xe` tells it for each tile, `i915` for the card.
fn own_memory(probe: &mut Probe, card: &Card) -> Option<ByteCount> {
    let is_tile = |name: &String| name.strip_prefix("tile").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let tiles: Vec<String> = probe.names(&card.folder).into_iter().filter(is_tile).collect();
    let in_tiles = tiles.iter().filter_map(|tile| {
        let path = card.folder.join(tile).join("physical_vram_size_bytes");
        probe.number(path).map(ByteCount::bytes)
    });
    let in_tiles: ByteCount = in_tiles.sum();
    if in_tiles > ByteCount::ZERO {
        return Some(in_tiles);
    }
    let drm = card.folder.join("drm").join(card.card.as_ref()?);
    probe.number(drm.join("lmem_total_bytes")).map(ByteCount::bytes).filter(|&memory| memory > ByteCount::ZERO)
}

/// Generations before Xe (11 and older), by device number. Source: the kernel's `include/drm/intel/pciids.h`.
pub(crate) fn is_too_old(id: PciId) -> bool {
    let is_old = matches!(id.device >> 8, 0x00..=0x45 | 0x4e | 0x59 | 0x5a | 0x84 | 0x87 | 0x8a | 0x9b | 0xa0);
    id.vendor == 0x8086 && is_old
}

/// What a number belongs to where it has no name of its own. Source: the same.
fn generation(device: u16) -> Option<&'static str> {
    Some(match device >> 8 {
        0x4c => "UHD Graphics (Rocket Lake)",
        0x46 => "Iris Xe Graphics (Alder Lake)",
        0x49 => "Iris Xe MAX",
        0x56 => "Arc A-series",
        0x64 => "Arc Graphics (Lunar Lake)",
        0x67 | 0x7d => "Arc Graphics (Core Ultra)",
        0x9a => "Iris Xe Graphics (Tiger Lake)",
        0xa7 => "Iris Xe Graphics (Raptor Lake)",
        0xb0 => "Arc Graphics (Panther Lake)",
        0x0b => "Data Center GPU Max",
        0xe2 => "Arc B-series",
        _ => return None,
    })
}
