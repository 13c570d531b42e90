//! Pure decisions over a snapshot of one machine: does it fit, who leaves for it, who is waited for.
//!
//! No clock, no I/O, no async: the snapshot says how long each instance has been idle. The one who executes a decision
//! may find that the world has moved on (an idle instance became busy); it then asks again.

mod keep;

use std::collections::BTreeMap;
use std::time::Duration;

use types::{ByteCount, DeviceName, InstanceId, MemoryUse, ModelKey};

pub use keep::{Keep, Weights, keep};

/// One machine at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What models may use of each device.
    pub capacity: BTreeMap<DeviceName, ByteCount>,
    /// Every instance that holds memory, or will.
    pub residents: Vec<Resident>,
    /// Weights in RAM of models that are not loaded: what they hold beside the instances.
    pub kept: Vec<Weights>,
    /// How many instances may be there at once; `None` where only memory limits.
    pub instances_max: Option<usize>,
}

/// One instance in the snapshot.
#[derive(Clone, Debug)]
pub struct Resident {
    /// Which.
    pub id: InstanceId,
    /// Its model.
    pub model: ModelKey,
    /// What it holds: as reported, or as estimated until then.
    pub holds: MemoryUse,
    /// What it is doing.
    pub occupancy: Occupancy,
}

/// What an instance is doing, as far as leaving is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// Nobody uses it.
    Idle {
        /// For how long.
        since: Duration,
    },
    /// Requests are in flight.
    Busy {
        /// How many.
        in_flight: u64,
        /// Since its last request came or ended.
        since: Duration,
    },
    /// It loads: someone waits for it.
    Loading,
    /// It is to stay whatever happens.
    Pinned,
    /// It is on its way out already.
    Leaving,
}

impl Occupancy {
    /// The word for it in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle { .. } => "idle",
            Self::Busy { .. } => "busy",
            Self::Loading => "loading",
            Self::Pinned => "pinned",
            Self::Leaving => "leaving",
        }
    }
}

/// What to do about a wish to load a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start it as soon as these (and those that leave already) have left; at once if there are none.
    Start {
        /// Idle instances that leave for it, least recently used first.
        evict: Vec<InstanceId>,
        /// Weights that leave for it, least recently used first, those of pinned models last.
        release: Vec<ModelKey>,
    },
    /// It fits once others have ended what they do.
    Wait {
        /// Busy instances whose leaving would make room, least recently used first; empty if only those that are
        /// loading or leaving are in the way.
        drain: Vec<InstanceId>,
        /// Everything that is in the way, in the order of the snapshot.
        blockers: Vec<InstanceId>,
    },
    /// What is pinned leaves no room for it, whoever else ends.
    Barred {
        /// The pinned instances.
        pinned: Vec<InstanceId>,
    },
    /// It would not fit on the empty machine.
    Refuse {
        /// Where it falls short.
        short: Vec<Shortage>,
    },
}

/// A device that is too small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Which.
    pub device: DeviceName,
    /// What is needed there.
    pub needed: ByteCount,
    /// What models may use of it.
    pub capacity: ByteCount,
}

