//! The accelerators people have, and what their makers say of them: memory, bandwidth, FLOP/s. Data, embedded; asks no
//! driver. Which part a machine has is for detection to find out: by PCI ids or by the name its driver gives.

mod cpu;
mod names;

use std::sync::LazyLock;

use types::{Backend, ByteCount};

use names::{Pattern, Words};

use crate::Vendor;

pub use cpu::{CpuMemory, cpu_bandwidth_by_name};

/// One accelerator as its maker describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The maker's name for it, without the maker: `GeForce RTX 4060 Laptop`.
    pub name: &'static str,
    /// Who makes it.
    pub vendor: Vendor,
    /// How engines use it best.
    pub backend: Backend,
    /// Its generation: `Ada`, `RDNA3`, `M4`.
    pub architecture: &'static str,
    /// What compilers call it: compute capability (NVIDIA, `8.9`), gfx target (AMD), GPU family (Apple); may be empty.
    pub target: &'static str,
    /// Whether its memory is the system's.
    pub unified: bool,
    /// The sizes of memory it is sold with; empty where it takes what the system has.
    pub memory: Box<[ByteCount]>,
    /// Memory bandwidth, bytes/s.
    pub bandwidth: f64,
    /// 32-bit FLOP/s of its vector units.
    pub fp32: f64,
    /// Dense 16-bit FLOP/s of its matrix units, or of its vector units where it has none.
    pub fp16: f64,
    /// Dense 8-bit integer operations/s; `None` where it has no unit for it.
    pub int8: Option<f64>,
    /// Dense 8-bit FLOP/s; `None` where it has no unit for it.
    pub fp8: Option<f64>,
    /// Dense 4-bit FLOP/s; `None` where it has no unit for it.
    pub fp4: Option<f64>,
    /// Where the figures come from: a key that the head of `data/accelerators.csv` explains.
    pub source: &'static str,
    form: Form,
    pci: Box<[u16]>,
    patterns: Box<[Pattern]>,
}

/// All parts, in the table's order.
pub fn all() -> &'static [Part] {
    static PARTS: LazyLock<Vec<Part>> = LazyLock::new(|| {
        rows(include_str!("../data/accelerators.csv"))
            .map(|row| parse(row).unwrap_or_else(|| panic!("the embedded table of accelerators has a bad row: {row}")))
            .collect()
    });
    &PARTS
}

/// The part with these PCI ids. Some ids are shared by several parts (the RX 7900 XT and XTX): `memory`, where it is
/// known, then tells which.
pub fn by_pci(vendor: u16, device: u16, memory: Option<ByteCount>) -> Option<&'static Part> {
    let same_id = all().iter().filter(|part| part.vendor.pci() == Some(vendor) && part.pci.contains(&device)).collect();
    closest(same_id, memory)
}

/// The part that a driver means by `name`: `NVIDIA A100-SXM4-80GB`, `AMD Radeon RX 7900 XTX (RADV NAVI31)`.
///
/// The most specific match counts. A laptop's name never finds a desktop part. `None` for names that fit no part
/// (`AMD Radeon Graphics`).
pub fn by_name(name: &str) -> Option<&'static Part> {
    closest(named(name), None)
}

/// As [`by_name`]; among parts of equal name, the one whose memory is nearest to `memory` (one card's).
pub fn by_name_and_memory(name: &str, memory: ByteCount) -> Option<&'static Part> {
    closest(named(name), Some(memory))
}

/// The most specific matches for a name: several where parts differ in memory only.
fn named(name: &str) -> Vec<&'static Part> {
    if let Some(part) = all().iter().find(|part| part.name.eq_ignore_ascii_case(name)) {
        return vec![part];
    }
    let words = Words::of(name);
    let form = Form::of(&words);
    let vendor = vendor_of(&words);
    let mut best = 0;
    let mut found = Vec::new();
    for part in all() {
        if vendor.is_some_and(|vendor| vendor != part.vendor) || !form.accepts(part) {
            continue;
        }
        let match_quality = part.patterns.iter().filter_map(|pattern| pattern.quality(&words)).max().unwrap_or(0) * 2
            + u32::from(part.form == form);
        if match_quality < 2 || match_quality < best {
            continue;
        }
        if match_quality > best {
            best = match_quality;
            found.clear();
        }
        found.push(part);
    }
    found
}

