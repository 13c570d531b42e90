//! What `nvidia-smi` prints. Pure: text in, values out.

use super::nvml::{Answer, Device, Memory};

/// The arguments whose output [`cards`] reads.
pub(crate) const QUERY: [&str; 2] = [
    "--query-gpu=name,uuid,pci.bus_id,pci.device_id,memory.total,memory.used,memory.free,driver_version,compute_cap,\
     pcie.link.gen.max,pcie.link.width.max,mig.mode.current",
    "--format=csv,noheader,nounits",
];

/// The same for drivers before 510, which do not know `compute_cap` and then say nothing at all.
pub(crate) const QUERY_OLD: [&str; 2] = [
    "--query-gpu=name,uuid,pci.bus_id,pci.device_id,memory.total,memory.used,memory.free,driver_version",
    "--format=csv,noheader,nounits",
];

/// Cards from the CSV of a query, as the library would have told them. Lines that are no row are left out.
pub(crate) fn cards(csv: &str) -> Answer {
    let mut answer = Answer::default();
    for line in csv.lines() {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [name, uuid, bus_id, pci, total, used, free, driver, rest @ ..] = fields.as_slice() else { continue };
        if !uuid.starts_with("GPU-") {
            continue;
        }
        let told = |text: &str| {
            let nothing = text.is_empty() || text.starts_with('[') || text.eq_ignore_ascii_case("n/a");
            (!nothing).then(|| text.to_owned())
        };
        let mib = |text: &str| text.parse::<u64>().ok().and_then(|mib| mib.checked_mul(1 << 20));
        let memory = match (mib(total), mib(used), mib(free)) {
            (Some(total), used, free) if total > 0 => Memory::Own { total, used, free },
            // `[N/A]` and `[Not Supported]` are said of cards without memory of their own.
            _ if told(total).is_none() => Memory::NotSupported,
            _ => Memory::Unknown,
        };
        let field = |index: usize| rest.get(index).and_then(|text| told(text));
        let capability = field(0).and_then(|text| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        let number = |index| field(index).and_then(|text| text.parse::<u32>().ok());
        answer.driver = answer.driver.or_else(|| told(driver));
        answer.devices.push(Device {
            name: (*name).to_owned(),
            uuid: Some((*uuid).to_owned()),
            bus_id: told(bus_id),
            pci_device_id: u32::from_str_radix(pci.trim_start_matches("0x"), 16).ok(),
            memory,
            compute_capability: capability,
            link: number(1).zip(number(2)),
            busy_percent: None,
            mig: field(3).is_some_and(|mode| mode == "Enabled").then(Vec::new),
            error: None,
        });
    }
    answer
}

/// Adds the slices that `nvidia-smi -L` lists below their cards:
///
/// ```text
/// GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-a1b2…)
///   MIG 3g.40gb     Device  0: (UUID: MIG-c3d4…)
/// ```
///
/// How much memory one has is only in its profile's name, rounded to GB: 3g.40gb really has 39.5 GiB.
pub(crate) fn add_slices(answer: &mut Answer, list: &str) {
    let mut card: Option<&mut Device> = None;
    let uuid_in = |line: &str| Some(line.split_once("(UUID: ")?.1.split_once(')')?.0.to_owned());
    for line in list.lines() {
        let Some(uuid) = uuid_in(line) else { continue };
        if line.starts_with("GPU ") {
            card = answer.devices.iter_mut().find(|device| device.uuid.as_deref() == Some(uuid.as_str()));
        } else if let (Some(profile), Some(card)) = (line.trim().strip_prefix("MIG "), card.as_deref_mut()) {
            let profile = profile.split_whitespace().next().unwrap_or_default();
            let slice = Device {
                name: format!("{} MIG {profile}", card.name),
                uuid: Some(uuid),
                bus_id: card.bus_id.clone(),
                pci_device_id: card.pci_device_id,
                compute_capability: card.compute_capability,
                memory: profile_memory(profile).map_or(Memory::Unknown, |total| Memory::Own {
                    total,
                    used: None,
                    free: None,
                }),
                ..Device::default()
            };
            card.mig.get_or_insert_default().push(slice);
        }
    }
}

/// `3g.40gb`, `1g.10gb+me`: 40 and 10 GiB.
fn profile_memory(profile: &str) -> Option<u64> {
    let (_, memory) = profile.split_once('.')?;
    let gigabytes: u64 = memory.split_once("gb")?.0.parse().ok()?;
    gigabytes.checked_mul(1 << 30)
}
