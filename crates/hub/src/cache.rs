//! The hub's cache on this machine, as `huggingface_hub` lays it out
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>), so that one download serves all programs.
//!
//! ```text
//!  CACHE/models--OWNER--NAME/refs/main                    the commit that the branch was at
//!  CACHE/models--OWNER--NAME/snapshots/COMMIT/a/b.gguf    ─▶ ../../../../blobs/ETAG
//!  CACHE/models--OWNER--NAME/blobs/ETAG                   the bytes; ETAG is the sha256 of a large file
//!  CACHE/models--OWNER--NAME/blobs/ETAG.incomplete        its first bytes
//!  CACHE/.locks/models--OWNER--NAME/ETAG.lock             held (flock) while the blob is written
//! ```
//!
//! Owns these names and what they may be made of. What a file holds is nobody's here.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use types::ByteCount;

use crate::lock::Lock;
use crate::model::is_id;

/// What marks a folder for programs that make backups (<https://bford.info/cachedir/>).
const TAG: (&str, &str) =
    ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# This is a cache of models.\n");

/// Where a repository's file lies in the cache, if it is there whole. `revision` is a branch, a tag or a commit.
pub fn cached(cache: &Path, repository: &str, revision: &str, path: &str) -> Option<PathBuf> {
    let folder = Folder::new(cache, repository)?;
    let revision = Some(revision).filter(|revision| is_revision(revision))?;
    let commit = if is_commit(revision) { revision.to_owned() } else { folder.commit_of(revision)? };
    // A link whose blob is gone is no file.
    Some(folder.snapshot(&commit, path)?).filter(|file| file.is_file())
}

/// Removes a file, named by its place in a snapshot (as [`cached`] gives it), and its blob unless another snapshot's file
/// is the same; gives the bytes that became free. Folders that are empty then go too. A file that is not there is no
/// error, and a blob that another program is writing stays.
///
/// # Errors
/// If `file` is not within a snapshot of this cache, or cannot be removed.
pub fn remove(cache: &Path, file: &Path) -> io::Result<ByteCount> {
    let outside = || io::Error::new(ErrorKind::InvalidInput, format!("{} is not in the cache", file.display()));
    let below = file.strip_prefix(cache).map_err(|_| outside())?;
    let parts: Vec<&str> = below
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or_else(outside)?;
    let [repository, "snapshots", commit, _, ..] = parts[..] else { return Err(outside()) };
    if !repository.starts_with("models--") {
        return Err(outside());
    }
    let folder = Folder { folder: cache.join(repository), locks: cache.join(".locks").join(repository) };
    let blob = match fs::read_link(file) {
        Ok(_) => folder.blob_of(file),
        // A system without links has the bytes themselves there.
        Err(error) if error.kind() == ErrorKind::InvalidInput => None,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ByteCount::ZERO),
        Err(error) => return Err(error),
    };
    // Nobody may begin to link to the blob while it is looked whether somebody does.
    let lock = match &blob {
        Some(etag) => Lock::try_take(&folder.lock_file(etag))?,
        None => None,
    };
    let metadata = fs::symlink_metadata(file)?;
    let mut freed = if metadata.is_file() { metadata.len() } else { 0 };
    fs::remove_file(file)?;
    if let (Some(etag), Some(lock)) = (blob, lock)
        && !folder.is_linked(&etag)?
    {
        let path = folder.blob(&etag);
        freed = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
        fs::remove_file(&path).or_else(gone_is_fine)?;
        fs::remove_file(folder.incomplete(&etag)).or_else(gone_is_fine)?;
        lock.remove();
    }
    folder.tidy(commit, file);
    Ok(ByteCount::bytes(freed))
}

/// A repository's folder in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    folder: PathBuf,
    locks: PathBuf,
}

impl Folder {
    /// The folder of a repository; `None` for what is no repository's id.
    pub(crate) fn new(cache: &Path, repository: &str) -> Option<Self> {
        let name = format!("models--{}", Some(repository).filter(|id| is_id(id))?.replacen('/', "--", 1));
        Some(Self { folder: cache.join(&name), locks: cache.join(".locks").join(&name) })
    }

