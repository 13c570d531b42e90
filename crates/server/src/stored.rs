//! `/api/storage…`: model files, their flags, limit and clean-up. Handlers only convert.

use std::time::{Duration, SystemTime};

use api::{
    CleanupAnswer, CleanupCandidate, CleanupPolicy, CleanupPolicyPatch, CleanupPreview, LimitAnswer, LimitRequest,
    StorageOverview, StoredModel, StoredModels, StoredVariant,
};
use axum::Json;
use axum::extract::{Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use gateway::ApiError;
use storage::{Error, Policy, Sort, Storage, Stored};
use types::ByteCount;

use crate::refused::refused;
use crate::{json_body, model_path, query};

const HOUR: Duration = Duration::from_secs(3600);
/// More than any disk has; the largest number that every reader of JSON and every database takes.
const BYTES_MAX: u64 = i64::MAX as u64;
/// A hundred years: what is longer is a mistake.
const HOURS_MAX: u64 = 100 * 366 * 24;

/// What models take on disk, what they may, and what is free.
#[utoipa::path(
    get, path = "/api/storage", tag = "storage",
    responses((status = 200, body = StorageOverview), (status = 401, body = api::ErrorBody)),
)]
pub(crate) async fn overview(State(storage): State<Storage>) -> Json<StorageOverview> {
    let usage = storage.usage();
    Json(StorageOverview {
        models_directory: storage.models_dir().display().to_string(),
        total_disk_bytes: usage.total.as_u64(),
        free_disk_bytes: usage.free.as_u64(),
        used_by_models_bytes: usage.used.as_u64(),
        storage_limit_bytes: usage.limit.map_or(0, ByteCount::as_u64),
        available_for_models_bytes: usage.available().as_u64(),
        model_count: storage.stored().len() as u64,
        cleanup_enabled: storage.policy().enabled,
    })
}

/// Every variant that is here, with its use and its flags.
#[utoipa::path(
    get, path = "/api/storage/models", tag = "storage",
    params(
        ("sort" = inline(Option<SortWord>), Query, description = "by what; default `last_used`"),
        ("order" = inline(Option<OrderWord>), Query, description = "names default to `asc`, all else to `desc`"),
    ),
    responses(
        (status = 200, body = StoredModels), (status = 400, body = api::ErrorBody),
        (status = 401, body = api::ErrorBody),
    ),
)]
pub(crate) async fn models(
    State(storage): State<Storage>,
    RawQuery(asked): RawQuery,
) -> Result<Json<StoredModels>, ApiError> {
    let pairs = query::pairs(asked.as_deref(), &["sort", "order"])?;
    let wrong = |name: &'static str, value: &str, allowed: &str| {
        let message =
            format!("`{name}` must be one of {allowed}, is `{}`", value.chars().take(100).collect::<String>());
        ApiError::bad_request("invalid_request", message).with_param(name)
    };
    let sort = match query::value(&pairs, "sort") {
        None => Sort::default(),
        Some(word) => Sort::named(word).ok_or_else(|| wrong("sort", word, Sort::NAMES))?,
    };
    let usual = if sort == Sort::Name { "asc" } else { "desc" };
    let order = query::value(&pairs, "order").unwrap_or(usual);
    if !["asc", "desc"].contains(&order) {
        return Err(wrong("order", order, "asc, desc"));
    }
    let mut stored = storage.stored();
    sort.apply(&mut stored);
    if order != usual {
        stored.reverse();
    }
    let total: ByteCount = stored.iter().map(|one| one.size).sum();
    Ok(Json(StoredModels {
        total_count: stored.len() as u64,
        total_size_bytes: total.as_u64(),
        total_size_display: display(total),
        models: stored.iter().map(variant).collect(),
    }))
}

/// One model's variants that are here, or one of them.
pub(crate) async fn named(State(storage): State<Storage>, Path(path): Path<String>) -> Result<Response, ApiError> {
    let stored = storage.stored();
    let (name, wanted) = model_path::stored(&path, |name| stored.iter().any(|one| one.key.id.as_str() == name));
    let variants: Vec<&Stored> = stored.iter().filter(|one| one.key.id.as_str() == name).collect();
    let ids = || stored.iter().map(|one| one.key.id.to_string()).take(20).collect();
    if variants.is_empty() {
        return Err(refused(Error::NotFound { name: name.to_owned(), known: ids() }));
    }
    let Some(wanted) = wanted else {
        let answer = StoredModel { model: name.to_owned(), variants: variants.into_iter().map(variant).collect() };
        return Ok(Json(answer).into_response());
    };
    match variants.iter().find(|one| one.key.variant.as_str() == wanted) {
        Some(one) => Ok(Json(variant(one)).into_response()),
        None => Err(refused(Error::VariantNotFound {
            model: types::ModelId::new(name),
            variant: wanted.to_owned(),
            known: variants.iter().map(|one| one.key.variant.to_string()).collect(),
        })),
    }
}

