//! What a person changed while snug ran: a name and a text, whose meaning is its owner's.

use crate::{Error, Store};

impl Store {
    /// The value of a setting, if it was ever set.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
            .bind(name)
            .fetch_optional(self.pool())
            .await
            .map_err(self.failed("read a setting"))
    }

    /// Sets it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(self.pool())
        .await
        .map_err(self.failed("write a setting"))?;
        Ok(())
    }
}
