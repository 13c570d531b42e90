//! The life of an instance as a pure function: `step(life, event) -> (life, effects)`.
//!
//! ```text
//!                      ┌────────────────────── back-off over ──────────────────────┐
//!                      ▼                                                           │
//!  Idle ──Start──▶ Spawning ──Spawned──▶ Loading ──Healthy──▶ Restoring ────▶ Ready │
//!                      │                  │    ▲                │  Restored,   │    │
//!                      │ SpawnFailed      │    └─Progressed     │  Deadline    │    │
//!                      │                  │ Exited       Exited │       Exited │    │
//!                      │                  ▼                     ▼              ▼    │
//!                      │          crash? ───────yes, attempts left─────────▶ Resting
//!                      │              │no, or none left
//!                      ▼              ▼
//!                    Failed ◀─────────┘            Adopted: Idle ──▶ Ready
//!
//!  Retire, nobody uses it:        Ready ─▶ Saving ─Saved/Deadline─▶ Terminating …
//!  Stop, requests are in flight:  Ready ─▶ Draining ─Drained─▶ Saving …      Draining ─Deadline─▶ Terminating …
//!                                 and a Stop in more of a hurry: the deadline comes sooner, never later
//!  Stop, without any time:        Ready, Draining, Saving ─▶ Terminating: nothing is saved
//!  Either, from elsewhere:        Loading, Restoring ─▶ Terminating …    Spawning: remembered, then as Loading
//!                                 Idle, Resting ─▶ Stopped
//!  The end:                       Terminating ─Deadline─▶ Killing ─Exited─▶ Stopped
//!  A load that takes too long:    Loading ─Deadline─▶ Killing ─Exited─▶ Failed
//! ```
//!
//! A *crash* is a death by signal, a death after having been healthy, or a port that somebody else took in between: the
//! same start may well succeed. Everything else is a failure that the same start would only repeat.
//!
//! *Saving* and *Restoring* keep what the engine's prompt cache holds from one start to the next. Both are bounded and
//! neither can fail: at worst the prompts are read anew.

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
    /// What saving the prompt cache may take, and restoring it.
    pub prompt_cache: Duration,
}

impl Patience {
    /// From the decision that one leaves for another to that other being ready.
    pub fn longest_swap(&self) -> Duration {
        self.prompt_cache + self.stop + self.load + self.prompt_cache
    }
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
    /// The model is loaded; the prompt cache is brought back.
    Restoring,
    /// It answers.
    Ready,
    /// It crashed and waits for its next start.
    Resting,
    /// Requests in flight may still end; no new ones come.
    Draining,
    /// Nobody uses it any more; the prompt cache is saved.
    Saving,
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
    /// It is to end; no request is in flight, and nobody is in a hurry.
    Retire,
    /// The prompt cache was saved, as far as it can be.
    Saved,
    /// The prompt cache was brought back, as far as it can be.
    Restored,
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
    /// Save the prompt cache, then send [`Event::Saved`].
    Save,
    /// Bring the prompt cache back, then send [`Event::Restored`].
    Restore,
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
            Phase::Spawning { stopping: true }
                | Phase::Draining
                | Phase::Saving
                | Phase::Terminating
                | Phase::Killing(_)
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
            Phase::Loading(_) | Phase::Restoring => InstanceState::Loading,
            Phase::Ready => InstanceState::Ready,
            Phase::Failed(_) => InstanceState::Failed,
            Phase::Draining | Phase::Saving | Phase::Terminating | Phase::Killing(_) | Phase::Stopped => {
                InstanceState::Stopping
            }
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
    use Effect::{Deadline, DeadlineNoLaterThan, Kill, NoDeadline, Restore, Save, Spawn};
    use Phase::{
        Draining, Failed, Idle, Killing, Loading, Ready, Resting, Restoring, Saving, Spawning, Stopped, Terminating,
    };

