//! `/api/usage`: what was used, by whom. Handlers only convert.

use std::time::SystemTime;

use api::{UsageAnswer, UsageDimension, UsageRow, UsageTotals};
use axum::Json;
use axum::extract::{RawQuery, State};
use gateway::{ApiError, Finished, Outcome};
use http::StatusCode;
use jiff::Timestamp;
use store::{Store, UsageGroup, UsagePeriod, UsageQuery, UsageSums};
use telemetry::Used;
use types::{KeyId, ModelId};

use crate::query;

/// No answer has more rows.
const ROWS_MAX: u32 = 10_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
const PARAMETERS: [&str; 7] = ["since", "until", "group_by", "key", "model", "owner", "endpoint"];
const DIMENSIONS: [(&str, UsageDimension); 7] = [
    ("key", UsageDimension::Key),
    ("model", UsageDimension::Model),
    ("owner", UsageDimension::Owner),
    ("endpoint", UsageDimension::Endpoint),
    ("minute", UsageDimension::Minute),
    ("hour", UsageDimension::Hour),
    ("day", UsageDimension::Day),
];

/// What a request used that is over; nothing if it was for no model that exists, or its client left before an answer.
pub(crate) fn used(finished: &Finished) -> Option<Used> {
    let Finished { caller, usage, total, endpoint, outcome, by, model, .. } = finished;
    Some(Used {
        at: SystemTime::now(),
        key: caller.key_id(),
        key_label: caller.label().into(),
        owner: caller.owner().into(),
        model: ModelId::new(model.as_deref().or_else(|| Some(by.as_ref()?.model.id.as_str()))?),
        endpoint,
        is_ok: *outcome == Outcome::Success,
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        cached_tokens: usage.cached_tokens.unwrap_or(0),
        duration: *total,
    })
}

/// What was used: requests, tokens and time, told apart as asked. A request is in it a second after it was answered.
#[utoipa::path(
    get, path = "/api/usage", tag = "keys",
    params(
        ("since" = Option<String>, Query, description = "from when on: RFC 3339, seconds since 1970, or how long ago, such as `90m`, `24h`, `7d`; default `24h`"),
        ("until" = Option<String>, Query, description = "until before when, in the same forms; default now"),
        ("group_by" = Option<String>, Query, description = "what to tell apart, separated by commas: `key`, `model`, `owner`, `endpoint`, and one of `minute`, `hour`, `day`; without it only the total is told"),
        ("key" = Option<i64>, Query, description = "only this key's, by its number; 0 for requests without a key"),
        ("model" = Option<String>, Query, description = "only of this model"),
        ("owner" = Option<String>, Query, description = "only of this owner's keys"),
        ("endpoint" = Option<String>, Query, description = "only by this endpoint"),
    ),
    responses(
        (status = 200, body = UsageAnswer), (status = 400, body = api::ErrorBody), (status = 401, body = api::ErrorBody),
        (status = 500, description = "the store cannot be read", body = api::ErrorBody),
    ),
)]
pub(crate) async fn usage(
    State(store): State<Store>,
    RawQuery(asked): RawQuery,
) -> Result<Json<UsageAnswer>, ApiError> {
    let (query, group_by) = asked_for(asked.as_deref(), Timestamp::now())?;
    let totals = UsageQuery {
        by_key: false,
        by_owner: false,
        by_model: false,
        by_endpoint: false,
        by_period: None,
        ..query.clone()
    };
    let total = store.usage(&totals).await.map_err(unreadable)?;
    let rows = if group_by.is_empty() { vec![] } else { store.usage(&query).await.map_err(unreadable)? };
    if rows.len() > ROWS_MAX as usize {
        let message = format!("that is more than {ROWS_MAX} rows; ask for a shorter time, or tell less apart");
        return Err(ApiError::bad_request("too_many_rows", message).with_param("group_by"));
    }
    Ok(Json(UsageAnswer {
        since: time(query.since_ms),
        until: time(query.until_ms),
        group_by,
        rows: rows.into_iter().map(row).collect(),
        total: total.first().map_or_else(UsageTotals::default, |group| shown(&group.sums)),
    }))
}

