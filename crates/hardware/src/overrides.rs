//! What a person says of the machine, against or beyond what was detected: `--memory`, `--ram`, `--cpu-cores`.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;
use types::ByteCount;

use crate::{Accelerator, Ram, Source, System, Vendor};

/// More cards than a machine has.
pub(crate) const CARDS_MAX: u32 = 64;

/// What a person says. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overrides {
    /// Memory of the accelerators.
    ///
    /// - `24G` on a machine without any: it has one, called `User-specified GPU`, by CUDA (on a Mac by Metal, out of the
    ///   system's memory).
    /// - `24G` on a machine with some: each of its primary kind ([`System::primary`]) has 24 GiB; how many there are, and
    ///   what they are, stays. For one that computes out of the system's memory it is the part it may take.
    /// - `2x24G`: the machine has exactly two accelerators, of its primary kind, with 24 GiB each.
    pub memory: Option<CardMemory>,
    /// System memory in all. Of a machine that has more, what was available stays available within it; of one that has
    /// less, nine tenths are taken to be. What accelerators may take of it grows and shrinks with it.
    pub ram: Option<ByteCount>,
    /// Logical cores that engines may use.
    pub cpu_cores: Option<u32>,
}

/// `24G`, or `2x24G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CardMemory {
    /// How many there are; `None`: as many as there are.
    pub count: Option<u32>,
    /// Memory of each.
    pub each: ByteCount,
}

/// Why it cannot be so; each says what would work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// `--memory` is no size.
    #[error("`{0}` is no memory of accelerators: write a size such as `24G`, or a count and a size such as `2x24G`")]
    NoMemory(String),
    /// None, or more than a machine has.
    #[error("{0} accelerators cannot be: write 1 to {CARDS_MAX}, such as `2x24G`")]
    Count(u32),
    /// A size of zero.
    #[error("{0} of nothing cannot be: leave it out, or write a size such as `24G`")]
    Zero(&'static str),
    /// More of the system's memory for the accelerator than the system has.
    #[error("{wanted} are more than the {ram} of system memory that the accelerator computes out of: give `--ram` too")]
    MoreThanRam {
        /// What was asked for.
        wanted: ByteCount,
        /// What there is.
        ram: ByteCount,
    },
    /// Several accelerators out of one system's memory.
    #[error("a machine whose accelerator computes out of the system's memory has one: write the size without a count")]
    ManyUnified,
}

impl FromStr for CardMemory {
    type Err = OverrideError;

    /// Reads `24G`, `2x24G`, `2 × 24 GB`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || OverrideError::NoMemory(text.to_owned());
        let (count, size) = match text.split_once(['x', 'X', '×', '*']) {
            Some((count, size)) => (Some(count.trim().parse().map_err(|_| error())?), size),
            None => (None, text),
        };
        if let Some(count) = count.filter(|count| !(1..=CARDS_MAX).contains(count)) {
            return Err(OverrideError::Count(count));
        }
        let each: ByteCount = size.parse().map_err(|_| error())?;
        if each == ByteCount::ZERO { Err(OverrideError::Zero("memory")) } else { Ok(Self { count, each }) }
    }
}

impl Overrides {
    /// The machine as it would be.
    ///
    /// # Errors
    /// What a person said cannot be.
    pub fn apply(self, system: &System) -> Result<System, OverrideError> {
        let mut system = system.clone();
        match self.cpu_cores {
            Some(0) => return Err(OverrideError::Zero("cores")),
            Some(cores) => {
                system.cpu.cores = cores;
                system.cpu.cores_physical = system.cpu.cores_physical.min(cores);
            }
            None => {}
        }
        if let Some(ram) = self.ram {
            set_ram(&mut system, ram)?;
        }
        if let Some(memory) = self.memory {
            set_memory(&mut system, memory)?;
        }
        Ok(system)
    }
}

/// What is taken to be available of a memory nobody can look at.
pub(crate) fn mostly_free(total: ByteCount) -> Ram {
    Ram { total, available: ByteCount::bytes(total.as_u64() / 10 * 9) }
}

