//! The choice among replicas at one moment: a pure function of what each may and has to do.
//!
//! In this order: a replica that is ready, was not tried for this request yet and whose circuit is closed; of these one
//! that has a place free; of these the one that read the conversation before, unless it has much more to do than the one
//! with the least; else the one with the least to do; among equals the next in turn. If all places are taken, the shortest
//! queue. A circuit that may be probed gets the next request that has not failed elsewhere, as nothing else would close it.

use std::time::Instant;

use crate::Permit;

/// One replica at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Whether its engine takes requests.
    pub is_ready: bool,
    /// Whether its circuit does.
    pub permit: Permit,
    /// Requests it answers.
    pub in_flight: u64,
    /// Requests that wait for a place at it.
    pub waiting: u64,
    /// How many it answers at once.
    pub capacity: u64,
}

/// How much more to do than the least is too much for affinity: both must be exceeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// So many requests more.
    pub absolute: u64,
    /// So many times as many.
    pub relative: f64,
}

impl Default for Balance {
    /// Four more, which is what `llama-server` answers at once unless told otherwise, and half as many again.
    fn default() -> Self {
        Self { absolute: 4, relative: 1.5 }
    }
}

/// Who gets the request, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its number among the candidates.
    pub index: usize,
    /// Why it.
    pub reason: Reason,
}

/// Why a replica was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Its circuit was open, and this request tries whether it answers again.
    Probe,
    /// It read the conversation before.
    Affinity,
    /// It has the least to do.
    FewestInFlight,
    /// All are full, and the fewest wait for it.
    ShortestQueue,
}

impl Reason {
    /// The word for it in headers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Affinity => "affinity",
            Self::FewestInFlight => "fewest_in_flight",
            Self::ShortestQueue => "shortest_queue",
        }
    }
}

/// Why nobody was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoChoice {
    /// None is ready that was not tried.
    NoneReady,
    /// The circuits of all that are ready and were not tried are open.
    AllOpen {
        /// When the first of them may be probed.
        until: Instant,
    },
}

/// Chooses one of the candidates.
///
/// `affinity` is who read the conversation before, if that is worth something; `tried` are those who failed this request
/// already; `turn` is one after the last choice, wherever the list ended then.
///
/// # Errors
///
/// When nobody may be asked, why.
pub fn choose(
    candidates: &[Candidate],
    affinity: Option<usize>,
    tried: &[usize],
    turn: usize,
    balance: &Balance,
) -> Result<Choice, NoChoice> {
    let length = candidates.len();
    // From the one whose turn it is: `min_by_key` takes the first of equals.
    let in_turn = (0..length).map(|step| (turn % length + step) % length);
    let ready = in_turn.filter(|index| candidates[*index].is_ready && !tried.contains(index));
    let with = |permit: Permit| ready.clone().filter(move |&index| candidates[index].permit == permit);
    let chosen = |index: usize, reason: Reason| Ok(Choice { index, reason });

    let closed = with(Permit::Yes);
    let free = closed.clone().filter(|&index| !candidates[index].is_full());
    let is_any_closed = closed.clone().next().is_some();
    let probe = with(Permit::Probe).find(|&index| !is_any_closed || !candidates[index].is_full());
    if let Some(index) = probe.filter(|_| tried.is_empty() || !is_any_closed) {
        return chosen(index, Reason::Probe);
    }
    let Some(idlest) = free.clone().min_by_key(|&index| candidates[index].has_to_do()) else {
        let shortest = closed.min_by_key(|&index| (candidates[index].waiting, candidates[index].in_flight));
        return match (shortest, ready.filter_map(|index| candidates[index].opens_at()).min()) {
            (Some(index), _) => chosen(index, Reason::ShortestQueue),
            (None, Some(until)) => Err(NoChoice::AllOpen { until }),
            (None, None) => Err(NoChoice::NoneReady),
        };
    };
    let least = candidates[idlest].has_to_do();
    let is_affine = |&index: &usize| Some(index) == affinity && balance.allows(candidates[index].has_to_do(), least);
    match free.clone().find(is_affine) {
        Some(affine) => chosen(affine, Reason::Affinity),
        None => chosen(idlest, Reason::FewestInFlight),
    }
}

impl Candidate {
    fn has_to_do(&self) -> u64 {
        self.in_flight.saturating_add(self.waiting)
    }

    fn is_full(&self) -> bool {
        self.has_to_do() >= self.capacity
    }

