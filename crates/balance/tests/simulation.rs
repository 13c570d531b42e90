//! Replicas that die, hang and come back, in a world of its own time: what of it do the requests notice?

use std::time::{Duration, Instant};

use balance::{Balance, Load, NoChoice, Permit, Prefix, Reason, Replicas, Rules};
use proptest::prelude::*;

const TICK: Duration = Duration::from_millis(10);

/// Two replicas, of which the second is at times dead.
struct World {
    replicas: Replicas,
    /// What each answers: when the requests were chosen, and at which tick each is through.
    answering: [Vec<(Instant, u64)>; 2],
    is_dead: bool,
    now: Instant,
    tick: u64,
    told: Told,
}

/// What came of it.
#[derive(Default)]
struct Told {
    answered: u64,
    /// Attempts at the dead replica while its circuit was closed, and as probes.
    wasted: u64,
    probes: u64,
    /// Attempts at the second replica that were answered.
    at_second: u64,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            replicas: Replicas::new(2, Rules::default(), Balance::default(), now),
            answering: Default::default(),
            is_dead: false,
            now,
            tick: 0,
            told: Told::default(),
        }
    }

    /// Time passes, requests end.
    fn pass(&mut self) {
        self.now += TICK;
        self.tick += 1;
        for (replica, answering) in self.answering.iter_mut().enumerate() {
            for (begun, _) in answering.extract_if(.., |(_, through)| *through <= self.tick) {
                self.replicas.succeeded(replica, begun, self.now);
                self.told.answered += 1;
            }
        }
    }

    /// The second replica dies with all that it answers; those requests had their first byte and are not tried again.
    fn dies(&mut self) {
        self.is_dead = true;
        for (begun, _) in self.answering[1].drain(..) {
            self.replicas.failed(1, begun, self.now);
        }
    }

    /// A request: tried at one replica after the other.
    fn asks(&mut self, conversation: u64) {
        let words = format!("conversation {conversation} ").repeat(40);
        let prefix = Prefix::of(&[words.as_bytes()]);
        let mut tried = vec![];
        loop {
            let loads = self.answering.each_ref().map(|answering| Load {
                is_ready: true,
                in_flight: answering.len() as u64,
                waiting: 0,
                capacity: 16,
            });
            let choice = match self.replicas.choose(loads, &prefix, &tried, self.now) {
                Ok(choice) => choice,
                Err(no) => panic!("a request was lost after {tried:?}: {no:?}"),
            };
            if choice.index == 1 && self.is_dead {
                match choice.reason {
                    Reason::Probe => self.told.probes += 1,
                    _ => self.told.wasted += 1,
                }
                self.replicas.failed(1, self.now, self.now);
                tried.push(1);
                continue;
            }
            self.told.at_second += u64::from(choice.index == 1);
            self.answering[choice.index].push((self.now, self.tick + 3 + conversation % 5));
            return;
        }
    }
}

#[test]
fn a_replica_dies_and_no_request_is_lost() {
    let mut world = World::new();
    for tick in 0..6000 {
        if tick == 1000 {
            world.dies();
        }
        world.pass();
        world.asks(tick % 7);
    }
    let Told { answered, wasted, probes, .. } = world.told;
    assert!(answered > 5900, "{answered}");
    assert!(wasted <= 3, "{wasted} attempts before the circuit opened");
    // Fifty seconds: after 1, 2, 4, 8, 16 of them.
    assert_eq!(probes, 5);
    assert!(matches!(world.replicas.permits(1, world.now), Some(Permit::No { .. })));
}

#[test]
fn one_that_comes_back_gets_its_share_again() {
    let mut world = World::new();
    world.dies();
    for tick in 0..500 {
        world.pass();
        world.asks(tick);
    }
    assert_eq!(world.told.at_second, 0);
    world.is_dead = false;
    for tick in 0..1000 {
        world.pass();
        world.asks(tick);
    }
    assert_eq!(world.replicas.permits(1, world.now), Some(Permit::Yes));
    let back = world.told.at_second;
    assert!(back > 100, "{back} of 1000 requests");
}

#[test]
fn with_every_circuit_open_the_caller_is_told_until_when() {
    let now = Instant::now();
    let mut replicas = Replicas::new(1, Rules::default(), Balance::default(), now);
    let idle = || [Load { is_ready: true, in_flight: 0, waiting: 0, capacity: 1 }];
    let prefix = Prefix::of(&[]);
    for _ in 0..3 {
        assert_eq!(replicas.choose(idle(), &prefix, &[], now).unwrap().index, 0);
        replicas.failed(0, now, now);
    }
    let until = now + Duration::from_secs(1);
    assert_eq!(replicas.choose(idle(), &prefix, &[], now), Err(NoChoice::AllOpen { until }));
    assert_eq!(replicas.choose(idle(), &prefix, &[], until).unwrap().reason, Reason::Probe);
    assert!(matches!(replicas.choose(idle(), &prefix, &[], until), Err(NoChoice::AllOpen { .. })), "one at a time");
    replicas.gave_up(0, until, until);
    assert_eq!(replicas.choose(idle(), &prefix, &[], until).unwrap().reason, Reason::Probe);
    replicas.renew(0, Rules::default(), until);
    assert_eq!(replicas.choose(idle(), &prefix, &[], until).unwrap().reason, Reason::FewestInFlight);
}

#[test]
fn a_conversation_stays_where_it_was_read_until_the_engine_is_new() {
    let now = Instant::now();
    let mut replicas = Replicas::new(3, Rules::default(), Balance::default(), now);
    let loads =
        |in_flight: [u64; 3]| in_flight.map(|in_flight| Load { is_ready: true, in_flight, waiting: 0, capacity: 8 });
    let words = "once upon a time ".repeat(100);
    let turn = |length: usize| Prefix::of(&[&words.as_bytes()[..length]]);
    let first = replicas.choose(loads([1, 0, 1]), &turn(300), &[], now).unwrap();
    assert_eq!((first.index, first.reason), (1, Reason::FewestInFlight));
    for length in [500, 700, 1200] {
        let next = replicas.choose(loads([0, 3, 0]), &turn(length), &[], now).unwrap();
        assert_eq!((next.index, next.reason), (1, Reason::Affinity));
    }
    replicas.renew(1, Rules::default(), now);
    let last = replicas.choose(loads([0, 3, 0]), &turn(1200), &[], now).unwrap();
    assert_eq!(last.reason, Reason::FewestInFlight);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However it comes and goes: no request is lost, and what is wasted on it is at most what opens its circuit, once for
    /// each death that the circuit could have seen.
    #[test]
    fn a_flapping_replica_is_cut_out_and_let_back(lives in prop::collection::vec((1..800_u64, 1..800_u64), 1..12)) {
        let mut world = World::new();
        for (up, down) in &lives {
            for number in 0..*up {
                world.pass();
                world.asks(number);
            }
            world.dies();
            for number in 0..*down {
                world.pass();
                world.asks(number);
            }
            world.is_dead = false;
        }
        let deaths = u64::try_from(lives.len()).unwrap();
        prop_assert!(world.told.wasted <= 3 * deaths, "{} attempts in {deaths} deaths", world.told.wasted);
        // It stays alive: within the longest back-off and a moment it is back.
        for number in 0..3100 {
            world.pass();
            world.asks(number);
        }
        prop_assert_eq!(world.replicas.permits(1, world.now), Some(Permit::Yes));
    }
}
