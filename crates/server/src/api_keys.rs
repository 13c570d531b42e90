//! `/api/api-keys…`: who may use the models. Handlers only convert.

use std::time::{Duration, SystemTime};

use api::{ApiKey, ApiKeyKind, ApiKeyLimits, CreateApiKeyRequest, CreatedApiKey, ErrorType, UpdateApiKeyRequest};
use axum::Json;
use axum::extract::{Path, Request, State};
use gateway::ApiError;
use http::StatusCode;
use keys::{Key, Kind, Limits, ModelPattern, Scope};
use serde_json::Value;
use types::{DeploymentId, KeyId};

use crate::fields::{Fields, Given, wrong_in_path};
use crate::keyring::{Error, Keyring, NewKey};

/// Characters of a label, and of an owner's name.
const NAME_MAX: usize = 128;
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;
/// Entries of a scope.
const SCOPE_MAX: usize = 1000;
const LIMIT: std::ops::RangeInclusive<u64> = 1..=1_000_000_000_000;

const LIMITS: [&str; 4] = ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_in_flight"];
const CREATED_OF: [&str; 7] = ["label", "ttl_seconds", "deployment_ids", "models", "endpoints", "owner", "limits"];
const CHANGED: [&str; 6] = ["label", "deployment_ids", "models", "endpoints", "owner", "limits"];

/// All keys that are not over.
#[utoipa::path(
    get, path = "/api/api-keys", tag = "keys",
    responses((status = 200, body = [ApiKey]), (status = 401, body = api::ErrorBody)),
)]
pub(crate) async fn list(State(keyring): State<Keyring>) -> Json<Vec<ApiKey>> {
    Json(keyring.list().iter().map(shown).collect())
}

/// Makes a key. Its text is in this answer and nowhere else. While a permanent key exists, nobody is let through without
/// a key.
#[utoipa::path(
    post, path = "/api/api-keys", tag = "keys", request_body = CreateApiKeyRequest,
    responses(
        (status = 200, body = CreatedApiKey), (status = 401, body = api::ErrorBody),
        (status = 409, description = "there are as many as there may be", body = api::ErrorBody),
        (status = 413, body = api::ErrorBody), (status = 422, body = api::InvalidBody),
        (status = 500, description = "it cannot be kept", body = api::ErrorBody),
    ),
)]
pub(crate) async fn create(State(keyring): State<Keyring>, request: Request) -> Result<Json<CreatedApiKey>, ApiError> {
    let new = new_key(Fields::read(request, &CREATED_OF).await?)?;
    let (secret, key) = keyring.add(new).await.map_err(refused)?;
    Ok(Json(CreatedApiKey { key: secret.reveal().to_owned(), shown: shown(&key) }))
}

