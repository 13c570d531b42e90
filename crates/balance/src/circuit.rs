//! Whether a replica may be asked: a circuit that opens after failures, and lets single requests try again.
//!
//! ```text
//!                      too many failures
//!          Closed ──────────────────────────▶ Open ◀───────────────────┐
//!            ▲                                 │ its time is over,     │ the probe fails:
//!            │                                 │ a probe is taken      │ twice as long, up to a bound
//!            │ the probe succeeds              ▼                       │
//!            └───────────────────────────── HalfOpen ──────────────────┘
//!                                            one probe at a time; one that was given up, or
//!                                            is not heard of, makes way for the next
//! ```
//!
//! A replica that comes and goes opens it for longer each time, until it has stayed closed for a while. What began before
//! the last change tells nothing new: a dead replica fails all its requests at once, and that counts as one failure more,
//! not as thirty.

use std::time::{Duration, Instant};

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// It opens after so many failures in a row; at least one.
    pub failures_in_a_row: u32,
    /// It opens after so many failures among the last sixteen requests.
    pub failures_of_sixteen: u32,
    /// How long it is open the first time.
    pub back_off: Duration,
    /// How long it is open at most.
    pub back_off_max: Duration,
    /// After being closed for so long it has a clean slate.
    pub calm_after: Duration,
    /// A probe that is not heard of for so long is taken for lost.
    pub probe_max: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            failures_in_a_row: 3,
            failures_of_sixteen: 8,
            back_off: Duration::from_secs(1),
            back_off_max: Duration::from_secs(30),
            calm_after: Duration::from_secs(60),
            probe_max: Duration::from_secs(60),
        }
    }
}

/// Whether a replica may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Yes,
    /// One request may try; whoever sends it says so with [`Circuit::probe`].
    Probe,
    /// It may not.
    No {
        /// When to ask again.
        until: Instant,
    },
}

/// What is known of one replica's failures.
#[derive(Debug, Clone)]
pub struct Circuit {
    rules: Rules,
    state: State,
    /// When it came into this state.
    since: Instant,
    /// How long it was open the last time.
    back_off: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Failures in a row, and the last sixteen outcomes: a bit each, one for a failure.
    Closed {
        in_a_row: u32,
        recent: u16,
    },
    Open {
        until: Instant,
    },
    HalfOpen,
}

const CALM: State = State::Closed { in_a_row: 0, recent: 0 };

impl Circuit {
    /// A closed circuit.
    pub fn new(rules: Rules, now: Instant) -> Self {
        Self { rules, state: CALM, since: now, back_off: Duration::ZERO }
    }

    /// Whether the replica may be asked now.
    pub fn permits(&self, now: Instant) -> Permit {
        let until = match self.state {
            State::Closed { .. } => return Permit::Yes,
            State::Open { until } => until,
            State::HalfOpen => self.since + self.rules.probe_max,
        };
        if now < until { Permit::No { until } } else { Permit::Probe }
    }

    /// The replica is asked now, as the probe that was permitted. Nobody else may until the probe's outcome is known.
    pub fn probe(&mut self, now: Instant) {
        if self.permits(now) == Permit::Probe {
            self.enter(State::HalfOpen, now);
        }
    }

    /// A request that was sent at `begun` got an answer, whatever the answer was.
    pub fn succeeded(&mut self, begun: Instant, now: Instant) {
        match &mut self.state {
            _ if begun < self.since => {}
            State::Closed { in_a_row, recent } => {
                *in_a_row = 0;
                *recent <<= 1;
            }
            State::HalfOpen => self.enter(CALM, now),
            State::Open { .. } => {}
        }
    }

    /// A request that was sent at `begun` got none: no connection, a broken one, or silence for too long.
    pub fn failed(&mut self, begun: Instant, now: Instant) {
        match &mut self.state {
            _ if begun < self.since => {}
            State::Closed { in_a_row, recent } => {
                *in_a_row += 1;
                *recent = *recent << 1 | 1;
                if *in_a_row >= self.rules.failures_in_a_row || recent.count_ones() >= self.rules.failures_of_sixteen {
                    let is_calm = now.saturating_duration_since(self.since) >= self.rules.calm_after;
                    self.open(if is_calm { Duration::ZERO } else { self.back_off }, now);
                }
            }
            State::HalfOpen => self.open(self.back_off, now),
            State::Open { .. } => {}
        }
    }

    /// A request that was sent at `begun` ended without telling anything, as its client left. If it was the probe, the
    /// next one may try.
    pub fn gave_up(&mut self, begun: Instant, now: Instant) {
        if self.state == State::HalfOpen && begun >= self.since {
            self.enter(State::Open { until: now }, now);
        }
    }

