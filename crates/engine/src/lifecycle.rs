//! The life of an instance as a pure function: `step(life, event) -> (life, effects)`.
//!
//! ```text
//!                      ┌────────────── back-off over ──────────────┐
//!                      ▼                                           │
//!  Idle ──Start──▶ Spawning ──Spawned──▶ Loading ──Healthy──▶ Ready│
//!                      │                  │    ▲                 │ │
//!                      │ SpawnFailed      │    └─Progressed      │ │
//!                      │                  │ Exited        Exited │ │
//!                      │                  ▼                      ▼ │
//!                      │          crash? ──yes, attempts left──▶ Resting
//!                      │              │no, or none left
//!                      ▼              ▼
//!                    Failed ◀─────────┘            Adopted: Idle ──▶ Ready
//!
//!  Stop, from anywhere:  Ready ─▶ Draining ─Drained/Deadline─▶ Terminating ─Deadline─▶ Killing ─Exited─▶ Stopped
//!                        Draining, and a Stop in more of a hurry: its deadline comes sooner, never later
//!                        Loading ─▶ Terminating …       Spawning: remembered, then as Loading    Idle, Resting ─▶ Stopped
//!  A load that takes too long:  Loading ─Deadline─▶ Killing ─Exited─▶ Failed
//! ```
//!
//! A *crash* is a death by signal, a death after having been ready, or a port that somebody else took in between: the
//! same start may well succeed. Everything else is a failure that the same start would only repeat.

use std::time::Duration;

use types::{FailureClass, InstanceState, LoadPhase};

/// How patient a life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From spawn to ready.
    pub load: Duration,
    /// From TERM to KILL.
    pub stop: Duration,
    /// Starts after a crash before giving up.
    pub restarts_max: u32,
    /// Rest before the first restart; doubles with each, up to 30 s.
    pub backoff: Duration,
    /// Being ready for this long forgives earlier crashes.
    pub forgiven_after: Duration,
}

/// The longest rest between two starts.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Where a life is, and how often it was started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub phase: Phase,
    /// Restarts since it was last forgiven.
    pub restarts: u32,
}

/// Where a life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was done yet.
    Idle,
    /// A process is being started. `stopping` once a stop was asked for meanwhile.
    Spawning {
        /// Whether it is to be ended as soon as it exists.
        stopping: bool,
    },
    /// The process runs and loads.
    Loading(LoadPhase),
    /// It answers.
    Ready,
    /// It crashed and waits for its next start.
    Resting,
    /// Requests in flight may still end; no new ones come.
    Draining,
    /// It was asked to end.
    Terminating,
    /// It is being ended by force, and what comes after.
    Killing(Afterwards),
    /// It ended because it was to.
    Stopped,
    /// It ended by itself and stays so.
    Failed(FailureClass),
}

/// What a killed instance is then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// Stopped, as wished.
    Stopped,
    /// Failed.
    Failed(FailureClass),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is wanted.
    Start,
    /// A running process of an earlier snug was found and answers.
    Adopted,
    /// The process exists.
    Spawned,
    /// It could not be started.
    SpawnFailed(FailureClass),
    /// Its output told of a phase.
    Progressed(LoadPhase),
    /// It answered its health probe.
    Healthy,
    /// The process is gone.
    Exited(Exit),
    /// The time given by the last [`Effect::Deadline`] is over.
    Deadline,
    /// It is to end; requests in flight have this long.
    Stop {
        /// How long requests in flight may take to end.
        drain: Duration,
    },
    /// No request is in flight any more.
    Drained,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// What its output says about why.
    pub class: FailureClass,
    /// Whether a signal ended it.
    pub by_signal: bool,
    /// Whether its port was taken.
    pub port_taken: bool,
    /// How long it had been ready.
    pub ready_for: Option<Duration>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a process.
    Spawn,
    /// Send [`Event::Deadline`] after this long; replaces an earlier one.
    Deadline(Duration),
    /// As [`Effect::Deadline`], unless the one that is set comes earlier.
    DeadlineNoLaterThan(Duration),
    /// Forget the deadline.
    NoDeadline,
    /// Ask the process group to end.
    Terminate,
    /// End the process group by force.
    Kill,
}

impl Life {
    /// A life that has not begun.
    pub const fn new() -> Self {
        Self { phase: Phase::Idle, restarts: 0 }
    }

