//! `/health`, `/v1/health`, `/readyz`, `/api/version`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /health`: the superset of four contracts. It tells that the program lives; a sick engine never fails it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// Our version.
    pub version: String,
    /// This machine.
    pub node: NodeName,
    /// Always `healthy`: the router answers.
    pub router: String,
}

/// This machine, as a fleet of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeName {
    /// Its host name.
    pub name: String,
    /// Its operating system, such as `linux`.
    pub os: String,
}

/// `GET /readyz`: 200 when `waiting_for` is empty, 503 otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether requests can be served.
    pub ready: bool,
    /// What is still missing, by name.
    pub waiting_for: Vec<String>,
}

/// `GET /api/version`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// `major.minor.patch`.
    pub version: String,
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}
