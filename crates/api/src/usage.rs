//! What was used, by whom.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/usage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageAnswer {
    /// From when on, RFC 3339.
    pub since: String,
    /// Until before when, RFC 3339.
    pub until: String,
    /// What the rows are told apart by.
    pub group_by: Vec<UsageDimension>,
    /// The groups: by time, then those with the most tokens first.
    pub rows: Vec<UsageRow>,
    /// All of them together.
    pub total: UsageTotals,
}

/// What usage can be told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UsageDimension {
    /// The API key.
    Key,
    /// The model.
    Model,
    /// Whose key it was.
    Owner,
    /// The endpoint.
    Endpoint,
    /// The minute; of what is older than three days, the hour.
    Minute,
    /// The hour.
    Hour,
    /// The day, in UTC.
    Day,
}

/// One group. What it was not asked to be told apart by is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// When its minute, hour or day began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The key's number; 0 for requests without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<i64>,
    /// What a person called the key; empty without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_label: Option<String>,
    /// Whose key it was; empty if nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The model's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How much.
    #[serde(flatten)]
    pub totals: UsageTotals,
}

/// What adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageTotals {
    /// Requests that were answered, well or not.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Both together.
    pub total_tokens: u64,
    /// Of the prompts' tokens those that came from a cache.
    pub cached_tokens: u64,
    /// How long all requests took together, milliseconds.
    pub duration_ms: u64,
}
