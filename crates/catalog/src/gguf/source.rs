//! Bytes of a header, read in order, never beyond the file's end nor the largest header.

use std::io::{self, Read};

use types::ByteCount;

use super::{Error, limit};

const BUFFER_BYTES: usize = 64 << 10;

/// A reader with a buffer of its own, so that a list of 250,000 strings is skipped without a call for each.
pub(super) struct Source<R> {
    inner: R,
    buffer: Box<[u8]>,
    /// The part of `buffer` that is filled and not yet consumed.
    filled: std::ops::Range<usize>,
    /// Bytes consumed.
    position: u64,
    file_length: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R, file_length: ByteCount) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { inner, buffer, filled: 0..0, position: 0, file_length: file_length.as_u64() }
    }

    /// Bytes consumed so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Magic and version.
    pub(super) fn version(&mut self) -> Result<u32, Error> {
        let magic = self.magic()?;
        if &magic != b"GGUF" {
            return Err(Error::NotGguf { found: magic.escape_ascii().to_string() });
        }
        match self.u32()? {
            version @ (2 | 3) => Ok(version),
            1 => Err(Error::TooOld),
            // A small version with its bytes swapped.
            version if version.swap_bytes() <= 0xFFFF && version != 0 => Err(Error::BigEndian),
            version => Err(Error::TooNew { version }),
        }
    }

    /// A file shorter than the magic is no GGUF file, unless it is the beginning of one.
    fn magic(&mut self) -> Result<[u8; 4], Error> {
        if self.file_length >= 4 {
            return self.array();
        }
        let mut found = vec![];
        while (found.len() as u64) < self.file_length {
            found.push(self.array::<1>()?[0]);
        }
        if b"GGUF".starts_with(&found) {
            Err(self.cut_short())
        } else {
            Err(Error::NotGguf { found: found.escape_ascii().to_string() })
        }
    }

    /// How many of something follow.
    pub(super) fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, Error> {
        let claimed = self.u64()?;
        if claimed > limit { Err(Error::TooMuch { what, claimed, limit }) } else { Ok(claimed) }
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.require(N as u64)?;
        let mut out = [0; N];
        let mut done = 0;
        while done < N {
            let part = self.fill()?;
            let taken = part.len().min(N - done);
            out[done..done + taken].copy_from_slice(&part[..taken]);
            self.consume(taken);
            done += taken;
        }
        Ok(out)
    }

    /// A string of at most `limit` bytes. The bytes need not be text.
    pub(super) fn string(&mut self, what: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        let length = self.count(what, limit)?;
        self.require(length)?;
        // The file really has this many bytes, and the limit bounds them.
        let mut left = usize::try_from(length).map_err(|_| Error::TooMuch { what, claimed: length, limit })?;
        let mut out = Vec::new();
        while left > 0 {
            let part = self.fill()?;
            let taken = part.len().min(left);
            out.extend_from_slice(&part[..taken]);
            self.consume(taken);
            left -= taken;
        }
        Ok(out)
    }

    /// Goes over a string without looking at it.
    pub(super) fn skip_string(&mut self) -> Result<(), Error> {
        let length = self.count("bytes of a string", limit::STRING_BYTES)?;
        self.skip(length)
    }

    /// Goes over `count` bytes.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), Error> {
        self.require(count)?;
        let mut left = count;
        while left > 0 {
            let taken = self.fill()?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.consume(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    /// Fails unless the file, and a header, can hold `count` more bytes.
    pub(super) fn require(&self, count: u64) -> Result<(), Error> {
        let end = self.position.saturating_add(count);
        if end > self.file_length {
            return Err(self.cut_short());
        }
        if end > limit::HEADER_BYTES {
            return Err(Error::TooMuch { what: "bytes of header", claimed: end, limit: limit::HEADER_BYTES });
        }
        Ok(())
    }

    /// At least one unconsumed byte.
    fn fill(&mut self) -> Result<&[u8], Error> {
        while self.filled.is_empty() {
            match self.inner.read(&mut self.buffer) {
                Ok(0) => return Err(self.cut_short()),
                Ok(count) => self.filled = 0..count.min(BUFFER_BYTES),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        Ok(&self.buffer[self.filled.clone()])
    }

    fn consume(&mut self, count: usize) {
        self.filled.start += count;
        self.position += count as u64;
    }

    fn cut_short(&self) -> Error {
        Error::HeaderCutShort { length: ByteCount::bytes(self.file_length) }
    }
}
