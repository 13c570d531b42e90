//! Which variant a name means that leaves it open: how each fits is gathered here, the rule is in [`crate::choice`].

use std::sync::Arc;
use std::time::Instant;

use placement::{Decision, Occupancy};
use types::{InstanceId, LoadFailure, ModelId};

use super::Owner;
use crate::choice::{self, Candidate, Choice, Fit};
use crate::library::Model;
use crate::running::Going;
use crate::sizing;

impl Owner {
    /// Where `name` leaves the variant open and none runs or is waited for, the one that fits best, and why. True if what
    /// there is to choose by is not known yet.
    pub(super) fn choose_where_open(
        &mut self,
        name: &str,
        model: Arc<Model>,
        context: Option<u64>,
        by_hand: bool,
    ) -> (Arc<Model>, Option<Choice>, bool) {
        let id = &model.key.id;
        let runs = self.instances.iter().any(|one| one.model.key.id == *id && one.going != Going::Leaves);
        let waits = self.pending.iter().any(|pending| pending.key().id == *id && !pending.open);
        if id.as_str() != name || runs || waits || self.library.variants_of(id).len() < 2 {
            return (model, None, false);
        }
        if self.devices.is_none() {
            return (model, None, true);
        }
        self.look_at_the_machine();
        match self.choose(&model.key.id, context, by_hand) {
            Some((model, choice)) => (model, Some(choice), false),
            None => (model, None, false),
        }
    }

    fn choose(&self, id: &ModelId, context: Option<u64>, by_hand: bool) -> Option<(Arc<Model>, Choice)> {
        let models: Vec<&Arc<Model>> =
            self.library.models().filter(|model| model.key.id == *id && model.provider.is_local()).collect();
        let candidate = |model: &&Arc<Model>| Candidate {
            variant: model.key.variant.clone(),
            size: model.size,
            fit: self.fit_of(model, context, by_hand),
            ready: self.ready.has(&model.key),
        };
        let candidates: Vec<Candidate> = models.iter().map(candidate).collect();
        let said = self
            .config
            .default_variant
            .as_ref()
            .filter(|default| candidates.iter().any(|one| choice::same(&one.variant, default)));
        let meant = self.library.find(id.as_str()).map(|model| model.key.variant.clone());
        let none_is_here = candidates.iter().all(|one| one.fit == Fit::Absent);
        let default = said.or(meant.as_ref().filter(|_| none_is_here));
        let (variant, choice) = choice::choose(&candidates, default)?;
        let model = models.into_iter().find(|model| model.key.variant == variant)?;
        Some((Arc::clone(model), choice))
    }

    fn fit_of(&self, model: &Model, context: Option<u64>, by_hand: bool) -> Fit {
        if !model.present || self.is_discarded(&model.key) {
            return Fit::Absent;
        }
        // A variant that rests is in nobody's way who would do with another.
        let rests = |(_, until): &&(LoadFailure, Instant)| !by_hand && *until > Instant::now();
        if let Some((failure, _)) = self.resting.get(&model.key).filter(rests) {
            return Fit::Never(format!("it rests since it failed ({}): {}", failure.class, failure.message));
        }
        let sized = sizing::size(model, context, &self.capacity, self.config.context_max, &self.measurements);
        let sizing::Sized { need: needs, whole, .. } = match sized {
            Ok(sized) => sized,
            Err(misfit) => return Fit::Never(misfit.message),
        };
        let leaves =
            |id: &InstanceId| self.instances.iter().any(|one| one.id == *id && one.occupancy() == Occupancy::Leaving);
        match placement::admit(&self.snapshot(&model.key, &needs), &needs) {
            Decision::Start { .. } => Fit::Now { needs, whole },
            Decision::Wait { drain, blockers } if drain.is_empty() && blockers.iter().all(leaves) => {
                Fit::Now { needs, whole }
            }
            Decision::Wait { .. } => Fit::Later(needs),
            Decision::Barred { .. } => Fit::Barred(needs),
            Decision::Refuse { short } => Fit::Never(sizing::shortage_text(&short)),
        }
    }

    /// Chooses for those who came before there was anything to choose by.
    pub(super) fn choose_what_was_left_open(&mut self) {
        for index in 0..self.pending.len() {
            if !self.pending[index].open {
                continue;
            }
            let (id, context) = (self.pending[index].key().id.clone(), self.pending[index].context_requested);
            let chosen = self.choose(&id, context, true);
            let pending = &mut self.pending[index];
            pending.open = false;
            if let Some((model, choice)) = chosen {
                tracing::info!(model = %model.key, reason = choice.reason, "chose a variant");
                (pending.model, pending.choice) = (model, Some(choice));
            }
        }
    }
}
