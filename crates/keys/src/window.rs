//! How much happened within the last period, in memory that does not grow.

use std::time::{Duration, SystemTime};

/// Amounts by slots of time, the newest of them the one that runs. What is in a slot counts until all of that slot lies
/// a whole period back: no period, whenever it begins, ever holds more than the window lets it.
///
/// Pure: the time is handed in. A clock that is set back a little changes nothing; one that is set back by more than the
/// window empties it, for else it would wait for the clock to come back.
#[derive(Clone, Debug)]
pub(crate) struct Window<const SLOTS: usize> {
    slot: Duration,
    /// The number of the slot that runs, counted from 1970.
    newest: u64,
    /// The slot with number n at n modulo `SLOTS`.
    amounts: [u64; SLOTS],
}

impl<const SLOTS: usize> Window<SLOTS> {
    /// A window over `SLOTS` - 1 times `slot`.
    pub(crate) const fn of_slots(slot: Duration) -> Self {
        Self { slot, newest: 0, amounts: [0; SLOTS] }
    }

    /// So much happened now.
    pub(crate) fn add(&mut self, amount: u64, now: SystemTime) {
        self.advance(now);
        let running = &mut self.amounts[Self::place(self.newest)];
        *running = running.saturating_add(amount);
    }

    /// All within the last period, and what else is in its oldest slot.
    pub(crate) fn sum(&mut self, now: SystemTime) -> u64 {
        self.advance(now);
        self.amounts.iter().fold(0, |sum, amount| sum.saturating_add(*amount))
    }

    /// How long until the sum is below `limit`, if nothing else happens; the whole window where that never is.
    pub(crate) fn below(&mut self, limit: u64, now: SystemTime) -> Duration {
        let mut left = self.sum(now);
        if left < limit {
            return Duration::ZERO;
        }
        let oldest = self.newest.saturating_sub(SLOTS as u64 - 1);
        for number in oldest..=self.newest {
            left = left.saturating_sub(self.amounts[Self::place(number)]);
            if left < limit {
                return self.start_of(number + SLOTS as u64).saturating_sub(since_1970(now));
            }
        }
        self.slot.saturating_mul(u32::try_from(SLOTS).unwrap_or(u32::MAX))
    }

    fn advance(&mut self, now: SystemTime) {
        let number = u64::try_from(since_1970(now).as_millis() / self.slot.as_millis()).unwrap_or(u64::MAX);
        let slots = SLOTS as u64;
        if number > self.newest {
            for gone in self.newest.max(number.saturating_sub(slots))..number {
                self.amounts[Self::place(gone + 1)] = 0;
            }
            self.newest = number;
        } else if self.newest - number > slots {
            (self.newest, self.amounts) = (number, [0; SLOTS]);
        }
    }

    fn start_of(&self, number: u64) -> Duration {
        let millis = u64::try_from(self.slot.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(number.saturating_mul(millis))
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than SLOTS, which is a usize")]
    const fn place(number: u64) -> usize {
        (number % SLOTS as u64) as usize
    }
}

fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOT: Duration = Duration::from_secs(1);
    const PERIOD_MS: u64 = 10_000;
    type Ten = Window<11>;

    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + ms)
    }

    #[test]
    fn what_is_a_period_old_is_forgotten() {
        let mut window = Ten::of_slots(SLOT);
        window.add(3, at(500));
        window.add(4, at(2_999));
        let mut check = |ms, sum| assert_eq!(window.sum(at(ms)), sum, "{ms}");
        check(2_999, 7);
        check(10_500, 7);
        check(10_999, 7);
        check(11_000, 4);
        check(12_999, 4);
        check(13_000, 0);
        let mut window = Ten::of_slots(SLOT);
        window.add(3, at(500));
        assert_eq!(window.sum(at(900_000_000)), 0, "after a long sleep");
    }

    #[test]
    fn it_says_when_there_is_room_again() {
        let mut window = Ten::of_slots(SLOT);
        window.add(3, at(500));
        window.add(4, at(2_500));
        let mut check = |limit, ms, expected_ms| {
            assert_eq!(window.below(limit, at(ms)), Duration::from_millis(expected_ms), "{limit} at {ms}");
        };
        check(8, 2_500, 0);
        check(7, 2_500, 8_500);
        check(5, 2_500, 8_500);
        check(4, 2_500, 10_500);
        check(1, 2_500, 10_500);
        check(0, 2_500, 11_000);
    }

    #[test]
    fn a_clock_that_was_set_back_neither_frees_nor_bars_for_ever() {
        let mut window = Ten::of_slots(SLOT);
        window.add(3, at(100_000));
        assert_eq!(window.sum(at(97_000)), 3);
        window.add(1, at(97_000));
        assert_eq!(window.sum(at(100_000)), 4);
        assert_eq!(window.sum(at(1_000)), 0);
        window.add(2, at(1_000));
        assert_eq!(window.sum(at(2_000)), 2);
    }

    proptest! {
        /// Against a list of all that ever happened.
        #[test]
        fn a_period_never_holds_more_than_the_sum_says(steps in prop::collection::vec((0..4_000u64, 0..5u64), 1..200)) {
            let (mut window, mut all, mut now) = (Ten::of_slots(SLOT), vec![], 0);
            for (pause, amount) in steps {
                now += pause;
                window.add(amount, at(now));
                all.push((now, amount));
                let within = |ms: u64| all.iter().filter(|(then, _)| *then + ms > now).map(|(_, amount)| amount).sum::<u64>();
                let sum = window.sum(at(now));
                prop_assert!(within(PERIOD_MS) <= sum, "{sum}");
                prop_assert!(sum <= within(PERIOD_MS + 1_000), "nothing stays for longer than a slot more");
                let wait = window.below(3, at(now));
                let later = at(now) + wait;
                prop_assert!(window.clone().sum(later) < 3, "after what it says there is room");
                if let Some(earlier) = wait.checked_sub(Duration::from_millis(1)) {
                    prop_assert!(window.clone().sum(at(now) + earlier) >= 3, "and not before");
                }
            }
        }
    }
}
