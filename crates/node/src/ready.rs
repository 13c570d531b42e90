//! Weights that stay in RAM for models that are not loaded, so that the next load finds them there.
//!
//! Owns which weights are kept, within the budget; `placement` decides, `pagecache` does, each in a thread that may block.
//! Weights come in when somebody wants them ready and they are not loaded, and when such an instance leaves: then before its
//! engine ends, so that no page leaves RAM in between. They go when the model is loaded again, for others' weights, for a
//! load, when their file changes, and when nobody wants them any more. What had to go for others comes back when an instance
//! or other weights have gone and there is room.
//!
//! ```text
//!  asked ─▶ Locking ─▶ Kept ─▶ Leaving ─▶ gone
//!    │         └──────── given up ──▲
//!    └ no room: not kept
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use pagecache::{Kept, Progress};
use placement::{Keep, Weights};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use types::{ByteCount, DeviceName, MemoryUse, ModelId, ModelKey};

use crate::demand::Pending;
use crate::library::{Library, Model};
use crate::running::{Going, Running};
use crate::view::{ReadyState, ReadyView};

/// What the threads tell that bring weights into RAM, or let go of them.
#[derive(Debug)]
pub(crate) enum Event {
    /// It has ended, well or not.
    Locked { number: u64, outcome: Result<Kept, pagecache::Error> },
    /// The memory is free again.
    Gone { number: u64 },
}

/// What becomes of an instance's weights when it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// They are kept if that is wanted of the model.
    #[default]
    AsWanted,
    /// They are kept: it is pinned and was unloaded by hand.
    Kept,
    /// They are forgotten.
    Forgotten,
    /// That was seen to.
    Settled,
}

/// All weights in RAM; see the module's text.
pub(crate) struct Ready {
    budget: ByteCount,
    /// Variants that are to be ready whenever they are not loaded.
    wanted: BTreeSet<ModelKey>,
    /// What is to be decided next.
    asked: BTreeMap<ModelKey, Asked>,
    /// Wanted, and not kept for want of room: they come back when there is some.
    left_out: BTreeMap<ModelKey, Asked>,
    entries: Vec<Entry>,
    /// Tells one try from an earlier one.
    numbers: u64,
    events: mpsc::Sender<Event>,
    tracker: TaskTracker,
}

/// What a decision depends on beside the weights themselves.
pub(crate) struct Around<'a> {
    pub(crate) library: &'a Library,
    pub(crate) instances: &'a [Running],
    /// Loads that wait.
    pub(crate) loads: &'a VecDeque<Pending>,
    /// What models and weights may use of RAM together.
    pub(crate) ram: ByteCount,
    pub(crate) pinned: &'a BTreeSet<ModelId>,
    /// Variants whose files are about to be deleted.
    pub(crate) discarded: &'a BTreeSet<ModelKey>,
}

#[derive(Clone, Copy)]
struct Asked {
    by_hand: bool,
    last_used: Instant,
    /// There was no room before.
    again: bool,
}

struct Entry {
    number: u64,
    model: Arc<Model>,
    /// It was unloaded by hand while it was pinned.
    by_hand: bool,
    last_used: Instant,
    stage: Stage,
}

enum Stage {
    Locking(Arc<Progress>),
    Kept(Kept),
    Leaving { locked: ByteCount },
}

impl Ready {
    pub(crate) fn new(budget: ByteCount, events: mpsc::Sender<Event>, tracker: TaskTracker) -> Self {
        Self {
            budget,
            wanted: BTreeSet::new(),
            asked: BTreeMap::new(),
            left_out: BTreeMap::new(),
            entries: Vec::new(),
            numbers: 0,
            events,
            tracker,
        }
    }

    // ---- wishes ----

    /// Replaces what is wanted ready.
    pub(crate) fn want(&mut self, models: BTreeSet<ModelKey>) {
        let before = std::mem::replace(&mut self.wanted, models);
        let unwanted: Vec<ModelKey> = self
            .entries
            .iter()
            .filter(|entry| !entry.by_hand && !self.wanted.contains(&entry.model.key))
            .map(|entry| entry.model.key.clone())
            .collect();
        unwanted.iter().for_each(|key| self.release(key));
        let is_wanted = |key: &ModelKey, asked: &mut Asked| asked.by_hand || self.wanted.contains(key);
        self.asked.retain(is_wanted);
        self.left_out.retain(is_wanted);
        let now = Instant::now();
        for key in self.wanted.difference(&before) {
            self.asked.entry(key.clone()).or_insert(Asked { by_hand: false, last_used: now, again: false });
        }
    }

