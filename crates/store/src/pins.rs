//! Models that are never evicted.

use types::ModelId;

use crate::{Error, Store};

impl Store {
    /// All pinned models, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn pinned(&self) -> Result<Vec<ModelId>, Error> {
        let models: Vec<String> = sqlx::query_scalar("SELECT model FROM pins ORDER BY model")
            .fetch_all(self.pool())
            .await
            .map_err(self.failed("read which models are pinned"))?;
        Ok(models.into_iter().map(ModelId::new).collect())
    }

    /// Pins a model, or unpins it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_pinned(&self, model: &ModelId, on: bool) -> Result<(), Error> {
        let statement = if on {
            "INSERT INTO pins (model) VALUES ($1) ON CONFLICT (model) DO NOTHING"
        } else {
            "DELETE FROM pins WHERE model = $1"
        };
        sqlx::query(statement)
            .bind(model.as_str())
            .execute(self.pool())
            .await
            .map_err(self.failed("write which models are pinned"))?;
        Ok(())
    }
}
