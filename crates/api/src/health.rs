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

/// One row of `GET /v1/backends/health`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackendHealth {
    /// How it is.
    pub status: BackendStatus,
    /// Where its engine listens, or is to listen; absent where that is decided when it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What requests call it.
    pub model_id: String,
    /// `llamacpp` or `mlx`; absent where it is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What it answered, where that was not 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Why it is not well, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendStatus {
    /// It answered that it is well.
    Healthy,
    /// It does not run, or nobody listens on its port.
    Unreachable,
    /// It did not answer in time.
    Timeout,
    /// It answered something else than 200; while it loads, for one.
    Unhealthy,
    /// It cannot be started, or what it answered is no answer.
    Error,
    /// It is not to run.
    Disabled,
}