fn set_ram(system: &mut System, total: ByteCount) -> Result<(), OverrideError> {
    if total == ByteCount::ZERO {
        return Err(OverrideError::Zero("system memory"));
    }
    let old = system.ram;
    system.ram =
        if total <= old.total { Ram { total, available: old.available.min(total) } } else { mostly_free(total) };
    // A carve-out is beside the system's memory and stays what it is.
    let takes_of_it = |one: &&mut Accelerator| one.unified && one.reserved == ByteCount::ZERO;
    for one in system.accelerators.iter_mut().filter(takes_of_it) {
        let scaled =
            u128::from(one.memory.as_u64()) * u128::from(total.as_u64()) / u128::from(old.total.as_u64().max(1));
        one.memory = u64::try_from(scaled).map_or(total, ByteCount::bytes).min(total);
        one.free = Some(one.memory.min(system.ram.available));
    }
    Ok(())
}

fn set_memory(system: &mut System, CardMemory { count, each }: CardMemory) -> Result<(), OverrideError> {
    if let Some(count) = count.filter(|count| !(1..=CARDS_MAX).contains(count)) {
        return Err(OverrideError::Count(count));
    }
    if each == ByteCount::ZERO {
        return Err(OverrideError::Zero("memory"));
    }
    let Some(primary) = system.primary().first().map(|&one| one.clone()) else {
        let one = specified(system, each);
        check_unified(system, &one, count)?;
        system.accelerators = vec![one; as_count(count.unwrap_or(1))];
        system.simulated = true;
        return Ok(());
    };
    let ram = system.ram;
    let resized = |one: &Accelerator| resized(one, each, ram);
    check_unified(system, &resized(&primary), count)?;
    match count {
        None => {
            let is_primary = |one: &Accelerator| one.is_same_kind(&primary);
            let change = |one: &Accelerator| if is_primary(one) { resized(one) } else { one.clone() };
            system.accelerators = system.accelerators.iter().map(change).collect();
        }
        Some(count) => {
            let mut cards: Vec<Accelerator> = system.primary().into_iter().map(resized).collect();
            let made_up = Accelerator { address: None, uuid: None, used: None, free: None, ..resized(&primary) };
            cards.resize(as_count(count), Accelerator { source: Source::Simulated, ..made_up });
            system.accelerators = cards;
            system.simulated = true;
        }
    }
    Ok(())
}

/// The same accelerator with other memory; what is used of it stays used.
fn resized(one: &Accelerator, memory: ByteCount, ram: Ram) -> Accelerator {
    let mut one = one.clone();
    one.free = match (one.unified, one.used) {
        (true, None) => Some(memory.min(ram.available)),
        (_, used) => used.map(|used| memory.saturating_sub(used)),
    };
    if one.reserved > ByteCount::ZERO {
        one.reserved = memory;
    }
    Accelerator { memory, ..one }
}

/// Gives single accelerators, by their number, the memory they are said to have. One that computes out of the system's
/// memory has no more than the system.
pub(crate) fn with_vram(system: &mut System, vram: &BTreeMap<u32, ByteCount>) {
    let ram = system.ram;
    for (number, one) in (0..).zip(&mut system.accelerators) {
        if let Some(&memory) = vram.get(&number) {
            let most = if one.unified { ram.total + one.reserved } else { memory };
            *one = resized(one, memory.min(most), ram);
        }
    }
}

/// What a machine without any is said to have.
fn specified(system: &System, memory: ByteCount) -> Accelerator {
    let name = "User-specified GPU";
    if system.os == crate::Os::MacOs.as_str() {
        Accelerator::new(name, Vendor::Apple, memory, Source::Simulated).unified(system.ram)
    } else {
        Accelerator::new(name, Vendor::Nvidia, memory, Source::Simulated)
    }
}

fn check_unified(system: &System, one: &Accelerator, count: Option<u32>) -> Result<(), OverrideError> {
    if !one.unified {
        return Ok(());
    }
    if count.is_some_and(|count| count > 1) {
        return Err(OverrideError::ManyUnified);
    }
    let pool = system.ram.total + one.reserved;
    if one.memory > pool {
        return Err(OverrideError::MoreThanRam { wanted: one.memory, ram: pool });
    }
    Ok(())
}

