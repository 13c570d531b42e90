//! Which ranges of a file are asked for, and in which order.
//!
//! The first range goes alone, since its answer tells whether the server knows ranges and how long the file is. If much
//! is left, the rest is cut into pieces that are fetched side by side; they are written in their order.

/// Bytes of one piece. What has come of those that wait for their turn lies in memory.
const PIECE: u64 = 8 << 20;

/// With so much still to come, connections side by side are worth their while.
const SIDE_BY_SIDE_FROM: u64 = 256 << 20;

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    /// Behind its last byte; `None` for all that there is.
    pub(super) end: Option<u64>,
    /// Whether its answer is the one that tells.
    pub(super) is_first: bool,
}

impl Piece {
    /// Whether it is no longer than what may lie in memory.
    pub(super) fn is_short(&self) -> bool {
        self.end.is_some_and(|end| end - self.start <= PIECE)
    }
}

/// The ranges that are still to be asked for.
#[derive(Debug)]
pub(super) struct Pieces {
    next: u64,
    /// What the file is believed to be long, then what the first answer said.
    total: Option<u64>,
    stage: Stage,
    length: u64,
    side_by_side_from: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was asked for.
    Fresh,
    /// The first range was.
    Asked,
    /// Ranges are known: the rest in pieces of this length.
    Cut(u64),
    /// Nothing is left.
    Done,
}

impl Pieces {
    /// The ranges behind `position` of a file that is `total` long, as far as is known.
    pub(super) fn new(position: u64, total: Option<u64>) -> Self {
        let stage = if total.is_some_and(|total| position >= total) { Stage::Done } else { Stage::Fresh };
        Self { next: position, total, stage, length: PIECE, side_by_side_from: SIDE_BY_SIDE_FROM }
    }

    /// The whole file in one answer.
    pub(super) fn whole() -> Self {
        Self { length: u64::MAX, ..Self::new(0, None) }
    }

    /// The next range to ask for: `None` if there is none, or none before the first answer.
    pub(super) fn next(&mut self) -> Option<Piece> {
        let start = self.next;
        match self.stage {
            Stage::Fresh => {
                self.stage = Stage::Asked;
                let is_long = self.total.is_none_or(|total| total - start > self.side_by_side_from);
                let end = if is_long { Some(start.saturating_add(self.length)) } else { self.total };
                let end = end.filter(|end| *end < u64::MAX);
                self.next = end.unwrap_or(u64::MAX);
                Some(Piece { start, end, is_first: true })
            }
            Stage::Cut(length) => {
                let end = self.total.unwrap_or(start).min(start.saturating_add(length));
                if end == self.total.unwrap_or(end) {
                    self.stage = Stage::Done;
                }
                self.next = end;
                (start < end).then_some(Piece { start, end: Some(end), is_first: false })
            }
            Stage::Asked | Stage::Done => None,
        }
    }

    /// The first answer has come. `total`: the file's length if it is only a range of it, else all comes with it.
    pub(super) fn opened(&mut self, total: Option<u64>) {
        self.stage = match total {
            Some(total) if self.next < total => {
                let is_long = total - self.next > self.side_by_side_from;
                Stage::Cut(if is_long { self.length } else { u64::MAX })
            }
            _ => Stage::Done,
        };
        self.total = total;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// What a download does with the pieces: some at once, written in order, now and then killed and begun again.
    /// Gives how many bytes were asked for.
    fn run(total: u64, is_known: bool, at_once: usize, (length, from): (u64, u64), kills: &[(usize, u64)]) -> u64 {
        let (mut written, mut asked) = (0_u64, 0);
        let mut kills = kills.iter();
        loop {
            let mut pieces =
                Pieces { length, side_by_side_from: from, ..Pieces::new(written, is_known.then_some(total)) };
            let mut queue = VecDeque::new();
            let mut kill = kills.next().copied();
            let mut rounds = 0;
            loop {
                while queue.len() < at_once {
                    let Some(piece) = pieces.next() else { break };
                    asked += piece.end.unwrap_or(total).min(total) - piece.start;
                    queue.push_back(piece);
                }
                let Some(piece) = queue.pop_front() else { return if written == total { asked } else { u64::MAX } };
                assert_eq!(piece.start, written, "in order, without a gap");
                let end = piece.end.unwrap_or(total).min(total);
                assert!(piece.is_first || piece.end.is_some_and(|end| piece.start < end && end <= total));
                if piece.is_first {
                    assert!(queue.is_empty(), "the first goes alone");
                    pieces.opened(Some(total));
                }
                if let Some((round, part)) = kill
                    && round == rounds
                {
                    // Part of the piece was written; what waited behind it is lost.
                    written += part.min(end - piece.start);
                    break;
                }
                written = end;
                rounds += 1;
                kill = kill.filter(|(round, _)| *round >= rounds);
            }
        }
    }

    proptest! {
        #[test]
        fn every_byte_comes_once_and_in_order(
            total in 0_u64..5000, is_known: bool, at_once in 1_usize..6, length in 1_u64..700, from in 0_u64..3000,
            kills in prop::collection::vec((0_usize..8, 0_u64..700), 0..4),
        ) {
            let asked = run(total, is_known, at_once, (length, from), &kills);
            prop_assert_ne!(asked, u64::MAX, "something is missing");
            if kills.is_empty() {
                prop_assert_eq!(asked, total);
            }
            // A kill costs at most what was under way: the pieces at once, or the one that was the rest.
            let lost = (at_once as u64 * length).max(from + length);
            prop_assert!(asked <= total + kills.len() as u64 * lost, "{} of {}", asked, total);
        }
    }

    #[test]
    fn small_files_come_in_one_answer_and_long_ones_side_by_side() {
        let mib = 1 << 20;
        let piece = |start, end, is_first| Some(Piece { start, end, is_first });
        let mut small = Pieces::new(10 * mib, Some(200 * mib));
        assert_eq!((small.next(), small.next()), (piece(10 * mib, Some(200 * mib), true), None));
        small.opened(Some(200 * mib));
        assert_eq!(small.next(), None);

        let mut long = Pieces::new(0, Some(300 * mib));
        assert_eq!((long.next(), long.next()), (piece(0, Some(PIECE), true), None));
        long.opened(Some(300 * mib));
        assert_eq!(long.next(), piece(PIECE, Some(2 * PIECE), false));

        let mut unknown = Pieces::new(0, None);
        assert_eq!(unknown.next(), piece(0, Some(PIECE), true));
        unknown.opened(Some(100 * mib));
        assert_eq!((unknown.next(), unknown.next()), (piece(PIECE, Some(100 * mib), false), None));

        let mut without_ranges = Pieces::new(0, Some(300 * mib));
        without_ranges.next();
        without_ranges.opened(None);
        assert_eq!(without_ranges.next(), None);
        assert_eq!(Pieces::whole().next(), piece(0, None, true));
        assert_eq!(Pieces::new(7, Some(7)).next(), None);
    }
}