    /// Opens it for twice as long as `before`.
    fn open(&mut self, before: Duration, now: Instant) {
        let longest = self.rules.back_off_max.max(self.rules.back_off);
        self.back_off = before.saturating_mul(2).clamp(self.rules.back_off, longest);
        self.enter(State::Open { until: now + self.back_off }, now);
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A circuit whose life is told in words: `f` a failure, `s` a success, `p` a probe is taken, `g` given up, a number
    /// that many seconds pass. Shows what it permits at the end: `yes`, `probe`, or for how many seconds not.
    fn check(life: &str, expected: &str) {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(Rules::default(), now);
        for word in life.split_whitespace() {
            match word {
                "f" => circuit.failed(now, now),
                "s" => circuit.succeeded(now, now),
                "p" => circuit.probe(now),
                "g" => circuit.gave_up(now, now),
                seconds => now += SECOND * seconds.parse::<u32>().unwrap(),
            }
        }
        let shown = match circuit.permits(now) {
            Permit::Yes => "yes".to_owned(),
            Permit::Probe => "probe".to_owned(),
            Permit::No { until } => format!("no {}", until.duration_since(now).as_secs()),
        };
        assert_eq!(shown, expected, "{life}");
    }

    #[test]
    fn a_circuit_opens_tries_and_closes() {
        check("", "yes");
        check("f f", "yes");
        check("f f s f f", "yes");
        check("f f f", "no 1");
        check("f f s f s f f s f f s f", "no 1");
        check("f f f f f f f f", "no 1");
        check("f f f 1", "probe");
        check("f f f 1 p", "no 60");
        check("f f f 1 p 60", "probe");
        check("f f f 1 p g", "probe");
        check("f f f 1 p s", "yes");
        check("f f f 1 p f", "no 2");
        check("f f f 1 p f 2 p f", "no 4");
        check("f f f 1 p f 2 p f 4 p f 8 p f 16 p f 30 p f", "no 30");
    }

    #[test]
    fn one_that_comes_and_goes_is_out_for_longer_until_it_is_calm() {
        check("f f f 1 p s f f f", "no 2");
        check("f f f 1 p s 59 f f f 2 p s f f f", "no 4");
        check("f f f 1 p s 59 f f f 2 p s 60 f f f", "no 1");
    }

    #[test]
    fn what_began_before_the_last_change_tells_nothing() {
        let begun = Instant::now();
        let mut circuit = Circuit::new(Rules::default(), begun);
        let later = begun + SECOND;
        for _ in 0..32 {
            circuit.failed(begun, later);
        }
        let until = later + SECOND;
        assert_eq!(circuit.permits(later), Permit::No { until });
        circuit.probe(until);
        circuit.succeeded(begun, until);
        circuit.gave_up(begun, until);
        assert!(matches!(circuit.permits(until), Permit::No { .. }), "that was not the probe");
        circuit.failed(begun, until);
        circuit.succeeded(until, until + SECOND);
        assert_eq!(circuit.permits(until + SECOND), Permit::Yes);
        for _ in 0..32 {
            circuit.failed(begun, until + SECOND);
        }
        assert_eq!(circuit.permits(until + SECOND), Permit::Yes);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Passes(u64),
        Sent,
        Succeeds(prop::sample::Index),
        Fails(prop::sample::Index),
        GivenUp(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40_000_u64).prop_map(Step::Passes),
            (0..2_000_u64).prop_map(Step::Passes),
            Just(Step::Sent),
            Just(Step::Sent),
            any::<prop::sample::Index>().prop_map(Step::Succeeds),
            any::<prop::sample::Index>().prop_map(Step::Fails),
            any::<prop::sample::Index>().prop_map(Step::GivenUp),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: while it is not closed one probe at a time is out, it is never shut for
        /// longer than the bounds say, and only a probe's success closes it.
        #[test]
        fn no_walk_breaks_the_rules(steps in prop::collection::vec(step(), 1..200)) {
            let rules = Rules::default();
            let mut now = Instant::now();
            let mut circuit = Circuit::new(rules, now);
            let mut sent: Vec<(Instant, bool)> = vec![];
            for step in steps {
                let was_closed = circuit.permits(now) == Permit::Yes;
                let mut probe_succeeds = false;
                match step {
                    Step::Passes(millis) => now += Duration::from_millis(millis),
                    Step::Sent => match circuit.permits(now) {
                        Permit::Yes => sent.push((now, false)),
                        Permit::Probe => {
                            let heard_of = |(begun, is_probe): &&(Instant, bool)| {
                                *is_probe && *begun >= circuit.since && now < *begun + rules.probe_max
                            };
                            prop_assert_eq!(sent.iter().filter(heard_of).count(), 0, "two probes at once");
                            circuit.probe(now);
                            sent.push((now, true));
                        }
                        Permit::No { until } => {
                            prop_assert!(until > now);
                            prop_assert!(until <= now + rules.back_off_max.max(rules.probe_max));
                        }
                    },
                    Step::Succeeds(which) if !sent.is_empty() => {
                        let (begun, is_probe) = sent.swap_remove(which.index(sent.len()));
                        circuit.succeeded(begun, now);
                        probe_succeeds = is_probe;
                    }
                    Step::Fails(which) if !sent.is_empty() => {
                        let (begun, _) = sent.swap_remove(which.index(sent.len()));
                        circuit.failed(begun, now);
                    }
                    Step::GivenUp(which) if !sent.is_empty() => {
                        let (begun, _) = sent.swap_remove(which.index(sent.len()));
                        circuit.gave_up(begun, now);
                    }
                    _ => {}
                }
                let is_closed = circuit.permits(now) == Permit::Yes;
                prop_assert!(was_closed || !is_closed || probe_succeeds, "closed by something else than a probe");
                prop_assert!(circuit.back_off <= rules.back_off_max);
            }
        }
    }
}