    match (life.phase, event) {
        (Idle, Event::Start) | (Resting, Event::Deadline) => {
            (life.to(Spawning { stopping: false }), vec![NoDeadline, Spawn])
        }
        (Idle, Event::Adopted) => (life.to(Ready), vec![NoDeadline]),

        (Spawning { stopping: false }, Event::Spawned) => {
            (life.to(Loading(LoadPhase::Spawned)), vec![Deadline(patience.load)])
        }
        (Spawning { stopping: true }, Event::Spawned) => terminate(life, patience),
        (Spawning { stopping: false }, Event::SpawnFailed(class)) => (life.to(Failed(class)), vec![NoDeadline]),
        (Spawning { stopping: true }, Event::SpawnFailed(_)) => (life.to(Stopped), vec![NoDeadline]),

        (Loading(now), Event::Progressed(next)) if next > now => (life.to(Loading(next)), vec![]),
        (Loading(_), Event::Healthy) => (life.to(Restoring), vec![Deadline(patience.prompt_cache), Restore]),
        (Restoring, Event::Restored | Event::Deadline) => (life.to(Ready), vec![NoDeadline]),
        (Loading(_), Event::Deadline) => {
            (life.to(Killing(Afterwards::Failed(FailureClass::Unknown))), vec![Kill, Deadline(patience.stop)])
        }
        (Loading(_) | Restoring | Ready, Event::Exited(exit)) => ended(life, exit, patience),

        (Idle | Resting, Event::Stop { .. } | Event::Retire) => (life.to(Stopped), vec![NoDeadline]),
        (Spawning { .. }, Event::Stop { .. } | Event::Retire) => (life.to(Spawning { stopping: true }), vec![]),
        (Loading(_) | Restoring, Event::Stop { .. } | Event::Retire) => terminate(life, patience),
        (Ready | Draining | Saving, Event::Stop { drain: Duration::ZERO }) => terminate(life, patience),
        (Ready, Event::Stop { drain }) => (life.to(Draining), vec![Deadline(drain)]),
        (Draining | Saving, Event::Stop { drain }) => (life, vec![DeadlineNoLaterThan(drain)]),

        (Ready, Event::Retire) | (Draining, Event::Retire | Event::Drained) => {
            (life.to(Saving), vec![Deadline(patience.prompt_cache), Save])
        }
        (Draining, Event::Deadline) | (Saving, Event::Saved | Event::Deadline) => terminate(life, patience),
        (Terminating, Event::Deadline) => (life.to(Killing(Afterwards::Stopped)), vec![Kill, Deadline(patience.stop)]),
        // The kernel ends a killed process when it can (it may be stuck in a driver): try again until it is gone.
        (Killing(_), Event::Deadline) => (life, vec![Kill, Deadline(patience.stop)]),

        (Draining | Saving | Terminating | Killing(Afterwards::Stopped), Event::Exited(_)) => {
            (life.to(Stopped), vec![NoDeadline])
        }
        (Killing(Afterwards::Failed(class)), Event::Exited(exit)) => {
            let class = if exit.class == FailureClass::Unknown { class } else { exit.class };
            (life.to(Failed(class)), vec![NoDeadline])
        }
        (Killing(Afterwards::Failed(_)), Event::Stop { .. } | Event::Retire) => {
            (life.to(Killing(Afterwards::Stopped)), vec![])
        }

        _ => (life, vec![]),
    }
}

/// Nothing is waited for any more but its end.
fn terminate(life: Life, patience: &Patience) -> (Life, Vec<Effect>) {
    (life.to(Phase::Terminating), vec![Effect::Terminate, Effect::Deadline(patience.stop)])
}