    /// The models have changed: weights of files that are others now go, and those that have come are looked at.
    pub(crate) fn library_changed(&mut self, before: &Library, library: &Library) {
        let same = |one: &Model, other: &Model| one.files_state() == other.files_state();
        let changed: Vec<(ModelKey, Asked)> = self
            .entries
            .iter()
            .filter(|entry| !matches!(entry.stage, Stage::Leaving { .. }))
            .filter(|entry| !library.get(&entry.model.key).is_some_and(|now| same(&now, &entry.model)))
            .map(|entry| (entry.model.key.clone(), entry.asked()))
            .collect();
        for (key, asked) in changed {
            tracing::info!(model = %key, "its files have changed: its weights leave RAM");
            self.release(&key);
            self.asked.insert(key, asked);
        }
        let is_there = |library: &Library, key: &ModelKey| library.get(key).is_some_and(|model| model.present);
        let now = Instant::now();
        for key in self.wanted.iter().filter(|key| is_there(library, key) && !is_there(before, key)) {
            self.asked.entry(key.clone()).or_insert(Asked { by_hand: false, last_used: now, again: false });
        }
    }

    /// It was unloaded by hand without being loaded. Whether its weights stay.
    pub(crate) fn unload(&mut self, key: &ModelKey, pinned: bool) -> bool {
        if self.has(key) && (pinned || self.wanted.contains(key)) {
            return true;
        }
        self.release(key);
        false
    }

