//! Notices that models come and go: looks again when a watched folder changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::handle::Command;
use crate::library::{Entry, Library, Sources};
use crate::node::Config;

/// A file that is being copied changes many times; it is looked at once it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(300);
/// A folder that never is quiet is looked at this often.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// Folders that do not exist yet cannot be watched; and not every file system tells of its changes.
const LOOK_PERIOD: Duration = Duration::from_secs(60);

/// A wish to look now. The sender is told once the owner shows what was seen.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) wish: Wish,
    pub(crate) shown: oneshot::Sender<()>,
}

/// What is to be looked at from now on.
#[derive(Debug)]
pub(crate) enum Wish {
    /// What is looked at already.
    Again,
    /// Models that are named at run time, in place of those that were.
    Entries(Vec<Entry>),
    /// What another configuration says; the owner is to take it, too.
    Config(Box<Config>),
}

/// Where is looked.
#[derive(Debug)]
pub(crate) struct Places {
    /// By the configuration.
    pub(crate) configured: Sources,
    /// Models that were named at run time.
    pub(crate) entries: Vec<Entry>,
}

/// Sends [`Command::Found`] whenever something changed or somebody wants us to look, from a task of `tracker`, until the
/// owner is gone.
pub(crate) fn watch(
    library: Library,
    mut places: Places,
    commands: mpsc::Sender<Command>,
    mut looks: mpsc::Receiver<Look>,
    tracker: &TaskTracker,
) {
    tracker.spawn(async move {
        let changed = Arc::new(Notify::new());
        let mut watcher = watcher(&changed);
        let mut watched: Vec<PathBuf> = Vec::new();
        let mut library = library;
        let mut sources = places.configured.with(&places.entries);
        loop {
            if let Some(watcher) = &mut watcher {
                watch_new_folders(watcher, &sources, &mut watched);
            }
            let (mut config, mut shown) = (None, None);
            // Each arm waits on a channel, a stored permit or a timer: nothing is lost when another is taken.
            tokio::select! {
                () = commands.closed() => return,
                Some(look) = looks.recv() => {
                    match look.wish {
                        Wish::Again => {}
                        Wish::Entries(entries) => places.entries = entries,
                        Wish::Config(other) => {
                            places.configured = other.sources.clone();
                            config = Some(other);
                        }
                    }
                    sources = places.configured.with(&places.entries);
                    shown = Some(look.shown);
                }
                () = changed.notified() => settle(&changed).await,
                () = tokio::time::sleep(LOOK_PERIOD) => {}
            }
            let (before, where_to) = (library.clone(), sources.clone());
            let looked = tokio::task::spawn_blocking(move || before.rescan(&where_to)).await;
            let Ok(next) = looked else { return };
            if (shown.is_some() || !next.same_as(&library))
                && commands.send(Command::Found { library: next.clone(), config, shown }).await.is_err()
            {
                return;
            }
            library = next;
        }
    });
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
        tracing::warn!(%error, "cannot watch for models, looking every {} s", LOOK_PERIOD.as_secs());
    })
    .ok()
}

fn watch_new_folders(watcher: &mut notify::RecommendedWatcher, sources: &Sources, watched: &mut Vec<PathBuf>) {
    let files =
        sources.entries.iter().flat_map(|entry| &entry.files).filter_map(|path| {
            if path.is_dir() { Some((path.as_path(), true)) } else { Some((path.parent()?, false)) }
        });
    let folders = sources.folders.iter().chain(&sources.hf_cache).map(|folder| (folder.as_path(), true));
    for (folder, deep) in folders.chain(files) {
        if watched.iter().any(|known| known == folder) || !Path::is_dir(folder) {
            continue;
        }
        let mode = if deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        match watcher.watch(folder, mode) {
            Ok(()) => watched.push(folder.to_owned()),
            Err(error) => tracing::debug!(folder = %folder.display(), %error, "cannot watch a models folder"),
        }
    }
}

/// Waits until nothing has changed for a moment, within a bound.
async fn settle(changed: &Notify) {
    let quiet = async { while tokio::time::timeout(QUIET, changed.notified()).await.is_ok() {} };
    let _bounded = tokio::time::timeout(QUIET_MAX, quiet).await;
}
