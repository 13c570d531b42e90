//! The admin token: made on first start, shown once, kept as a hash.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use sha2::{Digest, Sha256};

const FILE: &str = "admin-token.sha256";
const PREFIX: &str = "snug-admin-";

/// What is known of the token: its hash. 256 bits of chance need no salt and no slow hash.
#[derive(Clone)]
pub(crate) struct AdminToken {
    hash: String,
}

/// A token, and its text if it was made just now.
pub(crate) struct Found {
    pub(crate) token: AdminToken,
    pub(crate) fresh: Option<String>,
}

impl AdminToken {
    /// The token whose hash lies in `folder`; made there if none does.
    pub(crate) fn find_or_make(folder: &Path) -> anyhow::Result<Found> {
        let path = folder.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(hash) if hash.trim().len() == 64 => {
                Ok(Found { token: Self { hash: hash.trim().to_owned() }, fresh: None })
            }
            Ok(_) => anyhow::bail!("{} is damaged; remove it, and a new token is made", path.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut random = [0; 32];
                getrandom::fill(&mut random).context("the system gives no random numbers for an admin token")?;
                let text = format!("{PREFIX}{}", hex(&random));
                let token = Self { hash: hash(&text) };
                let temporary = path.with_extension("tmp");
                std::fs::File::options()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&temporary)
                    .and_then(|mut file| file.write_all(token.hash.as_bytes()))
                    .and_then(|()| std::fs::rename(&temporary, &path))
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(Found { token, fresh: Some(text) })
            }
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whether `text` is the token. Hashes are compared, so the time it takes tells nothing of the token.
    pub(crate) fn is(&self, text: &str) -> bool {
        hash(text) == self.hash
    }
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_only_its_hash_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = AdminToken::find_or_make(folder.path()).unwrap().fresh.unwrap();
        let again = AdminToken::find_or_make(folder.path()).unwrap();
        assert!(again.fresh.is_none());
        assert!(again.token.is(&text) && !again.token.is("snug-admin-0") && !again.token.is(""));
        let kept = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(!kept.contains(&text[PREFIX.len()..]));
    }
}
