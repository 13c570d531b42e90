//! Machines that somebody made up, to ask what they would run: by words, or by a description that a file holds.
//!
//! Words are parts between commas: accelerators (`2x RTX 4090`, `RTX 3060 12 GB`, `M4 Max 128 GB`), system memory
//! (`128 GB`), cores (`16 cores`), a processor (`EPYC 9654`). Whatever is left out is taken to be usual:
//!
//! - system memory: as much as all cards have together, up to the next power of two, at least 16 GiB; nine tenths of it are
//!   available;
//! - the processor: as many cores as such machines have at least, reading as fast as two channels of DDR5-4800 allow (76.8
//!   GB/s), eight where there are more than 256 GiB (307.2 GB/s), or as its name or its shared memory says.

use serde::Deserialize;
use types::{Backend, ByteCount};

use crate::overrides::{CARDS_MAX, mostly_free};
use crate::parts::{self, Part};
use crate::{Accelerator, Cpu, Ram, Source, System, Vendor, apple};

/// Why a machine cannot be made up; each says what would work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulatedError {
    /// Nothing was said.
    #[error("an empty description: write, for instance, `2x RTX 4090, 128 GB`")]
    Empty,
    /// A name that neither table has.
    #[error("`{name}` is no accelerator that snug knows{}", did_you_mean(suggestions))]
    Unknown {
        /// What was written.
        name: String,
        /// Names that are like it.
        suggestions: Vec<&'static str>,
    },
    /// A size that the part is not sold with.
    #[error("{name} is sold with {sold}, not with {wanted}: leave the size out, or describe it in a file")]
    NotSold {
        /// Its maker's name for it.
        name: &'static str,
        /// The sizes there are.
        sold: String,
        /// What was written.
        wanted: ByteCount,
    },
    /// It takes what the system has, and nobody says how much that is.
    #[error("how much memory has it? write `{0} 64 GB`")]
    HowMuch(String),
    /// A number of accelerators that no machine has.
    #[error("{0} accelerators cannot be: write 1 to {CARDS_MAX}")]
    Count(u32),
    /// Several of what shares the system's memory, or that beside other accelerators.
    #[error("{0} computes out of the system's memory: a machine has one of it and no other accelerator")]
    OnlyOne(String),
    /// Something is said twice.
    #[error("the {0} is said twice")]
    Twice(&'static str),
    /// A described accelerator that no table knows, without its figures.
    #[error("accelerator `{0}` is not known: say its `memory` and `backend` too")]
    Undescribed(String),
    /// A size that is none.
    #[error("{0}: {1}")]
    Size(&'static str, types::ParseByteCountError),
    /// No such description.
    #[error("no description of a machine: {0}")]
    Json(String),
}

fn did_you_mean(suggestions: &[&'static str]) -> String {
    match suggestions {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

impl System {
    /// The machine that `words` mean: `2x RTX 4090, 128 GB`, `RTX 3060 12 GB, 32 GB`, `M4 Max 128 GB`, `8x H100`, `16 GB`,
    /// `DGX Spark`, `Ryzen AI Max+ 395 128 GB`.
    ///
    /// # Errors
    /// Words that mean nothing known, or contradict each other.
    pub fn simulated(words: &str) -> Result<Self, SimulatedError> {
        Wish::parse(words)?.build(words.trim())
    }

    /// The machine that a description in JSON means; see [`Description`].
    ///
    /// # Errors
    /// It is no such JSON, or what [`Description::build`] says.
    pub fn simulated_from_json(json: &str) -> Result<Self, SimulatedError> {
        let description: Description =
            serde_json::from_str(json).map_err(|error| SimulatedError::Json(error.to_string()))?;
        description.build()
    }
}

/// A machine as a file describes it:
///
/// ```json
/// {
///   "name": "lab-1",
///   "cpu": {"name": "AMD EPYC 9354", "backend": "CPU (x86)", "cores": 64, "cores_physical": 32, "bandwidth_gb_s": 400},
///   "ram": "384G", "ram_available": "350G",
///   "accelerators": [
///     {"name": "RTX 4090", "count": 2, "memory": "24G", "free": "22G"},
///     {"name": "Prototype", "memory": "48G", "backend": "Vulkan", "unified": false}
///   ]
/// }
/// ```
///
/// Only `ram` must be there. Sizes are written as everywhere in snug (`24G` is 24 GiB), bandwidths in 10^9 bytes/s.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Its name. Default: `simulated`.
    #[serde(default)]
    pub name: Option<String>,
    /// Its processor. Default: a usual one.
    #[serde(default)]
    pub cpu: DescribedCpu,
    /// System memory.
    pub ram: String,
    /// What is available of it. Default: nine tenths.
    #[serde(default)]
    pub ram_available: Option<String>,
    /// Default: none.
    #[serde(default)]
    pub accelerators: Vec<DescribedAccelerator>,
}

/// A processor in a [`Description`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedCpu {
    /// As its vendor writes it.
    #[serde(default)]
    pub name: Option<String>,
    /// `CPU (x86)` or `CPU (ARM)`. Default: ARM where its accelerators come with such a processor, else x86.
    #[serde(default)]
    pub backend: Option<Backend>,
    /// Logical cores.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Physical cores. Default: as many as logical ones.
    #[serde(default)]
    pub cores_physical: Option<u32>,
    /// What they read from memory, GB/s.
    #[serde(default)]
    pub bandwidth_gb_s: Option<f64>,
}

/// One or several accelerators in a [`Description`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribedAccelerator {
    /// As in the table of parts, or another.
    pub name: String,
    /// How many. Default: 1.
    #[serde(default)]
    pub count: Option<u32>,
    /// Of each. Default: as the part is sold; may differ from that.
    #[serde(default)]
    pub memory: Option<String>,
    /// What is free of each. Default: all.
    #[serde(default)]
    pub free: Option<String>,
    /// How engines use it. Default: as the part is used best.
    #[serde(default)]
    pub backend: Option<Backend>,
    /// Whether it computes out of the system's memory. Default: as the part does.
    #[serde(default)]
    pub unified: Option<bool>,
}

impl Description {
    /// The machine it describes.
    ///
    /// # Errors
    /// A size that is none, an accelerator that is not known and not described.
    pub fn build(&self) -> Result<System, SimulatedError> {
        let total = size("ram", &self.ram)?;
        let mut ram = mostly_free(total);
        if let Some(available) = &self.ram_available {
            ram.available = size("ram_available", available)?.min(total);
        }
        let mut accelerators = Vec::new();
        for described in &self.accelerators {
            let count = checked(described.count.unwrap_or(1))?;
            let one = described.build(ram)?;
            accelerators.extend((0..count).map(|_| one.clone()));
        }
        let mut system = machine(self.name.as_deref().unwrap_or("simulated"), ram, accelerators, &self.cpu);
        system.cpu.backend = self.cpu.backend.filter(|backend| backend.is_cpu()).unwrap_or(system.cpu.backend);
        Ok(system)
    }
}

impl DescribedAccelerator {
    fn build(&self, ram: Ram) -> Result<Accelerator, SimulatedError> {
        let memory = self.memory.as_deref().map(|text| size("memory", text)).transpose()?;
        let part = find(&self.name, memory);
        let unified = self.unified.unwrap_or(part.is_some_and(|part| part.unified));
        let memory = memory.or_else(|| match part {
            Some(part) if unified => Some(may_take(part, ram.total)),
            Some(part) => part.memory.first().copied(),
            None => None,
        });
        let backend = self.backend.or(part.map(|part| part.backend));
        let (Some(memory), Some(backend)) = (memory, backend) else {
            return Err(SimulatedError::Undescribed(self.name.clone()));
        };
        let name = part.map_or_else(|| self.name.clone(), full_name);
        let vendor = part.map_or_else(|| of_backend(backend), |part| part.vendor);
        let mut one = Accelerator::new(name, vendor, memory, Source::Simulated);
        if unified {
            one = one.unified(ram);
        }
        if let Some(free) = &self.free {
            let free = size("free", free)?.min(memory);
            one.used = Some(memory.saturating_sub(free));
            one.free = Some(free);
        }
        one.backend = backend;
        one.part = part;
        Ok(one)
    }
}

/// What words say, before the parts are looked up: memory that is said last may belong to what is said first.
#[derive(Debug, Default)]
struct Wish {
    ram: Option<ByteCount>,
    cores: Option<u32>,
    cpu: Option<String>,
    /// How many, which, and what size was said with the name.
    accelerators: Vec<(u32, String, Option<ByteCount>)>,
}

impl Wish {
    fn parse(words: &str) -> Result<Self, SimulatedError> {
        let mut wish = Self::default();
        let pieces = words.split([',', ';']).flat_map(|piece| piece.split(" + ")).map(str::trim);
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            if let Some(cores) = cores(piece) {
                once(&mut wish.cores, cores, "number of cores")?;
                continue;
            }
            let (count, rest) = counted(piece);
            let (name, memory) = split_size(rest);
            match (count, name.is_empty(), memory) {
                (None, true, Some(memory)) => once(&mut wish.ram, memory, "system memory")?,
                (None, ..) if find(name, None).is_none() && parts::cpu_bandwidth_by_name(name).is_some() => {
                    once(&mut wish.cpu, name.to_owned(), "processor")?;
                    if let Some(memory) = memory {
                        once(&mut wish.ram, memory, "system memory")?;
                    }
                }
                _ => wish.accelerators.push((checked(count.unwrap_or(1))?, name.to_owned(), memory)),
            }
        }
        let is_empty = wish.ram.is_none() && wish.cpu.is_none() && wish.accelerators.is_empty();
        if is_empty { Err(SimulatedError::Empty) } else { Ok(wish) }
    }

    fn build(self, words: &str) -> Result<System, SimulatedError> {
        let mut found = Vec::new();
        for (count, name, memory) in &self.accelerators {
            // Chips of one name differ in their memory, which for those that share the system's may be said apart.
            let part = find(name, memory.or(self.ram)).ok_or_else(|| unknown(name))?;
            let is_shared = part.unified && (*count > 1 || self.accelerators.len() > 1);
            if is_shared {
                return Err(SimulatedError::OnlyOne(part.name.to_owned()));
            }
            found.push((*count, part, *memory));
        }
        let mut ram = self.ram;
        if let [(_, part, memory)] = found[..]
            && part.unified
        {
            if let Some(memory) = memory {
                once(&mut ram, memory, "system memory")?;
            }
            let of_part = || part.memory.first().copied().ok_or_else(|| SimulatedError::HowMuch(part.name.to_owned()));
            ram = Some(ram.map_or_else(of_part, Ok)?);
        }
        let mut cards = ByteCount::ZERO;
        for (count, part, memory) in found.iter().filter(|(_, part, _)| !part.unified) {
            cards += card_memory(part, *memory)?.saturating_mul(u64::from(*count));
        }
        let usual = || ByteCount::bytes(cards.as_u64().max(16 << 30).checked_next_power_of_two().unwrap_or(u64::MAX));
        let ram = mostly_free(ram.unwrap_or_else(usual));
        let mut accelerators = Vec::new();
        for (count, part, memory) in found {
            let mut one = if part.unified {
                let memory = may_take(part, ram.total);
                Accelerator::new(full_name(part), part.vendor, memory, Source::Simulated).unified(ram)
            } else {
                Accelerator::new(full_name(part), part.vendor, card_memory(part, memory)?, Source::Simulated)
            };
            one.backend = part.backend;
            one.part = Some(part);
            accelerators.extend((0..count).map(|_| one.clone()));
        }
        let cpu = DescribedCpu { name: self.cpu, cores: self.cores, ..DescribedCpu::default() };
        Ok(machine(words, ram, accelerators, &cpu))
    }
}