fn asked_for(asked: Option<&str>, now: Timestamp) -> Result<(UsageQuery, Vec<UsageDimension>), ApiError> {
    let pairs = query::pairs(asked, &PARAMETERS)?;
    let wrong = |name: &'static str, value: &str, must: &str| {
        let value = &value[..value.floor_char_boundary(100)];
        ApiError::bad_request("invalid_request", format!("`{name}` must be {must}, is `{value}`")).with_param(name)
    };
    let moment = |name: &'static str, unless_told: i64| match query::value(&pairs, name) {
        None => Ok(unless_told),
        Some(text) => moment(text, now).ok_or_else(|| {
            wrong(
                name,
                text,
                "a time such as 2026-01-31T12:00:00Z, seconds since 1970, or how long ago, such as 90m, 24h or 7d",
            )
        }),
    };
    let now_ms = now.as_millisecond();
    let (since_ms, until_ms) = (moment("since", now_ms.saturating_sub(DAY_MS))?, moment("until", now_ms)?);
    if since_ms > until_ms {
        let message = format!("`since` ({}) must not be later than `until` ({})", time(since_ms), time(until_ms));
        return Err(ApiError::bad_request("invalid_request", message).with_param("since"));
    }
    let mut group_by = vec![];
    for word in query::value(&pairs, "group_by").unwrap_or_default().split(',').map(str::trim) {
        let names = || DIMENSIONS.map(|(name, _)| name).join(", ");
        match DIMENSIONS.iter().find(|(name, _)| *name == word) {
            Some((_, dimension)) if !group_by.contains(dimension) => group_by.push(*dimension),
            Some(_) => {}
            None if word.is_empty() => {}
            None => return Err(wrong("group_by", word, &format!("some of {}", names()))),
        }
    }
    let mut periods = group_by.iter().filter_map(|dimension| match dimension {
        UsageDimension::Minute => Some(UsagePeriod::Minute),
        UsageDimension::Hour => Some(UsagePeriod::Hour),
        UsageDimension::Day => Some(UsagePeriod::Day),
        _ => None,
    });
    let by_period = periods.next();
    if periods.next().is_some() {
        let given = query::value(&pairs, "group_by").unwrap_or_default();
        return Err(wrong("group_by", given, "by one of minute, hour, day at most"));
    }
    let key = match query::value(&pairs, "key") {
        None => None,
        Some(text) => Some(KeyId::new(text.parse().map_err(|_| wrong("key", text, "a key's number"))?)),
    };
    let text = |name| query::value(&pairs, name).map(str::to_owned);
    let query = UsageQuery {
        since_ms,
        until_ms,
        key,
        owner: text("owner"),
        model: text("model"),
        endpoint: text("endpoint"),
        by_key: group_by.contains(&UsageDimension::Key),
        by_owner: group_by.contains(&UsageDimension::Owner),
        by_model: group_by.contains(&UsageDimension::Model),
        by_endpoint: group_by.contains(&UsageDimension::Endpoint),
        by_period,
        most: ROWS_MAX + 1,
    };
    Ok((query, group_by))
}

/// A moment in one of the forms that people write, ms since 1970.
fn moment(text: &str, now: Timestamp) -> Option<i64> {
    if text == "now" {
        return Some(now.as_millisecond());
    }
    if let Some(unit) = text.chars().last().filter(|last| "mhdw".contains(*last)) {
        let seconds = match unit {
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => 7 * 24 * 3600,
        };
        let count: u32 = text[..text.len() - 1].parse().ok()?;
        return now.as_millisecond().checked_sub(i64::from(count) * seconds * 1000);
    }
    if text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Timestamp::from_second(text.parse().ok()?).ok().map(Timestamp::as_millisecond);
    }
    // A plus that nobody wrote as `%2B` is a space here.
    let timestamp = text.parse::<Timestamp>().or_else(|_| text.replace(' ', "+").parse());
    timestamp.ok().map(Timestamp::as_millisecond)
}

