//! A key's text, which is seen once, and the hash that is kept of it.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What every key begins with, so that a person and a scanner for leaked secrets know it for one of ours.
const START: &str = "snug-";
/// Bytes of chance in a key. So many need no salt and no slow hash.
const RANDOM_BYTES: usize = 16;
/// Digits of the random part that stay visible. The 26 others cannot be guessed.
const SHOWN: usize = 6;

/// A key that was made just now. Shown once, to whoever asked for it; never printed, never kept.
pub struct Secret(String);

impl Secret {
    /// A key that nobody can guess.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn make() -> Result<Self, getrandom::Error> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random)?;
        Ok(Self(format!("{START}{}", hex(&random))))
    }

    /// The text, for the one answer that carries it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }

    /// What is shown of it in lists: enough to tell keys apart, not enough to use one.
    pub fn prefix(&self) -> &str {
        &self.0[..START.len() + SHOWN]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The SHA-256 of a key's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of what somebody presented.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// The hash that [`Self::to_hex`] wrote; `None` if it did not.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.as_bytes();
        if digits.len() != bytes.len() * 2 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_and_shows_little_of_itself() {
        let (one, two) = (Secret::make().unwrap(), Secret::make().unwrap());
        assert_ne!(one.reveal(), two.reveal());
        let random = one.reveal().strip_prefix("snug-").unwrap();
        assert!(random.len() == 32 && random.bytes().all(|digit| digit.is_ascii_hexdigit()), "{random}");
        assert_eq!(one.prefix(), &one.reveal()[..11]);
        assert_eq!(format!("{one:?} {:?}", one.hash()), "Secret(…) Hash(…)");
    }

    #[test]
    fn a_hash_can_be_written_down() {
        // FIPS 180-2, "abc".
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Hash::of("abc").to_hex(), expected);
        assert_eq!(Hash::from_hex(expected), Some(Hash::of("abc")));
        for broken in ["", "ba78", &expected[1..], &expected.replace('b', "x"), &expected.replacen("ba", "+a", 1)] {
            assert_eq!(Hash::from_hex(broken), None, "{broken}");
        }
    }
}