/// Decides about loading a model that needs `need`.
pub fn admit(snapshot: &Snapshot, need: &MemoryUse) -> Decision {
    let short = shortages(snapshot, need);
    if !short.is_empty() {
        return Decision::Refuse { short };
    }

    let everybody = Staying { residents: snapshot.residents.iter().collect(), kept: snapshot.kept.iter().collect() };
    if everybody.fit(snapshot, need) {
        return Decision::Start { evict: vec![], release: vec![] };
    }
    let with = |occupancy: Occupancy| -> Vec<&Resident> {
        snapshot.residents.iter().filter(|resident| resident.occupancy == occupancy).collect()
    };
    let pinned = Staying { residents: with(Occupancy::Pinned), kept: vec![] };
    if !pinned.fit(snapshot, need) {
        return Decision::Barred { pinned: ids(&pinned.residents) };
    }
    // Those that leave already are counted as gone before anyone else is asked to: an eviction takes a while, and being
    // asked again meanwhile must not cost one more instance.
    let leaving = with(Occupancy::Leaving);
    let mut staying = everybody;
    staying.residents.retain(|resident| resident.occupancy != Occupancy::Leaving);
    staying.kept.retain(|weights| !weights.leaving);
    if staying.fit(snapshot, need) {
        return Decision::Wait { drain: vec![], blockers: ids(&leaving) };
    }
    // Weights are the cheapest to lose: nobody has to be ended for them.
    let release = staying.release(snapshot, need);
    let evict = staying.take(snapshot, need, |occupancy| match occupancy {
        Occupancy::Idle { since } => Some(since),
        _ => None,
    });
    if staying.fit(snapshot, need) {
        let evict = staying.give_back(snapshot, need, evict);
        let release = staying.give_back_weights(snapshot, need, release);
        return Decision::Start { evict: ids(&evict), release };
    }

    // Not by the idle alone: busy ones have to end first.
    let blockers = ids(&staying.residents);
    let drain = staying.take(snapshot, need, |occupancy| match occupancy {
        Occupancy::Busy { since, .. } => Some(since),
        _ => None,
    });
    let drain = if staying.fit(snapshot, need) { staying.give_back(snapshot, need, drain) } else { drain };
    Decision::Wait { drain: ids(&drain), blockers }
}

/// What is free on each device, counting everything that is there.
pub fn free(snapshot: &Snapshot) -> BTreeMap<DeviceName, ByteCount> {
    let held = |device: &DeviceName| {
        let weights = snapshot.kept.iter().filter(|_| device.is_cpu()).map(|weights| weights.bytes);
        snapshot.residents.iter().map(|resident| resident.holds.on(device)).chain(weights).sum()
    };
    snapshot.capacity.iter().map(|(device, capacity)| (device.clone(), capacity.saturating_sub(held(device)))).collect()
}

fn shortages(snapshot: &Snapshot, need: &MemoryUse) -> Vec<Shortage> {
    let short = |(device, memory): (&DeviceName, &types::DeviceMemory)| {
        let capacity = snapshot.capacity.get(device).copied().unwrap_or_default();
        let needed = memory.total();
        (needed > capacity).then(|| Shortage { device: device.clone(), needed, capacity })
    };
    need.0.iter().filter_map(short).collect()
}

/// Who would stay.
struct Staying<'a> {
    residents: Vec<&'a Resident>,
    kept: Vec<&'a Weights>,
}

impl<'a> Staying<'a> {
    /// Whether `need` fits beside them.
    fn fit(&self, snapshot: &Snapshot, need: &MemoryUse) -> bool {
        if snapshot.instances_max.is_some_and(|max| self.residents.len() >= max) {
            return false;
        }
        need.0.iter().all(|(device, memory)| {
            let weights = self.kept.iter().filter(|_| device.is_cpu()).map(|weights| weights.bytes);
            let held: ByteCount = self.residents.iter().map(|resident| resident.holds.on(device)).chain(weights).sum();
            let capacity = snapshot.capacity.get(device).copied().unwrap_or_default();
            held + memory.total() <= capacity
        })
    }

