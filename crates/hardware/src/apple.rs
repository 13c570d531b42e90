//! macOS: `system_profiler` for the graphics, `sysctl` and `vm_stat` for the memory.

use serde_json::Value;
use types::{Backend, ByteCount};

use crate::parts;
use crate::probe::Probe;
use crate::{Accelerator, Ram, Source, Vendor};

/// Apple's own graphics, and the AMD cards of older Macs.
pub(crate) fn look(probe: &mut Probe) -> Vec<Accelerator> {
    let arguments = ["SPDisplaysDataType", "-json"];
    let Some(json) = probe.run_noting("system_profiler", &arguments, "try it by hand") else { return vec![] };
    let graphics = match parse(&json) {
        Ok(graphics) => graphics,
        Err(why) => {
            probe.note("system_profiler", format!("prints no JSON that can be read: {why}"), "try it by hand");
            return vec![];
        }
    };
    let wired = probe.run("sysctl", &["-n", "iogpu.wired_limit_mb"]).ok();
    let wired = wired.and_then(|text| text.trim().parse().ok()).filter(|&mib| mib > 0).map(ByteCount::mib);
    let ram = probe.ram;
    let mut found = Vec::new();
    for one in graphics {
        match one.memory {
            None if one.is_apple => {
                let memory = wired.unwrap_or_else(|| working_set(ram.total)).min(ram.total);
                // Chips of one name differ in the cores of their graphics.
                let part = one.cores.and_then(|cores| parts::by_name(&format!("{} ({cores}-core GPU)", one.name)));
                let mut chip = Accelerator::new(one.name, Vendor::Apple, memory, Source::SystemProfiler).unified(ram);
                chip.part = part;
                found.push(chip);
            }
            Some(memory) => {
                let vendor = if one.name.contains("AMD") { Vendor::Amd } else { Vendor::Other };
                let mut card = Accelerator::new(one.name, vendor, memory, Source::SystemProfiler);
                card.backend = Backend::Metal;
                found.push(card);
            }
            None => probe.note(one.name, "the processor's own graphics are too small to compute on", ""),
        }
    }
    found
}

/// What Metal lets a program keep resident on a GPU unless `iogpu.wired_limit_mb` says otherwise: two thirds of the memory
/// of Macs with less than 36 GB, three quarters of the others.
///
/// Source: `recommendedMaxWorkingSetSize` as llama.cpp logs it: 5726.63 MB of 8 GiB, 11453.25 MB of 16 GiB, 22906.50 MB of
/// 32 GiB; 28991.03 MB of 36 GiB, 51539.61 MB of 64 GiB. Some releases of macOS allow large Macs more.
pub(crate) fn working_set(ram: ByteCount) -> ByteCount {
    let bytes = ram.as_u64();
    ByteCount::bytes(if ram < ByteCount::gib(36) { bytes / 3 * 2 } else { bytes / 4 * 3 })
}

/// System memory. `None` if `sysctl` does not tell.
pub(crate) fn ram(probe: &mut Probe) -> Option<Ram> {
    let total: u64 = probe.run("sysctl", &["-n", "hw.memsize"]).ok()?.trim().parse().ok()?;
    let available = probe.run("vm_stat", &[]).ok().and_then(|text| available(&text)).unwrap_or(total / 4 * 3);
    Some(Ram { total: ByteCount::bytes(total), available: ByteCount::bytes(available.min(total)) })
}

/// Pages that `vm_stat` says can be had without swapping: free, speculative, inactive (mostly files), purgeable.
fn available(vm_stat: &str) -> Option<u64> {
    let page: u64 = vm_stat.split_once("page size of ")?.1.split_whitespace().next()?.parse().ok()?;
    let pages = |name: &str| {
        let line = vm_stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches('.').parse::<u64>().ok()
    };
    let rest = ["Pages speculative:", "Pages inactive:", "Pages purgeable:"].into_iter().filter_map(pages);
    Some(rest.fold(pages("Pages free:")?, u64::saturating_add).saturating_mul(page))
}

#[derive(Debug, PartialEq, Eq)]
struct Graphics {
    name: String,
    is_apple: bool,
    cores: Option<u32>,
    /// Its own, if it has some.
    memory: Option<ByteCount>,
}

fn parse(json: &str) -> Result<Vec<Graphics>, serde_json::Error> {
    let value: Value = serde_json::from_str(json)?;
    let list = value.get("SPDisplaysDataType").and_then(Value::as_array);
    let graphics = |one: &Value| {
        let field = |name: &str| one.get(name).and_then(Value::as_str);
        let name = field("sppci_model").or_else(|| field("_name"))?.to_owned();
        let vendor = field("spdisplays_vendor").unwrap_or_default();
        let is_apple = vendor.contains("Apple") || name.starts_with("Apple ");
        let memory = field("spdisplays_vram").and_then(|text| text.parse().ok());
        let cores = field("sppci_cores").and_then(|text| text.parse().ok());
        Some(Graphics { name, is_apple, cores, memory })
    };
    Ok(list.into_iter().flatten().filter_map(graphics).collect())
}
