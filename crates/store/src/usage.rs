//! What was used, by whom: sums by minute and, once they are some days old, by hour.
//!
//! Minutes, because a graph of the last hour needs them; hours later, because nobody asks after the minutes of last
//! month, and they would be sixty times as many rows.

use sqlx::{FromRow, QueryBuilder, Sqlite};
use types::KeyId;

use crate::{Error, Store};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// Requests that were answered, well or not.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Of the prompts' tokens those that came from a cache.
    pub cached_tokens: u64,
    /// How long all of them took together, ms.
    pub duration_ms: u64,
}

impl UsageSums {
    /// Adds others to these.
    pub fn add(&mut self, more: &Self) {
        let Self { requests, errors, prompt_tokens, completion_tokens, cached_tokens, duration_ms } = more;
        self.requests = self.requests.saturating_add(*requests);
        self.errors = self.errors.saturating_add(*errors);
        self.prompt_tokens = self.prompt_tokens.saturating_add(*prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(*completion_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(*cached_tokens);
        self.duration_ms = self.duration_ms.saturating_add(*duration_ms);
    }
}

/// What one key used of one model by one endpoint within one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Some moment of that minute, ms since 1970.
    pub at_ms: i64,
    /// The key; `None` for those who had none.
    pub key: Option<KeyId>,
    /// What a person called the key; empty without one.
    pub key_label: String,
    /// Whose key it was; empty if nobody said.
    pub owner: String,
    /// The model's id.
    pub model: String,
    /// By which endpoint.
    pub endpoint: String,
    /// How much.
    pub sums: UsageSums,
}

/// What is asked of usage: which rows, and what they are summed up by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// From this moment on, ms since 1970: rows whose minute, or hour, began then or later.
    pub since_ms: i64,
    /// Until before this moment, ms since 1970.
    pub until_ms: i64,
    /// Only this key's.
    pub key: Option<KeyId>,
    /// Only of this owner's keys.
    pub owner: Option<String>,
    /// Only of this model.
    pub model: Option<String>,
    /// Only by this endpoint.
    pub endpoint: Option<String>,
    /// By key.
    pub by_key: bool,
    /// By owner.
    pub by_owner: bool,
    /// By model.
    pub by_model: bool,
    /// By endpoint.
    pub by_endpoint: bool,
    /// By time.
    pub by_period: Option<UsagePeriod>,
    /// No more groups than this.
    pub most: u32,
}

/// What time is cut into, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsagePeriod {
    /// Minutes; of what is some days old, hours.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
}

/// One group of the answer. What was not asked for is not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageGroup {
    /// When its period began, ms since 1970.
    pub period_ms: Option<i64>,
    /// The key; `Some(None)` for those who had none.
    pub key: Option<Option<KeyId>>,
    /// What a person called the key.
    pub key_label: Option<String>,
    /// Whose keys.
    pub owner: Option<String>,
    /// The model's id.
    pub model: Option<String>,
    /// The endpoint.
    pub endpoint: Option<String>,
    /// How much.
    pub sums: UsageSums,
}

#[derive(FromRow)]
struct Columns {
    period_ms: i64,
    key_id: i64,
    key_label: String,
    owner: String,
    model: String,
    endpoint: String,
    requests: i64,
    errors: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cached_tokens: i64,
    duration_ms: i64,
}

