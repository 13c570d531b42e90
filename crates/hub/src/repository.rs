//! The files of a repository on the hub, and which of them are one variant of a model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use catalog::discover;
use serde::Deserialize;
use types::{ByteCount, ModelKey};

use crate::cache;
use crate::client::Client;
use crate::download::{FileWish, Source};
use crate::error::Error;

/// What a repository holds at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub id: String,
    /// The revision that was asked for: a branch, a tag or a commit.
    pub revision: String,
    /// The commit it is.
    pub commit: String,
    /// Its files, sorted by path.
    pub files: Vec<File>,
}

/// A file in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path, with `/`.
    pub path: String,
    /// How long it is.
    pub size: ByteCount,
    /// Its sha256, where the hub tells it: of large files.
    pub sha256: Option<String>,
}

/// One variant of a model: the files of one quantisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Id and variant, from the file's name.
    pub key: ModelKey,
    /// The only file, or those of a split set, in order.
    pub files: Vec<File>,
    /// The projector that goes with it, with which it understands images or sound.
    pub projector: Option<File>,
    /// Bytes of all of them.
    pub size: ByteCount,
}

impl Client {
    /// The files of a repository. Names that lead out of it are left out.
    ///
    /// # Errors
    /// [`Error::Offline`], [`Error::Id`], [`Error::Revision`], [`Error::Gated`], [`Error::NotFound`], or if the answer
    /// cannot be had.
    pub async fn repository(&self, id: &str, revision: &str) -> Result<Repository, Error> {
        let listed: Listed = self.of_revision(id, revision).await?;
        let file = |row: Row| {
            let lfs = row.lfs.unwrap_or_default();
            let sha256 = lfs.sha256.filter(|text| text.len() == 64 && cache::is_hex(text));
            let size = ByteCount::bytes(lfs.size.or(row.size)?);
            cache::is_path(&row.rfilename).then_some(File { path: row.rfilename, size, sha256 })
        };
        let mut files: Vec<File> = listed.siblings.into_iter().filter_map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Repository { id: id.to_owned(), revision: revision.to_owned(), commit: listed.sha, files })
    }
}

impl Repository {
    /// The variants it has as GGUF files, smallest first. Split sets that lack a file are left out.
    pub fn variants(&self) -> Vec<Variant> {
        // Files of a repository lie as they will in the cache, so they are grouped as they will be found there.
        let (root, folder) = (Path::new("/"), Path::new("/models--owner--name/snapshots/commit"));
        let files = self.files.iter().map(|file| discover::File { path: folder.join(&file.path), size: file.size });
        let find = |path: &PathBuf| {
            let path = path.strip_prefix(folder).ok()?.to_str()?;
            let at = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
            Some(self.files[at].clone())
        };
        let variant = |found: discover::Found| {
            let files: Vec<File> = found.files.iter().map(find).collect::<Option<_>>()?;
            let projector = found.projector.as_ref().and_then(find);
            let size = files.iter().chain(&projector).map(|file| file.size).sum();
            Some(Variant { key: found.key, files, projector, size })
        };
        let found = discover::in_hub_cache(root, files, &BTreeMap::new());
        let mut variants: Vec<Variant> =
            found.into_iter().filter(discover::Found::is_complete).filter_map(variant).collect();
        variants.sort_by(|a, b| (a.size, &a.files[0].path).cmp(&(b.size, &b.files[0].path)));
        variants
    }

    /// The wishes that fetch a variant: its files, then its projector.
    pub fn wishes(&self, variant: &Variant) -> Vec<FileWish> {
        let wish = |file: &File| FileWish {
            source: Source::Hub {
                repository: self.id.clone(),
                revision: self.revision.clone(),
                path: file.path.clone(),
            },
            sha256: file.sha256.clone(),
            size: Some(file.size),
        };
        variant.files.iter().chain(&variant.projector).map(wish).collect()
    }
}

/// What is read of the hub's answer.
#[derive(Deserialize)]
pub(crate) struct Listed {
    sha: String,
    siblings: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Default, Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_come_with_all_their_files() {
        let file = |path: &str, size| File { path: path.to_owned(), size: ByteCount::bytes(size), sha256: None };
        let mut files = vec![
            file("README.md", 1),
            file("mmproj-F16.gguf", 5),
            file("x-Q8_0.gguf", 80),
            file("Q4_K_M/x-Q4_K_M-00002-of-00002.gguf", 20),
            file("Q4_K_M/x-Q4_K_M-00001-of-00002.gguf", 20),
            file("BF16/x-BF16-00001-of-00002.gguf", 90),
        ];
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let text = |text: &str| text.to_owned();
        let repository = Repository { id: text("o/n"), revision: text("main"), commit: text("c"), files };
        let variants = repository.variants();
        let shown: Vec<String> = variants
            .iter()
            .map(|variant| {
                let wishes = repository.wishes(variant);
                let paths: Vec<&str> = wishes
                    .iter()
                    .map(|wish| match &wish.source {
                        Source::Hub { path, .. } => path.as_str(),
                        Source::Url { .. } => "",
                    })
                    .collect();
                format!("{} {} {}", variant.key, variant.size.as_u64(), paths.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "x:Q4_K_M 45 Q4_K_M/x-Q4_K_M-00001-of-00002.gguf Q4_K_M/x-Q4_K_M-00002-of-00002.gguf mmproj-F16.gguf",
                "x:Q8_0 85 x-Q8_0.gguf mmproj-F16.gguf",
            ]
        );
    }
}
