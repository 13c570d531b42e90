//! System memory: what is there, and what this process may have of it.

use std::path::Path;

use serde::Serialize;
use types::ByteCount;

use crate::cgroup;

/// System memory as this process may use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ram {
    /// What there is, or what a cgroup allows if that is less.
    pub total: ByteCount,
    /// What could be had now without swapping, within the same limit.
    pub available: ByteCount,
}

/// Of the RAM there is, models may use this share unless told otherwise: the rest is the system's and everybody else's.
const MODELS_SHARE_PERCENT: u64 = 90;

impl Ram {
    /// What models may use of it, where those that run hold `held` already: what nobody else uses, and never all.
    pub fn for_models(&self, held: ByteCount) -> ByteCount {
        let share = ByteCount::bytes(self.total.as_u64() / 100 * MODELS_SHARE_PERCENT);
        share.min(self.available + held)
    }
}

/// Reads it now. `None` where the system does not tell.
pub fn ram() -> Option<Ram> {
    if cfg!(target_os = "linux") { linux(Path::new("/")) } else { sysctl() }
}

/// `/proc/meminfo` and the cgroup this process is in (v2, or v1's memory controller), under `root`.
pub(crate) fn linux(root: &Path) -> Option<Ram> {
    let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(ByteCount::bytes(kib.saturating_mul(1024)))
    };
    let total = field("MemTotal:")?;
    let available = field("MemAvailable:").or_else(|| field("MemFree:"))?;
    Some(cgroup_limits(root).into_iter().fold(Ram { total, available }, |ram, group| Ram {
        total: ram.total.min(group.total),
        available: ram.available.min(group.available),
    }))
}

/// The limit and what is left of it, for our cgroup and each of its ancestors: the tightest counts.
fn cgroup_limits(root: &Path) -> Vec<Ram> {
    let files = |version| match version {
        cgroup::Version::V1 => ["memory.limit_in_bytes", "memory.usage_in_bytes"],
        cgroup::Version::V2 => ["memory.max", "memory.current"],
    };
    cgroup::folders(root, "memory").iter().filter_map(|(folder, version)| limit_in(folder, files(*version))).collect()
}

fn limit_in(folder: &Path, [limit_file, used_file]: [&str; 2]) -> Option<Ram> {
    let number = |file: &str| std::fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    // `max` (v2) is no number; v1 writes a limit near 2^63 where there is none, which the minimum ignores.
    let total = ByteCount::bytes(number(limit_file)?);
    let used = ByteCount::bytes(number(used_file).unwrap_or(0));
    // Pages of files that nobody holds go when memory is wanted.
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let reclaimable = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "))
        .and_then(|bytes| bytes.trim().parse().ok())
        .map_or(ByteCount::ZERO, ByteCount::bytes);
    Some(Ram { total, available: total.saturating_sub(used.saturating_sub(reclaimable)) })
}

/// `sysctl hw.memsize`; what is available is not told by it, so that is taken to be three quarters.
fn sysctl() -> Option<Ram> {
    let output = std::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    let bytes: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    Some(Ram { total: ByteCount::bytes(bytes), available: ByteCount::bytes(bytes / 4 * 3) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: Option<(u64, u64)>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let found = linux(root.path()).map(|ram| (ram.total.as_mib_ceil(), ram.available.as_mib_ceil()));
        assert_eq!(found, expected);
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1024 kB\nMemAvailable: 4194304 kB\n");

    #[test]
    fn a_plain_machine_has_what_meminfo_says() {
        check(&[MEMINFO], Some((8192, 4096)));
        check(&[], None);
        check(&[("proc/meminfo", "nonsense")], None);
    }

    #[test]
    fn the_tightest_cgroup_counts() {
        let max = |mib: u64| (mib << 20).to_string();
        check(
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.max", &max(2048)),
                ("sys/fs/cgroup/a/memory.current", &max(1024)),
                ("sys/fs/cgroup/a/memory.stat", &format!("anon 1\ninactive_file {}\n", 512 << 20)),
            ],
            Some((2048, 1536)),
        );
        check(
            &[
                MEMINFO,
                ("proc/self/cgroup", "3:cpu,memory:/x\n"),
                ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", &max(1024)),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ],
            Some((1024, 1024)),
        );
    }

    #[test]
    fn this_machine_tells() {
        let ram = ram().unwrap();
        assert!(ram.available <= ram.total && ram.total > ByteCount::mib(64));
    }
}