    /// The place of a file in a snapshot; `None` for a path that leads out of it.
    pub(crate) fn snapshot(&self, commit: &str, path: &str) -> Option<PathBuf> {
        (is_commit(commit) && is_path(path)).then(|| self.folder.join("snapshots").join(commit).join(path))
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    pub(crate) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(crate) fn lock_file(&self, etag: &str) -> PathBuf {
        self.locks.join(format!("{etag}.lock"))
    }

    /// The commit that a branch or a tag was at when somebody last asked.
    fn commit_of(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Writes down which commit a branch or a tag is at.
    pub(crate) fn keep_ref(&self, revision: &str, commit: &str) -> io::Result<()> {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let file = self.folder.join("refs").join(revision);
        let folder = file.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        // As readable as the user's files are: the cache may be shared.
        let permissions = fs::Permissions::from_mode(0o666);
        let mut written = tempfile::Builder::new().prefix(".ref-").permissions(permissions).tempfile_in(folder)?;
        written.write_all(commit.as_bytes())?;
        written.persist(&file).map(drop).map_err(|error| error.error)
    }

    /// Makes a file of a snapshot a link to its blob, and gives its place. One that is there already stays.
    pub(crate) fn link(&self, etag: &str, commit: &str, path: &str) -> io::Result<PathBuf> {
        let invalid = || io::Error::new(ErrorKind::InvalidInput, "a path that leads out of the cache");
        let link = self.snapshot(commit, path).ok_or_else(invalid)?;
        if link.is_file() {
            return Ok(link);
        }
        let folder = link.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        // From the file's folder up to the repository's: one for each folder of the path, and `snapshots/COMMIT`.
        let up = "../".repeat(path.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        // In one step, and over a link whose blob is gone.
        let fresh = tempfile::Builder::new()
            .prefix(".link-")
            .make_in(folder, |path| std::os::unix::fs::symlink(&target, path))?;
        fresh.persist(&link).map_err(|error| error.error)?;
        Ok(link)
    }

    /// Makes the folders that a blob needs.
    pub(crate) fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.folder.join("blobs"))?;
        if let Some(cache) = self.folder.parent() {
            let tag = cache.join(TAG.0);
            if !tag.exists() {
                // It is a help for others, no need of ours.
                let _ = fs::write(tag, TAG.1);
            }
        }
        Ok(())
    }

    /// The name of the blob that a link of a snapshot leads to, if it leads to one of this repository.
    fn blob_of(&self, link: &Path) -> Option<String> {
        let target = fs::read_link(link).ok()?;
        let etag = target.file_name()?.to_str().filter(|name| is_etag(name))?.to_owned();
        target.parent()?.ends_with("blobs").then_some(etag)
    }

    /// Whether a file of any snapshot leads to this blob.
    fn is_linked(&self, etag: &str) -> io::Result<bool> {
        let mut folders = vec![self.folder.join("snapshots")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_symlink() && self.blob_of(&entry.path()).as_deref() == Some(etag) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Removes what is empty after `file` of this commit is gone: its folders, and with the last snapshot all that only
    /// names snapshots. What cannot be removed stays, and hinders nobody.
    fn tidy(&self, commit: &str, file: &Path) {
        let snapshots = self.folder.join("snapshots");
        let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&snapshots));
        for folder in folders {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        if !snapshots.join(commit).exists() {
            let _ = remove_refs(&self.folder.join("refs"), commit);
        }
        if !snapshots.exists() {
            for name in ["blobs", "refs"] {
                let _ = fs::remove_dir(self.folder.join(name));
            }
            let _ = fs::remove_dir(&self.folder);
            let _ = fs::remove_dir(&self.locks);
        }
    }
}

/// Removes the names that mean `commit`.
fn remove_refs(folder: &Path, commit: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_refs(&path, commit)?;
            let _ = fs::remove_dir(&path);
        } else if fs::read_to_string(&path)?.trim() == commit {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Whether it is a commit: forty hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Whether it can be the name of a blob.
pub(crate) fn is_etag(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=128).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether it can name a branch, a tag or a commit.
pub(crate) fn is_revision(text: &str) -> bool {
    is_path(text) && text.len() <= 255
}

/// Whether it is a path in a repository that stays within it.
pub(crate) fn is_path(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_wild = name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'));
        (1..=255).contains(&name.len()) && name != "." && name != ".." && !is_wild
    };
    text.len() <= 1024 && text.split('/').all(is_name)
}

pub(crate) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn blob(folder: &Folder, etag: &str, length: usize) {
        folder.make().unwrap();
        fs::write(folder.blob(etag), vec![b'x'; length]).unwrap();
    }

    #[test]
    fn what_is_linked_is_cached_by_branch_and_by_commit() {
        let cache = tempfile::tempdir().unwrap();
        let folder = Folder::new(cache.path(), "org/name").unwrap();
        blob(&folder, "e1", 3);
        let file = folder.link("e1", COMMIT, "deep/er/x.gguf").unwrap();
        assert_eq!(fs::read_link(&file).unwrap(), Path::new("../../../../blobs/e1"));
        assert_eq!(fs::read(&file).unwrap(), b"xxx");
        let find = |revision| cached(cache.path(), "org/name", revision, "deep/er/x.gguf");
        assert_eq!((find(COMMIT), find("main")), (Some(file.clone()), None));
        folder.keep_ref("main", COMMIT).unwrap();
        folder.keep_ref("refs/pr/1", COMMIT).unwrap();
        assert_eq!(fs::read_to_string(cache.path().join("models--org--name/refs/main")).unwrap(), COMMIT);
        assert_eq!((find("main"), find("refs/pr/1"), find("other")), (Some(file.clone()), Some(file), None));
        fs::remove_file(folder.blob("e1")).unwrap();
        assert_eq!(find("main"), None, "a link without its blob is no file");
        blob(&folder, "e2", 1);
        folder.link("e2", COMMIT, "deep/er/x.gguf").unwrap();
        assert!(find("main").is_some(), "such a link is replaced");
        assert!(cache.path().join("CACHEDIR.TAG").exists());
    }

    #[test]
    fn names_from_outside_stay_within_the_cache() {
        let cache = Path::new("/c");
        for id in ["../x", "a/../b", "x", "/etc/passwd"] {
            assert!(Folder::new(cache, id).is_none(), "{id}");
        }
        let folder = Folder::new(cache, "a/b").unwrap();
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a/./b", "a\\b", "a\nb", "a\0b", "c:x"] {
            assert_eq!(folder.snapshot(COMMIT, path), None, "{path:?}");
            assert_eq!(cached(cache, "a/b", path, "x"), None, "{path:?}");
        }
        assert!(folder.snapshot(COMMIT, "größe/..x/a b.gguf").is_some());
        for etag in ["", "..", "a/b", ".a", "a.incomplete", "ä"] {
            assert!(!is_etag(etag), "{etag:?}");
        }
        assert!(is_etag("abc-12") && is_etag(COMMIT) && !is_commit("main"));
    }

