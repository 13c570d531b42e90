//! The growing prefixes of a conversation, as hashes: what two requests have in common is told without keeping a word.
//!
//! A conversation is cut into blocks, and each block's hash goes into the next one's, so that equal hashes at block *n* mean
//! that everything up to there is the same. Blocks grow with the way: eight of 128 bytes, eight of 256, and so on to eight
//! of 8 KiB. So a short system prompt counts, of more than a kilobyte that agrees less than a fifth is overlooked, and 56
//! hashes reach over 127 KiB: coding agents begin all their conversations with the same tens of kilobytes, and are told
//! apart after them. To look further would cost more than it tells: 16 KiB take two microseconds, the whole way twenty.
//! What comes later decides nothing; neither does a last block that is not full, as it ends differently when the
//! conversation has gone on.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::quality::{FixedState, FoldHasher};

/// At most so many blocks of a conversation are looked at.
const BLOCKS_MAX: usize = 56;

/// Bytes of the first block: some thirty tokens.
const BLOCK_FIRST: usize = 128;

/// So many blocks have the same length; the next ones are twice as long.
const BLOCKS_ALIKE: usize = 8;

/// The hashes of one conversation's growing prefixes, the shortest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    hashes: Vec<u64>,
    bytes: usize,
}

impl Prefix {
    /// The prefixes of a conversation that is made of these bytes, in this order: the values of `system`, `messages`,
    /// `prompt`, `input` as they stand in the request's body. What the engine reads first should come first.
    ///
    /// The hashes are the same in every process. Somebody may make two conversations with the same hash; all there is to
    /// win is a replica that has not read the conversation.
    pub fn of(spans: &[&[u8]]) -> Self {
        let bytes = spans.iter().map(|span| span.len()).fold(0, usize::saturating_add).min(length_of(BLOCKS_MAX));
        let mut hashes = Vec::with_capacity(BLOCKS_MAX);
        let mut hasher = after(0);
        let mut lacking = block_length(0);
        for span in spans {
            let mut rest = *span;
            while !rest.is_empty() && hashes.len() < BLOCKS_MAX {
                let (piece, later) = rest.split_at(lacking.min(rest.len()));
                hasher.write(piece);
                rest = later;
                lacking -= piece.len();
                if lacking == 0 {
                    let hash = hasher.finish();
                    hashes.push(hash);
                    hasher = after(hash);
                    lacking = block_length(hashes.len());
                }
            }
        }
        Self { hashes, bytes }
    }

    /// How many bytes of the conversation were looked at.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// One hash for each prefix, the shortest first.
    pub(crate) fn hashes(&self) -> &[u64] {
        &self.hashes
    }
}

/// The hasher of the block after the one with this hash.
fn after(hash: u64) -> FoldHasher<'static> {
    FixedState::with_seed(hash).build_hasher()
}

fn block_length(number: usize) -> usize {
    BLOCK_FIRST << (number / BLOCKS_ALIKE)
}

/// Bytes of the first `blocks` blocks together.
pub(crate) fn length_of(blocks: usize) -> usize {
    let (doubled, more) = (blocks / BLOCKS_ALIKE, blocks % BLOCKS_ALIKE);
    BLOCK_FIRST * (BLOCKS_ALIKE * ((1 << doubled) - 1) + (more << doubled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many prefixes two conversations share.
    fn shared(one: &Prefix, other: &Prefix) -> usize {
        one.hashes().iter().zip(other.hashes()).take_while(|(one, other)| one == other).count()
    }

    #[test]
    fn blocks_grow_and_end() {
        let lengths = (0..BLOCKS_MAX).map(block_length);
        let sums = lengths.scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        });
        assert!(sums.eq((1..=BLOCKS_MAX).map(length_of)));
        assert_eq!(length_of(BLOCKS_MAX), 127 << 10);
        let (whole, longer) = (vec![b'x'; 127 << 10], vec![b'x'; 300 << 10]);
        assert_eq!(Prefix::of(&[&whole]), Prefix::of(&[&longer]), "what comes later decides nothing");
        assert_eq!(Prefix::of(&[&longer]).hashes().len(), BLOCKS_MAX);
    }

    #[test]
    fn less_than_a_block_is_nothing() {
        assert_eq!(Prefix::of(&[&[b'x'; 127]]).hashes(), []);
        assert_eq!(Prefix::of(&[]).hashes(), []);
        assert_eq!(Prefix::of(&[&[b'x'; 100], &[b'y'; 28]]).hashes().len(), 1, "blocks go on over the spans");
    }

    #[test]
    fn the_next_turn_shares_what_was_said() {
        let turn = |said: &[&str]| {
            let said = said.iter().map(|said| format!(r#"{{"role":"user","content":"{}"}}"#, said.repeat(100)));
            let messages = format!("[{}]", said.collect::<Vec<_>>().join(","));
            Prefix::of(&[messages.as_bytes()])
        };
        let (first, next, other) = (turn(&["one "]), turn(&["one ", "two "]), turn(&["none "]));
        assert_eq!(shared(&first, &next), first.hashes().len());
        assert!(first.hashes().len() > 1);
        assert_eq!(shared(&first, &other), 0);
    }

    proptest! {
        /// Exactly the blocks before the first difference agree.
        #[test]
        fn agreement_ends_where_the_bytes_differ(
            length in 1..20_000_usize, at in 0..20_000_usize, filling in any::<u8>()
        ) {
            let one = vec![filling; length];
            let mut other = one.clone();
            let at = at % length;
            other[at] ^= 1;
            let (one, other) = (Prefix::of(&[&one]), Prefix::of(&[&other]));
            let before = (1..=BLOCKS_MAX).take_while(|&blocks| length_of(blocks) <= at).count();
            prop_assert_eq!(shared(&one, &other), before.min(one.hashes().len()));
        }
    }
}
