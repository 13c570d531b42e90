//! What a processor reads from memory, by its name: for machines where nobody measured it.

use std::sync::LazyLock;

use super::names::{Pattern, Words};
use super::rows;

/// The memory that a processor's maker specifies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuMemory {
    /// What all channels of one socket carry together, bytes/s; an upper bound of what cores can read.
    pub bandwidth: f64,
    /// The kind of memory that is assumed: `DDR5-5600`. Machines with slower or fewer modules are common.
    pub memory: &'static str,
}

struct Family {
    patterns: Box<[Pattern]>,
    memory: CpuMemory,
}

/// The memory of the processor called `name` (`AMD Ryzen 7 7840HS w/ Radeon 780M Graphics`), assuming the fastest that
/// its maker specifies in every channel. `None` for names of no known family. A measured figure is always better.
pub fn cpu_bandwidth_by_name(name: &str) -> Option<CpuMemory> {
    static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
        rows(include_str!("../../data/cpus.csv"))
            .map(|row| parse(row).unwrap_or_else(|| panic!("the embedded table of processors has a bad row: {row}")))
            .collect()
    });
    let words = Words::of(name);
    FAMILIES
        .iter()
        .filter_map(|family| {
            let quality = family.patterns.iter().filter_map(|pattern| pattern.quality(&words)).max()?;
            Some((quality, family.memory))
        })
        .max_by_key(|(quality, _)| *quality)
        .map(|(_, memory)| memory)
}

fn parse(row: &'static str) -> Option<Family> {
    let mut cells = row.split(',');
    let (names, channels, rate, memory) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    const BYTES_PER_TRANSFER: f64 = 8.0;
    let bandwidth = channels.parse::<f64>().ok()? * rate.parse::<f64>().ok()? * 1e6 * BYTES_PER_TRANSFER;
    Some(Family {
        patterns: names.split('|').map(Pattern::parse).collect::<Option<_>>()?,
        memory: CpuMemory { bandwidth, memory },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_have_the_memory_of_their_family() {
        for (name, gigabytes) in [
            ("AMD Ryzen 7 7840HS w/ Radeon 780M Graphics", 89.6),
            ("AMD Ryzen 5 7640U w/ Radeon 760M Graphics", 89.6),
            ("AMD Ryzen 7 9800X3D 8-Core Processor", 89.6),
            ("AMD Ryzen 5 7520U with Radeon Graphics", 44.0),
            ("AMD Ryzen 7 7735HS with Radeon Graphics", 76.8),
            ("AMD Ryzen 9 7945HX with Radeon Graphics", 83.2),
            ("AMD RYZEN AI MAX+ 395 w/ Radeon 8060S", 256.0),
            ("AMD Ryzen AI 9 HX 370 w/ Radeon 890M", 89.6),
            ("AMD Ryzen Threadripper PRO 5965WX 24-Cores", 204.8),
            ("AMD Ryzen Threadripper 7980X 64-Cores", 166.4),
            ("AMD EPYC 9654 96-Core Processor", 460.8),
            ("AMD EPYC 7763 64-Core Processor", 204.8),
            ("AMD EPYC 7B13", 204.8),
            ("Intel(R) Xeon(R) CPU E5-2699 v4 @ 2.20GHz", 76.8),
            ("Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz", 51.2),
            ("Intel(R) Xeon(R) Platinum 8480+", 307.2),
            ("Intel(R) Core(TM) i7-3770 CPU @ 3.40GHz", 25.6),
            ("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", 38.4),
            ("12th Gen Intel(R) Core(TM) i7-12700H", 76.8),
            ("13th Gen Intel(R) Core(TM) i7-1360P", 83.2),
            ("Intel(R) Core(TM) Ultra 7 155H", 89.6),
            ("Intel(R) Core(TM) Ultra 7 258V", 136.5),
            ("Intel(R) N100", 38.4),
            ("Apple M4 Max", 546.1),
            ("Apple M1", 68.3),
            ("Neoverse-N1", 204.8),
        ] {
            let found = cpu_bandwidth_by_name(name).unwrap_or_else(|| panic!("{name} is of no known family"));
            assert!((found.bandwidth / 1e9 - gigabytes).abs() < 0.1, "{name}: {found:?}, not {gigabytes} GB/s");
        }
        for name in ["", "QEMU Virtual CPU version 2.5+", "Common KVM processor"] {
            assert_eq!(cpu_bandwidth_by_name(name), None, "{name}");
        }
    }
}
