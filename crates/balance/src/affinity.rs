//! Who read the beginning of a conversation before, and so has it in its prompt cache, most likely.
//!
//! An index of prefixes, bounded: the least recently used leave first. What the replicas' caches really hold is not known
//! here; a wrong guess costs reading the prompt once.

use std::num::NonZeroUsize;

use foldhash::fast::RandomState;
use lru::LruCache;

use crate::Prefix;
use crate::prefix::length_of;

/// So many bytes of a conversation are worth going where they were read, however long the whole is: about a thousand
/// tokens, which take a small machine seconds.
const WORTH_BYTES: usize = 4 << 10;

/// Prefixes of conversations, and the replica that read each last.
#[derive(Debug)]
pub struct Affinity {
    replicas: LruCache<u64, usize, RandomState>,
}

/// The longest known prefix of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Who read it last.
    pub replica: usize,
    /// How many blocks of the conversation it is.
    pub blocks: usize,
    /// How many bytes those are.
    pub bytes: usize,
    /// Whether it is much, or much of the conversation. Otherwise it is how everybody's conversations begin, and would
    /// send all of them to one replica.
    pub is_worth_it: bool,
}

impl Default for Affinity {
    /// Ten thousand prefixes: under a megabyte, and some hundreds of long conversations.
    fn default() -> Self {
        Self::new(const { NonZeroUsize::new(10_000).unwrap() })
    }
}

impl Affinity {
    /// An empty index that keeps at most `prefixes_max` prefixes.
    pub fn new(prefixes_max: NonZeroUsize) -> Self {
        Self { replicas: LruCache::with_hasher(prefixes_max, RandomState::default()) }
    }

    /// The longest prefix of this conversation that somebody read, if any.
    pub fn longest(&self, prefix: &Prefix) -> Option<Match> {
        let numbered = prefix.hashes().iter().enumerate().rev();
        let (number, replica) =
            numbered.filter_map(|(number, hash)| Some((number, *self.replicas.peek(hash)?))).next()?;
        let (blocks, bytes) = (number + 1, length_of(number + 1));
        let is_worth_it = bytes >= WORTH_BYTES || bytes >= prefix.bytes().div_ceil(2);
        Some(Match { replica, blocks, bytes, is_worth_it })
    }

    /// The replica with this number reads this conversation.
    pub fn remember(&mut self, prefix: &Prefix, replica: usize) {
        // The longest first: the shorter ones, which other conversations share, are then the last to leave.
        for hash in prefix.hashes().iter().rev() {
            self.replicas.put(*hash, replica);
        }
    }

    /// Whatever the replica with this number had read is gone: its engine has ended.
    pub fn forget(&mut self, replica: usize) {
        let gone: Vec<u64> = self.replicas.iter().filter(|(_, of)| **of == replica).map(|(hash, _)| *hash).collect();
        for hash in gone {
            self.replicas.pop(&hash);
        }
    }

    /// How many prefixes are known.
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Prefix {
        Prefix::of(&[text.as_bytes()])
    }

    fn affinity(prefixes_max: usize) -> Affinity {
        Affinity::new(NonZeroUsize::new(prefixes_max).unwrap())
    }

    #[test]
    fn the_longest_prefix_wins() {
        let mut affinity = Affinity::default();
        let system = "be brief. ".repeat(30);
        let (one, other) = (format!("{system}{}", "one ".repeat(80)), format!("{system}{}", "other ".repeat(80)));
        affinity.remember(&of(&one), 1);
        affinity.remember(&of(&other), 2);
        let matched = affinity.longest(&of(&format!("{one}and more"))).unwrap();
        assert_eq!((matched.replica, matched.blocks, matched.bytes), (1, 4, 512));
        assert!(matched.is_worth_it);
        let system = affinity.longest(&of(&system)).unwrap();
        assert_eq!((system.replica, system.blocks), (2, 2), "the last who read it");
        assert_eq!(affinity.longest(&of(&"new ".repeat(100))), None);
        assert_eq!(affinity.longest(&of("")), None);
    }

    #[test]
    fn a_beginning_that_all_share_is_not_worth_it() {
        let check = |common: usize, whole: usize, expected: bool| {
            let mut affinity = Affinity::default();
            affinity.remember(&Prefix::of(&[&vec![b'a'; common], &vec![b'b'; whole - common]]), 0);
            let matched = affinity.longest(&Prefix::of(&[&vec![b'a'; common], &vec![b'c'; whole - common]])).unwrap();
            assert_eq!(matched.is_worth_it, expected, "{common} of {whole}");
        };
        check(128, 1000, false);
        check(128, 256, true);
        check(1000, 8000, false);
        check(5 << 10, 200 << 10, true);
        check(200 << 10, 1 << 20, true);
    }

    #[test]
    fn what_an_ended_engine_had_read_is_forgotten() {
        let mut affinity = Affinity::default();
        affinity.remember(&of(&"one ".repeat(100)), 1);
        affinity.remember(&of(&"two ".repeat(100)), 2);
        affinity.forget(1);
        assert_eq!(affinity.longest(&of(&"one ".repeat(100))), None);
        assert_eq!(affinity.longest(&of(&"two ".repeat(100))).unwrap().replica, 2);
        affinity.forget(2);
        assert!(affinity.is_empty());
    }

    #[test]
    fn the_least_recently_used_leave_and_of_one_the_longest() {
        let mut affinity = affinity(6);
        affinity.remember(&of(&"old ".repeat(100)), 1);
        affinity.remember(&of(&"new ".repeat(150)), 2);
        assert_eq!(affinity.len(), 6);
        let old = affinity.longest(&of(&"old ".repeat(100))).unwrap();
        assert_eq!(old.blocks, 2, "the third had to make room");
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_knows_what_came_last(
            said in prop::collection::vec(("[ab]{0,6}", 0..4_usize), 1..60), prefixes_max in 1..40_usize
        ) {
            let mut affinity = affinity(prefixes_max);
            for (words, replica) in said {
                let prefix = of(&words.replace('a', &"a".repeat(130)).replace('b', &"b".repeat(130)));
                affinity.remember(&prefix, replica);
                prop_assert!(affinity.len() <= prefixes_max);
                let matched = affinity.longest(&prefix);
                let blocks = matched.map_or(0, |matched| matched.blocks);
                prop_assert_eq!(blocks, prefix.hashes().len().min(prefixes_max));
                prop_assert!(matched.is_none_or(|matched| matched.replica == replica));
            }
        }
    }
}
