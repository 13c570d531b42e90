//! What files hold: given bytes, or as many as one likes, made when they are asked for.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use aws_lc_rs::digest;
use bytes::Bytes;

/// Bytes that are made at once.
const PIECE: u64 = 64 << 10;

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// So many bytes that look random; another `seed` gives others. None are kept in memory.
    Random {
        /// Which.
        seed: u64,
        /// How many.
        size: u64,
    },
    /// The same behind a beginning that is given, such as the header of a model.
    Headed {
        /// The beginning.
        head: Bytes,
        /// Which bytes follow.
        seed: u64,
        /// How many, the beginning included.
        size: u64,
    },
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl Content {
    /// How long it is.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Random { size, .. } | Self::Headed { size, .. } => *size,
        }
    }

    /// Some of the bytes from `position` on, up to `end`; empty at the end.
    pub(super) fn piece(&self, position: u64, end: u64) -> Bytes {
        let end = end.min(self.size());
        if position >= end {
            return Bytes::new();
        }
        match self {
            Self::Bytes(bytes) => {
                let end = end.min(position + PIECE);
                bytes.slice(index(position)..index(end))
            }
            Self::Random { seed, .. } => {
                let (number, within) = (position / PIECE, position % PIECE);
                let length = (PIECE - within).min(end - position);
                let start = mix(seed ^ number.rotate_left(32)) % PIECE + within;
                noise().slice(index(start)..index(start + length))
            }
            Self::Headed { head, seed, size } => {
                let length = head.len() as u64;
                if position < length {
                    return head.slice(index(position)..index(end.min(length).min(position + PIECE)));
                }
                Self::Random { seed: *seed, size: *size }.piece(position, end)
            }
        }
    }

    /// The same length of something else.
    pub(super) fn other(&self) -> Self {
        Self::Random { seed: 0x00be_ef00, size: self.size() }
    }

    /// The same, cut or made longer.
    pub(super) fn resized(&self, size: u64) -> Self {
        match self {
            Self::Bytes(bytes) => {
                let mut bytes = bytes.to_vec();
                bytes.resize(index(size), 0);
                bytes.into()
            }
            Self::Random { seed, .. } => Self::Random { seed: *seed, size },
            Self::Headed { head, seed, .. } => {
                let kept = head.slice(..head.len().min(index(size)));
                Self::Headed { head: kept, seed: *seed, size }
            }
        }
    }

    fn feed(&self, context: &mut digest::Context) {
        let mut position = 0;
        while position < self.size() {
            let piece = self.piece(position, self.size());
            context.update(&piece);
            position += piece.len() as u64;
        }
    }
}

/// A file with what is announced of it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) content: Content,
    pub(super) sha256: String,
    /// As git names it.
    pub(super) oid: String,
}

impl Stored {
    pub(super) fn new(content: Content) -> Self {
        let mut sha256 = digest::Context::new(&digest::SHA256);
        content.feed(&mut sha256);
        let mut oid = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        oid.update(format!("blob {}\0", content.size()).as_bytes());
        if content.size() < LARGE {
            content.feed(&mut oid);
        }
        Self { sha256: hex(sha256.finish().as_ref()), oid: hex(oid.finish().as_ref()), content }
    }

    /// Whether the hub keeps it in its storage of large files.
    pub(super) fn is_large(&self) -> bool {
        self.content.size() >= LARGE
    }
}

/// From here on a file is large.
const LARGE: u64 = 1 << 20;

/// The sha256 of a file on disk, in hexadecimal digits.
///
/// # Panics
/// If it cannot be read.
pub fn sha256(path: &Path) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut read = || -> std::io::Result<()> {
        let (mut file, mut piece) = (File::open(path)?, vec![0; index(PIECE)]);
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(()),
                length => context.update(&piece[..length]),
            }
        }
    };
    read().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    hex(context.finish().as_ref())
}

pub(super) fn sha1(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Two pieces of bytes that look random, of which each piece of a file is a part.
fn noise() -> &'static Bytes {
    static NOISE: OnceLock<Bytes> = OnceLock::new();
    NOISE.get_or_init(|| (0..PIECE / 4).flat_map(|number| mix(number).to_le_bytes()).collect::<Vec<u8>>().into())
}

/// splitmix64 (<https://prng.di.unimi.it/splitmix64.c>).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn index(position: u64) -> usize {
    usize::try_from(position).expect("a place in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_are_the_same_from_wherever_they_are_asked_for() {
        check(&Content::Random { seed: 7, size: 3 * PIECE + 5 });
        let head = Bytes::from(vec![1; index(PIECE + 3)]);
        check(&Content::Headed { head, seed: 7, size: 3 * PIECE + 5 });
    }

    fn check(content: &Content) {
        let read = |mut position: u64, end: u64| {
            let mut bytes = vec![];
            while position < end {
                let piece = content.piece(position, end);
                position += piece.len() as u64;
                bytes.extend_from_slice(&piece);
            }
            bytes
        };
        let whole = read(0, content.size());
        assert_eq!(whole.len() as u64, content.size());
        for (from, to) in [(0, 1), (PIECE - 1, PIECE + 1), (100, 3 * PIECE + 5), (3 * PIECE, 3 * PIECE + 5)] {
            assert_eq!(read(from, to), whole[index(from)..index(to)], "{from}..{to}");
        }
        assert!(content.piece(content.size(), u64::MAX).is_empty());
    }
}
