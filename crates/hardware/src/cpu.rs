//! The processor, and how much of it this process may use.

use std::collections::BTreeSet;
use std::path::Path;

use types::Backend;

use crate::Cpu;
use crate::cgroup;
use crate::probe::{Os, Probe, read_text};

/// Reads it. What is not told gets the least that can be true: one core, an unknown name.
pub(crate) fn read(probe: &mut Probe, os: Os, root: &Path) -> Cpu {
    match os {
        Os::Linux => linux(probe, root),
        Os::MacOs => macos(probe),
    }
}

fn linux(probe: &mut Probe, root: &Path) -> Cpu {
    let info = Info::parse(&probe.text("proc/cpuinfo").unwrap_or_default());
    let status = probe.peek("proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    probe.record("/proc/self/status: Cpus_allowed_list", allowed.unwrap_or("is not there"));
    let allowed = allowed.and_then(parse_list);
    let allowed: BTreeSet<u32> = match allowed {
        // The mask also names cores that are not there; cpuinfo lists those that are.
        Some(allowed) if !info.processors.is_empty() => {
            info.processors.iter().map(|one| one.number).filter(|number| allowed.contains(number)).collect()
        }
        Some(allowed) => allowed,
        None => info.processors.iter().map(|one| one.number).collect(),
    };
    let quota = quota(root);
    if let Some(quota) = quota.filter(|&quota| (quota as usize) < allowed.len()) {
        probe.note("CPU", format!("a cgroup allows {quota} of {} cores", allowed.len()), "");
    }
    let cores = u32::try_from(allowed.len()).unwrap_or(u32::MAX).min(quota.unwrap_or(u32::MAX)).max(1);
    let places: BTreeSet<_> = info
        .processors
        .iter()
        .filter(|one| allowed.contains(&one.number))
        .filter_map(|one| Some((one.package, one.core?)))
        .collect();
    let physical = if places.is_empty() { cores } else { u32::try_from(places.len()).unwrap_or(cores) };
    if info.processors.is_empty() {
        probe.note("CPU", "/proc/cpuinfo does not tell of any", "give --cpu-cores");
    }
    Cpu {
        name: info.name().unwrap_or_else(|| "unknown".to_owned()),
        backend: info.backend(),
        cores,
        cores_physical: physical.min(cores),
        bandwidth: None,
        busy: None,
    }
}

fn macos(probe: &mut Probe) -> Cpu {
    let mut ask = |name| probe.run("sysctl", &["-n", name]).ok().map(|text| text.trim().to_owned());
    let name = ask("machdep.cpu.brand_string").filter(|name| !name.is_empty());
    let cores = ask("hw.logicalcpu").and_then(|text| text.parse().ok());
    let physical = ask("hw.physicalcpu").and_then(|text| text.parse().ok());
    if cores.is_none() {
        probe.note("CPU", "`sysctl -n hw.logicalcpu` does not tell how many cores there are", "give --cpu-cores");
    }
    let cores: u32 = cores.unwrap_or(1).max(1);
    let apple = name.as_deref().is_none_or(|name| name.starts_with("Apple"));
    Cpu {
        name: name.unwrap_or_else(|| "unknown".to_owned()),
        backend: if apple { Backend::CpuArm } else { Backend::CpuX86 },
        cores,
        cores_physical: physical.unwrap_or(cores).clamp(1, cores),
        bandwidth: None,
        busy: None,
    }
}

/// How long the cores were at work since the machine started, and how long they were there at all, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    busy: u64,
    all: u64,
}

impl Times {
    /// Those of now. `None` where the system does not tell.
    pub(crate) fn read(os: Os, root: &Path) -> Option<Self> {
        match os {
            Os::Linux => Self::parse(&read_text(&root.join("proc/stat")).ok()?),
            Os::MacOs => None,
        }
    }

    /// `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; what guests took is in user already.
    fn parse(stat: &str) -> Option<Self> {
        let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = all.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
        let all: u64 = ticks.iter().sum();
        Some(Self { busy: all - idle, all })
    }

    /// The share of the time that the cores were at work since `before`; `None` if no tick has passed.
    pub(crate) fn share_since(self, before: Self) -> Option<f64> {
        let (busy, all) = (self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all));
        #[expect(clippy::cast_precision_loss, reason = "ticks of some seconds")]
        (all > 0).then(|| (busy as f64 / all as f64).min(1.0))
    }
}