/// Changes a permanent key: what the request names, and nothing else.
#[utoipa::path(
    patch, path = "/api/api-keys/{key_id}", tag = "keys", request_body = UpdateApiKeyRequest,
    params(("key_id" = i64, Path, description = "its number")),
    responses(
        (status = 200, body = ApiKey), (status = 401, body = api::ErrorBody), (status = 404, body = api::ErrorBody),
        (status = 409, description = "it is temporary", body = api::ErrorBody), (status = 413, body = api::ErrorBody),
        (status = 422, body = api::InvalidBody),
        (status = 500, description = "it cannot be kept", body = api::ErrorBody),
    ),
)]
pub(crate) async fn change(
    State(keyring): State<Keyring>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<ApiKey>, ApiError> {
    let id = key_id(&id)?;
    let change = change_of(Fields::read(request, &CHANGED).await?)?;
    let key = keyring.change(id, move |key| change.apply(key)).await.map_err(refused)?;
    Ok(Json(shown(&key)))
}

/// Deletes a key: nobody is let through with it any more. With the last permanent one the models are open to everybody.
#[utoipa::path(
    delete, path = "/api/api-keys/{key_id}", tag = "keys",
    params(("key_id" = i64, Path, description = "its number")),
    responses(
        (status = 204, description = "it is deleted"), (status = 401, body = api::ErrorBody),
        (status = 404, body = api::ErrorBody), (status = 422, body = api::InvalidBody),
        (status = 500, description = "it cannot be deleted", body = api::ErrorBody),
    ),
)]
pub(crate) async fn delete(State(keyring): State<Keyring>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    keyring.delete(key_id(&id)?).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a request names of a key that is to be changed.
struct Change {
    label: Given<String>,
    owner: Given<String>,
    deployments: Given<Vec<DeploymentId>>,
    models: Given<Vec<ModelPattern>>,
    endpoints: Given<Vec<&'static str>>,
    limits: Given<[Given<u64>; 4]>,
}

impl Change {
    fn apply(self, key: &mut Key) {
        if let Given::Value(label) = self.label {
            key.label = label;
        }
        match self.owner {
            Given::Nothing => {}
            Given::Null => key.owner.clear(),
            Given::Value(owner) => key.owner = owner,
        }
        self.deployments.change(&mut key.scope.deployments);
        self.models.change(&mut key.scope.models);
        self.endpoints.change(&mut key.scope.endpoints);
        match self.limits {
            Given::Nothing => {}
            Given::Null => key.limits = Limits::default(),
            Given::Value(limits) => change_limits(limits, &mut key.limits),
        }
    }
}

fn new_key(mut fields: Fields) -> Result<NewKey, ApiError> {
    let lasts = fields.number("ttl_seconds", TTL_SECONDS).value().map(Duration::from_secs);
    let Change { label, owner, deployments, models, endpoints, limits } = named(&mut fields);
    let label = label.value();
    if label.is_none() && !fields.is_wrong("label") {
        fields.missing("label", format!("`label` is missing: what to call the key, 1 to {NAME_MAX} characters"));
    }
    let scope = Scope { deployments: deployments.value(), models: models.value(), endpoints: endpoints.value() };
    if lasts.is_some() && scope.is_any_model() && !fields.is_wrong("deployment_ids") && !fields.is_wrong("models") {
        let message = "`deployment_ids` is missing: a temporary key (one with `ttl_seconds`) says what it is for, by \
                       `deployment_ids` or by `models`";
        fields.missing("deployment_ids", message);
    }
    fields.end()?;
    let mut limited = Limits::default();
    if let Given::Value(limits) = limits {
        change_limits(limits, &mut limited);
    }
    Ok(NewKey {
        label: label.expect("a missing label is a mistake that was told"),
        owner: owner.value().unwrap_or_default(),
        lasts,
        scope,
        limits: limited,
    })
}

fn change_of(mut fields: Fields) -> Result<Change, ApiError> {
    let change = named(&mut fields);
    fields.end()?;
    Ok(change)
}

/// What a new key and a changed one have in common.
fn named(fields: &mut Fields) -> Change {
    let deployment = |value: &Value| match value.as_i64() {
        Some(id) => Ok(DeploymentId::new(id)),
        None => Err(("int_type", "must be a deployment's number".to_owned())),
    };
    let model = |value: &Value| {
        let text = value.as_str().ok_or_else(|| ("string_type", "must be a model's id, or `start*`".to_owned()))?;
        ModelPattern::parse(text).map_err(|error| ("value_error", format!("names no model: {error}")))
    };
    let endpoint = |value: &Value| {
        let known = value.as_str().and_then(keys::endpoint);
        known.ok_or_else(|| ("enum", format!("must be one of {}", keys::ENDPOINTS.join(", "))))
    };
    Change {
        label: fields.text("label", 1..=NAME_MAX),
        owner: fields.text("owner", 0..=NAME_MAX),
        deployments: fields.list("deployment_ids", SCOPE_MAX, deployment),
        models: fields.list("models", SCOPE_MAX, model),
        endpoints: fields.list("endpoints", SCOPE_MAX, endpoint),
        limits: match fields.object("limits", &LIMITS) {
            Given::Nothing => Given::Nothing,
            Given::Null => Given::Null,
            Given::Value(mut limits) => {
                let named = LIMITS.map(|name| limits.number(name, LIMIT));
                fields.close(limits);
                Given::Value(named)
            }
        },
    }
}

fn change_limits(
    [requests_per_minute, tokens_per_minute, tokens_per_day, max_in_flight]: [Given<u64>; 4],
    limits: &mut Limits,
) {
    requests_per_minute.change(&mut limits.requests_per_minute);
    tokens_per_minute.change(&mut limits.tokens_per_minute);
    tokens_per_day.change(&mut limits.tokens_per_day);
    max_in_flight.change(&mut limits.max_in_flight);
}

fn key_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map(KeyId::new).map_err(|_| {
        let text = &text[..text.floor_char_boundary(100)];
        wrong_in_path("key_id", "int_parsing", format!("`key_id` must be a key's number, is `{text}`"))
    })
}

fn shown(key: &Key) -> ApiKey {
    let Scope { deployments, models, endpoints } = &key.scope;
    let Limits { requests_per_minute, tokens_per_minute, tokens_per_day, max_in_flight } = key.limits;
    let (kind, expires) = match key.kind {
        Kind::Permanent => (ApiKeyKind::Permanent, None),
        Kind::Temporary { expires } => (ApiKeyKind::Temporary, Some(expires)),
    };
    ApiKey {
        id: key.id.as_i64(),
        label: key.label.clone(),
        prefix: key.prefix.clone(),
        kind,
        created_at: time(key.created),
        expires_at: expires.map(time),
        last_used_at: key.last_used.map(time),
        deployment_ids: deployments.as_ref().map(|ids| ids.iter().map(|id| id.as_i64()).collect()),
        models: models.as_ref().map(|models| models.iter().map(ToString::to_string).collect()),
        endpoints: endpoints.as_ref().map(|names| names.iter().map(ToString::to_string).collect()),
        owner: Some(key.owner.clone()).filter(|owner| !owner.is_empty()),
        limits: ApiKeyLimits { requests_per_minute, tokens_per_minute, tokens_per_day, max_in_flight },
    }
}

/// RFC 3339 in UTC, whole seconds.
fn time(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let timestamp = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX)).unwrap_or_default();
    timestamp.to_string()
}

fn refused(error: Error) -> ApiError {
    let conflict = |code, message| ApiError::new(StatusCode::CONFLICT, ErrorType::InvalidRequestError, code, message);
    let message = error.to_string();
    match error {
        Error::NotFound { .. } => {
            ApiError::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, "api_key_not_found", message)
        }
        Error::Temporary { .. } => conflict("api_key_temporary", message),
        Error::TooMany => conflict("too_many_api_keys", message),
        Error::Random(_) | Error::Store(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot keep what was asked for of API keys");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorType::ServerError, "storage_failed", message)
        }
    }
}
