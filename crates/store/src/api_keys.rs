//! API keys. Never their text: what is kept of it is a hash, and the few characters that lists show.

use sqlx::FromRow;
use types::KeyId;

use crate::{Error, Store};

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// Its number.
    pub id: KeyId,
    /// What it is, but for the number.
    pub key: ApiKeyColumns,
}

/// What a key is.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ApiKeyColumns {
    /// The hash of its text, in hexadecimal.
    pub hash: String,
    /// The beginning of its text.
    pub prefix: String,
    /// What a person calls it.
    pub label: String,
    /// Whose it is; empty if nobody said.
    pub owner: String,
    /// When it was made, ms since 1970.
    pub created_ms: i64,
    /// When it ends, ms since 1970; `None` for a permanent one.
    pub expires_ms: Option<i64>,
    /// When it was last used, ms since 1970.
    pub last_used_ms: Option<i64>,
    /// What it may be used for, in its owner's own form.
    pub scope: String,
    /// How much of that, in its owner's own form.
    pub limits: String,
}

#[derive(FromRow)]
struct Columns {
    id: i64,
    #[sqlx(flatten)]
    key: ApiKeyColumns,
}

impl Store {
    /// All keys, by number.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRow>, Error> {
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT id, hash, prefix, label, owner, created_ms, expires_ms, last_used_ms, scope, limits \
             FROM api_keys ORDER BY id",
        )
        .fetch_all(self.pool())
        .await
        .map_err(self.failed("read the API keys"))?;
        Ok(rows.into_iter().map(|row| ApiKeyRow { id: KeyId::new(row.id), key: row.key }).collect())
    }

    /// Adds a key. Its number is one that no key ever had.
    ///
    /// # Errors
    /// The database cannot be written, or has a key with this hash.
    pub async fn add_api_key(&self, key: &ApiKeyColumns) -> Result<KeyId, Error> {
        const DOING: &str = "write an API key";
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        let id: i64 = sqlx::query_scalar(
            "INSERT INTO numbers (kind, last) VALUES ('api_key', 1) \
             ON CONFLICT (kind) DO UPDATE SET last = numbers.last + 1 RETURNING last",
        )
        .fetch_one(&mut *all)
        .await
        .map_err(self.failed(DOING))?;
        sqlx::query(
            "INSERT INTO api_keys (id, hash, prefix, label, owner, created_ms, expires_ms, last_used_ms, scope, limits) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(id)
        .bind(&key.hash)
        .bind(&key.prefix)
        .bind(&key.label)
        .bind(&key.owner)
        .bind(key.created_ms)
        .bind(key.expires_ms)
        .bind(key.last_used_ms)
        .bind(&key.scope)
        .bind(&key.limits)
        .execute(&mut *all)
        .await
        .map_err(self.failed(DOING))?;
        all.commit().await.map_err(self.failed(DOING))?;
        Ok(KeyId::new(id))
    }

    /// Changes what a person may change of a key: label, owner, scope and limits. Nothing happens if it is gone.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn update_api_key(&self, id: KeyId, key: &ApiKeyColumns) -> Result<(), Error> {
        sqlx::query("UPDATE api_keys SET label = $2, owner = $3, scope = $4, limits = $5 WHERE id = $1")
            .bind(id.as_i64())
            .bind(&key.label)
            .bind(&key.owner)
            .bind(&key.scope)
            .bind(&key.limits)
            .execute(self.pool())
            .await
            .map_err(self.failed("change an API key"))?;
        Ok(())
    }

    /// Forgets keys; those that are gone already do no harm. What they used stays.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn delete_api_keys(&self, ids: &[KeyId]) -> Result<(), Error> {
        const DOING: &str = "forget API keys";
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        for id in ids {
            sqlx::query("DELETE FROM api_keys WHERE id = $1")
                .bind(id.as_i64())
                .execute(&mut *all)
                .await
                .map_err(self.failed(DOING))?;
        }
        all.commit().await.map_err(self.failed(DOING))
    }

    /// Remembers when keys were last used, ms since 1970; never an earlier time than is known.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn touch_api_keys(&self, uses: &[(KeyId, i64)]) -> Result<(), Error> {
        const DOING: &str = "write when API keys were used";
        let mut all = self.pool().begin().await.map_err(self.failed(DOING))?;
        for (id, at_ms) in uses {
            sqlx::query(
                "UPDATE api_keys SET last_used_ms = $2 \
                 WHERE id = $1 AND (last_used_ms IS NULL OR last_used_ms < $2)",
            )
            .bind(id.as_i64())
            .bind(at_ms)
            .execute(&mut *all)
            .await
            .map_err(self.failed(DOING))?;
        }
        all.commit().await.map_err(self.failed(DOING))
    }
}