impl Store {
    /// Adds what was used to what is known; all of it or, if it fails, none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn add_usage(&self, rows: &[UsageRow]) -> Result<(), Error> {
        const DOING: &str = "write what was used";
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        for row in rows {
            sqlx::query(
                "INSERT INTO usage (bucket_ms, key_id, owner, model, endpoint, key_label, requests, errors, \
                 prompt_tokens, completion_tokens, cached_tokens, duration_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                 ON CONFLICT (bucket_ms, key_id, owner, model, endpoint) DO UPDATE SET \
                 key_label = excluded.key_label, \
                 requests = usage.requests + excluded.requests, \
                 errors = usage.errors + excluded.errors, \
                 prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens, \
                 completion_tokens = usage.completion_tokens + excluded.completion_tokens, \
                 cached_tokens = usage.cached_tokens + excluded.cached_tokens, \
                 duration_ms = usage.duration_ms + excluded.duration_ms",
            )
            .bind(row.at_ms - row.at_ms.rem_euclid(MINUTE_MS))
            .bind(row.key.map_or(NOBODY, KeyId::as_i64))
            .bind(&row.owner)
            .bind(&row.model)
            .bind(&row.endpoint)
            .bind(&row.key_label)
            .bind(count(row.sums.requests))
            .bind(count(row.sums.errors))
            .bind(count(row.sums.prompt_tokens))
            .bind(count(row.sums.completion_tokens))
            .bind(count(row.sums.cached_tokens))
            .bind(count(row.sums.duration_ms))
            .execute(&mut *all)
            .await
            .map_err(self.failed(DOING))?;
        }
        all.commit().await.map_err(self.failed(DOING))
    }

    /// What was used, in groups: by time, then by the number of tokens, the most first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageGroup>, Error> {
        let mut statement = QueryBuilder::<Sqlite>::new("SELECT ");
        let period_ms = query.by_period.map_or(0, UsagePeriod::millis);
        let by = [query.by_key, query.by_owner, query.by_model, query.by_endpoint];
        if query.by_period.is_some() {
            statement.push("bucket_ms - bucket_ms % ").push_bind(period_ms).push(" AS period_ms, ");
        } else {
            statement.push("CAST(0 AS BIGINT) AS period_ms, ");
        }
        for (column, nothing, name, is_asked) in [
            ("key_id", "CAST(0 AS BIGINT)", "key_id", by[0]),
            ("MAX(key_label)", "''", "key_label", by[0]),
            ("owner", "''", "owner", by[1]),
            ("model", "''", "model", by[2]),
            ("endpoint", "''", "endpoint", by[3]),
        ] {
            let column = if is_asked { column } else { nothing };
            statement.push(format_args!("{column} AS {name}, "));
        }
        // A sum of BIGINTs is a NUMERIC to PostgreSQL, and NULL of nothing to both.
        for (at, sum) in SUMS.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            statement.push(format_args!("{comma}CAST(COALESCE(SUM({sum}), 0) AS BIGINT) AS {sum}"));
        }
        statement.push(" FROM usage WHERE bucket_ms >= ").push_bind(query.since_ms);
        statement.push(" AND bucket_ms < ").push_bind(query.until_ms);
        if let Some(key) = query.key {
            statement.push(" AND key_id = ").push_bind(key.as_i64());
        }
        for (column, value) in [("owner", &query.owner), ("model", &query.model), ("endpoint", &query.endpoint)] {
            if let Some(value) = value {
                statement.push(format_args!(" AND {column} = ")).push_bind(value.clone());
            }
        }
        // By their places in the list above: an alias would mean the table's column of that name.
        let groups: Vec<&str> =
            [("1", query.by_period.is_some()), ("2", by[0]), ("4", by[1]), ("5", by[2]), ("6", by[3])]
                .into_iter()
                .filter_map(|(place, is_asked)| is_asked.then_some(place))
                .collect();
        if !groups.is_empty() {
            statement.push(" GROUP BY ").push(groups.join(", "));
        }
        statement.push(" ORDER BY 1, CAST(COALESCE(SUM(prompt_tokens + completion_tokens), 0) AS BIGINT) DESC, ");
        statement
            .push("CAST(COALESCE(SUM(requests), 0) AS BIGINT) DESC, 2, 4, 5, 6 LIMIT ")
            .push_bind(i64::from(query.most));
        let rows: Vec<Columns> = statement
            .build_query_as()
            .persistent(false)
            .fetch_all(self.pool())
            .await
            .map_err(self.failed("read what was used"))?;
        Ok(rows.into_iter().map(|row| row.group(query)).collect())
    }

    /// Sums up by the hour what is older than `before_ms`, and forgets what is older than `forget_before_ms`; ms since
    /// 1970. What is older than `from_ms` was summed up already.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn roll_up_usage(&self, from_ms: i64, before_ms: i64, forget_before_ms: i64) -> Result<(), Error> {
        const DOING: &str = "sum up what was used";
        // Whole hours, for an hour of which half is summed up is none.
        let (from_ms, before_ms) = (from_ms - from_ms.rem_euclid(HOUR_MS), before_ms - before_ms.rem_euclid(HOUR_MS));
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        // The row of an hour's first minute becomes the hour's.
        sqlx::query(
            "INSERT INTO usage (bucket_ms, key_id, owner, model, endpoint, key_label, requests, errors, \
             prompt_tokens, completion_tokens, cached_tokens, duration_ms) \
             SELECT bucket_ms - bucket_ms % 3600000, key_id, owner, model, endpoint, MAX(key_label), \
             CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), \
             CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), \
             CAST(SUM(duration_ms) AS BIGINT) \
             FROM usage WHERE bucket_ms >= $1 AND bucket_ms < $2 AND bucket_ms % 3600000 <> 0 \
             GROUP BY bucket_ms - bucket_ms % 3600000, key_id, owner, model, endpoint \
             ON CONFLICT (bucket_ms, key_id, owner, model, endpoint) DO UPDATE SET \
             requests = usage.requests + excluded.requests, \
             errors = usage.errors + excluded.errors, \
             prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens, \
             completion_tokens = usage.completion_tokens + excluded.completion_tokens, \
             cached_tokens = usage.cached_tokens + excluded.cached_tokens, \
             duration_ms = usage.duration_ms + excluded.duration_ms",
        )
        .bind(from_ms)
        .bind(before_ms)
        .execute(&mut *all)
        .await
        .map_err(self.failed(DOING))?;
        sqlx::query("DELETE FROM usage WHERE bucket_ms >= $1 AND bucket_ms < $2 AND bucket_ms % 3600000 <> 0")
            .bind(from_ms)
            .bind(before_ms)
            .execute(&mut *all)
            .await
            .map_err(self.failed(DOING))?;
        sqlx::query("DELETE FROM usage WHERE bucket_ms < $1")
            .bind(forget_before_ms)
            .execute(&mut *all)
            .await
            .map_err(self.failed(DOING))?;
        all.commit().await.map_err(self.failed(DOING))
    }
}

