//! Cards on the PCI bus, as the kernel lists them.

use std::path::PathBuf;

use crate::probe::Probe;
use crate::{Link, PciId};

/// One device that draws or computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// `0000:01:00.0`
    pub(crate) address: String,
    pub(crate) id: PciId,
    /// Its folder, relative to the root.
    pub(crate) folder: PathBuf,
    /// `card1`, where a driver has made one of it.
    pub(crate) card: Option<String>,
    /// `renderD128`, likewise.
    pub(crate) render: Option<String>,
    /// The driver that holds it: `amdgpu`, `nvidia`, `vfio-pci`.
    pub(crate) driver: Option<String>,
}

impl Card {
    /// Whether it is built into the processor's own bus, at the place that Intel always uses for it.
    pub(crate) fn is_at_intel_igpu_place(&self) -> bool {
        self.address.ends_with(":00:02.0")
    }

    /// The best its link can do: the card and its slot decide together, the kernel says what both can.
    pub(crate) fn link(&self, probe: &mut Probe) -> Option<Link> {
        let width = probe.number(self.folder.join("max_link_width"))?;
        let speed = probe.text(self.folder.join("max_link_speed"))?;
        link(&speed, width)
    }
}

/// Display (03) and accelerator (12) devices of `vendor`, in the order of the bus.
pub(crate) fn cards(probe: &mut Probe, vendor: u16) -> Vec<Card> {
    let bus = PathBuf::from("sys/bus/pci/devices");
    let mut folders: Vec<(Option<String>, PathBuf)> =
        probe.names(&bus).into_iter().map(|name| (Some(name.clone()), bus.join(name))).collect();
    if folders.is_empty() {
        // Some sandboxes show the cards and hide the bus.
        let drm = PathBuf::from("sys/class/drm");
        let is_card = |name: &String| name.strip_prefix("card").is_some_and(|rest| rest.parse::<u32>().is_ok());
        folders = probe.names(&drm).into_iter().filter(is_card).map(|n| (None, drm.join(n).join("device"))).collect();
    }
    let mut cards = Vec::new();
    for (address, folder) in folders {
        let plain = |probe: &Probe, name: &str| probe.peek(folder.join(name));
        let Some(id) = hex16(plain(probe, "vendor")).filter(|&id| id == vendor) else { continue };
        // Its other functions (sound, USB) have other classes.
        let class = plain(probe, "class").unwrap_or_default();
        if !class.is_empty() && !class.starts_with("0x03") && !class.starts_with("0x12") {
            continue;
        }
        let Some(device) = hex16(plain(probe, "device")) else { continue };
        let address = address.or_else(|| {
            let event = plain(probe, "uevent")?;
            Some(event.lines().find_map(|line| line.strip_prefix("PCI_SLOT_NAME="))?.to_owned())
        });
        let Some(address) = address else { continue };
        let drm = probe.names(folder.join("drm"));
        let named = |prefix: &str| drm.iter().find(|name| name.starts_with(prefix)).cloned();
        let card = Card {
            id: PciId { vendor: id, device },
            card: named("card"),
            render: named("renderD"),
            driver: probe.link_name(folder.join("driver")),
            address,
            folder,
        };
        probe.record(format!("/{}", card.folder.display()), &format!("{card:?}"));
        cards.push(card);
    }
    cards
}

/// `00000000:01:00.0` as NVIDIA writes it, `0000:01:00.0` as everybody else does: the latter, in small letters.
pub(crate) fn address(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    match text.split_once(':') {
        Some((domain, rest))
            if domain.is_ascii()
                && domain.len() > 4
                && domain.as_bytes()[..domain.len() - 4].iter().all(|&byte| byte == b'0') =>
        {
            format!("{}:{rest}", &domain[domain.len() - 4..])
        }
        _ => text,
    }
}

/// `16.0 GT/s PCIe` and a width.
fn link(speed: &str, width: u64) -> Option<Link> {
    let generation = match speed.split_whitespace().next()? {
        "2.5" => 1,
        "5.0" | "5" => 2,
        "8.0" | "8" => 3,
        "16.0" | "16" => 4,
        "32.0" | "32" => 5,
        "64.0" | "64" => 6,
        "128.0" | "128" => 7,
        _ => return None,
    };
    // 255 is what the kernel says of links inside a chip.
    let width = u32::try_from(width).ok().filter(|width| (1..=32).contains(width))?;
    Some(Link { generation, width })
}

fn hex16(text: Option<String>) -> Option<u16> {
    u16::from_str_radix(text?.trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_one_way() {
        let check = |text, expected| assert_eq!(address(text), expected);
        check("00000000:01:00.0", "0000:01:00.0");
        check("00010000:C1:00.0", "00010000:c1:00.0");
        check("0000:C1:00.0", "0000:c1:00.0");
        check("äöü€:x", "äöü€:x");
        check("", "");
    }

    #[test]
    fn links() {
        let check = |speed, width, expected: Option<(u32, u32)>| {
            assert_eq!(link(speed, width).map(|link| (link.generation, link.width)), expected, "{speed} x{width}");
        };
        check("16.0 GT/s PCIe", 16, Some((4, 16)));
        check("2.5 GT/s PCIe", 1, Some((1, 1)));
        check("Unknown", 16, None);
        check("16.0 GT/s PCIe", 255, None);
        let gen4 = Link { generation: 4, width: 16 };
        assert!((gen4.bandwidth() - 31.5e9).abs() < 0.1e9);
    }
}