/// Puts it together, with a usual processor where nothing else is said.
fn machine(name: &str, ram: Ram, mut accelerators: Vec<Accelerator>, described: &DescribedCpu) -> System {
    for one in &mut accelerators {
        if let Some(part) = one.part {
            one.compute_capability = Some(part.target).filter(|target| !target.is_empty()).map(str::to_owned);
        }
    }
    let shared = accelerators.iter().find(|one| one.unified).and_then(|one| one.part);
    let cpu_name = described.name.clone().or_else(|| {
        let part = shared?;
        Some(full_name(part).split(" (").next().unwrap_or_default().to_owned())
    });
    let is_big = ram.total > ByteCount::gib(256);
    let usual_bandwidth = || if is_big { 307.2e9 } else { 76.8e9 };
    let by_name = || Some(parts::cpu_bandwidth_by_name(described.name.as_deref()?)?.bandwidth);
    let said = described.bandwidth_gb_s.filter(|figure| figure.is_finite() && *figure > 0.0).map(|figure| figure * 1e9);
    let bandwidth = said.or_else(|| Some(shared?.bandwidth)).or_else(by_name).unwrap_or_else(usual_bandwidth);
    let usual_cores = match (is_big, accelerators.is_empty() && ram.total <= ByteCount::gib(32)) {
        (true, _) => 64,
        (false, true) => 8,
        (false, false) => 16,
    };
    let cores = described.cores.unwrap_or(usual_cores).max(1);
    let is_arm = shared.is_some_and(|part| matches!(part.vendor, Vendor::Apple | Vendor::Nvidia));
    let is_mac = shared.is_some_and(|part| part.vendor == Vendor::Apple);
    System {
        node_name: name.to_owned(),
        os: if is_mac { "macos" } else { "linux" }.to_owned(),
        cpu: Cpu {
            name: cpu_name.unwrap_or_else(|| "unspecified processor".to_owned()),
            backend: if is_arm { Backend::CpuArm } else { Backend::CpuX86 },
            cores,
            cores_physical: described.cores_physical.unwrap_or(cores).clamp(1, cores),
            bandwidth: Some(bandwidth),
            busy: None,
        },
        ram,
        accelerators,
        notes: vec![],
        simulated: true,
        records: [].into(),
    }
}

