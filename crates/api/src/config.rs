//! Model configs: `/api/models/config…`. A config itself is a JSON object that `catalog` checks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer to `POST /api/models/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigsAdded {
    /// The models that were added, in the order in which they were given.
    pub added: Vec<String>,
}

/// The answer to `PUT /api/models/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigsPut {
    /// Models that were there and got what was given.
    pub updated: Vec<String>,
    /// Models that are new.
    pub added: Vec<String>,
}