    #[test]
    fn a_file_goes_with_its_blob_unless_another_is_the_same() {
        let cache = tempfile::tempdir().unwrap();
        let folder = Folder::new(cache.path(), "org/name").unwrap();
        blob(&folder, "e1", 10);
        blob(&folder, "e2", 7);
        let first = folder.link("e1", COMMIT, "q/x.gguf").unwrap();
        let same = folder.link("e1", OTHER, "x.gguf").unwrap();
        let second = folder.link("e2", OTHER, "y.gguf").unwrap();
        folder.keep_ref("main", OTHER).unwrap();
        folder.keep_ref("old", COMMIT).unwrap();
        let remove = |file: &Path| remove(cache.path(), file).unwrap().as_u64();
        assert_eq!(remove(&first), 0, "another snapshot has it");
        assert!(!first.exists() && !first.parent().unwrap().exists() && folder.blob("e1").exists());
        assert_eq!((folder.commit_of("old"), folder.commit_of("main")), (None, Some(OTHER.to_owned())));
        assert_eq!((remove(&same), remove(&first), remove(&same)), (10, 0, 0));
        assert!(!folder.blob("e1").exists() && folder.blob("e2").exists());
        let held = Lock::try_take(&folder.lock_file("e2")).unwrap().unwrap();
        assert_eq!(remove(&second), 0, "somebody writes it");
        assert!(folder.blob("e2").exists() && !second.exists());
        drop(held);
        let again = folder.link("e2", OTHER, "y.gguf").unwrap();
        assert_eq!(remove(&again), 7);
        assert!(!cache.path().join("models--org--name").exists(), "nothing of it is left");
    }

    #[test]
    fn nothing_else_is_removed() {
        let cache = tempfile::tempdir().unwrap();
        let victim = cache.path().join("victim");
        fs::write(&victim, "x").unwrap();
        let root = cache.path().join("hub");
        let folder = root.join("models--a--b/snapshots").join(COMMIT);
        fs::create_dir_all(&folder).unwrap();
        for file in ["../victim", "models--a--b", "models--a--b/blobs/x", "x/snapshots/c/f"] {
            assert!(remove(&root, &root.join(file)).is_err(), "{file}");
        }
        assert!(remove(&root, &folder.join("../../../../victim")).is_err());
        assert!(remove(&root, &victim).is_err());
        // A link that leads elsewhere goes, what it leads to stays.
        std::os::unix::fs::symlink(&victim, folder.join("x.gguf")).unwrap();
        assert_eq!(remove(&root, &folder.join("x.gguf")).unwrap(), ByteCount::ZERO);
        assert!(victim.exists());
    }
}
