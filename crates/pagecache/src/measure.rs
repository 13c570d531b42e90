//! How much of a mapping the kernel really keeps, as `/proc/self/smaps` tells.

use memmap2::MmapRaw;
use types::ByteCount;

/// The resident bytes of these mappings as far as they are locked; `None` where the system does not tell.
///
/// `Locked:` itself is a share: the kernel divides it by those who have the same pages mapped, an engine for one.
pub(crate) fn locked(maps: &[MmapRaw]) -> Option<ByteCount> {
    let ranges: Vec<(usize, usize)> =
        maps.iter().map(|map| (map.as_ptr().addr(), map.as_ptr().addr() + map.len())).collect();
    let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    Some(resident_and_locked(&smaps, &ranges))
}

/// Reads it off a `smaps`: resident bytes of locked areas that lie in one of these ranges of addresses. Neighbours may
/// have become one area.
fn resident_and_locked(smaps: &str, ranges: &[(usize, usize)]) -> ByteCount {
    let mut is_ours = false;
    let mut resident = 0;
    let mut total = 0;
    for line in smaps.lines() {
        if let Some((start, end)) = area(line) {
            is_ours = ranges.iter().any(|&(from, to)| start < to && from < end);
            resident = 0;
        } else if let Some(kib) = line.strip_prefix("Rss:") {
            resident = kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && is_ours
            && flags.split_whitespace().any(|flag| flag == "lo")
        {
            total += resident;
        }
    }
    ByteCount::bytes(total.saturating_mul(1024))
}

/// The addresses of an area, if the line begins one: `7f00c0000000-7f00c0300000 r--s …`.
fn area(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
1000-5000 r--s 00000000 fe:00 1 /m/a.gguf
Size:                 16 kB
Rss:                  12 kB
Locked:                6 kB
VmFlags: rd mr me ms lo
5000-9000 r--s 00000000 fe:00 2 /m/b.gguf
Rss:                  16 kB
VmFlags: rd mr me ms
f000-f800 rw-p 00000000 00:00 0 [heap]
Rss:                   4 kB
VmFlags: rd wr lo
";

    #[test]
    fn only_our_locked_areas_count() {
        let check = |ranges: &[(usize, usize)], kib: u64| {
            assert_eq!(resident_and_locked(SMAPS, ranges), ByteCount::bytes(kib << 10), "{ranges:x?}");
        };
        check(&[(0x1000, 0x5000)], 12);
        check(&[(0x1000, 0x3000), (0x3000, 0x5000)], 12);
        check(&[(0x5000, 0x9000)], 0);
        check(&[(0x1000, 0x9000)], 12);
        check(&[(0x9000, 0xf000)], 0);
        check(&[], 0);
        assert_eq!(resident_and_locked("no such thing", &[(0, 1)]), ByteCount::ZERO);
    }
}
