//! The cluster contract's `/api/api-keys`, and ours: more kinds of scope, an owner, limits.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One API key, as lists show it. Its text is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiKey {
    /// Its number.
    pub id: i64,
    /// What a person calls it.
    pub label: String,
    /// The beginning of its text, to tell keys apart by.
    pub prefix: String,
    /// `permanent` or `temporary`.
    pub kind: ApiKeyKind,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it ends, RFC 3339; null for a permanent one.
    pub expires_at: Option<String>,
    /// When it was last let through, RFC 3339; null if never.
    pub last_used_at: Option<String>,
    /// Deployments that it may use; null for all, as far as `models` does not say otherwise.
    pub deployment_ids: Option<Vec<i64>>,
    /// Models that it may use, besides those of its deployments: ids, or `start*` for all that begin so; null for all, as
    /// far as `deployment_ids` does not say otherwise.
    pub models: Option<Vec<String>>,
    /// Endpoints that it may ask; null for all.
    pub endpoints: Option<Vec<String>>,
    /// Whose it is; null if nobody said.
    pub owner: Option<String>,
    /// How much it may have.
    pub limits: ApiKeyLimits,
}

/// For how long a key is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApiKeyKind {
    /// Until it is deleted.
    Permanent,
    /// Until it expires.
    Temporary,
}

/// How much a key may have; null where it is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ApiKeyLimits {
    /// Requests within any 60 seconds.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub requests_per_minute: Option<u64>,
    /// Tokens, of prompts and answers together, within any 60 seconds.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub tokens_per_minute: Option<u64>,
    /// The same within any 24 hours.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub tokens_per_day: Option<u64>,
    /// Requests at once.
    #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
    pub max_in_flight: Option<u64>,
}

/// The answer to `POST /api/api-keys`: the one time that a key's text is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedApiKey {
    /// The key's text. It is kept nowhere.
    pub key: String,
    /// The rest of it, as lists show it.
    #[serde(flatten)]
    pub shown: ApiKey,
}

impl std::fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedApiKey").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// The body of `POST /api/api-keys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKeyRequest {
    /// What to call it.
    #[schema(min_length = 1, max_length = 128)]
    pub label: String,
    /// How long it lasts, seconds; not given for a permanent one. A temporary one needs `deployment_ids` or `models`.
    #[schema(minimum = 1, maximum = 86_400)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// Deployments that it may use; null for all. With only one of this and `models`, that one decides; with both, what is
    /// in either may be used.
    #[schema(max_items = 1000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_ids: Option<Vec<i64>>,
    /// Models that it may use: ids, or `start*` for all that begin so; null for all.
    #[schema(max_items = 1000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// Endpoints that it may ask; null for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<String>>,
    /// Whose it is.
    #[schema(max_length = 128)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How much it may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ApiKeyLimits>,
}

/// The body of `PATCH /api/api-keys/{key_id}`: what is not named stays, null is a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateApiKeyRequest {
    /// What to call it; null leaves it.
    #[schema(min_length = 1, max_length = 128)]
    pub label: Option<String>,
    /// Deployments that it may use; null for all.
    #[schema(max_items = 1000)]
    pub deployment_ids: Option<Vec<i64>>,
    /// Models that it may use; null for all.
    #[schema(max_items = 1000)]
    pub models: Option<Vec<String>>,
    /// Endpoints that it may ask; null for all.
    pub endpoints: Option<Vec<String>>,
    /// Whose it is; null for nobody's.
    #[schema(max_length = 128)]
    pub owner: Option<String>,
    /// How much it may have: what is not named of it stays, too; null for no limits.
    pub limits: Option<ApiKeyLimits>,
}
