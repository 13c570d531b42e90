//! What people and programs ask of the owner beside loads: unload, pin, discard; and loads of models that others run.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use route::Unavailable;
use tokio::sync::oneshot;
use types::{FailureClass, LoadFailure, ModelId, ModelKey};

use super::{Owner, was_unloaded};
use crate::demand::{Pending, Waiter};
use crate::handle::{KeepFor, Loaded, NotPinned, NotUnloaded, Unloaded};
use crate::library::{FilesState, Model};
use crate::ready::Afterwards;
use crate::running::{Going, Running};

/// An instance that is unloaded by hand lets requests in flight go on for this long.
const UNLOAD_DRAIN: Duration = Duration::from_secs(300);
/// A variant whose files are about to be deleted is not loaded for this long once nothing is left of it, unless somebody
/// has found since that they are gone or others.
const REST_AFTER_DISCARD: Duration = Duration::from_secs(5);

/// The rest of a variant that was discarded.
pub(super) struct Rest {
    until: Instant,
    /// The files that are about to be deleted.
    files: Option<FilesState>,
}

impl Owner {
    pub(super) fn unload(&mut self, name: &str, reply: oneshot::Sender<Result<Unloaded, NotUnloaded>>) {
        // A model whose file is gone may run on; it is known by its own name then.
        let runs = |one: &&Running| one.model.key.id.as_str() == name || one.model.key.to_string() == name;
        let gone = || self.instances.iter().find(runs).map(|one| Arc::clone(&one.model));
        let Some(model) = self.resolve(name).or_else(gone) else {
            let _left = reply.send(Err(NotUnloaded::NotFound { name: name.to_owned() }));
            return;
        };
        self.refuse_waiting(&model.key);
        match self.instances.iter_mut().find(|one| one.model.key == model.key) {
            Some(instance) => {
                instance.mourners.push((model.key.clone(), reply));
                if instance.going != Going::Leaves {
                    if instance.pinned {
                        instance.afterwards = Afterwards::Kept;
                    }
                    instance.leave(UNLOAD_DRAIN);
                }
            }
            None => {
                self.provided.retain(|key| *key != model.key);
                let kept = self.ready.unload(&model.key, model.is_pinned(&self.pinned));
                let _left = reply.send(Ok(Unloaded { model: model.key.clone(), kept }));
            }
        }
    }

    /// Those who wait for it to be loaded are told as those are for whom it loads already.
    pub(super) fn refuse_waiting(&mut self, key: &ModelKey) {
        let waiting = std::mem::take(&mut self.pending);
        let (unwanted, others) = waiting.into_iter().partition(|pending| pending.key() == key);
        self.pending = others;
        let unwanted: VecDeque<Pending> = unwanted;
        unwanted.into_iter().for_each(|pending| pending.refuse(&was_unloaded(key)));
    }

    /// A model that others run is loaded as soon as somebody says so.
    pub(super) fn provide(&mut self, model: &Model, waiter: Waiter) {
        let context = model.context_window.unwrap_or(0);
        match waiter {
            Waiter::Load(reply) | Waiter::Preload(reply) => {
                if !self.provided.contains(&model.key) {
                    self.provided.push(model.key.clone());
                }
                let loaded = Loaded { model: model.key.clone(), context, load_time: Duration::ZERO, choice: None };
                let _left = reply.send(Ok(loaded));
            }
            Waiter::Request(_) => waiter.refuse(Unavailable::LoadFailed(Box::new(LoadFailure {
                model: model.key.clone(),
                context_requested: None,
                class: FailureClass::BackendError,
                message: format!("it is run by `{}`, not by an engine of this machine", model.provider),
                engine_log: String::new(),
            }))),
        }
    }

    pub(super) fn keep_for(&mut self, name: &str, keep: KeepFor) {
        let Some(model) = self.resolve(name) else { return };
        for instance in self.instances.iter_mut().filter(|one| one.model.key == model.key) {
            instance.keep = keep;
        }
        for pending in self.pending.iter_mut().filter(|one| *one.key() == model.key) {
            pending.keep = keep;
        }
    }

    pub(super) fn pin(&mut self, name: &str, pinned: bool) -> Result<ModelId, NotPinned> {
        let name = || name.to_owned();
        let model = self.resolve(&name()).ok_or_else(|| NotPinned::NotFound { name: name() })?;
        if !pinned && model.settings.pinned {
            return Err(NotPinned::Configured { name: name() });
        }
        let id = &model.key.id;
        let pins = Arc::make_mut(&mut self.pinned);
        if pinned {
            pins.insert(id.clone());
        } else {
            pins.remove(id);
        }
        for instance in &mut self.instances {
            instance.pinned = instance.model.is_pinned(&self.pinned);
        }
        Ok(id.clone())
    }

    pub(super) fn discard(&mut self, key: ModelKey, gone: oneshot::Sender<()>) {
        self.refuse_waiting(&key);
        self.provided.retain(|provided| *provided != key);
        self.ready.release(&key);
        if let Some(instance) = self.instances.iter_mut().find(|one| one.model.key == key) {
            instance.afterwards = Afterwards::Forgotten;
            instance.leave(Duration::ZERO);
        }
        self.discards.push((key, gone));
    }

    /// Discards it if nothing would be lost; whether it did.
    pub(super) fn discard_if_unused(&mut self, key: &ModelKey) -> bool {
        let is_waited_for = |pending: &Pending| {
            // One that is still to be chosen may become any.
            pending.key() == key || pending.open && pending.key().id == key.id
        };
        let is_used = self.instances.iter().any(|one| one.model.key == *key)
            || self.pending.iter().any(is_waited_for)
            || self.provided.contains(key)
            || self.ready.has(key)
            || !self.ready.is_gone(key);
        if !is_used {
            self.ready.release(key);
            self.rest(key.clone());
        }
        !is_used
    }

    /// Nothing is left of it but its files: those may be deleted now.
    pub(super) fn rest(&mut self, key: ModelKey) {
        let now = Instant::now();
        self.discarded.retain(|_, rest| rest.until > now);
        let files = self.library.get(&key).map(|model| model.files_state());
        self.discarded.insert(key, Rest { until: now + REST_AFTER_DISCARD, files });
    }

    /// Somebody looked: what was deleted, or is another file now, need not rest. Others' files may still be there only
    /// because they are deleted right now.
    pub(super) fn lift_rests(&mut self) {
        let (library, before) = (&self.library, self.discarded.len());
        self.discarded.retain(|key, rest| {
            let files = library.get(key).filter(|model| model.present).map(|model| model.files_state());
            files.is_some() && files == rest.files
        });
        if self.discarded.len() < before {
            self.ready.try_again();
        }
    }

    pub(super) fn all_discarded(&self) -> BTreeSet<ModelKey> {
        let keys = self.discards.iter().map(|(key, _)| key).chain(self.discarded.keys());
        keys.filter(|key| self.is_discarded(key)).cloned().collect()
    }

    pub(super) fn is_discarded(&self, key: &ModelKey) -> bool {
        self.discards.iter().any(|(discarded, _)| discarded == key)
            || self.discarded.get(key).is_some_and(|rest| rest.until > Instant::now())
    }
}
