//! What the table of parts knows of a device that its driver does not tell.

use types::ByteCount;

use crate::parts::{self, Part};
use crate::{Accelerator, PciId, Ram};

/// How much memory a card has by its name or number: the least that it is sold with.
pub(crate) fn memory(id: PciId, name: &str) -> Option<ByteCount> {
    let part = parts::by_name(name).or_else(|| parts::by_pci(id.vendor, id.device, None))?;
    part.memory.iter().min().copied().filter(|_| !part.unified)
}

/// A card's name by its number and memory.
pub(crate) fn name(id: PciId, memory: ByteCount) -> Option<String> {
    let memory = Some(memory).filter(|&memory| memory > ByteCount::ZERO);
    let part = parts::by_pci(id.vendor, id.device, memory)?;
    Some(format!("{} {}", part.vendor, part.name))
}

/// Which part a detected device is. Parts of one name differ in memory: a card's own, or, of a unified device, the machine's.
pub(crate) fn part(one: &Accelerator, ram: Ram) -> Option<&'static Part> {
    let memory = if one.unified { ram.total + one.reserved } else { one.memory };
    // A slice's memory is none that its card is sold with.
    let memory = Some(memory).filter(|&memory| memory > ByteCount::ZERO && one.mig.is_none());
    let by_name = match memory {
        Some(memory) => parts::by_name_and_memory(&one.name, memory),
        None => parts::by_name(&one.name),
    };
    by_name.or_else(|| parts::by_pci(one.pci_id?.vendor, one.pci_id?.device, memory))
}