/// What a device that computes out of the system's memory may take of it: a Mac's by Metal's rule; an APU's as much as
/// firmware can be told to carve out, three quarters (96 of 128 GB); of others all.
fn may_take(part: &Part, ram: ByteCount) -> ByteCount {
    match part.vendor {
        Vendor::Apple => apple::working_set(ram),
        Vendor::Amd => ByteCount::bytes(ram.as_u64() / 4 * 3),
        _ => ram,
    }
}

/// As its maker sells it: what was asked for if that is among it, else the first.
fn card_memory(part: &'static Part, wanted: Option<ByteCount>) -> Result<ByteCount, SimulatedError> {
    let Some(wanted) = wanted else { return Ok(part.memory.first().copied().unwrap_or_default()) };
    if part.memory.contains(&wanted) {
        return Ok(wanted);
    }
    let sold = part.memory.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    Err(SimulatedError::NotSold { name: part.name, sold, wanted })
}

/// With its maker, unless its name says so.
fn full_name(part: &Part) -> String {
    let vendor = part.vendor;
    if part.name.starts_with(vendor.as_str()) || part.vendor == Vendor::Huawei {
        part.name.to_owned()
    } else {
        format!("{vendor} {}", part.name)
    }
}

/// The part that people mean, who leave out what goes without saying: `M4 Max`, `4090`, `A770`.
fn find(name: &str, memory: Option<ByteCount>) -> Option<&'static Part> {
    let by_name = |name: &str| match memory {
        Some(memory) => parts::by_name_and_memory(name, memory),
        None => parts::by_name(name),
    };
    let unsaid = ["", "Apple ", "RTX ", "GTX ", "RX ", "Arc "];
    unsaid.iter().filter(|_| !name.is_empty()).find_map(|first| by_name(&format!("{first}{name}")))
}