/// The process ended by itself.
fn ended(life: Life, exit: Exit, patience: &Patience) -> (Life, Vec<Effect>) {
    let was_healthy = life.phase == Phase::Restoring || exit.ready_for.is_some();
    let crashed = exit.port_taken || was_healthy || (exit.by_signal && exit.class.may_pass());
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
        prompt_cache: Duration::from_secs(2),
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

    const TERMINATE: &[Effect] = &[Effect::Terminate, Effect::Deadline(PATIENCE.stop)];

    #[test]
    fn a_good_life() {
        use Event::{Deadline, Drained, Healthy, Progressed, Restored, Saved, Spawned, Start, Stop};
        let drain = Duration::from_secs(3);
        check(&[Start], Phase::Spawning { stopping: false }, &[Effect::NoDeadline, Effect::Spawn]);
        check(&[Start, Spawned], Phase::Loading(LoadPhase::Spawned), &[Effect::Deadline(PATIENCE.load)]);
        check(&[Start, Spawned, Progressed(LoadPhase::Weights)], Phase::Loading(LoadPhase::Weights), &[]);
        let restore = [Effect::Deadline(PATIENCE.prompt_cache), Effect::Restore];
        check(&[Start, Spawned, Healthy], Phase::Restoring, &restore);
        check(&[Start, Spawned, Healthy, Restored], Phase::Ready, &[Effect::NoDeadline]);
        let stopped = [Start, Spawned, Healthy, Restored, Stop { drain }];
        check(&stopped, Phase::Draining, &[Effect::Deadline(drain)]);
        let after = |events: &[Event]| [&stopped, events].concat();
        let save = [Effect::Deadline(PATIENCE.prompt_cache), Effect::Save];
        check(&after(&[Drained]), Phase::Saving, &save);
        check(&after(&[Drained, Saved]), Phase::Terminating, TERMINATE);
        check(&after(&[Drained, Saved, exit(FailureClass::Unknown)]), Phase::Stopped, &[Effect::NoDeadline]);
        check(&after(&[Deadline]), Phase::Terminating, TERMINATE);
        check(
            &after(&[Deadline, Deadline]),
            Phase::Killing(Afterwards::Stopped),
            &[Effect::Kill, Effect::Deadline(PATIENCE.stop)],
        );
    }

    #[test]
    fn the_prompt_cache_is_not_waited_for_beyond_its_time() {
        use Event::{Deadline, Healthy, Restored, Retire, Saved, Spawned, Start};
        check(&[Start, Spawned, Healthy, Deadline], Phase::Ready, &[Effect::NoDeadline]);
        check(&[Start, Spawned, Healthy, Deadline, Restored], Phase::Ready, &[]);
        check(&[Start, Spawned, Healthy, Restored, Retire, Deadline], Phase::Terminating, TERMINATE);
        check(&[Start, Spawned, Healthy, Restored, Retire, Deadline, Saved], Phase::Terminating, &[]);
    }

    #[test]
    fn who_is_in_a_hurry_saves_nothing() {
        use Event::{Drained, Healthy, Restored, Retire, Spawned, Start, Stop};
        let (now, soon) = (Duration::ZERO, Duration::from_secs(1));
        let check = |events: &[Event], phase, effects: &[Effect]| {
            check(&[&[Start, Spawned, Healthy, Restored], events].concat(), phase, effects);
        };
        check(&[Stop { drain: now }], Phase::Terminating, TERMINATE);
        check(&[Stop { drain: now }, Drained], Phase::Terminating, &[]);
        check(&[Stop { drain: soon }, Stop { drain: now }], Phase::Terminating, TERMINATE);
        check(&[Retire, Stop { drain: soon }], Phase::Saving, &[Effect::DeadlineNoLaterThan(soon)]);
        check(&[Retire, Stop { drain: now }], Phase::Terminating, TERMINATE);
    }

    #[test]
    fn a_death_while_restoring_is_a_crash() {
        use Event::{Healthy, Spawned, Start};
        let events = [Start, Spawned, Healthy, exit(FailureClass::Unknown)];
        check(&events, Phase::Resting, &[Effect::Deadline(PATIENCE.backoff)]);
    }

    #[test]
    fn a_second_stop_may_only_hurry() {
        use Event::{Healthy, Restored, Spawned, Start, Stop};
        let (long, short) = (Duration::from_secs(300), Duration::from_secs(1));
        let events = [Start, Spawned, Healthy, Restored, Stop { drain: long }, Stop { drain: short }];
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
        use Event::{Deadline, Healthy, Restored, Spawned, Start};
        let mut events = vec![Start];
        for rest_ms in [500, 1000, 2000] {
            events.extend([Spawned, Healthy, Restored, CRASH]);
            check(&events, Phase::Resting, &[Effect::Deadline(Duration::from_millis(rest_ms))]);
            events.push(Deadline);
        }
        events.extend([Spawned, Healthy, Restored, CRASH]);
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
            Just(Event::Stop { drain: Duration::ZERO }),
            Just(Event::Drained),
            Just(Event::Retire),
            Just(Event::Saved),
            Just(Event::Restored),
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
                Event::Saved => life.phase == Phase::Saving,
                Event::Restored => life.phase == Phase::Restoring,
                Event::Stop { .. } | Event::Drained | Event::Retire => true,
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
                        Effect::Save | Effect::Restore => {
                            prop_assert!(world.process, "a question to nobody");
                            prop_assert!(event != Event::Stop { drain: Duration::ZERO }, "saved in a hurry");
                        }
                    }
                }
                life = next;
                prop_assert!(!(life.is_over() && (world.process || world.spawning)), "ended with a process left");
                let awaits = matches!(
                    life.phase,
                    Phase::Loading(_)
                        | Phase::Restoring
                        | Phase::Resting
                        | Phase::Draining
                        | Phase::Saving
                        | Phase::Terminating
                        | Phase::Killing(_)
                );
                prop_assert!(!awaits || world.timer, "{:?} waits without a bound", life.phase);
                prop_assert!(life.restarts <= PATIENCE.restarts_max);
            }
        }
    }
}
