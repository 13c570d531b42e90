//! Where this process's cgroup lies. What its files mean is their readers' business.

use std::path::{Path, PathBuf};

use crate::probe::read_text;

/// The two kinds of cgroup hierarchy, whose files have other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The folders of our cgroup and of each of its ancestors, for the hierarchies in which `controller` may be.
pub(crate) fn folders(root: &Path, controller: &str) -> Vec<(PathBuf, Version)> {
    let Ok(groups) = read_text(&root.join("proc/self/cgroup")) else { return vec![] };
    let mut folders = Vec::new();
    for group in groups.lines() {
        let mut parts = group.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, version) = match controllers {
            "" => (root.join("sys/fs/cgroup"), Version::V2),
            v1 if v1.split(',').any(|name| name == controller) => {
                // Controllers that are mounted together have one folder, which is linked under each one's name.
                (root.join("sys/fs/cgroup").join(controller), Version::V1)
            }
            _ => continue,
        };
        let mut folder = mount.join(path.trim_start_matches('/'));
        while folder.starts_with(&mount) {
            folders.push((folder.clone(), version));
            if !folder.pop() {
                break;
            }
        }
    }
    folders
}
