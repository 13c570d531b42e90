//! How much may be written for models: what the disk has free, and what their owner allows.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hub::download::Downloads;
use types::ByteCount;

/// What is left free on the disk whatever the limit says: a full disk harms more than models.
const HEAD_ROOM_MAX: ByteCount = ByteCount::mib(1024);

/// The disk of the models folder, and the limit.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    /// Bytes; 0 for no limit.
    limit: AtomicU64,
    node: node::Handle,
    /// What is on its way counts as written.
    downloads: OnceLock<Downloads>,
}

/// The disk at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What the disk holds.
    pub total: ByteCount,
    /// What is free of it for us.
    pub free: ByteCount,
    /// What model files take, the HF cache's that are served included.
    pub used: ByteCount,
    /// What they may take; `None` for all that the disk has.
    pub limit: Option<ByteCount>,
}

impl Usage {
    /// What is free of the disk but for the head-room.
    pub(crate) fn free_for_models(&self) -> ByteCount {
        // A hundredth of a small disk is enough.
        let head_room = HEAD_ROOM_MAX.min(ByteCount::bytes(self.total.as_u64() / 100));
        self.free.saturating_sub(head_room)
    }

    /// What may still be written for models.
    pub fn available(&self) -> ByteCount {
        let free = self.free_for_models();
        self.limit.map_or(free, |limit| free.min(limit.saturating_sub(self.used)))
    }
}

impl Disk {
    pub(crate) fn new(folder: PathBuf, limit: Option<ByteCount>, node: node::Handle) -> Self {
        Self { folder, limit: AtomicU64::new(limit.map_or(0, ByteCount::as_u64)), node, downloads: OnceLock::new() }
    }

    /// Has partial files counted. They are the downloads', which ask us for room.
    pub(crate) fn count_partial(&self, downloads: Downloads) {
        let _once = self.downloads.set(downloads);
    }

    pub(crate) fn set_limit(&self, limit: Option<ByteCount>) {
        self.limit.store(limit.map_or(0, ByteCount::as_u64), Ordering::Relaxed);
    }

    /// The disk of the models folder.
    pub(crate) fn usage(&self) -> Usage {
        self.usage_at(&self.folder)
    }

    /// The disk that `folder` is, or will be, on; the limit is for all together.
    pub(crate) fn usage_at(&self, folder: &Path) -> Usage {
        let (total, free) = space(folder).unwrap_or_default();
        let view = self.node.view();
        let view = view.borrow();
        let here: ByteCount = view.library.models().map(|model| model.weights()).sum();
        let jobs = self.downloads.get().map(Downloads::jobs);
        let partial: ByteCount = jobs.iter().flat_map(|jobs| jobs.iter()).map(|job| job.bytes_done).sum();
        let used = here + partial;
        let limit = Some(self.limit.load(Ordering::Relaxed)).filter(|&limit| limit > 0).map(ByteCount::bytes);
        Usage { total, free, used, limit }
    }
}

/// Total and free bytes of the disk that `folder` is, or will be, on.
fn space(folder: &Path) -> Option<(ByteCount, ByteCount)> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    let bytes = |blocks: u64| ByteCount::bytes(blocks.saturating_mul(disk.f_frsize));
    Some((bytes(disk.f_blocks), bytes(disk.f_bavail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_disk_and_limit_is_available() {
        let check = |free: u64, used: u64, limit: Option<u64>, expected: u64| {
            let gib = |count: u64| ByteCount::mib(count * 1024);
            let usage = Usage { total: gib(1000), free: gib(free), used: gib(used), limit: limit.map(gib) };
            assert_eq!(usage.available(), gib(expected), "{usage:?}");
        };
        check(100, 10, None, 99);
        check(100, 10, Some(50), 40);
        check(20, 10, Some(50), 19);
        check(100, 60, Some(50), 0);
        check(0, 0, None, 0);
    }
}
