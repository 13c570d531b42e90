//! Which job runs: pure decisions over the lives of all jobs.
//!
//! A job *has a place* while a task works for it; places are few. A job that is told to pause keeps its place until its
//! task has ended, so that no second task ever works for it.

use super::job::JobId;

/// All jobs, in the order in which they were begun.
#[derive(Debug)]
pub(super) struct Schedule {
    places: usize,
    slots: Vec<Slot>,
    /// Turns are given out in order: who waits longest is next.
    turns: u64,
}

#[derive(Debug)]
struct Slot {
    id: JobId,
    life: Life,
    has_place: bool,
}

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Queued {
        turn: u64,
    },
    Running,
    Verifying,
    Paused,
    Failed,
    /// It was cancelled; its task has not ended yet.
    Leaving,
}

/// What became of a job when its task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is done, and is no job any more.
    Done,
    Failed,
    /// It waits: for its turn, or until it is resumed.
    Waits,
    /// It was cancelled, and is no job any more.
    Gone,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Failed,
    /// It was told to stop.
    Stopped,
}

impl Schedule {
    pub(super) fn new(places: usize) -> Self {
        Self { places: places.max(1), slots: vec![], turns: 0 }
    }

    pub(super) fn set_places(&mut self, places: usize) {
        self.places = places.max(1);
    }

    pub(super) fn life(&self, id: &JobId) -> Option<Life> {
        self.slot(id).map(|at| self.slots[at].life)
    }

    /// All jobs, in the order in which they were begun.
    pub(super) fn jobs(&self) -> impl Iterator<Item = (&JobId, Life)> {
        self.slots.iter().map(|slot| (&slot.id, slot.life))
    }

    /// Those that will still write, in that order.
    pub(super) fn reserving(&self) -> impl Iterator<Item = &JobId> {
        self.jobs().filter(|(_, life)| !matches!(life, Life::Failed | Life::Leaving)).map(|(id, _)| id)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes a job, one that failed anew; `false` if there is one of this id already.
    pub(super) fn begin(&mut self, id: &JobId, is_paused: bool) -> bool {
        match self.slot(id) {
            Some(at) if self.slots[at].life == Life::Failed => {
                self.slots.remove(at);
            }
            Some(_) => return false,
            None => {}
        }
        let life = if is_paused { Life::Paused } else { self.queued() };
        self.slots.push(Slot { id: id.clone(), life, has_place: false });
        true
    }

    /// Pauses a job; `None` if there is none to pause, else whether its task must be told to stop.
    pub(super) fn pause(&mut self, id: &JobId) -> Option<bool> {
        let slot = self.alive(id)?;
        let must_stop = slot.has_place && slot.life != Life::Paused;
        slot.life = Life::Paused;
        Some(must_stop)
    }

    /// Lets a paused job wait for its turn; `None` if there is none.
    pub(super) fn resume(&mut self, id: &JobId) -> Option<()> {
        let queued = self.queued();
        let slot = self.alive(id)?;
        if slot.life == Life::Paused {
            slot.life = queued;
        }
        Some(())
    }

    /// Cancels a job; `None` if there is none, else whether its task must end first.
    pub(super) fn cancel(&mut self, id: &JobId) -> Option<bool> {
        let at = self.slot(id)?;
        if self.slots[at].has_place {
            self.slots[at].life = Life::Leaving;
            return Some(true);
        }
        self.slots.remove(at);
        Some(false)
    }

    /// A job's task is checking a file, or done with that.
    pub(super) fn verifies(&mut self, id: &JobId, verifies: bool) {
        if let Some(at) = self.slot(id)
            && matches!(self.slots[at].life, Life::Running | Life::Verifying)
        {
            self.slots[at].life = if verifies { Life::Verifying } else { Life::Running };
        }
    }

    /// A job's task has ended.
    pub(super) fn ended(&mut self, id: &JobId, end: End) -> After {
        let Some(at) = self.slot(id) else { return After::Gone };
        self.slots[at].has_place = false;
        match (self.slots[at].life, end) {
            (Life::Leaving, _) => {
                self.slots.remove(at);
                After::Gone
            }
            // It was done before it could be stopped.
            (_, End::Done) => {
                self.slots.remove(at);
                After::Done
            }
            (Life::Paused | Life::Queued { .. }, End::Stopped) => After::Waits,
            (_, End::Failed | End::Stopped) => {
                self.slots[at].life = Life::Failed;
                After::Failed
            }
        }
    }

    /// Gives free places to those whose turn it is; the caller starts a task for each.
    pub(super) fn due(&mut self) -> Vec<JobId> {
        let taken = self.slots.iter().filter(|slot| slot.has_place).count();
        let turn = |slot: &Slot| match slot.life {
            Life::Queued { turn } if !slot.has_place => Some(turn),
            _ => None,
        };
        let mut waiting: Vec<(u64, usize)> =
            self.slots.iter().enumerate().filter_map(|(at, slot)| Some((turn(slot)?, at))).collect();
        waiting.sort_unstable();
        waiting.truncate(self.places.saturating_sub(taken));
        let start = |(_, at): (u64, usize)| {
            let slot = &mut self.slots[at];
            (slot.life, slot.has_place) = (Life::Running, true);
            slot.id.clone()
        };
        waiting.into_iter().map(start).collect()
    }

    fn queued(&mut self) -> Life {
        self.turns += 1;
        Life::Queued { turn: self.turns }
    }

    fn slot(&self, id: &JobId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.id == *id)
    }