/// `/proc/cpuinfo`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    /// x86's `model name`.
    model: Option<String>,
    processors: Vec<Processor>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Processor {
    number: u32,
    package: u32,
    core: Option<u32>,
    /// ARM's implementer and part.
    part: Option<(u32, u32)>,
}

impl Info {
    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        let mut implementer = None;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            let hex = || u32::from_str_radix(value.trim_start_matches("0x"), 16).ok();
            match key.trim() {
                "processor" => {
                    if let Ok(number) = value.parse() {
                        info.processors.push(Processor { number, ..Processor::default() });
                    }
                }
                "model name" if !value.is_empty() => info.model = info.model.or_else(|| Some(value.to_owned())),
                "CPU implementer" => implementer = hex(),
                key => {
                    let Some(last) = info.processors.last_mut() else { continue };
                    match key {
                        "physical id" => last.package = value.parse().unwrap_or(0),
                        "core id" => last.core = value.parse().ok(),
                        "CPU part" => last.part = implementer.zip(hex()),
                        _ => {}
                    }
                }
            }
        }
        info
    }

    fn backend(&self) -> Backend {
        let is_arm = self.processors.iter().any(|one| one.part.is_some());
        match (is_arm, &self.model) {
            (true, _) => Backend::CpuArm,
            (false, Some(_)) => Backend::CpuX86,
            (false, None) => Backend::of_this_cpu(),
        }
    }

    /// x86 tells its name; of ARM the kinds of core and how many of each: `10x Cortex-X925 + 10x Cortex-A725`.
    fn name(&self) -> Option<String> {
        if self.model.is_some() {
            return self.model.clone();
        }
        let mut kinds: Vec<((u32, u32), u32)> = Vec::new();
        for part in self.processors.iter().filter_map(|one| one.part) {
            match kinds.iter_mut().find(|(kind, _)| *kind == part) {
                Some((_, count)) => *count += 1,
                None => kinds.push((part, 1)),
            }
        }
        let name = |&((implementer, part), count): &((u32, u32), u32)| {
            let known = ARM_CORES.iter().find(|row| (row.0, row.1) == (implementer, part));
            let core = known
                .map_or_else(|| format!("ARM core {implementer:#04x}/{part:#05x}"), |(_, _, core)| (*core).to_owned());
            format!("{count}x {core}")
        };
        (!kinds.is_empty()).then(|| kinds.iter().map(name).collect::<Vec<_>>().join(" + "))
    }
}

/// Implementer, part, name: the cores in machines on which models run. Source: the kernel's `arch/arm64/include/asm/cputype.h`
/// and the technical reference manuals' MIDR_EL1 values.
const ARM_CORES: &[(u32, u32, &str)] = &[
    (0x41, 0xd03, "Cortex-A53"),
    (0x41, 0xd05, "Cortex-A55"),
    (0x41, 0xd07, "Cortex-A57"),
    (0x41, 0xd08, "Cortex-A72"),
    (0x41, 0xd0b, "Cortex-A76"),
    (0x41, 0xd0c, "Neoverse N1"),
    (0x41, 0xd40, "Neoverse V1"),
    (0x41, 0xd41, "Cortex-A78"),
    (0x41, 0xd42, "Cortex-A78AE"),
    (0x41, 0xd49, "Neoverse N2"),
    (0x41, 0xd4f, "Neoverse V2"),
    (0x41, 0xd80, "Cortex-A520"),
    (0x41, 0xd81, "Cortex-A720"),
    (0x41, 0xd82, "Cortex-X4"),
    (0x41, 0xd83, "Neoverse V3AE"),
    (0x41, 0xd84, "Neoverse V3"),
    (0x41, 0xd85, "Cortex-X925"),
    (0x41, 0xd87, "Cortex-A725"),
    (0x41, 0xd8e, "Neoverse N3"),
    (0x46, 0x001, "A64FX"),
    (0x48, 0xd01, "Kunpeng TaiShan v110"),
    (0x48, 0xd02, "Kunpeng TaiShan v120"),
    (0x4e, 0x004, "NVIDIA Carmel"),
    (0x51, 0x001, "Qualcomm Oryon"),
    (0x61, 0x022, "Apple M1 Icestorm"),
    (0x61, 0x023, "Apple M1 Firestorm"),
    (0x61, 0x032, "Apple M2 Blizzard"),
    (0x61, 0x033, "Apple M2 Avalanche"),
    (0xc0, 0xac3, "AmpereOne"),
];

