//! The fit API: `/api/v1/*`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use crate::{ANSWER_TIMEOUT, Client, Error, decode};

impl Client {
    /// `GET /api/v1/system`, with the hardware of `parameters` in place of the machine's.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn system(&self, parameters: &[(String, String)]) -> Result<api::SystemAnswer, Error> {
        self.get(&format!("/api/v1/system{}", query(parameters))).await
    }

    /// `GET /api/v1/models`: models and how they fit.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn fit(&self, parameters: &[(String, String)]) -> Result<api::FitList, Error> {
        self.get(&format!("/api/v1/models{}", query(parameters))).await
    }

    /// `GET /api/v1/models/top`: the best that run.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn top(&self, parameters: &[(String, String)]) -> Result<api::FitList, Error> {
        self.get(&format!("/api/v1/models/top{}", query(parameters))).await
    }

    /// `POST /api/v1/plan`: what a model takes.
    ///
    /// # Errors
    /// As [`Client::health`].
    pub async fn plan(&self, request: &api::PlanRequest) -> Result<api::PlanAnswer, Error> {
        let request = self.request(Method::POST, "/api/v1/plan").timeout(ANSWER_TIMEOUT).json(request);
        decode(self.send(request).await?).await
    }
}

/// With the question mark, or nothing.
fn query(parameters: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}
