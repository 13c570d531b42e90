//! How fast the processor reads memory: measured once, for a fifth of a second, and kept in a file. Takes all cores and up
//! to a GiB while it runs: never to be asked for by a request.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use types::ByteCount;

use crate::probe::read_text;
use crate::{Cpu, Ram};

/// How long every core reads.
const SWEEP: Duration = Duration::from_millis(120);
/// Each thread reads this much over and over: more than its share of any cache.
const PER_THREAD: ByteCount = ByteCount::mib(128);
/// All threads together take no more; caches of 96 cores have a third of it.
const TOGETHER: ByteCount = ByteCount::gib(1);
/// What no machine has less, or more, of. Bytes/s.
const PLAUSIBLE: std::ops::Range<f64> = 1e8..1e14;
/// Machines that one folder remembers: it moves between a few at most.
const MACHINES_MAX: usize = 32;

/// What all cores read together, bytes/s: from the file in `folder` if it was measured for a processor of this name
/// with as many cores, else measured now (and kept, if the machine has little else to do and the folder can be written). `None` if memory is too short to
/// measure. Blocks.
pub fn once(folder: &Path, cpu: &Cpu, ram: Ram) -> Option<f64> {
    kept_or_measured(folder, cpu, ram, is_quiet(cpu.cores))
}

fn kept_or_measured(folder: &Path, cpu: &Cpu, ram: Ram, quiet: bool) -> Option<f64> {
    if let Some(bandwidth) = kept(folder, cpu) {
        return Some(bandwidth);
    }
    let bandwidth = measure(cpu.cores, ram.available)?;
    // What others read at the same time is missing from what was measured: the next start measures again.
    if quiet && let Err(error) = keep(folder, cpu, bandwidth) {
        tracing::warn!(%error, folder = %folder.display(), "cannot keep the measured memory bandwidth: it will be measured again");
    }
    Some(bandwidth)
}

/// Whether less than half of the cores had work in the last minute; `true` where the system does not tell.
fn is_quiet(cores: u32) -> bool {
    let load = read_text(Path::new("/proc/loadavg")).ok().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    load.is_none_or(|load| load < f64::from(cores) / 2.0)
}

/// Measures it: each of `cores` threads reads its own memory for 120 ms, after filling it. Bytes/s of all together.
/// `None` if less than half a GiB is `available`, or if threads cannot be had.
pub fn measure(cores: u32, available: ByteCount) -> Option<f64> {
    if available < ByteCount::mib(512) {
        return None;
    }
    let together = TOGETHER.min(ByteCount::bytes(available.as_u64() / 4));
    let threads = usize::try_from(cores.max(1)).ok()?;
    let each = PER_THREAD.min(ByteCount::bytes(together.as_u64() / u64::from(cores.max(1))));
    let length = usize::try_from(each.as_u64()).ok()?.max(1 << 20);
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    // Written, not only reserved: pages that were never written are all the same page of zeros.
                    let memory = vec![1_u8; length];
                    start.wait();
                    sweep(&memory)
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().ok()).sum::<Option<f64>>()
    })
    // Whole bytes are as exact as it gets, and come back from a file as they went.
    .map(f64::round)
    .filter(|bandwidth| PLAUSIBLE.contains(bandwidth))
}

/// Bytes/s of one thread, which compares one half of its memory with the other: the system library's comparison reads as
/// fast as the core can, however this program was compiled.
#[expect(clippy::cast_precision_loss, reason = "a rate, of two digits at most")]
fn sweep(memory: &[u8]) -> f64 {
    // Short enough for the clock to be looked at often, long enough for that to cost nothing.
    const STRETCH: usize = 256 << 10;
    let (left, right) = memory.split_at(memory.len() / 2);
    let begin = Instant::now();
    let mut read: usize = 0;
    for (left, right) in left.chunks_exact(STRETCH).zip(right.chunks_exact(STRETCH)).cycle() {
        black_box(black_box(left) == black_box(right));
        read += 2 * STRETCH;
        if begin.elapsed() >= SWEEP {
            break;
        }
    }
    read as f64 / begin.elapsed().as_secs_f64()
}

/// What `folder` remembers for this processor.
fn kept(folder: &Path, cpu: &Cpu) -> Option<f64> {
    read(folder).get(&key(cpu)).copied().filter(|bandwidth| PLAUSIBLE.contains(bandwidth))
}

fn keep(folder: &Path, cpu: &Cpu, bandwidth: f64) -> std::io::Result<()> {
    let mut all = read(folder);
    if all.len() >= MACHINES_MAX {
        all.clear();
    }
    all.insert(key(cpu), bandwidth);
    // Written beside it and put in its place: a reader never sees half a file.
    let new = folder.join("memory-bandwidth.json.new");
    std::fs::write(&new, serde_json::to_string_pretty(&all)?)?;
    std::fs::rename(new, file(folder))
}

/// A file that cannot be read counts as none: it is only measured again.
fn read(folder: &Path) -> BTreeMap<String, f64> {
    read_text(&file(folder)).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn file(folder: &Path) -> PathBuf {
    folder.join("memory-bandwidth.json")
}

fn key(cpu: &Cpu) -> String {
    format!("{}, {} cores", cpu.name, cpu.cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(name: &str, cores: u32) -> Cpu {
        let backend = types::Backend::CpuX86;
        Cpu { name: name.to_owned(), backend, cores, cores_physical: cores, bandwidth: None, busy: None }
    }

    #[test]
    fn is_measured_once_for_each_processor() {
        let folder = tempfile::tempdir().unwrap();
        let ram = Ram { total: ByteCount::gib(1), available: ByteCount::gib(1) };
        kept_or_measured(folder.path(), &cpu("A", 2), ram, false).unwrap();
        assert_eq!(once(folder.path(), &cpu("A", 2), Ram::default()), None, "measured under load, it is not kept");
        let first = kept_or_measured(folder.path(), &cpu("A", 2), ram, true).unwrap();
        assert!(PLAUSIBLE.contains(&first));
        // With no memory to measure in, it can only come from the file.
        assert_eq!(once(folder.path(), &cpu("A", 2), Ram::default()), Some(first));
        assert_eq!(once(folder.path(), &cpu("A", 1), Ram::default()), None);
        std::fs::write(file(folder.path()), "{\"A, 2 cores\": -1.0}").unwrap();
        assert_eq!(once(folder.path(), &cpu("A", 2), Ram::default()), None, "nonsense is not believed");
        std::fs::write(file(folder.path()), "{\"A, 2 co").unwrap();
        assert_eq!(once(folder.path(), &cpu("A", 2), Ram::default()), None);
    }
}