fn as_count(count: u32) -> usize {
    usize::try_from(count.min(CARDS_MAX)).expect("a small count fits any usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(machine: &str, memory: &str, ram: &str, expected: &str) {
        let system = System::simulated(machine).unwrap();
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let result = said(memory).map(|text| text.parse::<CardMemory>()).transpose().and_then(|memory| {
            let ram = said(ram).map(|text| text.parse().unwrap());
            Overrides { memory, ram, cpu_cores: None }.apply(&system)
        });
        let told = match result {
            Err(error) => error.to_string(),
            Ok(system) => {
                let cards = system.accelerators.iter().map(|one| format!("{} {}", one.name, one.memory));
                let ram = format!("RAM {} ({})", system.ram.total, system.ram.available);
                std::iter::once(ram).chain(cards).collect::<Vec<_>>().join(", ")
            }
        };
        assert_eq!(told, expected, "{machine} with --memory {memory} --ram {ram}");
    }

    #[test]
    fn what_a_person_says_counts() {
        check("16 GB", "24G", "", "RAM 16.0 GiB (14.4 GiB), User-specified GPU 24.0 GiB");
        check(
            "16 GB",
            "2x24G",
            "64G",
            "RAM 64.0 GiB (57.6 GiB), User-specified GPU 24.0 GiB, User-specified GPU 24.0 GiB",
        );
        let card = "NVIDIA GeForce RTX 4090";
        check("2x RTX 4090, 64 GB", "20G", "", &format!("RAM 64.0 GiB (57.6 GiB), {card} 20.0 GiB, {card} 20.0 GiB"));
        check("2x RTX 4090, 64 GB", "1x48G", "", &format!("RAM 64.0 GiB (57.6 GiB), {card} 48.0 GiB"));
        let two = format!("RAM 32.0 GiB (32.0 GiB), {card} 24.0 GiB, {card} 24.0 GiB");
        check("RTX 4090, 64 GB", "2 × 24 GB", "32G", &two);
        check("M4 Max 128 GB", "100G", "", "RAM 128.0 GiB (115.2 GiB), Apple M4 Max (40-core GPU) 100.0 GiB");
        check("M4 Max 128 GB", "", "64G", "RAM 64.0 GiB (64.0 GiB), Apple M4 Max (40-core GPU) 48.0 GiB");
    }

    #[test]
    fn single_ones_have_what_is_said_of_them() {
        let told = |machine: &str, vram: &[(u32, u64)], used: Option<ByteCount>| {
            let mut system = System::simulated(machine).unwrap();
            system.accelerators.iter_mut().for_each(|one| one.used = used);
            with_vram(&mut system, &vram.iter().map(|&(number, gib)| (number, ByteCount::gib(gib))).collect());
            let cards = system
                .accelerators
                .iter()
                .map(|one| (one.memory, one.free.map_or("-".to_owned(), |free| free.to_string())));
            cards.map(|(memory, free)| format!("{memory} ({free})")).collect::<Vec<_>>().join(", ")
        };
        let used = Some(ByteCount::gib(2));
        assert_eq!(told("2x RTX 4090, 64 GB", &[(1, 32), (5, 1)], used), "24.0 GiB (-), 32.0 GiB (30.0 GiB)");
        assert_eq!(told("2x RTX 4090, 64 GB", &[(0, 1)], used), "1.0 GiB (0 B), 24.0 GiB (-)");
        assert_eq!(told("M4 Max 128 GB", &[(0, 500)], None), "128.0 GiB (115.2 GiB)");
    }

    #[test]
    fn what_cannot_be_is_said_with_what_can() {
        check(
            "M4 Max 128 GB",
            "200G",
            "",
            "200.0 GiB are more than the 128.0 GiB of system memory that the accelerator computes out of: give `--ram` too",
        );
        check(
            "M4 Max 128 GB",
            "2x24G",
            "",
            "a machine whose accelerator computes out of the system's memory has one: write the size without a count",
        );
        check("16 GB", "0", "", "memory of nothing cannot be: leave it out, or write a size such as `24G`");
        check("16 GB", "99x1G", "", "99 accelerators cannot be: write 1 to 64, such as `2x24G`");
        let no_memory =
            "`lots` is no memory of accelerators: write a size such as `24G`, or a count and a size such as `2x24G`";
        check("16 GB", "lots", "", no_memory);
    }
}
