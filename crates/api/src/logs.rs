//! `/api/logs`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much a line of the log matters, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What may become a fault.
    Warning,
    /// What failed.
    Error,
    /// What must never happen: a panic.
    Critical,
}

impl LogLevel {
    /// All, the least first.
    pub const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Critical];

    /// Its word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// One line of the log; as an event's data, too, when lines are followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When, as RFC 3339 with milliseconds, UTC.
    #[schema(example = "2025-01-15T14:30:05.123Z")]
    pub timestamp: String,
    /// The same in milliseconds since 1970.
    pub epoch_ms: i64,
    /// How much it matters.
    pub level: LogLevel,
    /// What happened, with its values as `name=value` behind it.
    pub message: String,
    /// The part that says it.
    pub target: String,
}

/// `GET /api/logs`: the oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Logs {
    /// The last lines.
    pub logs: Vec<LogLine>,
}

/// Data of the event `missed`: who follows the log was too slow for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogsMissed {
    /// How many lines of any level were forgotten before they were sent.
    pub missed: u64,
}
