//! Who waits for a place, in the order in which places are given: callers take turns, and what one caller asked for goes in
//! the order in which it was asked. A caller that floods waits behind itself.

use std::collections::{HashMap, VecDeque};

/// Everybody that waits for one thing. Bounds are its owner's affair.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Callers that have a line, the next one first.
    turns: VecDeque<u64>,
    /// What each of them waits with, never empty.
    lines: HashMap<u64, VecDeque<(u64, T)>>,
    waiting: usize,
    /// Goes up for ever, so that a number never means two.
    next_number: u64,
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    caller: u64,
    number: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), lines: HashMap::new(), waiting: 0, next_number: 0 }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many of them are this caller's.
    pub(crate) fn len_of(&self, caller: u64) -> usize {
        self.lines.get(&caller).map_or(0, VecDeque::len)
    }

    /// Joins the queue at the end of the caller's line.
    pub(crate) fn join(&mut self, caller: u64, item: T) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        let line = self.lines.entry(caller).or_default();
        if line.is_empty() {
            self.turns.push_back(caller);
        }
        line.push_back((number, item));
        Ticket { caller, number }
    }

    /// Whose turn it is. Its caller's next turn comes after those of all other callers.
    pub(crate) fn next(&mut self) -> Option<T> {
        let caller = self.turns.pop_front()?;
        let line = self.lines.get_mut(&caller)?;
        let (_, item) = line.pop_front()?;
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        Some(item)
    }

    /// Leaves the queue; false if it was not in it any more.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> bool {
        let Some(line) = self.lines.get_mut(&ticket.caller) else { return false };
        // Numbers go up along a line.
        let Ok(at) = line.binary_search_by_key(&ticket.number, |(number, _)| *number) else { return false };
        line.remove(at);
        self.waiting -= 1;
        if line.is_empty() {
            self.lines.remove(&ticket.caller);
            self.turns.retain(|caller| *caller != ticket.caller);
        }
        true
    }

    /// Everybody leaves.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.turns.clear();
        self.waiting = 0;
        self.lines.drain().flat_map(|(_, line)| line).map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Letters join, each a caller, in this order; then all are served.
    fn check(joining: &str, expected: &str) {
        let mut queue = Queue::default();
        for (number, caller) in joining.chars().enumerate() {
            queue.join(u64::from(caller), format!("{caller}{number}"));
        }
        let served: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(served.join(" "), expected, "{joining}");
        assert!(queue.is_empty());
    }

    #[test]
    fn callers_take_turns() {
        check("", "");
        check("aaa", "a0 a1 a2");
        check("aaab", "a0 b3 a1 a2");
        check("aaabcb", "a0 b3 c4 a1 b5 a2");
    }

    #[test]
    fn who_leaves_is_not_served() {
        let mut queue = Queue::default();
        let tickets = [1, 1, 2].map(|caller| queue.join(caller, caller));
        assert!(queue.leave(tickets[2]));
        assert!(!queue.leave(tickets[2]), "once");
        assert!(queue.leave(tickets[0]));
        assert_eq!((queue.len(), queue.len_of(1), queue.len_of(2)), (1, 1, 0));
        assert_eq!((queue.next(), queue.next()), (Some(1), None));
        assert!(!queue.leave(tickets[1]), "it was served");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Joins(u64),
        Leaves(prop::sample::Index),
        Served,
        AllLeave,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..5_u64).prop_map(Step::Joins),
            2 => any::<prop::sample::Index>().prop_map(Step::Leaves),
            4 => Just(Step::Served),
            1 => Just(Step::AllLeave),
        ]
    }

    proptest! {
        /// Nobody is lost, nobody is served twice, a caller's requests stay in order, and between two turns of a caller that
        /// waits no other has two.
        #[test]
        fn turns_are_fair(steps in prop::collection::vec(step(), 1..200)) {
            let mut queue = Queue::default();
            let mut there: Vec<(u64, u64, Ticket)> = vec![];
            let mut number = 0;
            // For each caller that waits, who was served since its last turn, or since it came.
            let mut since: HashMap<u64, Vec<u64>> = HashMap::new();
            for step in steps {
                match step {
                    Step::Joins(caller) => {
                        there.push((caller, number, queue.join(caller, (caller, number))));
                        since.entry(caller).or_default();
                        number += 1;
                    }
                    Step::Leaves(which) if !there.is_empty() => {
                        let (_, _, ticket) = there.remove(which.index(there.len()));
                        prop_assert!(queue.leave(ticket));
                    }
                    Step::Leaves(_) => {}
                    Step::Served => {
                        let served = queue.next();
                        prop_assert_eq!(served.is_none(), there.is_empty());
                        let Some((caller, number)) = served else { continue };
                        let first = there.iter().position(|(one, ..)| *one == caller).unwrap();
                        prop_assert_eq!(there.remove(first).1, number, "in order");
                        for (one, others) in &mut since {
                            if *one == caller {
                                others.clear();
                            } else {
                                prop_assert!(!others.contains(&caller), "{caller} twice before {one}");
                                others.push(caller);
                            }
                        }
                    }
                    Step::AllLeave => {
                        prop_assert_eq!(queue.drain().len(), there.len());
                        there.clear();
                    }
                }
                since.retain(|caller, _| there.iter().any(|(one, ..)| one == caller));
                prop_assert_eq!(queue.len(), there.len());
                for caller in 0..5 {
                    let own = there.iter().filter(|(one, ..)| *one == caller).count();
                    prop_assert_eq!(queue.len_of(caller), own);
                }
            }
        }
    }
}
