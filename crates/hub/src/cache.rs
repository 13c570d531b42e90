//! The hub's cache on this machine, as `huggingface_hub` lays it out
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>), so that one download serves all programs.
//!
//! ```text
//!  CACHE/models--OWNER--NAME/refs/main                    the commit that the branch was at
//!  CACHE/models--OWNER--NAME/snapshots/COMMIT/a/b.gguf    ─▶ ../../../blobs/ETAG
//!  CACHE/models--OWNER--NAME/blobs/ETAG                   the bytes; ETAG is the sha256 of a large file
//!  CACHE/models--OWNER--NAME/blobs/ETAG.incomplete        its first bytes
//!  CACHE/.locks/models--OWNER--NAME/ETAG.lock             held while the blob is written
//! ```

use std::io;
use std::path::{Path, PathBuf};

use types::ByteCount;

/// Where a repository's file lies in the cache, if it is there whole. `revision` is a branch, a tag or a commit.
pub fn cached(cache: &Path, repository: &str, revision: &str, path: &str) -> Option<PathBuf> {
    let _ = (cache, repository, revision, path);
    todo!()
}

/// Removes a file, named by its place in a snapshot (as [`cached`] gives it), and its blob unless another snapshot's file
/// is the same; gives the bytes that became free. Folders that are empty then go too. A file that is not there is no
/// error, and a blob that another program is writing stays.
///
/// # Errors
/// If `file` is not within a snapshot of this cache, or cannot be removed.
pub fn remove(cache: &Path, file: &Path) -> io::Result<ByteCount> {
    let _ = (cache, file);
    todo!()
}