    /// Gives up the weights of a model, if there are any, or if there were to be.
    pub(crate) fn release(&mut self, key: &ModelKey) {
        self.asked.remove(key);
        self.left_out.remove(key);
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.model.key == *key) else { return };
        let locked = entry.locked();
        match std::mem::replace(&mut entry.stage, Stage::Leaving { locked }) {
            // Its thread sees it and ends.
            Stage::Locking(progress) => progress.cancel(),
            Stage::Kept(kept) => {
                tracing::info!(model = %key, bytes = %kept.bytes(), "weights leave RAM");
                let number = entry.number;
                self.forget(number, kept);
            }
            Stage::Leaving { .. } => {}
        }
    }

    /// The same for others' sake. They come back when there is room again.
    pub(crate) fn make_room(&mut self, key: &ModelKey) {
        let entry = self.entries.iter().find(|entry| entry.model.key == *key);
        let asked = entry.map(Entry::asked);
        self.release(key);
        self.left_out.extend(asked.map(|asked| (key.clone(), asked)));
    }

    // ---- what happens ----

    pub(crate) fn told(&mut self, event: Event) {
        let number = match &event {
            Event::Locked { number, .. } | Event::Gone { number } => *number,
        };
        let Some(index) = self.entries.iter().position(|entry| entry.number == number) else { return };
        let entry = &mut self.entries[index];
        let key = &entry.model.key;
        match (event, &entry.stage) {
            (Event::Locked { outcome: Ok(kept), .. }, Stage::Locking(_)) => {
                match kept.note() {
                    None => tracing::info!(model = %key, locked = %kept.locked(), "weights stay in RAM"),
                    Some(note) => tracing::warn!(model = %key, bytes = %kept.bytes(), "weights are in RAM, {note}"),
                }
                entry.stage = Stage::Kept(kept);
            }
            // It was given up too late to be stopped.
            (Event::Locked { outcome: Ok(kept), .. }, _) => self.forget(number, kept),
            (Event::Locked { outcome: Err(error), .. }, stage) => {
                if matches!(stage, Stage::Locking(_)) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(model = %key, %error, cause, "weights are not kept in RAM");
                }
                self.entries.remove(index);
            }
            (Event::Gone { .. }, _) => {
                self.entries.remove(index);
                self.try_again();
            }
        }
    }

    /// An instance leaves, or has gone: what becomes of its weights.
    pub(crate) fn leaves(&mut self, instance: &mut Running) {
        let key = &instance.model.key;
        let by_hand = instance.afterwards == Afterwards::Kept;
        let wanted = instance.afterwards == Afterwards::AsWanted && self.wanted.contains(key);
        if by_hand || wanted {
            let asked = Asked { by_hand, last_used: instance.last_used(), again: false };
            self.asked.insert(key.clone(), asked);
        }
        instance.afterwards = Afterwards::Settled;
    }

    /// There may be room again for what was left out.
    pub(crate) fn try_again(&mut self) {
        for (key, asked) in std::mem::take(&mut self.left_out) {
            self.asked.entry(key).or_insert(Asked { again: true, ..asked });
        }
    }

    /// Decides about all that was asked for.
    pub(crate) fn settle(&mut self, around: &Around<'_>) {
        let mut asked: Vec<(ModelKey, Asked)> = std::mem::take(&mut self.asked).into_iter().collect();
        let is_pinned = |key: &ModelKey| around.library.get(key).is_some_and(|model| model.is_pinned(around.pinned));
        // Whoever could displace another comes before it: else they would take turns for ever.
        asked.sort_by_cached_key(|(key, asked)| std::cmp::Reverse((is_pinned(key), asked.last_used)));
        for (key, asked) in asked {
            self.decide(around, key, asked);
        }
    }

    fn decide(&mut self, around: &Around<'_>, key: ModelKey, asked: Asked) {
        let there = |model: &Arc<Model>| model.present && !model.files.is_empty();
        let Some(model) = around.library.get(&key).filter(there) else { return };
        if around.discarded.contains(&key) {
            // Should its files stay after all, there will be another try.
            self.left_out.insert(key, asked);
            return;
        }
        let is_pinned = |model: &Model| model.is_pinned(around.pinned);
        let by_hand = asked.by_hand && (!asked.again || is_pinned(&model));
        if !by_hand && !self.wanted.contains(&key) {
            return;
        }
        match self.entries.iter_mut().find(|entry| entry.model.key == key) {
            Some(Entry { stage: Stage::Leaving { .. }, .. }) => {
                // Once those are gone.
                self.asked.insert(key, asked);
                return;
            }
            Some(entry) => {
                entry.by_hand |= asked.by_hand;
                return;
            }
            None => {}
        }
        if around.instances.iter().any(|one| one.model.key == key && one.going != Going::Leaves) {
            return;
        }
        let now = Instant::now();
        let wanted = Weights {
            model: key.clone(),
            bytes: model.weights(),
            unused_for: now.saturating_duration_since(asked.last_used),
            pinned: is_pinned(&model),
            leaving: false,
        };
        let kept: Vec<Weights> = self
            .entries
            .iter()
            .map(|entry| Weights { bytes: entry.model.weights(), ..entry.weights(now, is_pinned(&entry.model)) })
            .collect();
        let budget = self.budget.min(self.beside_instances(around, &wanted));
        match placement::keep(budget, &kept, &wanted) {
            Keep::Begin => self.begin(model, asked),
            Keep::After { release } => {
                release.iter().for_each(|key| self.make_room(key));
                self.asked.insert(key, asked);
            }
            Keep::NoRoom { room } => {
                if !asked.again {
                    tracing::warn!(
                        model = %key, needs = %wanted.bytes, %room, budget = %self.budget,
                        "weights are not kept in RAM: no room for them"
                    );
                }
                self.left_out.insert(key, asked);
            }
        }
    }

    /// What instances and loads leave of RAM to weights. Weights that an instance has mapped are the same pages.
    fn beside_instances(&self, around: &Around<'_>, wanted: &Weights) -> ByteCount {
        let cpu = DeviceName::cpu();
        let alone = |key: &ModelKey, holds: &MemoryUse| {
            let kept = self.entries.iter().find(|entry| entry.model.key == *key).map(|entry| entry.model.weights());
            let weights = if wanted.model == *key { Some(wanted.bytes) } else { kept };
            holds.on(&cpu).saturating_sub(shared(holds, weights.unwrap_or_default()))
        };
        // What leaves for a load makes room for it: the larger of the two counts, not both.
        let leaves = |one: &&Running| one.going == Going::Leaves;
        let held = |one: &Running| alone(&one.model.key, &one.holds());
        let staying: ByteCount = around.instances.iter().filter(|one| !leaves(one)).map(held).sum();
        let leaving: ByteCount = around.instances.iter().filter(leaves).map(held).sum();
        let loads: ByteCount = around.loads.iter().map(|one| alone(one.key(), &one.need)).sum();
        around.ram.saturating_sub(staying + leaving.max(loads))
    }

    fn begin(&mut self, model: Arc<Model>, asked: Asked) {
        self.numbers += 1;
        let (number, events) = (self.numbers, self.events.clone());
        let progress = Arc::new(Progress::default());
        tracing::info!(model = %model.key, bytes = %model.weights(), "bringing weights into RAM");
        let (files, told) = (model.files.clone(), Arc::clone(&progress));
        self.tracker.spawn(async move {
            let work = tokio::task::spawn_blocking(move || Kept::keep(&files, &told));
            let outcome = work.await.unwrap_or(Err(pagecache::Error::Unwanted));
            let _stopped = events.send(Event::Locked { number, outcome }).await;
        });
        let Asked { by_hand, last_used, .. } = asked;
        self.entries.push(Entry { number, model, by_hand, last_used, stage: Stage::Locking(progress) });
    }

    /// Lets go of pages in a thread that may block: for many of them it takes a while.
    fn forget(&self, number: u64, kept: Kept) {
        let events = self.events.clone();
        self.tracker.spawn(async move {
            let _done = tokio::task::spawn_blocking(move || drop(kept)).await;
            let _stopped = events.send(Event::Gone { number }).await;
        });
    }

    /// Lets go of everything.
    pub(crate) fn end(&mut self) {
        let all: Vec<ModelKey> = self.entries.iter().map(|entry| entry.model.key.clone()).collect();
        all.iter().for_each(|key| self.release(key));
        self.wanted.clear();
        self.asked.clear();
    }

    // ---- what others see ----

    /// Whether a model's weights are in RAM to stay, on their way there, or about to be.
    pub(crate) fn has(&self, key: &ModelKey) -> bool {
        let stays = |entry: &Entry| entry.model.key == *key && !matches!(entry.stage, Stage::Leaving { .. });
        self.asked.contains_key(key) || self.entries.iter().any(stays)
    }

    /// Whether nothing of a model's weights is left in RAM.
    pub(crate) fn is_gone(&self, key: &ModelKey) -> bool {
        !self.entries.iter().any(|entry| entry.model.key == *key)
    }

    /// The models whose weights are in RAM.
    pub(crate) fn keys(&self) -> Vec<ModelKey> {
        let there = |entry: &&Entry| matches!(entry.stage, Stage::Kept(_));
        self.entries.iter().filter(there).map(|entry| entry.model.key.clone()).collect()
    }

    /// What is locked by now beside what instances have taken of RAM already.
    pub(crate) fn has_taken(&self, instances: &[Running]) -> ByteCount {
        let beside = |entry: &Entry| {
            let own = instances.iter().find(|one| one.model.key == entry.model.key);
            let taken = own.map(Running::weights_taken).unwrap_or_default();
            entry.locked().saturating_sub(taken)
        };
        self.entries.iter().map(beside).sum()
    }

    /// As `placement` sees them: what they hold beside the instances, and beside a load of `loading` that needs `need`.
    pub(crate) fn weights(
        &self,
        instances: &[Running],
        loading: Option<(&ModelKey, &MemoryUse)>,
        is_pinned: impl Fn(&Model) -> bool,
    ) -> Vec<Weights> {
        let now = Instant::now();
        let one = |entry: &Entry| {
            let key = &entry.model.key;
            let own = instances.iter().find(|one| one.model.key == *key).map(Running::holds);
            let own = own.or_else(|| loading.filter(|(model, _)| *model == key).map(|(_, need)| need.clone()));
            let weights = entry.weights(now, is_pinned(&entry.model));
            let shared = own.map(|own| shared(&own, weights.bytes)).unwrap_or_default();
            Weights { bytes: weights.bytes.saturating_sub(shared), ..weights }
        };
        self.entries.iter().map(one).collect()
    }

    /// As people are shown them.
    pub(crate) fn view(&self, pinned: &BTreeSet<ModelId>) -> Vec<ReadyView> {
        let now = Instant::now();
        let one = |entry: &Entry| ReadyView {
            model: entry.model.key.clone(),
            state: match &entry.stage {
                Stage::Locking(_) => ReadyState::Locking,
                Stage::Kept(_) => ReadyState::Ready,
                Stage::Leaving { .. } => ReadyState::Leaving,
            },
            bytes: entry.model.weights(),
            locked: entry.locked(),
            note: match &entry.stage {
                Stage::Kept(kept) => kept.note().map(str::to_owned),
                _ => None,
            },
            pinned: entry.model.is_pinned(pinned),
            unused_for: now.saturating_duration_since(entry.last_used),
        };
        self.entries.iter().map(one).collect()
    }
}

impl Entry {
    fn asked(&self) -> Asked {
        Asked { by_hand: self.by_hand, last_used: self.last_used, again: false }
    }

    fn locked(&self) -> ByteCount {
        match &self.stage {
            Stage::Locking(progress) => progress.locked(),
            Stage::Kept(kept) => kept.locked(),
            Stage::Leaving { locked } => *locked,
        }
    }

    /// With what it holds of RAM: while it is on its way there all that it will. What is not locked is not held.
    fn weights(&self, now: Instant, pinned: bool) -> Weights {
        let is_locking = matches!(self.stage, Stage::Locking(_));
        Weights {
            model: self.model.key.clone(),
            bytes: if is_locking { self.model.weights() } else { self.locked() },
            unused_for: now.saturating_duration_since(self.last_used),
            pinned,
            leaving: matches!(self.stage, Stage::Leaving { .. }),
        }
    }
}

/// What of `weights` an instance that holds so much of RAM has mapped too.
fn shared(holds: &MemoryUse, weights: ByteCount) -> ByteCount {
    let mapped = holds.0.get(&DeviceName::cpu()).map(|memory| memory.model).unwrap_or_default();
    mapped.min(weights)
}