/// `0-3,8` as the kernel writes sets of cores. `None` if it is no such list.
fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    // More cores than any machine has: a garbled range must not fill the memory.
    const CORES_MAX: u32 = 1 << 16;
    let mut set = BTreeSet::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= CORES_MAX {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

/// Cores' worth of time that a cgroup allows, rounded up; the tightest of ours and its ancestors.
fn quota(root: &Path) -> Option<u32> {
    let number = |path: &Path| read_text(path).ok()?.trim().parse::<u64>().ok();
    let quota_in = |folder: &Path, version| match version {
        cgroup::Version::V2 => {
            let text = read_text(&folder.join("cpu.max")).ok()?;
            let mut words = text.split_whitespace();
            // `max 100000` means no limit, and is no number.
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        }
        // -1 means no limit, and is no unsigned number.
        cgroup::Version::V1 => {
            Some((number(&folder.join("cpu.cfs_quota_us"))?, number(&folder.join("cpu.cfs_period_us"))?))
        }
    };
    cgroup::folders(root, "cpu")
        .iter()
        .filter_map(|(folder, version)| quota_in(folder, *version))
        .filter(|&(quota, period)| quota > 0 && period > 0)
        .map(|(quota, period): (u64, u64)| u32::try_from(quota.div_ceil(period)).unwrap_or(u32::MAX))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        let check = |text: &str, expected: Option<&[u32]>| {
            assert_eq!(parse_list(text), expected.map(|cores| cores.iter().copied().collect()), "{text}");
        };
        check("0-3,8", Some(&[0, 1, 2, 3, 8]));
        check("\t5\n", Some(&[5]));
        check("3-1", None);
        check("0-4294967295", None);
        check("", None);
        check("a-b", None);
    }

    #[test]
    fn the_tightest_quota_counts_and_is_rounded_up() {
        let check = |files: &[(&str, &str)], expected| {
            let root = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            assert_eq!(quota(root.path()), expected, "{files:?}");
        };
        let v2 = ("proc/self/cgroup", "0::/a/b\n");
        check(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n")], None);
        check(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n")], Some(3));
        check(
            &[v2, ("sys/fs/cgroup/a/b/cpu.max", "400000 100000"), ("sys/fs/cgroup/a/cpu.max", "150000 100000")],
            Some(2),
        );
        check(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "5 0")], None);
        let v1 = ("proc/self/cgroup", "1:cpu,cpuacct:/x\n");
        let period = ("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000");
        check(&[v1, ("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1"), period], None);
        check(&[v1, ("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "800000"), period], Some(8));
    }

    #[test]
    fn use_is_what_passed_between_two_looks() {
        let times = |line: &str| Times::parse(&format!("{line}\ncpu0 9 9 9 9\nintr 5\n"));
        let before = times("cpu  100 20 30 800 50 0 0 0 7 7").unwrap();
        assert_eq!(before, Times { busy: 150, all: 1000 });
        let after = times("cpu  160 20 30 820 70 0 0 0 7 7").unwrap();
        assert_eq!(after.share_since(before), Some(0.6));
        assert_eq!(after.share_since(after), None);
        assert_eq!(before.share_since(after), None, "idle time that runs backwards, as some kernels have it");
        assert_eq!(times("cpu  1 2 3"), None);
        assert_eq!(times("cpu  1 2 3 4"), Some(Times { busy: 6, all: 10 }));
        assert_eq!(Times::parse("intr 5"), None);
        assert!(Times::read(Os::Linux, Path::new("/")).is_some());
    }

    #[test]
    fn names() {
        let arm = |number, part| {
            format!("processor : {number}\nBogoMIPS : 2000.00\nCPU implementer : 0x41\nCPU part : {part}\n\n")
        };
        let check = |text: &str, name: Option<&str>, backend| {
            let info = Info::parse(text);
            assert_eq!((info.name().as_deref(), info.backend()), (name, backend), "{text}");
        };
        check(
            &[arm(0, "0xd87"), arm(1, "0xd85"), arm(2, "0xd85")].concat(),
            Some("1x Cortex-A725 + 2x Cortex-X925"),
            Backend::CpuArm,
        );
        check(&arm(0, "0x123"), Some("1x ARM core 0x41/0x123"), Backend::CpuArm);
        check("processor: 0\nmodel name\t: AMD EPYC 9654\n", Some("AMD EPYC 9654"), Backend::CpuX86);
        check("nonsense", None, Backend::of_this_cpu());
    }
}
