//! Which files go because nobody uses them. Pure: what a preview shows is what a run deletes.

use std::time::{Duration, SystemTime};

use crate::inventory::Stored;
use crate::state::RuntimeState;

/// What goes, and when it is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Whether files are deleted without anybody asking.
    pub enabled: bool,
    /// What was not used for so long goes.
    pub max_age: Duration,
    /// How often it is looked for.
    pub check_interval: Duration,
    /// Kept for those who set it, percent; nothing here reads it.
    pub target_free_percent: f64,
    /// Whether hot ready variants stay.
    pub respect_hot_ready: bool,
    /// Whether protected variants stay.
    pub respect_protected: bool,
}

impl Default for Policy {
    /// The contract's: every 24 hours, what was unused for 30 days.
    fn default() -> Self {
        Self {
            enabled: true,
            max_age: Duration::from_secs(30 * 24 * 3600),
            check_interval: Duration::from_secs(24 * 3600),
            target_free_percent: 20.0,
            respect_hot_ready: true,
            respect_protected: true,
        }
    }
}

/// What clean-up deletes at `now`, the one unused longest first.
///
/// Files that are in use or that somebody else looks after stay whatever their age.
pub fn candidates<'a>(stored: &'a [Stored], policy: &Policy, now: SystemTime) -> Vec<&'a Stored> {
    let goes = |one: &&Stored| {
        // A clock that was set back makes nothing old.
        let unused_for = now.duration_since(one.unused_since()).unwrap_or_default();
        one.ours
            && one.state == RuntimeState::Unloaded
            && !(one.hot_ready && policy.respect_hot_ready)
            && !(one.protected && policy.respect_protected)
            && unused_for >= policy.max_age
    };
    let mut found: Vec<&Stored> = stored.iter().filter(goes).collect();
    found.sort_by_key(|one| one.unused_since());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::tests::{now, stored};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[track_caller]
    fn check(change: impl FnOnce(&mut Stored, &mut Policy), expected: bool) {
        let (mut one, mut policy) = (stored("m", "Q4_0"), Policy::default());
        one.last_used = Some(now() - 31 * DAY);
        change(&mut one, &mut policy);
        assert_eq!(candidates(&[one.clone()], &policy, now()).len(), usize::from(expected), "{one:?} {policy:?}");
    }

    #[test]
    fn what_is_old_and_unused_goes() {
        check(|_, _| {}, true);
        check(|one, _| one.last_used = Some(now() - 29 * DAY), false);
        check(|one, _| (one.last_used, one.arrived) = (None, now() - 31 * DAY), true);
        check(|one, _| (one.last_used, one.arrived) = (None, now() - 29 * DAY), false);
        check(|one, _| one.arrived = now() - DAY, false);
        check(|one, _| one.changed = now() - DAY, false);
        check(|one, policy| (one.last_used, policy.max_age) = (Some(now()), Duration::ZERO), true);
        check(|one, policy| (one.last_used, policy.max_age) = (Some(now() + DAY), DAY), false);
    }

    #[test]
    fn what_is_guarded_or_in_use_or_not_ours_stays() {
        check(|one, _| one.hot_ready = true, false);
        check(|one, _| one.protected = true, false);
        check(|one, policy| (one.hot_ready, policy.respect_hot_ready) = (true, false), true);
        check(|one, policy| (one.protected, policy.respect_hot_ready) = (true, false), false);
        check(|one, policy| (one.protected, policy.respect_protected) = (true, false), true);
        check(|one, _| one.ours = false, false);
        for state in [RuntimeState::Loaded, RuntimeState::Ready, RuntimeState::Downloading, RuntimeState::Unloading] {
            check(|one, _| one.state = state, false);
        }
    }

    #[test]
    fn the_one_unused_longest_goes_first() {
        let (mut one, mut two) = (stored("one", ""), stored("two", ""));
        (one.last_used, two.last_used) = (Some(now() - 40 * DAY), Some(now() - 50 * DAY));
        let all = [one, two];
        let names: Vec<_> = candidates(&all, &Policy::default(), now()).iter().map(|one| one.key.to_string()).collect();
        assert_eq!(names, ["two", "one"]);
    }
}