/// The number of no key.
const NOBODY: i64 = 0;

/// The columns that add up.
const SUMS: [&str; 6] = ["requests", "errors", "prompt_tokens", "completion_tokens", "cached_tokens", "duration_ms"];

impl UsagePeriod {
    const fn millis(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }
}

impl Columns {
    fn group(self, query: &UsageQuery) -> UsageGroup {
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        UsageGroup {
            period_ms: query.by_period.map(|_| self.period_ms),
            key: query.by_key.then(|| Some(self.key_id).filter(|id| *id != NOBODY).map(KeyId::new)),
            key_label: query.by_key.then_some(self.key_label),
            owner: query.by_owner.then_some(self.owner),
            model: query.by_model.then_some(self.model),
            endpoint: query.by_endpoint.then_some(self.endpoint),
            sums: UsageSums {
                requests: number(self.requests),
                errors: number(self.errors),
                prompt_tokens: number(self.prompt_tokens),
                completion_tokens: number(self.completion_tokens),
                cached_tokens: number(self.cached_tokens),
                duration_ms: number(self.duration_ms),
            },
        }
    }
}

/// What an engine says of itself must not make sums overflow.
fn count(value: u64) -> i64 {
    const MOST: i64 = 1_000_000_000_000;
    i64::try_from(value).unwrap_or(MOST).min(MOST)
}