    /// Takes those that `age` admits, oldest first, until `need` fits. What was taken is returned in that order.
    fn take(
        &mut self,
        snapshot: &Snapshot,
        need: &MemoryUse,
        age: impl Fn(Occupancy) -> Option<Duration>,
    ) -> Vec<&'a Resident> {
        let mut candidates: Vec<&Resident> =
            self.residents.iter().copied().filter(|resident| age(resident.occupancy).is_some()).collect();
        candidates.sort_by_key(|resident| std::cmp::Reverse(age(resident.occupancy)));
        let mut taken: Vec<&Resident> = Vec::new();
        for candidate in candidates {
            if self.fit(snapshot, need) {
                break;
            }
            self.residents.retain(|resident| resident.id != candidate.id);
            taken.push(candidate);
        }
        taken
    }

    /// Gives back those of `taken` whose leaving turned out not to be needed, and returns the others.
    fn give_back(&mut self, snapshot: &Snapshot, need: &MemoryUse, mut taken: Vec<&'a Resident>) -> Vec<&'a Resident> {
        // The youngest first: they are the likeliest to be wanted again.
        for candidate in taken.clone().into_iter().rev() {
            self.residents.push(candidate);
            if self.fit(snapshot, need) {
                taken.retain(|resident| resident.id != candidate.id);
            } else {
                self.residents.pop();
            }
        }
        taken
    }

    /// Takes weights until `need` fits: those of pinned models last, else the oldest first.
    fn release(&mut self, snapshot: &Snapshot, need: &MemoryUse) -> Vec<&'a Weights> {
        let mut candidates = self.kept.clone();
        candidates.sort_by_key(|weights| (weights.pinned, std::cmp::Reverse(weights.unused_for)));
        let mut taken = Vec::new();
        for candidate in candidates {
            if self.fit(snapshot, need) {
                break;
            }
            self.kept.retain(|weights| weights.model != candidate.model);
            taken.push(candidate);
        }
        taken
    }

    fn give_back_weights(
        &mut self,
        snapshot: &Snapshot,
        need: &MemoryUse,
        mut taken: Vec<&'a Weights>,
    ) -> Vec<ModelKey> {
        for candidate in taken.clone().into_iter().rev() {
            self.kept.push(candidate);
            if self.fit(snapshot, need) {
                taken.retain(|weights| weights.model != candidate.model);
            } else {
                self.kept.pop();
            }
        }
        taken.into_iter().map(|weights| weights.model.clone()).collect()
    }
}

