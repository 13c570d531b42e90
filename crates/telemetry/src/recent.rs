//! The window: what is in it, and what follows from it. Pure: whoever asks says what time it is.

use std::time::{Duration, SystemTime};

use crate::ring::Ring;
use crate::{ANSWERS_MAX, Answer, RETENTION, SWAPS_MAX, Swap};

/// Over how long averages are taken.
const AVERAGED: Duration = Duration::from_mins(5);

/// Averages over the last five minutes, tokens/s; answers that say 0 do not count. 0 if there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Averages {
    /// Of [`Answer::tokens_per_second`].
    pub tokens_per_second: f64,
    /// Of the reading of prompts.
    pub prompt_tokens_per_second: f64,
    /// Of generation.
    pub generation_tokens_per_second: f64,
}

/// What was counted since snug started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Answers completed.
    pub answers: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens generated for them.
    pub completion_tokens: u64,
    /// Swaps.
    pub swaps: u64,
    /// Answers that came too fast to be remembered; they are not in the other figures.
    pub lost: u64,
}

pub(crate) struct Recent {
    pub(crate) answers: Ring<Answer>,
    pub(crate) swaps: Ring<Swap>,
    totals: Totals,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { answers: Ring::new(ANSWERS_MAX), swaps: Ring::new(SWAPS_MAX), totals: Totals::default() }
    }

    pub(crate) fn answered(&mut self, answer: Answer) {
        self.totals.answers += 1;
        self.totals.prompt_tokens += answer.prompt_tokens;
        self.totals.completion_tokens += answer.completion_tokens;
        self.answers.push(answer);
    }

    pub(crate) fn swapped(&mut self, swap: Swap) {
        self.totals.swaps += 1;
        self.swaps.push(swap);
    }

    pub(crate) fn lost(&mut self, answers: u64) {
        self.totals.lost += answers;
    }

    /// Forgets what is too old.
    pub(crate) fn forget(&mut self, now: SystemTime) {
        self.answers.drop_while(|answer| age(answer, now) > RETENTION);
    }

    /// Answers that ended within `window` before `now`, the oldest first.
    pub(crate) fn history(&self, window: Duration, now: SystemTime) -> Vec<Answer> {
        self.within(window, now).cloned().collect()
    }

    pub(crate) fn averages(&self, now: SystemTime) -> Averages {
        let average = |of: fn(&Answer) -> f64| {
            let figures = self.within(AVERAGED, now).map(of).filter(|figure| *figure > 0.0);
            let (sum, count) = figures.fold((0.0, 0u32), |(sum, count), figure| (sum + figure, count + 1));
            if count == 0 { 0.0 } else { sum / f64::from(count) }
        };
        Averages {
            tokens_per_second: average(Answer::tokens_per_second),
            prompt_tokens_per_second: average(|answer| answer.prompt_tokens_per_second),
            generation_tokens_per_second: average(|answer| answer.generation_tokens_per_second),
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    fn within(&self, window: Duration, now: SystemTime) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(move |answer| age(answer, now) <= window)
    }
}

/// How long ago it ended; a clock that was set back makes nothing older.
fn age(answer: &Answer, now: SystemTime) -> Duration {
    now.duration_since(answer.at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use types::{ModelId, ModelKey, Variant};

    use super::*;
    use crate::answer::tests::answer;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn recent(answers: impl IntoIterator<Item = Answer>) -> Recent {
        let mut recent = Recent::new();
        answers.into_iter().for_each(|answer| recent.answered(answer));
        recent
    }

    #[test]
    fn a_window_shows_what_ended_in_it_oldest_first() {
        let recent = recent([answer(1000), answer(1060), answer(1120)]);
        let seconds = |window, now| -> Vec<u64> {
            let seen = recent.history(Duration::from_secs(window), at(now));
            seen.iter().map(|answer| answer.at.duration_since(at(0)).unwrap().as_secs()).collect()
        };
        assert_eq!(seconds(120, 1120), [1000, 1060, 1120]);
        assert_eq!(seconds(120, 1121), [1060, 1120]);
        assert_eq!(seconds(60, 1180), [1120]);
        assert_eq!(seconds(60, 1181), [0; 0]);
        assert_eq!(seconds(60, 900), [1000, 1060, 1120], "the clock was set back");
    }

    #[test]
    fn an_hour_and_ten_thousand_are_kept() {
        let mut recent = recent((0..12_000).map(|_| answer(1000)).chain([answer(2000)]));
        let all = |recent: &Recent| recent.history(Duration::MAX, at(2000)).len();
        assert_eq!(all(&recent), 10_000);
        recent.forget(at(1000 + 3600));
        assert_eq!(all(&recent), 10_000);
        recent.forget(at(1001 + 3600));
        assert_eq!(all(&recent), 1);
        assert_eq!(recent.totals().answers, 12_001);
        assert_eq!(recent.totals().completion_tokens, 80 * 12_001);
        let key = ModelKey { id: ModelId::new("m"), variant: Variant::new("") };
        for second in 0..1200 {
            recent.swapped(Swap { at: at(second), from: key.clone(), to: key.clone(), time: Duration::ZERO });
        }
        assert_eq!(recent.swaps.iter().count(), 1000);
        assert_eq!(recent.swaps.iter().next().unwrap().at, at(200), "swaps do not age");
    }

    #[test]
    fn averages_ignore_zeros_and_what_is_long_ago() {
        let speed = |second, generation_tokens_per_second, prompt_tokens_per_second| Answer {
            generation_tokens_per_second,
            prompt_tokens_per_second,
            completion_tokens: if generation_tokens_per_second > 0.0 { 10 } else { 0 },
            ..answer(second)
        };
        let recent = recent([
            speed(1000, 900.0, 900.0),
            speed(2000, 40.0, 0.0),
            speed(2100, 0.0, 300.0),
            speed(2200, 60.0, 100.0),
        ]);
        let expected =
            Averages { tokens_per_second: 50.0, prompt_tokens_per_second: 200.0, generation_tokens_per_second: 50.0 };
        assert_eq!(recent.averages(at(2300)), expected);
        assert_eq!(recent.averages(at(9000)), Averages::default());
    }
}
