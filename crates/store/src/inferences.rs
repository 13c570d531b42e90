//! Answers of late, with their figures. A figure nobody told is 0.

use sqlx::{FromRow, QueryBuilder, Sqlite};
use types::{ModelId, ModelKey, Variant};

use crate::{Error, Store};

/// Rows that one statement writes: its values stay far below what a statement may have (32,766).
const ROWS_AT_ONCE: usize = 256;

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceRow {
    /// When it ended, ms since 1970.
    pub at_ms: i64,
    /// Which model gave it.
    pub model: ModelKey,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Tokens of the prompt read per second.
    pub prompt_tokens_per_second: f64,
    /// Tokens per second while it generated.
    pub generation_tokens_per_second: f64,
    /// Time to the first token, ms.
    pub latency_ms: f64,
    /// Time to the last one, ms.
    pub total_time_ms: f64,
    /// Of it the reading of the prompt, ms.
    pub prompt_time_ms: f64,
    /// Of it the generation, ms.
    pub generation_time_ms: f64,
}

#[derive(FromRow)]
struct Columns {
    at_ms: i64,
    model: String,
    variant: String,
    prompt_tokens: i64,
    completion_tokens: i64,
    prompt_tokens_per_second: f64,
    generation_tokens_per_second: f64,
    latency_ms: f64,
    total_time_ms: f64,
    prompt_time_ms: f64,
    generation_time_ms: f64,
}

impl Store {
    /// Adds answers; all of them or, if it fails, none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn add_inferences(&self, rows: &[InferenceRow]) -> Result<(), Error> {
        const DOING: &str = "write the history of answers";
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let mut statement = QueryBuilder::<Sqlite>::new(
                "INSERT INTO inferences (at_ms, model, variant, prompt_tokens, completion_tokens, \
                 prompt_tokens_per_second, generation_tokens_per_second, latency_ms, total_time_ms, prompt_time_ms, \
                 generation_time_ms) ",
            );
            statement.push_values(rows, |mut values, row| {
                values
                    .push_bind(row.at_ms)
                    .push_bind(row.model.id.as_str())
                    .push_bind(row.model.variant.as_str())
                    .push_bind(i64::try_from(row.prompt_tokens).unwrap_or(i64::MAX))
                    .push_bind(i64::try_from(row.completion_tokens).unwrap_or(i64::MAX))
                    .push_bind(row.prompt_tokens_per_second)
                    .push_bind(row.generation_tokens_per_second)
                    .push_bind(row.latency_ms)
                    .push_bind(row.total_time_ms)
                    .push_bind(row.prompt_time_ms)
                    .push_bind(row.generation_time_ms);
            });
            // Each length is a statement of its own: not worth keeping.
            let statement = statement.build().persistent(false);
            statement.execute(&mut *all).await.map_err(self.failed(DOING))?;
        }
        all.commit().await.map_err(self.failed(DOING))
    }

    /// The last `most` answers that ended at `since_ms` (ms since 1970) or later, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn inferences_since(&self, since_ms: i64, most: u32) -> Result<Vec<InferenceRow>, Error> {
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT at_ms, model, variant, prompt_tokens, completion_tokens, prompt_tokens_per_second, \
             generation_tokens_per_second, latency_ms, total_time_ms, prompt_time_ms, generation_time_ms \
             FROM inferences WHERE at_ms >= $1 ORDER BY at_ms DESC LIMIT $2",
        )
        .bind(since_ms)
        .bind(i64::from(most))
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("read the history of answers"))?;
        Ok(rows.into_iter().rev().map(InferenceRow::from).collect())
    }

    /// Forgets answers that ended before `before_ms` (ms since 1970), and all but the last `most` or so: those that ended
    /// in the same millisecond as the oldest of them stay.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn prune_inferences(&self, before_ms: i64, most: u32) -> Result<(), Error> {
        const DOING: &str = "shorten the history of answers";
        let oldest: Option<i64> =
            sqlx::query_scalar("SELECT at_ms FROM inferences ORDER BY at_ms DESC LIMIT 1 OFFSET $1")
                .bind(i64::from(most.saturating_sub(1)))
                .fetch_optional(self.pool())
                .await
                .map_err(self.failed(DOING))?;
        sqlx::query("DELETE FROM inferences WHERE at_ms < $1")
            .bind(oldest.map_or(before_ms, |oldest| oldest.max(before_ms)))
            .execute(self.pool())
            .await
            .map_err(self.failed(DOING))?;
        Ok(())
    }
}

impl From<Columns> for InferenceRow {
    fn from(row: Columns) -> Self {
        Self {
            at_ms: row.at_ms,
            model: ModelKey { id: ModelId::new(row.model), variant: Variant::new(row.variant) },
            prompt_tokens: u64::try_from(row.prompt_tokens).unwrap_or(0),
            completion_tokens: u64::try_from(row.completion_tokens).unwrap_or(0),
            prompt_tokens_per_second: row.prompt_tokens_per_second,
            generation_tokens_per_second: row.generation_tokens_per_second,
            latency_ms: row.latency_ms,
            total_time_ms: row.total_time_ms,
            prompt_time_ms: row.prompt_time_ms,
            generation_time_ms: row.generation_time_ms,
        }
    }
}