fn row(group: UsageGroup) -> UsageRow {
    UsageRow {
        time: group.period_ms.map(time),
        key_id: group.key.map(|key| key.map_or(0, KeyId::as_i64)),
        key_label: group.key_label,
        owner: group.owner,
        model: group.model,
        endpoint: group.endpoint,
        totals: shown(&group.sums),
    }
}

fn shown(sums: &UsageSums) -> UsageTotals {
    let UsageSums { requests, errors, prompt_tokens, completion_tokens, cached_tokens, duration_ms } = *sums;
    let total_tokens = prompt_tokens.saturating_add(completion_tokens);
    UsageTotals { requests, errors, prompt_tokens, completion_tokens, total_tokens, cached_tokens, duration_ms }
}

/// RFC 3339 in UTC.
fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unreadable(error: store::Error) -> ApiError {
    tracing::error!(error = &error as &dyn std::error::Error, "cannot tell what was used");
    let (status, kind) = (StatusCode::INTERNAL_SERVER_ERROR, api::ErrorType::ServerError);
    ApiError::new(status, kind, "storage_failed", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-04T05:06:07Z".parse().unwrap()
    }

    #[test]
    fn a_moment_is_written_in_one_of_three_forms() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(moment(text, now()).map(time).as_deref(), expected, "{text}");
        };
        check("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00Z"));
        check("2026-01-31T12:00:00+02:00", Some("2026-01-31T10:00:00Z"));
        check("2026-01-31T12:00:00 02:00", Some("2026-01-31T10:00:00Z"));
        check("1700000000", Some("2023-11-14T22:13:20Z"));
        check("90m", Some("2026-03-04T03:36:07Z"));
        check("24h", Some("2026-03-03T05:06:07Z"));
        check("7d", Some("2026-02-25T05:06:07Z"));
        check("1w", Some("2026-02-25T05:06:07Z"));
        check("now", Some("2026-03-04T05:06:07Z"));
        for wrong in ["yesterday", "-1h", "1.5h", "h", "99999999999h", "99999999999999999999", "2026-01-31", "1y", "é"]
        {
            check(wrong, None);
        }
    }

    #[track_caller]
    fn refused(asked: &str, named: &str) {
        let error = asked_for(Some(asked), now()).expect_err(asked);
        assert!(error.status == 400 && error.message.contains(named), "{asked}: {}", error.message);
    }

    #[test]
    fn what_is_asked_is_known_or_refused() {
        let asked = |text| asked_for(Some(text), now()).map_err(|error| error.message).unwrap();
        let (query, group_by) = asked("");
        assert_eq!(
            (time(query.since_ms).as_str(), time(query.until_ms).as_str()),
            ("2026-03-03T05:06:07Z", "2026-03-04T05:06:07Z")
        );
        assert_eq!((query.by_key, query.by_period, group_by), (false, None, vec![]));
        let (query, group_by) = asked("group_by=key,model,%20day,key&key=3&model=m&owner=o&endpoint=e");
        assert_eq!(group_by, [UsageDimension::Key, UsageDimension::Model, UsageDimension::Day]);
        assert_eq!((query.by_key, query.by_model, query.by_owner), (true, true, false));
        assert_eq!((query.key, query.by_period), (Some(KeyId::new(3)), Some(UsagePeriod::Day)));
        assert_eq!([query.model, query.owner, query.endpoint].map(Option::unwrap), ["m", "o", "e"]);

        refused("group_by=key,user", "key, model, owner, endpoint, minute, hour, day, is `user`");
        refused("group_by=hour,day", "one of minute, hour, day at most");
        refused("since=soon", "such as 90m");
        refused("since=1h&until=2h", "must not be later");
        refused("key=mine", "a key's number");
        refused("user=1", "since, until, group_by, key, model, owner, endpoint");
    }
}
