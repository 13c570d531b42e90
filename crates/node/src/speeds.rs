//! How fast each model generated the last time: written at the end of answers, read when somebody looks.
//!
//! Not the owner's: it would be woken at the end of every request for a figure that nobody may ever ask for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use types::ModelKey;

/// Generation speeds in tokens per second; one entry per model that ever ran here.
#[derive(Debug, Default)]
pub(crate) struct Speeds(Mutex<HashMap<ModelKey, f64>>);

impl Speeds {
    pub(crate) fn set(&self, model: ModelKey, tokens_per_second: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(model, tokens_per_second);
    }

    pub(crate) fn get(&self, model: &ModelKey) -> Option<f64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }
}