fn ids(residents: &[&Resident]) -> Vec<InstanceId> {
    residents.iter().map(|resident| resident.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use types::{DeviceMemory, ModelId, Variant};

    fn memory(mib: u64) -> MemoryUse {
        let memory = DeviceMemory { model: ByteCount::mib(mib), ..DeviceMemory::default() };
        MemoryUse([(DeviceName::cpu(), memory)].into())
    }

    /// `a 400 idle 5` : instance `a` holds 400 MiB and has been idle for 5 s.
    fn resident(line: &str) -> Resident {
        let words: Vec<&str> = line.split_whitespace().collect();
        let since = Duration::from_secs(words.get(3).map_or(0, |word| word.parse().unwrap()));
        Resident {
            id: InstanceId::new(words[0]),
            model: ModelKey { id: ModelId::new(words[0]), variant: Variant::new("") },
            holds: memory(words[1].parse().unwrap()),
            occupancy: match words[2] {
                "idle" => Occupancy::Idle { since },
                "busy" => Occupancy::Busy { in_flight: 1, since },
                "loading" => Occupancy::Loading,
                "pinned" => Occupancy::Pinned,
                "leaving" => Occupancy::Leaving,
                other => panic!("{other}"),
            },
        }
    }

    fn snapshot(capacity_mib: u64, instances_max: Option<usize>, residents: &[&str]) -> Snapshot {
        Snapshot {
            capacity: [(DeviceName::cpu(), ByteCount::mib(capacity_mib))].into(),
            residents: residents.iter().filter(|line| !line.contains("ready")).map(|line| resident(line)).collect(),
            kept: residents.iter().filter(|line| line.contains("ready")).map(|line| weights(line)).collect(),
            instances_max,
        }
    }

    /// `a 400 ready 5 pinned`: 400 MiB of weights, unused for 5 s.
    fn weights(line: &str) -> Weights {
        let words: Vec<&str> = line.split_whitespace().collect();
        Weights {
            model: ModelKey { id: ModelId::new(words[0]), variant: Variant::new("") },
            bytes: ByteCount::mib(words[1].parse().unwrap()),
            unused_for: Duration::from_secs(words[3].parse().unwrap()),
            pinned: words.contains(&"pinned"),
            leaving: words.contains(&"leaving"),
        }
    }

    fn check(snapshot: &Snapshot, need_mib: u64, expected: &str) {
        let names = |ids: &[InstanceId]| ids.iter().map(InstanceId::as_str).collect::<Vec<_>>().join(" ");
        let found = match admit(snapshot, &memory(need_mib)) {
            Decision::Start { evict, release } if release.is_empty() => format!("start, evict [{}]", names(&evict)),
            Decision::Start { evict, release } => {
                let release = release.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                format!("start, evict [{}], release [{release}]", names(&evict))
            }
            Decision::Wait { drain, blockers } => format!("wait for [{}], drain [{}]", names(&blockers), names(&drain)),
            Decision::Barred { pinned } => format!("barred by [{}]", names(&pinned)),
            Decision::Refuse { short } => format!("refuse, {} of {}", short[0].needed, short[0].capacity),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_fits_starts_and_what_never_fits_is_refused() {
        check(&snapshot(1000, None, &[]), 1000, "start, evict []");
        check(&snapshot(1000, None, &[]), 1001, "refuse, 1001.0 MiB of 1000.0 MiB");
        check(&snapshot(1000, None, &["a 400 busy"]), 600, "start, evict []");
    }

    #[test]
    fn the_least_recently_used_leave_first_and_no_more_than_needed() {
        let residents = ["a 300 idle 5", "b 300 idle 9", "c 300 idle 1"];
        check(&snapshot(1000, None, &residents), 400, "start, evict [b]");
        check(&snapshot(1000, None, &residents), 700, "start, evict [b a]");
        // The oldest is small; once a bigger one has to go anyway it may stay.
        check(&snapshot(1000, None, &["a 100 idle 9", "b 800 idle 5"]), 900, "start, evict [b]");
    }

    #[test]
    fn busy_loading_and_pinned_ones_stay() {
        check(&snapshot(1000, None, &["a 600 busy", "b 300 idle 1"]), 500, "wait for [a], drain [a]");
        check(&snapshot(1000, None, &["a 600 loading"]), 500, "wait for [a], drain []");
    }

    #[test]
    fn what_is_pinned_is_not_waited_for() {
        check(&snapshot(1000, None, &["a 600 pinned", "b 400 busy"]), 500, "barred by [a]");
        check(&snapshot(1000, None, &["a 600 pinned", "b 400 busy"]), 300, "wait for [a b], drain [b]");
        check(&snapshot(1000, Some(1), &["a 10 pinned"]), 10, "barred by [a]");
    }

    #[test]
    fn while_one_leaves_nobody_else_has_to() {
        check(&snapshot(1000, None, &["a 600 leaving", "b 300 busy"]), 500, "wait for [a], drain []");
        check(&snapshot(1000, None, &["a 600 leaving", "b 300 idle 5"]), 500, "wait for [a], drain []");
        check(&snapshot(1000, Some(2), &["a 10 idle 9", "b 10 leaving"]), 10, "wait for [b], drain []");
        check(&snapshot(1000, None, &["a 300 leaving", "b 300 idle 5", "c 300 idle 9"]), 500, "start, evict [c]");
    }

    #[test]
    fn weights_leave_before_anyone_is_ended() {
        check(&snapshot(1000, None, &["a 300 ready 1"]), 700, "start, evict []");
        check(&snapshot(1000, None, &["a 300 ready 1", "b 300 idle 9"]), 600, "start, evict [], release [a]");
        let both = ["a 300 ready 1", "b 300 ready 9", "c 300 idle 99"];
        check(&snapshot(1000, None, &both), 400, "start, evict [], release [b]");
        check(&snapshot(1000, None, &both), 800, "start, evict [c], release [b a]");
        check(&snapshot(1000, None, &["a 300 ready 1", "b 300 ready 9 pinned"]), 700, "start, evict [], release [a]");
        check(
            &snapshot(1000, None, &["a 300 ready 1", "b 300 ready 9 pinned"]),
            1000,
            "start, evict [], release [a b]",
        );
        // Whom it does not help they do not leave for.
        check(&snapshot(1000, None, &["a 100 ready 9", "b 800 idle 1"]), 900, "start, evict [b]");
        check(&snapshot(1000, Some(1), &["a 100 ready 9", "b 10 idle 1"]), 10, "start, evict [b]");
        check(&snapshot(1000, None, &["a 300 ready 9", "b 800 busy"]), 500, "wait for [b], drain [b]");
    }

    #[test]
    fn weights_that_leave_are_waited_for() {
        check(&snapshot(1000, None, &["a 300 ready 1 leaving", "b 300 idle 9"]), 600, "wait for [], drain []");
        check(
            &snapshot(1000, None, &["a 300 ready 1 leaving", "b 300 ready 9", "c 300 idle 9"]),
            700,
            "start, evict [], release [b]",
        );
    }

    #[test]
    fn a_limit_of_instances_counts_like_memory() {
        check(&snapshot(1000, Some(1), &["a 10 idle 3"]), 10, "start, evict [a]");
        check(&snapshot(1000, Some(1), &["a 10 busy"]), 10, "wait for [a], drain [a]");
        check(&snapshot(1000, Some(2), &["a 10 busy", "b 10 idle 1"]), 10, "start, evict [b]");
    }

    fn any_resident() -> impl Strategy<Value = Resident> {
        let occupancy = prop_oneof!["idle", "busy", "loading", "pinned", "leaving"];
        (0..1000_u32, 1..500_u64, occupancy, 0..100_u64)
            .prop_map(|(id, mib, occupancy, since)| resident(&format!("r{id} {mib} {occupancy} {since}")))
    }

    fn any_weights() -> impl Strategy<Value = Weights> {
        let words = prop_oneof!["", "pinned", "leaving"];
        (0..1000_u32, 1..500_u64, 0..100_u64, words)
            .prop_map(|(id, mib, since, words)| weights(&format!("w{id} {mib} ready {since} {words}")))
    }

    proptest! {
        #[test]
        fn only_idle_ones_are_evicted_and_then_it_fits(
            mut residents in prop::collection::vec(any_resident(), 0..12),
            mut kept in prop::collection::vec(any_weights(), 0..4),
            capacity in 100..2000_u64,
            need in 1..2000_u64,
            instances_max in prop::option::of(1..6_usize),
        ) {
            residents.sort_by(|one, other| one.id.cmp(&other.id));
            residents.dedup_by(|one, other| one.id == other.id);
            let mut snapshot = snapshot(capacity, instances_max, &[]);
            snapshot.residents = residents;
            kept.sort_by(|one, other| one.model.cmp(&other.model));
            kept.dedup_by(|one, other| one.model == other.model);
            snapshot.kept = kept;
            let find = |id: &InstanceId| snapshot.residents.iter().find(|resident| &resident.id == id).unwrap();
            match admit(&snapshot, &memory(need)) {
                Decision::Start { evict, release } => {
                    for id in &evict {
                        let idle = matches!(find(id).occupancy, Occupancy::Idle { .. });
                        prop_assert!(idle, "evicted one that was not idle");
                    }
                    let at_once = evict.is_empty() && release.is_empty();
                    let staying = |spared: Option<&InstanceId>, weights: Option<&ModelKey>| Staying {
                        residents: snapshot.residents.iter().filter(|one| {
                            let goes = evict.contains(&one.id) && spared != Some(&one.id);
                            !goes && (at_once || one.occupancy != Occupancy::Leaving)
                        }).collect(),
                        kept: snapshot.kept.iter().filter(|one| {
                            let goes = release.contains(&one.model) && weights != Some(&one.model);
                            !goes && (at_once || !one.leaving)
                        }).collect(),
                    };
                    prop_assert!(staying(None, None).fit(&snapshot, &memory(need)));
                    for spared in &evict {
                        prop_assert!(!staying(Some(spared), None).fit(&snapshot, &memory(need)), "one left for nothing");
                    }
                    for spared in &release {
                        prop_assert!(!staying(None, Some(spared)).fit(&snapshot, &memory(need)), "weights left for nothing");
                    }
                }
                Decision::Wait { drain, blockers } => {
                    prop_assert!(!blockers.is_empty() || snapshot.kept.iter().any(|weights| weights.leaving));
                    for id in &drain {
                        let busy = matches!(find(id).occupancy, Occupancy::Busy { .. });
                        prop_assert!(busy, "would drain one that is not busy");
                    }
                }
                Decision::Barred { pinned } => {
                    prop_assert!(!pinned.is_empty());
                    prop_assert!(pinned.iter().all(|id| find(id).occupancy == Occupancy::Pinned));
                }
                Decision::Refuse { .. } => prop_assert!(need > capacity),
            }
        }
    }
}
