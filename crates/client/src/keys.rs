//! API keys: `/api/api-keys`.

use reqwest::Method;

use crate::{ANSWER_TIMEOUT, Client, Error, decode};

impl Client {
    /// `GET /api/api-keys`: all that are not over.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn api_keys(&self) -> Result<Vec<api::ApiKey>, Error> {
        self.get("/api/api-keys").await
    }

    /// `POST /api/api-keys`: makes one. The answer is the only place where its text is.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn create_api_key(&self, request: &api::CreateApiKeyRequest) -> Result<api::CreatedApiKey, Error> {
        let request = self.request(Method::POST, "/api/api-keys").timeout(ANSWER_TIMEOUT).json(request);
        decode(self.send(request).await?).await
    }

    /// `DELETE /api/api-keys/{id}`.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn delete_api_key(&self, id: i64) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &format!("/api/api-keys/{id}")).timeout(ANSWER_TIMEOUT);
        self.send(request).await?;
        Ok(())
    }
}