    fn opens_at(&self) -> Option<Instant> {
        match self.permit {
            Permit::No { until } => Some(until),
            Permit::Yes | Permit::Probe => None,
        }
    }
}

impl Balance {
    /// Whether a replica may have `so_much` to do where another has only `least`.
    fn allows(&self, so_much: u64, least: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "as many requests do not fit a machine")]
        let is_relatively_more = so_much as f64 > least as f64 * self.relative;
        !(is_relatively_more && so_much - least > self.absolute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// Candidates in words: `in_flight/capacity`, more waiting as `+n`, then `?` for one that may be probed, `!` for an open
    /// circuit, `-` for one that is not ready.
    fn candidates(words: &str, now: Instant) -> Vec<Candidate> {
        let one = |word: &str| {
            let (load, mark) = match word.strip_suffix(['?', '!', '-']) {
                Some(load) => (load, word.chars().last()),
                None => (word, None),
            };
            let (load, waiting) = load.split_once('+').unwrap_or((load, "0"));
            let (in_flight, capacity) = load.split_once('/').unwrap();
            Candidate {
                is_ready: mark != Some('-'),
                permit: match mark {
                    Some('?') => Permit::Probe,
                    Some('!') => Permit::No { until: now + Duration::from_secs(1) },
                    _ => Permit::Yes,
                },
                in_flight: in_flight.parse().unwrap(),
                waiting: waiting.parse().unwrap(),
                capacity: capacity.parse().unwrap(),
            }
        };
        words.split_whitespace().map(one).collect()
    }

    fn check(words: &str, affinity: Option<usize>, tried: &[usize], turn: usize, expected: &str) {
        let now = Instant::now();
        let found = match choose(&candidates(words, now), affinity, tried, turn, &Balance::default()) {
            Ok(choice) => format!("{} {}", choice.index, choice.reason.as_str()),
            Err(NoChoice::NoneReady) => "none ready".to_owned(),
            Err(NoChoice::AllOpen { until }) => format!("all open for {} s", until.duration_since(now).as_secs()),
        };
        assert_eq!(found, expected, "{words}");
    }

    #[test]
    fn the_one_with_the_least_to_do_and_among_equals_the_next_in_turn() {
        check("2/4 1/4 3/4", None, &[], 0, "1 fewest_in_flight");
        check("1/4 1/4 1/4", None, &[], 0, "0 fewest_in_flight");
        check("1/4 1/4 1/4", None, &[], 1, "1 fewest_in_flight");
        check("1/4 1/4 1/4", None, &[], 3, "0 fewest_in_flight");
        check("1/4 1/4 2/4", None, &[], usize::MAX, "0 fewest_in_flight");
        check("1/4- 2/4 3/4", None, &[], 0, "1 fewest_in_flight");
        check("1/4 2/4 3/4", None, &[0], 0, "1 fewest_in_flight");
    }

    #[test]
    fn affinity_holds_while_balanced() {
        check("0/9 4/9", Some(1), &[], 0, "1 affinity");
        check("0/9 5/9", Some(1), &[], 0, "0 fewest_in_flight");
        check("20/99 29/99", Some(1), &[], 0, "1 affinity");
        check("20/99 31/99", Some(1), &[], 0, "0 fewest_in_flight");
        check("0/4 4/4", Some(1), &[], 0, "0 fewest_in_flight");
        check("0/4 0/4!", Some(1), &[], 0, "0 fewest_in_flight");
        check("0/4 0/4-", Some(1), &[], 0, "0 fewest_in_flight");
        check("0/4 0/4", Some(1), &[1], 0, "0 fewest_in_flight");
        check("0/4 0/4", Some(7), &[], 0, "0 fewest_in_flight");
    }

    #[test]
    fn where_all_are_full_the_shortest_queue() {
        check("4/4+3 4/4+1", None, &[], 0, "1 shortest_queue");
        check("4/4+3 4/4+1", Some(0), &[], 0, "1 shortest_queue");
        check("4/4+1 4/4+1 9/9+1", None, &[], 1, "1 shortest_queue");
        check("4/4+1 3/4", None, &[], 0, "1 fewest_in_flight");
    }

    #[test]
    fn a_probe_is_taken_when_due_but_not_by_a_request_that_failed() {
        check("0/4 0/4?", None, &[], 0, "1 probe");
        check("0/4 0/4? 0/4!", None, &[2], 0, "0 fewest_in_flight");
        check("0/4 0/4?", None, &[0], 0, "1 probe");
        check("0/4 4/4?", None, &[], 0, "0 fewest_in_flight");
        check("4/4! 4/4?", None, &[], 0, "1 probe");
    }

    #[test]
    fn nobody_is_chosen_and_why() {
        check("", Some(0), &[], 3, "none ready");
        check("0/4- 0/4-", None, &[], 0, "none ready");
        check("0/4", None, &[0], 0, "none ready");
        check("0/4! 0/4-", None, &[], 0, "all open for 1 s");
    }

    fn any_candidate(now: Instant) -> impl Strategy<Value = Candidate> {
        let permit = prop_oneof![
            4 => Just(Permit::Yes),
            1 => Just(Permit::Probe),
            2 => Just(Permit::No { until: now + Duration::from_secs(1) }),
        ];
        (prop::bool::weighted(0.8), permit, 0..12_u64, 0..3_u64, 1..10_u64).prop_map(
            |(is_ready, permit, in_flight, waiting, capacity)| {
                let waiting = if in_flight >= capacity { waiting } else { 0 };
                Candidate { is_ready, permit, in_flight, waiting, capacity }
            },
        )
    }

    fn any_question() -> impl Strategy<Value = (Vec<Candidate>, Option<usize>, Vec<usize>, usize)> {
        let candidates = prop::collection::vec(any_candidate(Instant::now()), 0..8);
        (candidates, prop::option::of(0..9_usize), prop::collection::vec(0..8_usize, 0..3), any::<usize>())
    }

    proptest! {
        #[test]
        fn no_choice_breaks_the_order((candidates, affinity, tried, turn) in any_question()) {
            let balance = Balance::default();
            let may = |index: usize| candidates[index].is_ready && !tried.contains(&index);
            let closed = || (0..candidates.len()).filter(|&one| may(one) && candidates[one].permit == Permit::Yes);
            let is_open = |one: usize| matches!(candidates[one].permit, Permit::No { .. });
            match choose(&candidates, affinity, &tried, turn, &balance) {
                Ok(Choice { index, reason }) => {
                    let chosen = &candidates[index];
                    prop_assert!(may(index), "ready, and not tried");
                    prop_assert!(!is_open(index), "an open circuit gets nothing");
                    prop_assert_eq!(chosen.permit == Permit::Probe, reason == Reason::Probe);
                    let is_any_free = closed().any(|one| !candidates[one].is_full());
                    prop_assert!(!chosen.is_full() || !is_any_free, "full, while another is free");
                    let least = closed().filter(|&one| !candidates[one].is_full()).map(|one| candidates[one].has_to_do());
                    let least = least.min().unwrap_or(0);
                    match reason {
                        Reason::FewestInFlight => prop_assert_eq!(chosen.has_to_do(), least),
                        Reason::Affinity => {
                            prop_assert_eq!(affinity, Some(index));
                            prop_assert!(balance.allows(chosen.has_to_do(), least));
                        }
                        Reason::ShortestQueue => {
                            prop_assert!(closed().all(|one| candidates[one].waiting >= chosen.waiting));
                        }
                        Reason::Probe => prop_assert!(tried.is_empty() || closed().next().is_none()),
                    }
                }
                Err(NoChoice::AllOpen { .. }) => {
                    prop_assert!((0..candidates.len()).filter(|&one| may(one)).all(is_open));
                }
                Err(NoChoice::NoneReady) => prop_assert!(!(0..candidates.len()).any(may)),
            }
        }

        /// Everybody asks for what one replica has read: it gets more, but within the bounds, and in the end all are full.
        #[test]
        fn a_favourite_does_not_get_everything(replicas in 2..6_usize, capacity in 1..40_u64) {
            let balance = Balance::default();
            let free = Candidate { is_ready: true, permit: Permit::Yes, in_flight: 0, waiting: 0, capacity };
            let mut candidates = vec![free; replicas];
            let mut turn = 0;
            for _ in 0..capacity * u64::try_from(replicas).unwrap() {
                let choice = choose(&candidates, Some(0), &[], turn, &balance).unwrap();
                candidates[choice.index].in_flight += 1;
                turn = choice.index + 1;
                let load = || candidates.iter().map(|one| one.in_flight);
                let (most, least) = (load().max().unwrap(), load().min().unwrap());
                // One more than the bound allows before the choice.
                prop_assert!(most <= (least + 4).max(least * 3 / 2) + 1, "{most} and {least}");
            }
            prop_assert!(candidates.iter().all(|one| one.in_flight == capacity));
        }
    }
}