    /// A job that has neither failed nor been cancelled.
    fn alive(&mut self, id: &JobId) -> Option<&mut Slot> {
        let at = self.slot(id)?;
        Some(&mut self.slots[at]).filter(|slot| !matches!(slot.life, Life::Failed | Life::Leaving))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> JobId {
        JobId::new(name)
    }

    fn names(ids: Vec<JobId>) -> String {
        ids.iter().map(JobId::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn places_go_by_turns() {
        let mut schedule = Schedule::new(2);
        for name in ["a", "b", "c", "d"] {
            assert!(schedule.begin(&id(name), false));
        }
        assert!(!schedule.begin(&id("a"), false), "there is one already");
        assert_eq!(names(schedule.due()), "a b");
        assert_eq!(names(schedule.due()), "");
        assert_eq!(schedule.pause(&id("a")), Some(true));
        assert_eq!(names(schedule.due()), "", "its task has not ended");
        assert_eq!(schedule.resume(&id("a")), Some(()));
        assert_eq!(schedule.ended(&id("a"), End::Stopped), After::Waits);
        assert_eq!(names(schedule.due()), "c", "it is behind those that wait");
        assert_eq!(schedule.ended(&id("b"), End::Failed), After::Failed);
        assert_eq!((schedule.pause(&id("b")), schedule.resume(&id("b"))), (None, None));
        assert!(schedule.begin(&id("b"), false), "what failed may be begun anew");
        assert_eq!(names(schedule.due()), "d");
        assert_eq!(schedule.cancel(&id("d")), Some(true));
        assert_eq!(schedule.ended(&id("d"), End::Done), After::Gone);
        assert_eq!(names(schedule.due()), "a");
        assert_eq!((schedule.cancel(&id("b")), schedule.cancel(&id("b"))), (Some(false), None));
        assert_eq!(schedule.ended(&id("c"), End::Done), After::Done);
        assert_eq!(schedule.life(&id("c")), None);
    }

    proptest! {
        /// Whatever people do and tasks come to: never more tasks than places, never two for a job, nobody forgotten.
        #[test]
        fn nothing_is_lost_and_nothing_runs_twice(
            places in 1_usize..4,
            events in prop::collection::vec((0_u8..8, 0_u8..5), 0..80),
        ) {
            let mut schedule = Schedule::new(places);
            let mut tasks = BTreeSet::new();
            for (event, name) in events {
                let id = JobId::new(name.to_string());
                let before = schedule.life(&id);
                match event {
                    0 | 1 => {
                        let taken = schedule.begin(&id, event == 1);
                        prop_assert_eq!(taken, matches!(before, None | Some(Life::Failed)));
                    }
                    2 => {
                        let must_stop = schedule.pause(&id);
                        prop_assert!(must_stop != Some(true) || tasks.contains(&id));
                    }
                    3 => {
                        schedule.resume(&id);
                    }
                    4 => {
                        let must_end = schedule.cancel(&id);
                        prop_assert_eq!(must_end.is_some(), before.is_some());
                        prop_assert_eq!(must_end == Some(true), tasks.contains(&id));
                    }
                    5 => schedule.verifies(&id, name % 2 == 0),
                    _ if tasks.remove(&id) => {
                        let end = if event == 6 { End::Done } else { End::Stopped };
                        let after = schedule.ended(&id, end);
                        let is_there = schedule.life(&id).is_some();
                        prop_assert_eq!(is_there, matches!(after, After::Waits | After::Failed));
                    }
                    _ => {}
                }
                for started in schedule.due() {
                    prop_assert!(tasks.insert(started), "a second task for one job");
                }
                prop_assert!(tasks.len() <= places);
                // Nobody waits while there is a place.
                let waits = |slot: &Slot| matches!(slot.life, Life::Queued { .. }) && !slot.has_place;
                prop_assert!(tasks.len() == places || !schedule.slots.iter().any(waits));
                for slot in &schedule.slots {
                    prop_assert_eq!(slot.has_place, tasks.contains(&slot.id));
                    let is_active = matches!(slot.life, Life::Running | Life::Verifying | Life::Leaving);
                    prop_assert!(!is_active || slot.has_place, "{:?}", slot);
                }
            }
        }
    }
}