/// Sets what model files may take.
pub(crate) async fn set_limit(State(storage): State<Storage>, request: Request) -> Result<Json<LimitAnswer>, ApiError> {
    let LimitRequest { limit_bytes } = json_body::read(request).await?;
    if limit_bytes > BYTES_MAX {
        let message = format!("`limit_bytes` must be 0 to {BYTES_MAX}, is {limit_bytes}");
        return Err(ApiError::bad_request("invalid_request", message).with_param("limit_bytes"));
    }
    let limit = (limit_bytes > 0).then(|| ByteCount::bytes(limit_bytes));
    storage.set_limit(limit).await.map_err(refused)?;
    let available = storage.usage().available().as_u64();
    Ok(Json(LimitAnswer { storage_limit_bytes: limit_bytes, available_for_models_bytes: available }))
}

/// What clean-up would delete now.
#[utoipa::path(
    get, path = "/api/storage/cleanup/preview", tag = "storage",
    responses((status = 200, body = CleanupPreview), (status = 401, body = api::ErrorBody)),
)]
pub(crate) async fn preview(State(storage): State<Storage>) -> Json<CleanupPreview> {
    let candidates = storage.cleanup_candidates();
    Json(CleanupPreview {
        candidate_count: candidates.len() as u64,
        total_reclaimable_bytes: candidates.iter().map(|one| one.size).sum::<ByteCount>().as_u64(),
        candidates: candidates.iter().map(candidate).collect(),
    })
}

/// Deletes what the preview shows.
#[utoipa::path(
    post, path = "/api/storage/cleanup/run", tag = "storage",
    responses(
        (status = 200, body = CleanupAnswer), (status = 401, body = api::ErrorBody),
        (status = 500, description = "a file cannot be deleted", body = api::ErrorBody),
    ),
)]
pub(crate) async fn run(State(storage): State<Storage>) -> Result<Json<CleanupAnswer>, ApiError> {
    let cleaned = storage.clean_up().await.map_err(refused)?;
    Ok(Json(CleanupAnswer { freed_bytes: cleaned.freed.as_u64(), deleted_count: cleaned.deleted }))
}

/// What clean-up goes by.
#[utoipa::path(
    get, path = "/api/storage/cleanup/config", tag = "storage",
    responses((status = 200, body = CleanupPolicy), (status = 401, body = api::ErrorBody)),
)]
pub(crate) async fn policy(State(storage): State<Storage>) -> Json<CleanupPolicy> {
    Json(shown(&storage.policy()))
}

/// Changes what clean-up goes by; what is not given stays.
#[utoipa::path(
    put, path = "/api/storage/cleanup/config", tag = "storage", request_body = CleanupPolicyPatch,
    responses(
        (status = 200, body = CleanupPolicy), (status = 400, body = api::ErrorBody),
        (status = 401, body = api::ErrorBody), (status = 413, body = api::ErrorBody),
        (status = 500, description = "the store does not take it", body = api::ErrorBody),
    ),
)]
pub(crate) async fn set_policy(
    State(storage): State<Storage>,
    request: Request,
) -> Result<Json<CleanupPolicy>, ApiError> {
    let patch: CleanupPolicyPatch = json_body::read(request).await?;
    let changed = storage.change_policy(move |policy| patched(policy, &patch)).await;
    match changed {
        Ok(Ok(policy)) => Ok(Json(shown(&policy))),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(refused(error)),
    }
}

/// The policy with what `patch` gives.
fn patched(policy: &Policy, patch: &CleanupPolicyPatch) -> Result<Policy, ApiError> {
    let wrong =
        |param: &'static str, message: String| Err(ApiError::bad_request("invalid_request", message).with_param(param));
    let mut policy = policy.clone();
    let from_days = match patch.max_age_days {
        Some(days) if !(0.0..=36_600.0).contains(&days) => {
            return wrong("max_age_days", format!("`max_age_days` must be 0 to 36600 days, is {days}"));
        }
        days => days.map(|days| Duration::from_secs_f64(days * 24.0 * 3600.0)),
    };
    let from_hours = match patch.max_age_hours {
        Some(hours) if hours > HOURS_MAX => {
            return wrong("max_age_hours", format!("`max_age_hours` must be 0 to {HOURS_MAX} hours, is {hours}"));
        }
        hours => hours.map(|hours| Duration::from_secs(hours * 3600)),
    };
    match (from_hours, from_days) {
        (Some(hours), Some(days)) if hours.abs_diff(days) >= HOUR => {
            return wrong("max_age_days", "`max_age_hours` and `max_age_days` differ; give one of them".to_owned());
        }
        (Some(age), _) | (None, Some(age)) => policy.max_age = age,
        (None, None) => {}
    }
    if let Some(hours) = patch.check_interval_hours {
        if !(1..=HOURS_MAX).contains(&hours) {
            let message = format!("`check_interval_hours` must be 1 to {HOURS_MAX} hours, is {hours}");
            return wrong("check_interval_hours", message);
        }
        policy.check_interval = Duration::from_secs(hours * 3600);
    }
    if let Some(percent) = patch.target_free_percent {
        if !(0.0..=100.0).contains(&percent) {
            let message = format!("`target_free_percent` must be 0 to 100, is {percent}");
            return wrong("target_free_percent", message);
        }
        policy.target_free_percent = percent;
    }
    policy.enabled = patch.enabled.unwrap_or(policy.enabled);
    policy.respect_hot_ready = patch.respect_hot_ready.unwrap_or(policy.respect_hot_ready);
    policy.respect_protected = patch.respect_protected.unwrap_or(policy.respect_protected);
    Ok(policy)
}

