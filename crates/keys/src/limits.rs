//! How much a key may have of what.

use std::time::{Duration, SystemTime};

use crate::window::Window;

const SECOND: Duration = Duration::from_secs(1);
const QUARTER: Duration = Duration::from_mins(15);
/// When a request in flight ends nobody knows; so long is a good time to look again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The last minute, by seconds.
type Minute = Window<61>;
/// The last day, by quarters of an hour.
type Day = Window<97>;

/// How much a key may have. What is not given is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests within any 60 seconds.
    pub requests_per_minute: Option<u64>,
    /// Tokens, of prompts and answers together, within any 60 seconds. What an answer takes is known at its end: requests
    /// begin as long as there is something left, so that the last of them may take more than that.
    pub tokens_per_minute: Option<u64>,
    /// The same within any 24 hours.
    pub tokens_per_day: Option<u64>,
    /// Requests at once.
    pub max_in_flight: Option<u64>,
}

/// A key has had what it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this API key has had {what}; there is room again in {} s", reset_after.as_secs_f64().ceil())]
pub struct Limited {
    /// Of what, and how much.
    pub what: Limit,
    /// When a request will be let through again, if no other comes first. Of requests in flight that is a guess.
    pub reset_after: Duration,
}

impl Limited {
    /// The stable word for programs.
    pub const CODE: &'static str = "rate_limit_exceeded";
}

/// One limit, and how high it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Requests within 60 seconds.
    #[error("its {0} requests of this minute")]
    RequestsPerMinute(u64),
    /// Tokens within 60 seconds.
    #[error("its {0} tokens of this minute")]
    TokensPerMinute(u64),
    /// Tokens within 24 hours.
    #[error("its {0} tokens of this day")]
    TokensPerDay(u64),
    /// Requests at once.
    #[error("its {0} requests at once")]
    InFlight(u64),
}

impl Limit {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestsPerMinute(_) => "requests_per_minute",
            Self::TokensPerMinute(_) => "tokens_per_minute",
            Self::TokensPerDay(_) => "tokens_per_day",
            Self::InFlight(_) => "max_in_flight",
        }
    }

    /// How high it is.
    pub const fn value(self) -> u64 {
        match self {
            Self::RequestsPerMinute(value)
            | Self::TokensPerMinute(value)
            | Self::TokensPerDay(value)
            | Self::InFlight(value) => value,
        }
    }
}

/// What a key has had. Pure: the time is handed in.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    in_flight: u64,
    max_in_flight: Option<u64>,
    requests: Option<Box<Limiting<Minute>>>,
    tokens_of_minute: Option<Box<Limiting<Minute>>>,
    tokens_of_day: Option<Box<Limiting<Day>>>,
}

#[derive(Debug)]
struct Limiting<W> {
    limit: u64,
    had: W,
}

impl Gauge {
    pub(crate) fn new(limits: Limits) -> Self {
        let mut gauge = Self::default();
        gauge.limit(limits);
        gauge
    }

    /// From now on these limits; what a limit that stays has counted stays counted.
    pub(crate) fn limit(&mut self, limits: Limits) {
        self.max_in_flight = limits.max_in_flight;
        put(&mut self.requests, limits.requests_per_minute, || Minute::of_slots(SECOND));
        put(&mut self.tokens_of_minute, limits.tokens_per_minute, || Minute::of_slots(SECOND));
        put(&mut self.tokens_of_day, limits.tokens_per_day, || Day::of_slots(QUARTER));
    }

    /// Lets a request in, or says what there is too much of. Who is refused is not counted.
    pub(crate) fn admit(&mut self, now: SystemTime) -> Result<(), Limited> {
        if let Some(limit) = self.max_in_flight.filter(|limit| self.in_flight >= *limit) {
            return Err(Limited { what: Limit::InFlight(limit), reset_after: LOOK_AGAIN });
        }
        // The longest wait is the one worth telling.
        let full = [
            self.requests.as_deref_mut().map(|of| (Limit::RequestsPerMinute(of.limit), of.had.below(of.limit, now))),
            self.tokens_of_minute
                .as_deref_mut()
                .map(|of| (Limit::TokensPerMinute(of.limit), of.had.below(of.limit, now))),
            self.tokens_of_day.as_deref_mut().map(|of| (Limit::TokensPerDay(of.limit), of.had.below(of.limit, now))),
        ];
        let longest = full.into_iter().flatten().max_by_key(|(_, wait)| *wait);
        if let Some((what, reset_after)) = longest.filter(|(_, wait)| !wait.is_zero()) {
            return Err(Limited { what, reset_after });
        }
        if let Some(requests) = &mut self.requests {
            requests.had.add(1, now);
        }
        self.in_flight += 1;
        Ok(())
    }

    /// A request that was let in has ended.
    pub(crate) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// An answer took so many tokens.
    pub(crate) fn spent(&mut self, tokens: u64, now: SystemTime) {
        if let Some(minute) = &mut self.tokens_of_minute {
            minute.had.add(tokens, now);
        }
        if let Some(day) = &mut self.tokens_of_day {
            day.had.add(tokens, now);
        }
    }
}