    /// Whether it is being ended: then its end is seen through, whoever still wants something.
    pub const fn is_ending(&self) -> bool {
        matches!(
            self.phase,
            Phase::Spawning { stopping: true } | Phase::Draining | Phase::Terminating | Phase::Killing(_)
        )
    }

    /// Whether nothing more will happen.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Stopped | Phase::Failed(_))
    }

    /// What it looks like from outside.
    pub const fn state(&self) -> InstanceState {
        match self.phase {
            Phase::Idle | Phase::Spawning { .. } | Phase::Resting => InstanceState::Starting,
            Phase::Loading(_) => InstanceState::Loading,
            Phase::Ready => InstanceState::Ready,
            Phase::Failed(_) => InstanceState::Failed,
            Phase::Draining | Phase::Terminating | Phase::Killing(_) | Phase::Stopped => InstanceState::Stopping,
        }
    }

    fn to(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// The next life and what to do. An event that means nothing in a phase changes nothing.
pub fn step(life: Life, event: Event, patience: &Patience) -> (Life, Vec<Effect>) {
    use Effect::{Deadline, DeadlineNoLaterThan, Kill, NoDeadline, Spawn, Terminate};
    use Phase::{Draining, Failed, Idle, Killing, Loading, Ready, Resting, Spawning, Stopped, Terminating};

    match (life.phase, event) {
        (Idle, Event::Start) | (Resting, Event::Deadline) => {
            (life.to(Spawning { stopping: false }), vec![NoDeadline, Spawn])
        }
        (Idle, Event::Adopted) => (life.to(Ready), vec![NoDeadline]),

        (Spawning { stopping: false }, Event::Spawned) => {
            (life.to(Loading(LoadPhase::Spawned)), vec![Deadline(patience.load)])
        }
        (Spawning { stopping: true }, Event::Spawned) => {
            (life.to(Terminating), vec![Terminate, Deadline(patience.stop)])
        }
        (Spawning { stopping: false }, Event::SpawnFailed(class)) => (life.to(Failed(class)), vec![NoDeadline]),
        (Spawning { stopping: true }, Event::SpawnFailed(_)) => (life.to(Stopped), vec![NoDeadline]),

        (Loading(now), Event::Progressed(next)) if next > now => (life.to(Loading(next)), vec![]),
        (Loading(_), Event::Healthy) => (life.to(Ready), vec![NoDeadline]),
        (Loading(_), Event::Deadline) => {
            (life.to(Killing(Afterwards::Failed(FailureClass::Unknown))), vec![Kill, Deadline(patience.stop)])
        }
        (Loading(_) | Ready, Event::Exited(exit)) => ended(life, exit, patience),

        (Idle | Resting, Event::Stop { .. }) => (life.to(Stopped), vec![NoDeadline]),
        (Spawning { .. }, Event::Stop { .. }) => (life.to(Spawning { stopping: true }), vec![]),
        (Loading(_), Event::Stop { .. }) => (life.to(Terminating), vec![Terminate, Deadline(patience.stop)]),
        (Ready, Event::Stop { drain }) => (life.to(Draining), vec![Deadline(drain)]),
        (Draining, Event::Stop { drain }) => (life, vec![DeadlineNoLaterThan(drain)]),

        (Draining, Event::Drained | Event::Deadline) => {
            (life.to(Terminating), vec![Terminate, Deadline(patience.stop)])
        }
        (Terminating, Event::Deadline) => (life.to(Killing(Afterwards::Stopped)), vec![Kill, Deadline(patience.stop)]),
        // The kernel ends a killed process when it can (it may be stuck in a driver): try again until it is gone.
        (Killing(_), Event::Deadline) => (life, vec![Kill, Deadline(patience.stop)]),

        (Draining | Terminating | Killing(Afterwards::Stopped), Event::Exited(_)) => {
            (life.to(Stopped), vec![NoDeadline])
        }
        (Killing(Afterwards::Failed(class)), Event::Exited(exit)) => {
            let class = if exit.class == FailureClass::Unknown { class } else { exit.class };
            (life.to(Failed(class)), vec![NoDeadline])
        }
        (Killing(Afterwards::Failed(_)), Event::Stop { .. }) => (life.to(Killing(Afterwards::Stopped)), vec![]),

        _ => (life, vec![]),
    }
}

/// The process ended by itself.
fn ended(life: Life, exit: Exit, patience: &Patience) -> (Life, Vec<Effect>) {
    let crashed = exit.port_taken || exit.ready_for.is_some() || (exit.by_signal && exit.class.may_pass());
    let forgiven = exit.ready_for.is_some_and(|ready_for| ready_for >= patience.forgiven_after);
    let restarts = if forgiven { 0 } else { life.restarts };
    if !crashed || restarts >= patience.restarts_max {
        return (Life { phase: Phase::Failed(exit.class), restarts }, vec![Effect::NoDeadline]);
    }
    let rest = patience.backoff.saturating_mul(1 << restarts.min(16)).min(BACKOFF_MAX);
    (Life { phase: Phase::Resting, restarts: restarts + 1 }, vec![Effect::Deadline(rest)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Patience = Patience {
        load: Duration::from_secs(60),
        stop: Duration::from_secs(5),
        restarts_max: 3,
        backoff: Duration::from_millis(500),
        forgiven_after: Duration::from_secs(60),
    };
    const CRASH: Event = Event::Exited(Exit {
        class: FailureClass::Unknown,
        by_signal: true,
        port_taken: false,
        ready_for: Some(Duration::from_secs(1)),
    });

    fn exit(class: FailureClass) -> Event {
        Event::Exited(Exit { class, by_signal: false, port_taken: false, ready_for: None })
    }

    /// Runs `events` from the start of a life; the result is the last phase and the last effects.
    fn check(events: &[Event], phase: Phase, effects: &[Effect]) {
        let mut life = Life::new();
        let mut last = vec![];
        for &event in events {
            (life, last) = step(life, event, &PATIENCE);
        }
        assert_eq!((life.phase, last.as_slice()), (phase, effects), "{events:?}");
    }

    #[test]
    fn a_good_life() {
        use Event::{Deadline, Drained, Healthy, Progressed, Spawned, Start, Stop};
        let drain = Duration::from_secs(3);
        check(&[Start], Phase::Spawning { stopping: false }, &[Effect::NoDeadline, Effect::Spawn]);
        check(&[Start, Spawned], Phase::Loading(LoadPhase::Spawned), &[Effect::Deadline(PATIENCE.load)]);
        check(&[Start, Spawned, Progressed(LoadPhase::Weights)], Phase::Loading(LoadPhase::Weights), &[]);
        check(&[Start, Spawned, Healthy], Phase::Ready, &[Effect::NoDeadline]);
        check(&[Start, Spawned, Healthy, Stop { drain }], Phase::Draining, &[Effect::Deadline(drain)]);
        check(
            &[Start, Spawned, Healthy, Stop { drain }, Drained],
            Phase::Terminating,
            &[Effect::Terminate, Effect::Deadline(PATIENCE.stop)],
        );
        check(
            &[Start, Spawned, Healthy, Stop { drain }, Deadline, Deadline],
            Phase::Killing(Afterwards::Stopped),
            &[Effect::Kill, Effect::Deadline(PATIENCE.stop)],
        );
        check(
            &[Start, Spawned, Healthy, Stop { drain }, Drained, exit(FailureClass::Unknown)],
            Phase::Stopped,
            &[Effect::NoDeadline],
        );
    }

    #[test]
    fn a_second_stop_may_only_hurry() {
        use Event::{Healthy, Spawned, Start, Stop};
        let (long, short) = (Duration::from_secs(300), Duration::ZERO);
        let events = [Start, Spawned, Healthy, Stop { drain: long }, Stop { drain: short }];
        check(&events, Phase::Draining, &[Effect::DeadlineNoLaterThan(short)]);
    }

    #[test]
    fn phases_do_not_go_back() {
        use Event::{Progressed, Spawned, Start};
        let events = [Start, Spawned, Progressed(LoadPhase::Context), Progressed(LoadPhase::Metadata)];
        check(&events, Phase::Loading(LoadPhase::Context), &[]);
    }

    #[test]
    fn a_load_that_fails_is_not_repeated() {
        use Event::{Spawned, Start};
        let missing = FailureClass::FileNotFound;
        check(&[Start, Spawned, exit(missing)], Phase::Failed(missing), &[Effect::NoDeadline]);
    }

    #[test]
    fn a_load_that_hangs_is_ended() {
        use Event::{Deadline, Spawned, Start};
        let unknown = FailureClass::Unknown;
        check(
            &[Start, Spawned, Deadline],
            Phase::Killing(Afterwards::Failed(unknown)),
            &[Effect::Kill, Effect::Deadline(PATIENCE.stop)],
        );
        check(&[Start, Spawned, Deadline, exit(unknown)], Phase::Failed(unknown), &[Effect::NoDeadline]);
    }

    #[test]
    fn a_crash_loop_backs_off_and_is_cut() {
        use Event::{Deadline, Healthy, Spawned, Start};
        let mut events = vec![Start];
        for rest_ms in [500, 1000, 2000] {
            events.extend([Spawned, Healthy, CRASH]);
            check(&events, Phase::Resting, &[Effect::Deadline(Duration::from_millis(rest_ms))]);
            events.push(Deadline);
        }
        events.extend([Spawned, Healthy, CRASH]);
        check(&events, Phase::Failed(FailureClass::Unknown), &[Effect::NoDeadline]);
    }

    #[test]
    fn a_long_good_time_forgives() {
        let worn = Life { phase: Phase::Ready, restarts: PATIENCE.restarts_max };
        let late = Event::Exited(Exit {
            class: FailureClass::Unknown,
            by_signal: true,
            port_taken: false,
            ready_for: Some(PATIENCE.forgiven_after),
        });
        assert_eq!(step(worn, late, &PATIENCE).0, Life { phase: Phase::Resting, restarts: 1 });
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Start),
            Just(Event::Adopted),
            Just(Event::Spawned),
            Just(Event::SpawnFailed(FailureClass::Unknown)),
            Just(Event::Progressed(LoadPhase::Weights)),
            Just(Event::Healthy),
            Just(CRASH),
            Just(exit(FailureClass::FileCorrupt)),
            Just(Event::Deadline),
            Just(Event::Stop { drain: Duration::from_secs(1) }),
            Just(Event::Drained),
        ]
    }

    /// What the shell would hold: whether a process runs and whether a timer is set.
    #[derive(Default)]
    struct World {
        process: bool,
        spawning: bool,
        timer: bool,
    }

    impl World {
        fn possible(&self, life: Life, event: Event) -> bool {
            match event {
                Event::Start | Event::Adopted => life.phase == Phase::Idle,
                Event::Spawned | Event::SpawnFailed(_) => self.spawning,
                Event::Exited(_) | Event::Healthy | Event::Progressed(_) => self.process,
                Event::Deadline => self.timer,
                Event::Stop { .. } | Event::Drained => true,
            }
        }
    }

    proptest! {
        /// Whatever happens in whatever order: no second process beside a first, no end while a process runs, a timer
        /// wherever something is awaited, and nothing after the end.
        #[test]
        fn no_walk_loses_the_process(events in prop::collection::vec(any_event(), 0..200)) {
            let mut life = Life::new();
            let mut world = World::default();
            for event in events {
                if !world.possible(life, event) {
                    continue;
                }
                match event {
                    Event::Adopted => world.process = true,
                    Event::Spawned => (world.spawning, world.process) = (false, true),
                    Event::SpawnFailed(_) => world.spawning = false,
                    Event::Exited(_) => world.process = false,
                    Event::Deadline => world.timer = false,
                    _ => {}
                }
                let was_over = life.is_over();
                let (next, effects) = step(life, event, &PATIENCE);
                if was_over {
                    prop_assert_eq!((next, effects.as_slice()), (life, &[][..]));
                }
                for effect in effects {
                    match effect {
                        Effect::Spawn => {
                            prop_assert!(!world.process && !world.spawning, "two processes at once");
                            world.spawning = true;
                        }
                        Effect::Deadline(_) | Effect::DeadlineNoLaterThan(_) => world.timer = true,
                        Effect::NoDeadline => world.timer = false,
                        Effect::Terminate | Effect::Kill => prop_assert!(world.process, "a signal to nobody"),
                    }
                }
                life = next;
                prop_assert!(!(life.is_over() && (world.process || world.spawning)), "ended with a process left");
                let awaits = matches!(
                    life.phase,
                    Phase::Loading(_) | Phase::Resting | Phase::Draining | Phase::Terminating | Phase::Killing(_)
                );
                prop_assert!(!awaits || world.timer, "{:?} waits without a bound", life.phase);
                prop_assert!(life.restarts <= PATIENCE.restarts_max);
            }
        }
    }
}
