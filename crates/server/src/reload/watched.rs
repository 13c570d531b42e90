//! Tells when a file has become another: written to, replaced by a rename, or there at last.
//!
//! Folders are watched rather than files, for a file that was renamed over is gone; and what counts is what the files hold,
//! so that what else happens in their folders wakes nobody for long.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;

/// A file that is being written changes many times; it is looked at once its folder has been quiet for this long.
const QUIET: Duration = Duration::from_millis(200);
/// A folder that never is quiet is looked at this often.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// Folders that do not exist yet cannot be watched; and not every file system tells of its changes.
const LOOK_PERIOD: Duration = Duration::from_secs(60);
/// What is read of a file; none of ours is larger.
const BYTES_MAX: u64 = 2 << 20;

/// See the module's text.
pub(super) struct Watched {
    files: Vec<PathBuf>,
    /// What they held when they were read.
    seen: u64,
    changed: Arc<Notify>,
    watcher: Option<notify::RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watched {
    /// Watches these files, which are as they were read.
    pub(super) async fn new(files: Vec<PathBuf>) -> Self {
        let changed = Arc::new(Notify::new());
        let watcher = watcher(&changed);
        let mut watched = Self { files: Vec::new(), seen: 0, changed, watcher, folders: BTreeSet::new() };
        watched.watch(files);
        watched.now_read().await;
        watched
    }

    /// Watches these files from now on.
    pub(super) fn watch(&mut self, files: Vec<PathBuf>) {
        self.files = files;
        self.watch_folders();
    }

    /// The files are about to be read: only what they become after this is a change.
    pub(super) async fn now_read(&mut self) {
        self.seen = content(self.files.clone()).await;
    }

    /// Waits until they hold something else than when they were read.
    pub(super) async fn changed(&mut self) {
        loop {
            if tokio::time::timeout(LOOK_PERIOD, self.changed.notified()).await.is_ok() {
                let quiet = async { while tokio::time::timeout(QUIET, self.changed.notified()).await.is_ok() {} };
                let _bounded = tokio::time::timeout(QUIET_MAX, quiet).await;
            }
            self.watch_folders();
            if content(self.files.clone()).await != self.seen {
                return;
            }
        }
    }

    /// Where the files lie, and where they lie that they are links to.
    fn watch_folders(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let targets = self.files.iter().filter_map(|file| file.canonicalize().ok());
        let folders = self.files.iter().cloned().chain(targets).filter_map(|file| Some(file.parent()?.to_owned()));
        for folder in folders.collect::<BTreeSet<_>>() {
            if self.folders.contains(&folder) || !folder.is_dir() {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.folders.insert(folder)),
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "cannot watch the configuration"),
            }
        }
    }
}

fn watcher(changed: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let changed = Arc::clone(changed);
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is no change; a watch that counted it would wake itself.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    })
    .inspect_err(|error| {
        tracing::warn!(%error, "cannot watch the configuration, looking every {} s", LOOK_PERIOD.as_secs());
    })
    .ok()
}

/// One number for what all of them hold.
async fn content(files: Vec<PathBuf>) -> u64 {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut hasher = DefaultHasher::new();
        for file in &files {
            let held = read(file);
            hasher.write_u8(u8::from(held.is_some()));
            let held = held.unwrap_or_default();
            hasher.write_usize(held.len());
            hasher.write(&held);
        }
        hasher.finish()
    });
    hashed.await.unwrap_or(0)
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let mut held = Vec::new();
    std::fs::File::open(file).ok()?.take(BYTES_MAX).read_to_end(&mut held).ok()?;
    Some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a change is noticed that `change` makes to the folder in which `snug.toml` lies.
    async fn check(change: impl FnOnce(&Path)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("snug.toml");
        std::fs::write(&file, "port = 1").unwrap();
        let mut watched = Watched::new(vec![file]).await;
        change(folder.path());
        // One that is not noticed would not be for a minute.
        tokio::time::timeout(Duration::from_secs(30), watched.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn another_content_is_noticed_however_it_came() {
        assert!(check(|folder| std::fs::write(folder.join("snug.toml"), "port = 2").unwrap()).await);
        assert!(
            check(|folder| {
                std::fs::write(folder.join("new"), "port = 2").unwrap();
                std::fs::rename(folder.join("new"), folder.join("snug.toml")).unwrap();
            })
            .await
        );
        assert!(check(|folder| std::fs::remove_file(folder.join("snug.toml")).unwrap()).await);
    }

    #[tokio::test]
    async fn a_link_that_leads_elsewhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("one", "port = 1"), ("two", "port = 2")] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("snug.toml"), text).unwrap();
        }
        // As an orchestrator mounts it: the file is a link into a folder that is a link.
        std::os::unix::fs::symlink("one", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/snug.toml", at("snug.toml")).unwrap();
        let mut watched = Watched::new(vec![at("snug.toml")]).await;
        std::os::unix::fs::symlink("two", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        tokio::time::timeout(Duration::from_secs(30), watched.changed()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_change_them_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("snug.toml");
        std::fs::write(&file, "port = 1").unwrap();
        let mut watched = Watched::new(vec![file.clone()]).await;
        std::fs::write(&file, "port = 1").unwrap();
        std::fs::write(folder.path().join("other"), "").unwrap();
        watched.changed.notify_one();
        // Virtual minutes: it looks several times meanwhile.
        assert!(tokio::time::timeout(LOOK_PERIOD * 3, watched.changed()).await.is_err());
        std::fs::write(&file, "port = 3").unwrap();
        watched.changed().await;
    }
}
