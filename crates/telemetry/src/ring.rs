//! The last so many of something, and which of them are not in the store yet.

use std::collections::VecDeque;

/// Pure: it never looks at a clock.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    items: VecDeque<T>,
    most: usize,
    /// How many were ever here: the number of the next one.
    pushed: u64,
    /// Those with lower numbers are in the store.
    written: u64,
}

impl<T: Clone> Ring<T> {
    pub(crate) fn new(most: u32) -> Self {
        Self { items: VecDeque::new(), most: most as usize, pushed: 0, written: 0 }
    }

    /// Adds the newest; the oldest goes if there are too many.
    pub(crate) fn push(&mut self, item: T) {
        if self.items.len() == self.most {
            self.items.pop_front();
        }
        self.items.push_back(item);
        self.pushed += 1;
    }

    /// Drops the oldest for as long as they are so.
    pub(crate) fn drop_while(&mut self, mut is_so: impl FnMut(&T) -> bool) {
        while self.items.front().is_some_and(&mut is_so) {
            self.items.pop_front();
        }
    }

    /// Puts what the store remembers, oldest first, before what is here, as far as there is room.
    pub(crate) fn restore(&mut self, items: impl DoubleEndedIterator<Item = T>) {
        let room = self.most - self.items.len();
        for item in items.rev().take(room) {
            self.items.push_front(item);
            self.pushed += 1;
            self.written += 1;
        }
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter()
    }

    /// Those not in the store yet, oldest first, and what to tell [`Ring::written`] once they are.
    pub(crate) fn unwritten(&self) -> (Vec<T>, u64) {
        let count = usize::try_from(self.pushed - self.written).unwrap_or(usize::MAX).min(self.items.len());
        (self.items.range(self.items.len() - count..).cloned().collect(), self.pushed)
    }

    /// All up to this number are in the store.
    pub(crate) fn written(&mut self, up_to: u64) {
        self.written = self.written.max(up_to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(most: u32, items: std::ops::Range<u32>) -> Ring<u32> {
        let mut ring = Ring::new(most);
        items.for_each(|item| ring.push(item));
        ring
    }

    fn items(ring: &Ring<u32>) -> Vec<u32> {
        ring.iter().copied().collect()
    }

    #[test]
    fn the_oldest_go() {
        let mut ring = ring(3, 0..5);
        assert_eq!(items(&ring), [2, 3, 4]);
        ring.drop_while(|&item| item < 4);
        assert_eq!(items(&ring), [4]);
        ring.drop_while(|_| true);
        assert_eq!(items(&ring), [0; 0]);
    }

    #[test]
    fn each_is_written_once() {
        let mut ring = ring(3, 0..2);
        let (rows, up_to) = ring.unwritten();
        assert_eq!(rows, [0, 1]);
        // One more comes, and the oldest goes, while they are being written.
        ring.push(2);
        ring.push(3);
        ring.written(up_to);
        assert_eq!(ring.unwritten().0, [2, 3]);
        ring.push(4);
        ring.push(5);
        let (rows, up_to) = ring.unwritten();
        assert_eq!(rows, [3, 4, 5], "2 was never written and is gone");
        ring.written(up_to);
        assert_eq!(ring.unwritten().0, [0; 0]);
        ring.drop_while(|_| true);
        ring.push(6);
        assert_eq!(ring.unwritten().0, [6]);
    }

    #[test]
    fn what_the_store_remembers_comes_before() {
        let mut ring = ring(5, 10..12);
        ring.restore(0..6);
        assert_eq!(items(&ring), [3, 4, 5, 10, 11]);
        let (rows, up_to) = ring.unwritten();
        assert_eq!(rows, [10, 11]);
        ring.written(up_to);
        assert_eq!(ring.unwritten().0, [0; 0]);
    }
}