fn shown(policy: &Policy) -> CleanupPolicy {
    CleanupPolicy {
        enabled: policy.enabled,
        max_age_hours: policy.max_age.as_secs() / 3600,
        max_age_days: policy.max_age.as_secs_f64() / (24.0 * 3600.0),
        check_interval_hours: policy.check_interval.as_secs() / 3600,
        target_free_percent: policy.target_free_percent,
        respect_hot_ready: policy.respect_hot_ready,
        respect_protected: policy.respect_protected,
    }
}

fn variant(stored: &Stored) -> StoredVariant {
    let first = stored.files.first();
    StoredVariant {
        model: stored.key.id.to_string(),
        variant: stored.key.variant.to_string(),
        filename: filename(stored),
        file_path: first.map(|path| path.display().to_string()).unwrap_or_default(),
        file_count: stored.files.len() as u64,
        file_size_bytes: stored.size.as_u64(),
        file_size_display: display(stored.size),
        downloaded_at: time(stored.arrived),
        last_used_at: time(stored.last_used_or_arrived()),
        usage_count: stored.usage_count,
        hot_ready: stored.hot_ready,
        protected: stored.protected,
        runtime_state: stored.state.to_string(),
    }
}

fn candidate(stored: &Stored) -> CleanupCandidate {
    CleanupCandidate {
        model: stored.key.id.to_string(),
        variant: stored.key.variant.to_string(),
        filename: filename(stored),
        file_size_bytes: stored.size.as_u64(),
        last_used_at: time(stored.last_used_or_arrived()),
        usage_count: stored.usage_count,
    }
}

fn filename(stored: &Stored) -> String {
    let name = stored.files.first().and_then(|path| path.file_name());
    name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// RFC 3339 in UTC, whole seconds.
fn time(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let timestamp = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX)).unwrap_or_default();
    timestamp.to_string()
}

/// As the contract shows sizes: `4.4 GB`, where a GB is 1024³ bytes.
fn display(size: ByteCount) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let tenths = |unit: u64| {
        let tenths = (u128::from(size.as_u64()) * 10 + u128::from(unit) / 2) / u128::from(unit);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match size.as_u64() {
        GIB.. => format!("{} GB", tenths(GIB)),
        MIB.. => format!("{} MB", tenths(MIB)),
        bytes => format!("{bytes} B"),
    }
}

/// What a list can be sorted by.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "its names are read, by a macro")]
enum SortWord {
    LastUsed,
    Size,
    Name,
    Downloads,
}

/// Which way.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "its names are read, by a macro")]
enum OrderWord {
    Asc,
    Desc,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_the_contract_shows_them() {
        let check = |bytes: u64, expected: &str| assert_eq!(display(ByteCount::bytes(bytes)), expected);
        check(4_680_000_000, "4.4 GB");
        check(98_362_432, "93.8 MB");
        check(1023, "1023 B");
        check(1 << 30, "1.0 GB");
    }

    #[test]
    fn hours_and_days_agree_or_are_refused() {
        let check = |patch: CleanupPolicyPatch, expected: Result<(u64, f64), &'static str>| {
            let patched = patched(&Policy::default(), &patch).map(|policy| shown(&policy));
            let seen = patched.map(|policy| (policy.max_age_hours, policy.max_age_days));
            let seen = seen.map_err(|error| error.param.unwrap());
            assert_eq!(seen, expected.map_err(Into::into), "{patch:?}");
        };
        let patch = CleanupPolicyPatch::default;
        check(patch(), Ok((720, 30.0)));
        check(CleanupPolicyPatch { max_age_hours: Some(36), ..patch() }, Ok((36, 1.5)));
        check(CleanupPolicyPatch { max_age_days: Some(2.0), ..patch() }, Ok((48, 2.0)));
        check(CleanupPolicyPatch { max_age_days: Some(2.0), max_age_hours: Some(48), ..patch() }, Ok((48, 2.0)));
        check(CleanupPolicyPatch { max_age_days: Some(2.0), max_age_hours: Some(24), ..patch() }, Err("max_age_days"));
        check(CleanupPolicyPatch { max_age_days: Some(-1.0), ..patch() }, Err("max_age_days"));
        check(CleanupPolicyPatch { max_age_hours: Some(u64::MAX), ..patch() }, Err("max_age_hours"));
        check(CleanupPolicyPatch { check_interval_hours: Some(0), ..patch() }, Err("check_interval_hours"));
        check(CleanupPolicyPatch { target_free_percent: Some(101.0), ..patch() }, Err("target_free_percent"));
    }
}