/// Of `parts`, the one sold with about as much memory; the first if none is, or none is known.
fn closest(parts: Vec<&'static Part>, memory: Option<ByteCount>) -> Option<&'static Part> {
    let Some(memory) = memory else { return parts.first().copied() };
    // Drivers keep some memory back, and makers count now in 10^9 and now in 2^30 bytes.
    const TOLERANCE: f64 = 0.12;
    let distance = |part: &Part| {
        part.memory
            .iter()
            .map(|size| (ratio(memory, *size) - 1.0).abs())
            .min_by(f64::total_cmp)
            .filter(|distance| *distance <= TOLERANCE)
            .unwrap_or(f64::INFINITY)
    };
    parts.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^53")]
fn ratio(a: ByteCount, b: ByteCount) -> f64 {
    a.as_u64() as f64 / b.as_u64() as f64
}

/// The table's word for a maker.
fn maker(word: &str) -> Option<Vendor> {
    Some(match word {
        "nvidia" => Vendor::Nvidia,
        "amd" => Vendor::Amd,
        "intel" => Vendor::Intel,
        "apple" => Vendor::Apple,
        "huawei" => Vendor::Huawei,
        _ => return None,
    })
}

/// In what a part is built, which decides how its maker's bare number is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Desktop and server cards, and integrated parts.
    Desktop,
    /// Laptop parts that share a number with a desktop part.
    Laptop,
    /// Laptop parts run slower, with memory of their own; one workstation card too.
    MaxQ,
    /// Laptop parts whose own name says so: `RX 6800M`.
    MobileNamed,
}

impl Form {
    fn of(name: &Words) -> Self {
        if name.has("laptop") || name.has("mobile") || name.has("notebook") {
            Self::Laptop
        } else if name.has("maxq") || (name.has("max") && name.has("q")) {
            Self::MaxQ
        } else {
            Self::Desktop
        }
    }

    /// Whether a name of this form may mean `part`.
    fn accepts(self, part: &Part) -> bool {
        match self {
            Self::Desktop => matches!(part.form, Self::Desktop | Self::MobileNamed),
            Self::Laptop => matches!(part.form, Self::Laptop | Self::MobileNamed) || part.unified,
            Self::MaxQ => matches!(part.form, Self::MaxQ | Self::Laptop),
            Self::MobileNamed => false,
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "desktop" => Self::Desktop,
            "laptop" => Self::Laptop,
            "maxq" => Self::MaxQ,
            "mobile-named" => Self::MobileNamed,
            _ => return None,
        })
    }
}

/// The maker a name speaks of, if it does: keeps the processor "AMD A10" from being NVIDIA's A10.
fn vendor_of(name: &Words) -> Option<Vendor> {
    const SIGNS: [(Vendor, &[&str]); 5] = [
        (Vendor::Nvidia, &["nvidia", "geforce", "quadro", "tesla", "jetson", "tegra", "gtx", "rtx"]),
        (Vendor::Amd, &["amd", "radeon", "ati", "instinct", "radv", "ryzen"]),
        (Vendor::Intel, &["intel", "arc", "iris", "uhd"]),
        (Vendor::Apple, &["apple"]),
        (Vendor::Huawei, &["huawei", "ascend", "atlas", "hisilicon"]),
    ];
    SIGNS.iter().find(|(_, signs)| signs.iter().any(|sign| name.has(sign))).map(|(vendor, _)| *vendor)
}

/// The rows of an embedded table, without its remarks and its heading.
fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).skip(1)
}

fn parse(row: &'static str) -> Option<Part> {
    let cells: Vec<&str> = row.split(',').collect();
    let [
        name,
        vendor,
        backend,
        architecture,
        target,
        form,
        unified,
        memory,
        bandwidth,
        fp32,
        fp16,
        int8,
        fp8,
        fp4,
        source,
        pci,
        names,
    ] = cells[..]
    else {
        return None;
    };
    let scaled = |cell: &str, unit: f64| cell.parse::<f64>().ok().map(|number| number * unit);
    let optional = |cell: &str| if cell.is_empty() { Some(None) } else { scaled(cell, 1e12).map(Some) };
    Some(Part {
        name,
        vendor: maker(vendor)?,
        backend: parse_backend(backend)?,
        architecture,
        target,
        unified: match unified {
            "0" => false,
            "1" => true,
            _ => return None,
        },
        memory: memory.split_whitespace().map(gib).collect::<Option<_>>()?,
        bandwidth: scaled(bandwidth, 1e9)?,
        fp32: scaled(fp32, 1e12)?,
        fp16: scaled(fp16, 1e12)?,
        int8: optional(int8)?,
        fp8: optional(fp8)?,
        fp4: optional(fp4)?,
        source,
        form: Form::parse(form)?,
        pci: pci.split_whitespace().map(|id| u16::from_str_radix(id, 16).ok()).collect::<Option<_>>()?,
        patterns: names.split('|').map(Pattern::parse).collect::<Option<_>>()?,
    })
}

fn gib(cell: &str) -> Option<ByteCount> {
    cell.parse::<f64>().ok().map(|gib| ByteCount::from_mib_f64(gib * 1024.0))
}

fn parse_backend(word: &str) -> Option<Backend> {
    [Backend::Cuda, Backend::Rocm, Backend::Vulkan, Backend::Sycl, Backend::Metal, Backend::Ascend]
        .into_iter()
        .find(|backend| backend.as_str() == word)
}

#[cfg(test)]
mod tests;