fn of_backend(backend: Backend) -> Vendor {
    let all = [Vendor::Nvidia, Vendor::Amd, Vendor::Intel, Vendor::Apple, Vendor::Huawei];
    all.into_iter().find(|vendor| vendor.backend() == backend).unwrap_or(Vendor::Other)
}

fn unknown(name: &str) -> SimulatedError {
    const ALIKE: f64 = 0.8;
    let wanted = name.to_ascii_lowercase();
    let likeness = |part: &Part| {
        // People leave the family's name out: `4090`, `RTX 4090`.
        let name = part.name.to_ascii_lowercase();
        let short = name.trim_start_matches("geforce ").trim_start_matches("radeon ").to_owned();
        strsim::jaro_winkler(&wanted, &name).max(strsim::jaro_winkler(&wanted, &short))
    };
    let mut alike: Vec<(f64, &'static str)> = parts::all().iter().map(|part| (likeness(part), part.name)).collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    let suggestions = alike.into_iter().take(3).filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, name)| name);
    SimulatedError::Unknown { name: name.to_owned(), suggestions: suggestions.collect() }
}

fn once<T>(place: &mut Option<T>, value: T, what: &'static str) -> Result<(), SimulatedError> {
    if place.replace(value).is_some() { Err(SimulatedError::Twice(what)) } else { Ok(()) }
}

fn checked(count: u32) -> Result<u32, SimulatedError> {
    if (1..=CARDS_MAX).contains(&count) { Ok(count) } else { Err(SimulatedError::Count(count)) }
}

fn size(what: &'static str, text: &str) -> Result<ByteCount, SimulatedError> {
    text.parse().map_err(|error| SimulatedError::Size(what, error))
}

/// `16 cores`
fn cores(piece: &str) -> Option<u32> {
    let lower = piece.to_ascii_lowercase();
    let number = ["cores", "core", "threads"].iter().find_map(|word| lower.strip_suffix(word))?;
    number.trim().parse().ok()
}

/// `2x RTX 4090`, `8 × H100`: a count and the rest.
fn counted(piece: &str) -> (Option<u32>, &str) {
    let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
    let rest = piece[digits..].trim_start();
    match (piece[..digits].parse(), rest.strip_prefix(['x', 'X', '×'])) {
        (Ok(count), Some(rest)) if !rest.trim().is_empty() => (Some(count), rest.trim()),
        _ => (None, piece),
    }
}

/// `RTX 3060 12 GB`, `M4 Max 128GB`, `128 GB RAM`: the name and the size at its end, if there is one.
fn split_size(text: &str) -> (&str, Option<ByteCount>) {
    let lower = text.to_ascii_lowercase();
    let words = [" unified memory", " of ram", " ram", " vram", " memory", " unified"];
    let text = words.iter().find(|word| lower.ends_with(*word)).map_or(text, |word| &text[..text.len() - word.len()]);
    let trimmed = text.trim_end();
    let unit = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    // A number without a unit is part of a name: `Ryzen AI Max+ 395`.
    if unit.len() == trimmed.len() {
        return (trimmed, None);
    }
    let number = unit.trim_end().trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    // `H100` and `A100B` hold no size: one stands apart.
    let stands_apart = number.is_empty() || number.ends_with(char::is_whitespace);
    match trimmed[number.len()..].parse() {
        Ok(size) if stands_apart => (number.trim_end(), Some(size)),
        _ => (trimmed, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(system: Result<System, SimulatedError>) -> String {
        let system = match system {
            Ok(system) => system,
            Err(error) => return error.to_string(),
        };
        let System { cpu, ram, accelerators, .. } = &system;
        let mut told = format!("{}, {} cores, {}", cpu.backend, cpu.cores, ram.total);
        for kind in accelerators.chunk_by(Accelerator::is_same_kind) {
            let one = &kind[0];
            let unified = if one.unified { " unified" } else { "" };
            let bandwidth = one.bandwidth().unwrap_or_default() / 1e9;
            told += &format!("; {}x {} {}{unified} {bandwidth:.0} GB/s", kind.len(), one.name, one.memory);
        }
        told
    }

    #[test]
    fn words_mean_machines() {
        let check = |words: &str, expected: &str| assert_eq!(told(System::simulated(words)), expected, "{words}");
        let ti = "NVIDIA GeForce RTX";
        check("2x RTX 4090, 128 GB", &format!("CPU (x86), 16 cores, 128.0 GiB; 2x {ti} 4090 24.0 GiB 1008 GB/s"));
        check("RTX 3060 12 GB, 32 GB", &format!("CPU (x86), 16 cores, 32.0 GiB; 1x {ti} 3060 12.0 GiB 360 GB/s"));
        check("rtx 4090", &format!("CPU (x86), 16 cores, 32.0 GiB; 1x {ti} 4090 24.0 GiB 1008 GB/s"));
        check("8x H100", "CPU (x86), 64 cores, 1.0 TiB; 8x NVIDIA H100 SXM5 80GB 80.0 GiB 3350 GB/s");
        check("16 GB", "CPU (x86), 8 cores, 16.0 GiB");
        check("64GB RAM, 12 cores", "CPU (x86), 12 cores, 64.0 GiB");
        check("DGX Spark", "CPU (ARM), 16 cores, 128.0 GiB; 1x NVIDIA GB10 128.0 GiB unified 273 GB/s");
        check(
            "M4 Max 128 GB",
            "CPU (ARM), 16 cores, 128.0 GiB; 1x Apple M4 Max (40-core GPU) 96.0 GiB unified 546 GB/s",
        );
        check(
            "M4 Max, 36 GB",
            "CPU (ARM), 16 cores, 36.0 GiB; 1x Apple M4 Max (32-core GPU) 27.0 GiB unified 410 GB/s",
        );
        check(
            "Ryzen AI Max+ 395 128 GB",
            "CPU (x86), 16 cores, 128.0 GiB; 1x AMD Radeon 8060S 96.0 GiB unified 256 GB/s",
        );
        let mixed = format!("1x {ti} 4090 24.0 GiB 1008 GB/s; 1x {ti} 3090 24.0 GiB 936 GB/s");
        check("RTX 4090 + RTX 3090, 64 GB, 24 cores", &format!("CPU (x86), 24 cores, 64.0 GiB; {mixed}"));
        check("EPYC 9654, 384 GB", "CPU (x86), 64 cores, 384.0 GiB");
    }

    #[test]
    fn what_means_nothing_says_what_would() {
        let check = |words: &str, expected: &str| assert_eq!(told(System::simulated(words)), expected, "{words}");
        check("", "an empty description: write, for instance, `2x RTX 4090, 128 GB`");
        check("banana", "`banana` is no accelerator that snug knows");
        check(
            "RTX 4099, 64 GB",
            "`RTX 4099` is no accelerator that snug knows; did you mean GeForce RTX 4090 or GeForce RTX 4090 D or GeForce RTX \
             3090?",
        );
        check(
            "RTX 4090 30 GB",
            "GeForce RTX 4090 is sold with 24.0 GiB or 48.0 GiB, not with 30.0 GiB: leave the size out, or describe it in a file",
        );
        check("Ryzen AI Max+ 395", "how much memory has it? write `Radeon 8060S 64 GB`");
        check(
            "2x M4 Max 128 GB",
            "Apple M4 Max (40-core GPU) computes out of the system's memory: a machine has one of it and no other accelerator",
        );
        check("RTX 4090, 64 GB, 32 GB", "the system memory is said twice");
        check("999x RTX 4090", "999 accelerators cannot be: write 1 to 64");
    }

    #[test]
    fn files_describe_machines() {
        let check =
            |json: &str, expected: &str| assert_eq!(told(System::simulated_from_json(json)), expected, "{json}");
        check(
            r#"{"ram": "384G", "cpu": {"name": "AMD EPYC 9354", "cores": 64, "bandwidth_gb_s": 400},
                "accelerators": [{"name": "RTX 4090", "count": 2, "memory": "48G", "free": "40G"},
                                 {"name": "Prototype", "memory": "48G", "backend": "Vulkan"}]}"#,
            "CPU (x86), 64 cores, 384.0 GiB; 2x NVIDIA GeForce RTX 4090 48.0 GiB 1008 GB/s; 1x Prototype 48.0 GiB 0 GB/s",
        );
        check(r#"{"ram": "16G", "accelerators": [{"name": "Prototype"}]}"#, {
            "accelerator `Prototype` is not known: say its `memory` and `backend` too"
        });
        check(
            r#"{"ram": "much"}"#,
            "ram: `much` is not a size: write a number of bytes, or a number with K, M, G or T, such as `24G` or `1.5GiB`",
        );
        check(
            r#"{"ram": "16G", "gpus": []}"#,
            "no description of a machine: unknown field `gpus`, expected one of `name`, `cpu`, `ram`, `ram_available`, `accelerators` at line 1 column 21",
        );
        check("{", "no description of a machine: EOF while parsing an object at line 1 column 1");
    }

    proptest! {
        #[test]
        fn any_words_are_answered(words in "\\PC{0,40}") {
            // Either answer will do; it must be one.
            if let Ok(system) = System::simulated(&words) {
                prop_assert!(system.simulated && system.cpu.cores > 0);
            }
        }

        #[test]
        fn words_of_the_trade_are_answered(words in "([0-9]{0,3}[ x×,+]{0,2}(RTX|M4|Max|H100|[0-9]{1,5}|GB|G|cores|RAM)[ ,]?){0,8}") {
            if let Ok(system) = System::simulated(&words) {
                prop_assert!(system.accelerators.iter().all(|one| one.memory > ByteCount::ZERO));
            }
        }
    }
}
