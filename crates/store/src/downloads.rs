//! Downloads that are not done, so that they go on after a restart.

use sqlx::FromRow;
use types::{ModelId, ModelKey, Variant};

use crate::{Error, Store};

/// One download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadRow {
    /// Its id.
    pub id: String,
    /// The model and variant it brings.
    pub file: ModelKey,
    /// What is to be done, in its owner's own form.
    pub job: String,
    /// Where it stands, in its owner's words.
    pub state: String,
    /// Why it stands there, if it failed.
    pub reason: Option<String>,
    /// When it was asked for, ms since 1970.
    pub created_ms: i64,
}

#[derive(FromRow)]
struct Columns {
    id: String,
    model: String,
    variant: String,
    job: String,
    state: String,
    reason: Option<String>,
    created_ms: i64,
}

impl Store {
    /// All downloads, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn downloads(&self) -> Result<Vec<DownloadRow>, Error> {
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT id, model, variant, job, state, reason, created_ms FROM downloads ORDER BY created_ms, id",
        )
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("read the downloads"))?;
        Ok(rows.into_iter().map(DownloadRow::from).collect())
    }

    /// Writes a download, in place of the one with its id if there is one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn save_download(&self, download: &DownloadRow) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO downloads (id, model, variant, job, state, reason, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (id) DO UPDATE SET model = excluded.model, variant = excluded.variant, job = excluded.job, \
             state = excluded.state, reason = excluded.reason, created_ms = excluded.created_ms",
        )
        .bind(&download.id)
        .bind(download.file.id.as_str())
        .bind(download.file.variant.as_str())
        .bind(&download.job)
        .bind(&download.state)
        .bind(&download.reason)
        .bind(download.created_ms)
        .execute(self.pool())
        .await
        .map_err(self.failed("write a download"))?;
        Ok(())
    }

    /// Forgets a download; nothing happens if there is none with this id.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn delete_download(&self, id: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM downloads WHERE id = $1")
            .bind(id)
            .execute(self.pool())
            .await
            .map_err(self.failed("forget a download"))?;
        Ok(())
    }
}

impl From<Columns> for DownloadRow {
    fn from(row: Columns) -> Self {
        Self {
            id: row.id,
            file: ModelKey { id: ModelId::new(row.model), variant: Variant::new(row.variant) },
            job: row.job,
            state: row.state,
            reason: row.reason,
            created_ms: row.created_ms,
        }
    }
}
