//! Whether what is still to be written fits, beside what other jobs will write.

use std::path::{Path, PathBuf};

use types::ByteCount;

/// Who knows how much may be written. Asked before a job begins and while it runs; it must answer within milliseconds.
pub trait Room: Send + Sync + 'static {
    /// How much may be written into this folder now, which need not exist yet: the cache for the hub's files, the folder of
    /// the file for those of any address. What partial files hold already counts as written.
    fn room(&self, folder: &Path) -> Space;
}

/// How much may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What the folder's disk has for it.
    pub free: ByteCount,
    /// What all files together hold, wherever they are: that of which the limit says how much it may be.
    pub used: ByteCount,
    /// The limit that is set for all files together, if one is.
    pub limit: Option<ByteCount>,
}

/// Where a file is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The folder; it may not exist yet.
    pub(super) folder: PathBuf,
    /// The disk that it is on, if the system tells.
    disk: Option<u64>,
}

/// What is to be written where.
pub(super) type Writes<'a> = (&'a Place, ByteCount);

/// What is needed and not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) available: ByteCount,
    pub(super) required: ByteCount,
    pub(super) limit: Option<ByteCount>,
}

impl Place {
    /// Blocks on the disk.
    pub(super) fn of(folder: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        // Where the folder will be made, its disk is that of what is there already.
        let disk = folder.ancestors().find_map(|folder| Some(folder.metadata().ok()?.dev()));
        Self { folder: folder.to_owned(), disk }
    }

    fn shares_a_disk_with(&self, other: &Self) -> bool {
        self.folder == other.folder || self.disk.is_some() && self.disk == other.disk
    }
}

/// Whether `wanted` fits beside what is `reserved` for others. Each disk must have what goes to it, and the limit what goes
/// anywhere.
pub(super) fn fits(room: &dyn Room, wanted: &[Writes<'_>], reserved: &[Writes<'_>]) -> Result<(), Short> {
    let on = |writes: &[Writes<'_>], place: &Place| -> ByteCount {
        writes.iter().filter(|(other, _)| place.shares_a_disk_with(other)).map(|(_, bytes)| *bytes).sum()
    };
    let all = |writes: &[Writes<'_>]| -> ByteCount { writes.iter().map(|(_, bytes)| *bytes).sum() };
    for (place, bytes) in wanted {
        // What is here already takes no room, however full its disk is.
        if *bytes == ByteCount::ZERO {
            continue;
        }
        let Space { free, used, limit } = room.room(&place.folder);
        let free = free.saturating_sub(on(reserved, place));
        let left = limit.map(|limit| limit.saturating_sub(used + all(reserved)));
        let required = on(wanted, place);
        if required > free {
            return Err(Short { available: left.map_or(free, |left| left.min(free)), required, limit });
        }
        if let Some(available) = left.filter(|left| all(wanted) > *left) {
            return Err(Short { available: available.min(free), required: all(wanted), limit });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two disks; `/a` has 10, `/b` has 4.
    struct Disks {
        used: u64,
        limit: Option<u64>,
    }

    impl Room for Disks {
        fn room(&self, folder: &Path) -> Space {
            let free = if folder.starts_with("/a") { 10 } else { 4 };
            let limit = self.limit.map(ByteCount::bytes);
            Space { free: ByteCount::bytes(free), used: ByteCount::bytes(self.used), limit }
        }
    }

    fn writes<'a>(of: &[(&'a Place, u64)]) -> Vec<Writes<'a>> {
        of.iter().map(|(place, count)| (*place, ByteCount::bytes(*count))).collect()
    }

    #[test]
    fn each_disk_and_the_limit_have_what_is_needed() {
        let place = |folder: &str, disk| Place { folder: folder.into(), disk };
        let (a, a2, b) = (place("/a", Some(1)), place("/a/x", Some(1)), place("/b", Some(2)));
        let check = |limit: Option<u64>, wanted: &[(&Place, u64)], reserved: &[(&Place, u64)]| {
            fits(&Disks { used: 20, limit }, &writes(wanted), &writes(reserved))
                .map_err(|short| (short.available.as_u64(), short.required.as_u64()))
        };
        assert_eq!(check(None, &[(&a, 10)], &[]), Ok(()));
        assert_eq!(check(None, &[(&a, 10)], &[(&b, 4)]), Ok(()), "that goes to another disk");
        assert_eq!(check(None, &[(&a, 10)], &[(&a2, 1)]), Err((9, 10)), "that is another folder of this one");
        assert_eq!(check(None, &[(&a, 6), (&a2, 5)], &[]), Err((10, 11)), "both go to it");
        assert_eq!(check(None, &[(&a, 10), (&b, 4)], &[]), Ok(()));
        assert_eq!(check(None, &[(&a, 1), (&b, 5)], &[]), Err((4, 5)));
        assert_eq!(check(Some(34), &[(&a, 10), (&b, 4)], &[]), Ok(()));
        assert_eq!(check(Some(33), &[(&a, 10), (&b, 4)], &[]), Err((10, 14)));
        assert_eq!(check(Some(33), &[(&a, 10)], &[(&b, 4)]), Err((9, 10)), "the limit is of all disks");
        assert_eq!(check(Some(1), &[(&a, 0)], &[(&b, 9)]), Ok(()), "nothing is to be written");
        let unknown = place("/a", None);
        assert_eq!(check(None, &[(&unknown, 10)], &[(&a, 1)]), Err((9, 10)), "the same folder is on the same disk");
    }
}
