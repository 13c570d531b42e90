//! Times that one model made room for another.

use sqlx::FromRow;
use types::{ModelId, ModelKey, Variant};

use crate::{Error, Store};

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct SwapRow {
    /// When the new model was ready, ms since 1970.
    pub at_ms: i64,
    /// The model that left.
    pub from: ModelKey,
    /// The model that came.
    pub to: ModelKey,
    /// How long it took from the wish to ready, ms.
    pub time_ms: f64,
}

#[derive(FromRow)]
struct Columns {
    at_ms: i64,
    from_model: String,
    from_variant: String,
    to_model: String,
    to_variant: String,
    time_ms: f64,
}

impl Store {
    /// Adds swaps; all of them or, if it fails, none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn add_swaps(&self, rows: &[SwapRow]) -> Result<(), Error> {
        const DOING: &str = "write the history of swaps";
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        for row in rows {
            sqlx::query(
                "INSERT INTO swaps (at_ms, from_model, from_variant, to_model, to_variant, time_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(row.at_ms)
            .bind(row.from.id.as_str())
            .bind(row.from.variant.as_str())
            .bind(row.to.id.as_str())
            .bind(row.to.variant.as_str())
            .bind(row.time_ms)
            .execute(&mut *all)
            .await
            .map_err(self.failed(DOING))?;
        }
        all.commit().await.map_err(self.failed(DOING))
    }

    /// The last `most` swaps, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_swaps(&self, most: u32) -> Result<Vec<SwapRow>, Error> {
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT at_ms, from_model, from_variant, to_model, to_variant, time_ms FROM swaps \
             ORDER BY at_ms DESC LIMIT $1",
        )
        .bind(i64::from(most))
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("read the history of swaps"))?;
        Ok(rows.into_iter().rev().map(SwapRow::from).collect())
    }

    /// Forgets all but the last `most` swaps or so: those of the same millisecond as the oldest of them stay.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn prune_swaps(&self, most: u32) -> Result<(), Error> {
        sqlx::query("DELETE FROM swaps WHERE at_ms < (SELECT at_ms FROM swaps ORDER BY at_ms DESC LIMIT 1 OFFSET $1)")
            .bind(i64::from(most.saturating_sub(1)))
            .execute(self.pool())
            .await
            .map_err(self.failed("shorten the history of swaps"))?;
        Ok(())
    }
}

impl From<Columns> for SwapRow {
    fn from(row: Columns) -> Self {
        Self {
            at_ms: row.at_ms,
            from: ModelKey { id: ModelId::new(row.from_model), variant: Variant::new(row.from_variant) },
            to: ModelKey { id: ModelId::new(row.to_model), variant: Variant::new(row.to_variant) },
            time_ms: row.time_ms,
        }
    }
}
