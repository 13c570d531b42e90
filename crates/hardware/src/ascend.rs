//! Huawei's Ascend, through its program `npu-smi`.

use types::ByteCount;

use crate::pci;
use crate::probe::Probe;
use crate::{Accelerator, Source, Vendor};

/// Every chip.
pub(crate) fn look(probe: &mut Probe) -> Vec<Accelerator> {
    let cards = pci::cards(probe, 0x19e5);
    let hint = "try it by hand; `/dev/davinci0` must be here and open to this user";
    let Some(table) = probe.run_noting("npu-smi", &["info"], hint) else {
        if !cards.is_empty() {
            probe.note(
                "Ascend",
                "the kernel lists a device and npu-smi does not tell of it",
                "install Huawei's driver",
            );
        }
        return vec![];
    };
    let chips = parse(&table);
    if chips.is_empty() {
        probe.note("npu-smi", "prints nothing that looks like a chip", hint);
    }
    let driver = version(&table);
    let accelerator = |chip: Chip| {
        let mut one = Accelerator::new(format!("Ascend {}", chip.name), Vendor::Huawei, chip.total, Source::NpuSmi);
        one.used = Some(chip.used);
        one.free = Some(chip.total.saturating_sub(chip.used));
        one.pci_id = cards.iter().find(|card| card.address == chip.address).map(|card| card.id);
        one.address = Some(chip.address);
        one.driver.clone_from(&driver);
        one
    };
    chips.into_iter().map(accelerator).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Chip {
    name: String,
    address: String,
    total: ByteCount,
    used: ByteCount,
}

/// The table has two rows for each chip, of three cells each:
///
/// ```text
/// | 0     910B3               | OK            | 89.4        36                0    / 0             |
/// | 0                         | 0000:C1:00.0  | 0           0    / 0          3161 / 65536         |
/// ```
///
/// The last pair of the second row is the memory in MB that models use: HBM, or on small chips the only one there is.
fn parse(table: &str) -> Vec<Chip> {
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        <[&str; 3]>::try_from(cells).ok()
    });
    let mut name: Option<&str> = None;
    let mut chips = Vec::new();
    for [first, second, third] in rows {
        if second.matches(':').count() == 2 {
            let Some((used, total)) = pairs(third).into_iter().rfind(|&(_, total)| total > 0) else { continue };
            chips.push(Chip {
                name: name.unwrap_or("NPU").to_owned(),
                address: pci::address(second),
                total: ByteCount::mib(total),
                used: ByteCount::mib(used),
            });
        } else if first.starts_with(|c: char| c.is_ascii_digit()) {
            name = first.split_whitespace().nth(1);
        }
    }
    chips
}

/// Each `a / b` in a cell.
fn pairs(cell: &str) -> Vec<(u64, u64)> {
    let parts: Vec<&str> = cell.split('/').collect();
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
    let pair =
        |pair: &[&str]| Some((number(pair[0].split_whitespace().last())?, number(pair[1].split_whitespace().next())?));
    parts.windows(2).filter_map(pair).collect()
}

/// `| npu-smi 23.0.2                   Version: 23.0.2    |`
fn version(table: &str) -> Option<String> {
    let line = table.lines().find(|line| line.contains("npu-smi"))?;
    Some(line.split_once("Version:")?.1.split_whitespace().next()?.to_owned())
}
