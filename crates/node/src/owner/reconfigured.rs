//! What becomes of what runs when the configuration changes under it: nothing in flight is cut.

use std::time::Duration;

use super::Owner;
use crate::library::Library;
use crate::node::Config;
use crate::running::Going;
use crate::sizing;

impl Owner {
    /// Takes what may change of a configuration; loads that wait take the new entries of their models. `before` is the
    /// library until now. A model that is loaded keeps what it was started with until it is loaded again.
    pub(super) fn reconfigured(&mut self, config: Config, before: &Library) {
        let prompt_cache_max = self.config.policy.prompt_cache_max;
        self.config.instances_max = config.instances_max;
        self.config.idle_unload = config.idle_unload;
        self.config.policy = engine::Policy { prompt_cache_max, ..config.policy };
        self.config.waiting_max = config.waiting_max;
        self.config.room_wait_max = config.room_wait_max;
        self.config.in_flight_max = config.in_flight_max;
        self.config.default_variant = config.default_variant;
        self.waits.send_replace(self.config.waits());
        for instance in &mut self.instances {
            match self.library.get(&instance.model.key) {
                Some(model) => {
                    instance.pinned = model.is_pinned(&self.pinned);
                    instance.is_unnamed = false;
                }
                None => instance.is_unnamed |= before.get(&instance.model.key).is_some(),
            }
        }
        let mut gone = Vec::new();
        for pending in &mut self.pending {
            match self.library.get(pending.key()) {
                Some(model) if model != pending.model => {
                    pending.spec = sizing::spec_of(&model);
                    pending.model = model;
                }
                Some(_) => {}
                None => gone.push(pending.key().clone()),
            }
        }
        gone.iter().for_each(|key| self.refuse_waiting(key));
    }

    /// Ends instances whose models the configuration took away, those that nobody uses. The others get no new requests,
    /// for nothing has their names any more, and are looked at again when a request ends.
    pub(super) fn end_unnamed(&mut self) {
        for instance in self.instances.iter_mut().filter(|one| one.is_unnamed && one.going == Going::Stays) {
            let is_idle = match &instance.target {
                Some(target) => target.close(),
                None => instance.waiters.is_empty(),
            };
            if is_idle {
                tracing::info!(model = %instance.model.key, "unloading: the configuration does not name it any more");
                instance.leave(Duration::ZERO);
            }
        }
    }
}
