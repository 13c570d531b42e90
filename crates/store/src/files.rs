//! Flags and uses of model files.

use sqlx::FromRow;
use types::{ModelId, ModelKey, Variant};

use crate::{Error, Store};

/// What is remembered of one model's variant, whether its files are there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRow {
    /// The model and its variant.
    pub file: ModelKey,
    /// Whether its weights stay in RAM when it leaves a device.
    pub hot_ready: bool,
    /// Whether it must not be deleted.
    pub protected: bool,
    /// Requests it answered.
    pub usage_count: u64,
    /// When it was used last, ms since 1970.
    pub last_used_ms: Option<i64>,
    /// When it was downloaded, ms since 1970.
    pub downloaded_ms: Option<i64>,
}

/// Uses of one model's variant since the last time they were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The model and its variant.
    pub file: ModelKey,
    /// How many requests it answered more.
    pub count: u64,
    /// When the last of them ended, ms since 1970.
    pub last_used_ms: i64,
}

#[derive(FromRow)]
struct Columns {
    model: String,
    variant: String,
    hot_ready: bool,
    protected: bool,
    usage_count: i64,
    last_used_ms: Option<i64>,
    downloaded_ms: Option<i64>,
}

impl Store {
    /// All that is remembered of files, by model and variant.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn file_rows(&self) -> Result<Vec<FileRow>, Error> {
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT model, variant, hot_ready, protected, usage_count, last_used_ms, downloaded_ms \
             FROM files ORDER BY model, variant",
        )
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("read what is known of model files"))?;
        Ok(rows.into_iter().map(FileRow::from).collect())
    }

    /// Remembers whether the weights of `file` stay in RAM.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_hot_ready(&self, file: &ModelKey, on: bool) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO files (model, variant, hot_ready) VALUES ($1, $2, $3) \
             ON CONFLICT (model, variant) DO UPDATE SET hot_ready = excluded.hot_ready",
        )
        .bind(file.id.as_str())
        .bind(file.variant.as_str())
        .bind(on)
        .execute(self.pool())
        .await
        .map_err(self.failed("write the flag hot-ready"))?;
        Ok(())
    }

    /// Remembers whether `file` must not be deleted.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_protected(&self, file: &ModelKey, on: bool) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO files (model, variant, protected) VALUES ($1, $2, $3) \
             ON CONFLICT (model, variant) DO UPDATE SET protected = excluded.protected",
        )
        .bind(file.id.as_str())
        .bind(file.variant.as_str())
        .bind(on)
        .execute(self.pool())
        .await
        .map_err(self.failed("write the flag protected"))?;
        Ok(())
    }

    /// Adds uses to those that are known; all of them or, if it fails, none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn used(&self, uses: &[Use]) -> Result<(), Error> {
        const DOING: &str = "write how often models were used";
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        for Use { file, count, last_used_ms } in uses {
            sqlx::query(
                "INSERT INTO files (model, variant, usage_count, last_used_ms) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (model, variant) DO UPDATE SET \
                 usage_count = files.usage_count + excluded.usage_count, \
                 last_used_ms = CASE WHEN files.last_used_ms > excluded.last_used_ms \
                 THEN files.last_used_ms ELSE excluded.last_used_ms END",
            )
            .bind(file.id.as_str())
            .bind(file.variant.as_str())
            .bind(i64::try_from(*count).unwrap_or(i64::MAX))
            .bind(last_used_ms)
            .execute(&mut *all)
            .await
            .map_err(self.failed(DOING))?;
        }
        all.commit().await.map_err(self.failed(DOING))
    }

    /// Remembers when `file` was downloaded, ms since 1970.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn downloaded(&self, file: &ModelKey, at_ms: i64) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO files (model, variant, downloaded_ms) VALUES ($1, $2, $3) \
             ON CONFLICT (model, variant) DO UPDATE SET downloaded_ms = excluded.downloaded_ms",
        )
        .bind(file.id.as_str())
        .bind(file.variant.as_str())
        .bind(at_ms)
        .execute(self.pool())
        .await
        .map_err(self.failed("write when a model was downloaded"))?;
        Ok(())
    }

    /// Forgets all of `file`: flags, uses, times.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_file(&self, file: &ModelKey) -> Result<(), Error> {
        sqlx::query("DELETE FROM files WHERE model = $1 AND variant = $2")
            .bind(file.id.as_str())
            .bind(file.variant.as_str())
            .execute(self.pool())
            .await
            .map_err(self.failed("forget a model file"))?;
        Ok(())
    }
}

impl From<Columns> for FileRow {
    fn from(row: Columns) -> Self {
        Self {
            file: ModelKey { id: ModelId::new(row.model), variant: Variant::new(row.variant) },
            hot_ready: row.hot_ready,
            protected: row.protected,
            usage_count: u64::try_from(row.usage_count).unwrap_or(0),
            last_used_ms: row.last_used_ms,
            downloaded_ms: row.downloaded_ms,
        }
    }
}