fn put<W>(limiting: &mut Option<Box<Limiting<W>>>, limit: Option<u64>, fresh: impl FnOnce() -> W) {
    *limiting = match (limiting.take(), limit) {
        (_, None) => None,
        (None, Some(limit)) => Some(Box::new(Limiting { limit, had: fresh() })),
        (Some(mut had), Some(limit)) => {
            had.limit = limit;
            Some(had)
        }
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_100 + seconds)
    }

    #[track_caller]
    fn check(gauge: &mut Gauge, seconds: u64, expected: Result<(), (&str, u64)>) {
        let seen = gauge.admit(at(seconds)).map_err(|limited| (limited.what.as_str(), limited.reset_after.as_secs()));
        assert_eq!(seen, expected, "at {seconds}");
    }

    #[test]
    fn requests_come_back_as_they_went() {
        let mut gauge = Gauge::new(Limits { requests_per_minute: Some(2), ..Limits::default() });
        check(&mut gauge, 0, Ok(()));
        check(&mut gauge, 20, Ok(()));
        check(&mut gauge, 20, Err(("requests_per_minute", 41)));
        check(&mut gauge, 60, Err(("requests_per_minute", 1)));
        check(&mut gauge, 61, Ok(()));
        check(&mut gauge, 61, Err(("requests_per_minute", 20)));
    }

    #[test]
    fn tokens_are_counted_when_they_are_known() {
        let mut gauge = Gauge::new(Limits { tokens_per_minute: Some(100), ..Limits::default() });
        check(&mut gauge, 0, Ok(()));
        gauge.spent(99, at(1));
        check(&mut gauge, 1, Ok(()));
        gauge.spent(500, at(2));
        check(&mut gauge, 3, Err(("tokens_per_minute", 60)));
        check(&mut gauge, 62, Err(("tokens_per_minute", 1)));
        check(&mut gauge, 63, Ok(()));
    }

    #[test]
    fn a_day_is_the_last_24_hours() {
        let mut gauge = Gauge::new(Limits { tokens_per_day: Some(1000), ..Limits::default() });
        gauge.spent(1000, at(0));
        let hours = |hours: u64| hours * 3600;
        check(&mut gauge, hours(23), Err(("tokens_per_day", 3600 + 900)));
        check(&mut gauge, hours(24), Err(("tokens_per_day", 900)));
        check(&mut gauge, hours(24) + 900, Ok(()));
    }

    #[test]
    fn places_come_back_and_the_longest_wait_is_told() {
        let limits = Limits {
            max_in_flight: Some(1),
            requests_per_minute: Some(1),
            tokens_per_day: Some(1),
            ..Limits::default()
        };
        let mut gauge = Gauge::new(limits);
        check(&mut gauge, 0, Ok(()));
        check(&mut gauge, 0, Err(("max_in_flight", 1)));
        gauge.ended();
        check(&mut gauge, 0, Err(("requests_per_minute", 61)));
        gauge.spent(1, at(0));
        check(&mut gauge, 0, Err(("tokens_per_day", 24 * 3600 + 900)));
        assert_eq!(
            gauge.admit(at(0)).unwrap_err().to_string(),
            "this API key has had its 1 tokens of this day; there is room again in 87300 s"
        );
    }

    #[test]
    fn a_change_of_limits_forgets_nothing_that_still_counts() {
        let two = Limits { requests_per_minute: Some(2), max_in_flight: Some(9), ..Limits::default() };
        let mut gauge = Gauge::new(two);
        check(&mut gauge, 0, Ok(()));
        check(&mut gauge, 0, Ok(()));
        gauge.limit(Limits { requests_per_minute: Some(3), max_in_flight: Some(3), ..two });
        check(&mut gauge, 0, Ok(()));
        check(&mut gauge, 0, Err(("max_in_flight", 1)));
        gauge.limit(Limits::default());
        check(&mut gauge, 0, Ok(()));
        gauge.limit(two);
        check(&mut gauge, 0, Ok(()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Ask,
        End,
    }

    proptest! {
        #[test]
        fn no_minute_has_more_requests_and_no_moment_more_in_flight(
            limit in 1..6u64,
            places in 1..4u64,
            steps in prop::collection::vec(
                prop_oneof![(0..30u64).prop_map(Step::Wait), Just(Step::Ask), Just(Step::Ask), Just(Step::End)],
                1..300,
            ),
        ) {
            let limits = Limits { requests_per_minute: Some(limit), max_in_flight: Some(places), ..Limits::default() };
            let (mut gauge, mut now, mut let_in, mut in_flight) = (Gauge::new(limits), 0, vec![], 0u64);
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += seconds,
                    Step::End if in_flight > 0 => {
                        gauge.ended();
                        in_flight -= 1;
                    }
                    Step::End => {}
                    Step::Ask => match gauge.admit(at(now)) {
                        Ok(()) => {
                            in_flight += 1;
                            let_in.push(now);
                        }
                        Err(Limited { what: Limit::InFlight(_), .. }) => prop_assert_eq!(in_flight, places),
                        Err(limited) => {
                            prop_assert!(limited.reset_after <= Duration::from_secs(61));
                            let within = let_in.iter().filter(|then| *then + 61 > now).count() as u64;
                            prop_assert_eq!(within, limit, "refused only when it is full");
                        }
                    },
                }
                let last_minute = let_in.iter().filter(|then| *then + 60 > now).count() as u64;
                prop_assert!(last_minute <= limit && in_flight <= places);
            }
        }
    }
}
