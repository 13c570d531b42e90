//! The files of a repository on the hub, and which of them are one variant of a model.

use types::{ByteCount, ModelKey};

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
    /// The files of a repository.
    ///
    /// # Errors
    /// [`Error::Offline`], [`Error::Id`], [`Error::Gated`], [`Error::NotFound`], or if the answer cannot be had.
    pub async fn repository(&self, id: &str, revision: &str) -> Result<Repository, Error> {
        let _ = (id, revision);
        todo!()
    }
}

impl Repository {
    /// The variants it has as GGUF files, smallest first. Split sets that lack a file are left out.
    pub fn variants(&self) -> Vec<Variant> {
        todo!()
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
