//! What a file should hash to, and the hashing.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::cache::is_hex;

/// What a file should hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Its sha256.
    Sha256(String),
    /// What git calls it: the sha1 of `blob LENGTH`, a zero byte, and the file.
    Git {
        sha1: String,
        /// The length is hashed first, so it must be known.
        length: u64,
    },
}

/// A hash that is being made.
pub(super) struct Hasher(Context);

impl Expected {
    /// What the name of a blob in the hub's cache says of its bytes; `None` for a name of another kind.
    pub(super) fn of_etag(etag: &str, length: u64) -> Option<Self> {
        match etag.len() {
            64 if is_hex(etag) => Some(Self::Sha256(etag.to_owned())),
            40 if is_hex(etag) => Some(Self::Git { sha1: etag.to_owned(), length }),
            _ => None,
        }
    }

    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Git { .. } => "git sha1",
        }
    }

    /// In hexadecimal digits.
    pub(super) fn value(&self) -> &str {
        match self {
            Self::Sha256(value) | Self::Git { sha1: value, .. } => value,
        }
    }

    pub(super) fn hasher(&self) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher(Context::new(&SHA256)),
            Self::Git { length, .. } => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {length}\0").as_bytes());
                Hasher(context)
            }
        }
    }
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal digits.
    pub(super) fn finish(self) -> String {
        self.0.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_blobs_are_hashes_of_their_bytes() {
        // `printf 'hello\n' | git hash-object --stdin`, `| sha256sum`
        for name in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let expected = Expected::of_etag(name, 6).unwrap();
            let mut hasher = expected.hasher();
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            assert_eq!((hasher.finish().as_str(), expected.value()), (name, name));
        }
        assert_eq!(Expected::of_etag("d41d8cd9-2", 6), None);
    }
}
