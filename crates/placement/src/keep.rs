//! Which weights stay in RAM for models that are not loaded.

use std::time::Duration;

use types::{ByteCount, ModelKey};

/// Weights that are in RAM, or are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Whose.
    pub model: ModelKey,
    /// Their files together.
    pub bytes: ByteCount,
    /// How long nobody has used them.
    pub unused_for: Duration,
    /// Whether the model is pinned: its weights do not go for another's.
    pub pinned: bool,
    /// Whether they are being given up already.
    pub leaving: bool,
}

/// What to do about a wish to keep a model's weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Bring them in.
    Begin,
    /// Bring them in once these, and those that leave already, are gone; if there are none, once those are that leave.
    After {
        /// To be given up, least recently used first.
        release: Vec<ModelKey>,
    },
    /// There is no room for them: what may be given up is too little, or was used later than they were.
    NoRoom {
        /// How much there could be.
        room: ByteCount,
    },
}

/// Decides whether `wanted` comes in beside `kept`, which may take `budget` together. What was used less recently goes for
/// it; what is pinned stays, and goes before all that is not. Nothing is given up unless it then fits, and no more than
/// must be.
pub fn keep(budget: ByteCount, kept: &[Weights], wanted: &Weights) -> Keep {
    let sum = |weights: &[&Weights]| -> ByteCount { weights.iter().map(|one| one.bytes).sum() };
    let fits = |weights: &[&Weights]| sum(weights) + wanted.bytes <= budget;
    let everything: Vec<&Weights> = kept.iter().collect();
    if fits(&everything) {
        return Keep::Begin;
    }
    let may_go = |one: &Weights| !one.pinned && (wanted.pinned || one.unused_for > wanted.unused_for);
    let mut staying: Vec<&Weights> = kept.iter().filter(|one| !one.leaving).collect();
    let least: Vec<&Weights> = staying.iter().copied().filter(|one| !may_go(one)).collect();
    if !fits(&least) {
        return Keep::NoRoom { room: budget.saturating_sub(sum(&least)) };
    }
    let mut candidates: Vec<&Weights> = staying.iter().copied().filter(|one| may_go(one)).collect();
    candidates.sort_by_key(|one| std::cmp::Reverse(one.unused_for));
    let mut release: Vec<&Weights> = Vec::new();
    for candidate in candidates {
        if fits(&staying) {
            break;
        }
        staying.retain(|one| one.model != candidate.model);
        release.push(candidate);
    }
    // The youngest first: they are the likeliest to be wanted again.
    for candidate in release.clone().into_iter().rev() {
        staying.push(candidate);
        if fits(&staying) {
            release.retain(|one| one.model != candidate.model);
        } else {
            staying.pop();
        }
    }
    Keep::After { release: release.into_iter().map(|one| one.model.clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use types::{ModelId, Variant};

    fn key(name: &str) -> ModelKey {
        ModelKey { id: ModelId::new(name), variant: Variant::new("") }
    }

    /// `a 400 5 pinned`: of model `a`, 400 MiB, unused for 5 s.
    fn weights(line: &str) -> Weights {
        let words: Vec<&str> = line.split_whitespace().collect();
        Weights {
            model: key(words[0]),
            bytes: ByteCount::mib(words[1].parse().unwrap()),
            unused_for: Duration::from_secs(words[2].parse().unwrap()),
            pinned: words.contains(&"pinned"),
            leaving: words.contains(&"leaving"),
        }
    }

    #[track_caller]
    fn check(budget_mib: u64, kept: &[&str], wanted: &str, expected: &str) {
        let kept: Vec<Weights> = kept.iter().map(|line| weights(line)).collect();
        let found = match keep(ByteCount::mib(budget_mib), &kept, &weights(wanted)) {
            Keep::Begin => "begin".to_owned(),
            Keep::After { release } => {
                format!("after [{}]", release.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            Keep::NoRoom { room } => format!("no room, {room}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn the_least_recently_used_go_first_and_no_more_than_needed() {
        check(1000, &[], "w 1000 0", "begin");
        check(1000, &["a 600 1"], "w 400 0", "begin");
        check(1000, &["a 300 5", "b 300 9", "c 300 1"], "w 400 0", "after [b]");
        check(1000, &["a 300 5", "b 300 9", "c 300 1"], "w 700 0", "after [b a]");
        check(1000, &["a 100 9", "b 800 5"], "w 900 0", "after [b]");
    }

    #[test]
    fn pinned_ones_stay_and_nothing_goes_for_nothing() {
        check(1000, &[], "w 1001 0", "no room, 1000.0 MiB");
        check(0, &[], "w 1 0", "no room, 0 B");
        check(1000, &["a 600 9 pinned", "b 300 1"], "w 400 0", "after [b]");
        check(1000, &["a 600 9 pinned", "b 300 1"], "w 500 0", "no room, 400.0 MiB");
    }

    #[test]
    fn what_was_used_later_does_not_go_for_it() {
        check(1000, &["a 600 5"], "w 500 9", "no room, 400.0 MiB");
        check(1000, &["a 600 5"], "w 500 5", "no room, 400.0 MiB");
        check(1000, &["a 600 5"], "w 500 9 pinned", "after [a]");
        check(1000, &["a 600 5 pinned"], "w 500 0 pinned", "no room, 400.0 MiB");
    }

    #[test]
    fn what_leaves_is_waited_for_before_anything_else_goes() {
        check(1000, &["a 600 9 leaving", "b 300 1"], "w 400 0", "after []");
        check(1000, &["a 600 9 pinned leaving"], "w 500 0", "after []");
        check(1000, &["a 300 9 leaving", "b 700 1"], "w 400 0", "after [b]");
    }

    fn any_weights() -> impl Strategy<Value = Weights> {
        (0..1000_u32, 1..500_u64, 0..100_u64, prop::bool::weighted(0.3), prop::bool::weighted(0.2)).prop_map(
            |(id, mib, unused, pinned, leaving)| Weights {
                model: key(&format!("m{id}")),
                bytes: ByteCount::mib(mib),
                unused_for: Duration::from_secs(unused),
                pinned,
                leaving,
            },
        )
    }

    proptest! {
        #[test]
        fn never_above_budget_pinned_stay_nothing_goes_for_nothing(
            mut kept in prop::collection::vec(any_weights(), 0..12),
            budget in 0..2000_u64,
            wanted in any_weights(),
            mib in 1..2000_u64,
        ) {
            let wanted = Weights { bytes: ByteCount::mib(mib), ..wanted };
            kept.sort_by(|one, other| one.model.cmp(&other.model));
            kept.dedup_by(|one, other| one.model == other.model);
            let budget = ByteCount::mib(budget);
            let sum = |weights: &[&Weights]| -> ByteCount { weights.iter().map(|one| one.bytes).sum() };
            match keep(budget, &kept, &wanted) {
                Keep::Begin => prop_assert!(sum(&kept.iter().collect::<Vec<_>>()) + wanted.bytes <= budget),
                Keep::After { release } => {
                    let is_released = |one: &&Weights| release.contains(&one.model);
                    let released: Vec<&Weights> = kept.iter().filter(is_released).collect();
                    let staying: Vec<&Weights> =
                        kept.iter().filter(|one| !one.leaving && !is_released(one)).collect();
                    prop_assert!(released.iter().all(|one| !one.pinned && !one.leaving));
                    let older = |one: &&Weights| wanted.pinned || one.unused_for > wanted.unused_for;
                    prop_assert!(released.iter().all(older), "one goes that was used later");
                    prop_assert!(sum(&staying) + wanted.bytes <= budget, "it would not fit then");
                    prop_assert!(!released.is_empty() || kept.iter().any(|one| one.leaving), "it waits for nothing");
                    for spared in released {
                        prop_assert!(sum(&staying) + spared.bytes + wanted.bytes > budget, "one goes for nothing");
                    }
                }
                Keep::NoRoom { .. } => {
                    let stays = |one: &&Weights| {
                        !one.leaving && (one.pinned || !wanted.pinned && one.unused_for <= wanted.unused_for)
                    };
                    prop_assert!(sum(&kept.iter().filter(stays).collect::<Vec<_>>()) + wanted.bytes > budget);
                }
            }
        }
    }
}
