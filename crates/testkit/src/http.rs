//! Answers as a client sees them: whole, or event by event.

use std::time::Duration;

use serde_json::Value;

use crate::LONG;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer comes whole");
        Self { status, text, headers }
    }

    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap_or_default())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    ///
    /// # Panics
    /// If it is none.
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The error object of a refusal with this status and `error.code`.
    ///
    /// # Panics
    /// If it is another answer, or not the error object that every refusal has.
    pub fn refusal(&self, status: u16, code: &str) -> Value {
        let error = self.json()["error"].clone();
        assert_eq!((self.status, &error["code"]), (status, &Value::from(code)), "{self:?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert!(error["type"].is_string() && error.get("param").is_some(), "{self:?}");
        error
    }
}

/// A stream of events. Dropping it closes the connection.
#[derive(Debug)]
pub struct Events {
    response: reqwest::Response,
    unread: String,
    /// How many pieces the connection delivered so far.
    pub pieces: usize,
}

impl Events {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        Self { response, unread: String::new(), pieces: 0 }
    }

    /// The next event's data; `None` at the end of the stream.
    ///
    /// # Errors
    /// If the connection breaks, or is silent for [`LONG`]; the text says which.
    pub async fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.unread = rest;
                return Ok(Some(event.trim_start_matches("data: ").to_owned()));
            }
            let piece = tokio::time::timeout(LONG, self.response.chunk()).await;
            match piece.map_err(|_| format!("silent for {} s", LONG.as_secs()))? {
                Ok(Some(piece)) => {
                    self.pieces += 1;
                    self.unread.push_str(&String::from_utf8_lossy(&piece));
                }
                Ok(None) if self.unread.trim().is_empty() => return Ok(None),
                Ok(None) => return Err(format!("ended within an event: {:?}", self.unread)),
                Err(error) => return Err(format!("broke: {error:?}")),
            }
        }
    }

    /// All events that are left.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn rest(&mut self) -> Result<Vec<String>, String> {
        let mut events = vec![];
        while let Some(event) = self.next().await? {
            events.push(event);
        }
        Ok(events)
    }

    /// The text of a generated answer that came to its end: a finish reason, then `[DONE]`.
    ///
    /// # Errors
    /// What is wrong with it, if it did not.
    pub async fn complete(&mut self) -> Result<String, String> {
        let events = self.rest().await?;
        let Some(("[DONE]", chunks)) = events.split_last().map(|(last, rest)| (last.as_str(), rest)) else {
            return Err(format!("does not end with [DONE]: {events:?}"));
        };
        let chunks: Vec<Value> = chunks
            .iter()
            .map(|chunk| serde_json::from_str(chunk).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        let choices = || chunks.iter().map(|chunk| &chunk["choices"][0]);
        if !choices().any(|choice| choice["finish_reason"].is_string()) {
            return Err(format!("has no finish reason: {chunks:?}"));
        }
        let piece = |choice: &Value| choice["delta"]["content"].as_str().or(choice["text"].as_str()).map(str::to_owned);
        Ok(choices().filter_map(piece).collect())
    }
}

/// What a GET of `url` answers, such as an engine's own page.
///
/// # Panics
/// If there is no answer.
pub async fn fetch(url: &str) -> String {
    let response = client().get(url).send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    Answer::read(response).await.text
}

/// What a POST of `body` to `url` answers, such as an engine's own route.
///
/// # Panics
/// If there is no answer.
pub async fn post(url: &str, body: &Value) -> Answer {
    let response = client().post(url).json(body).send().await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    Answer::read(response).await
}

/// A client whose every wait ends.
pub(crate) fn client() -> reqwest::Client {
    // No proxy of the environment: all is on this machine.
    let builder = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(10)).timeout(LONG * 3);
    builder.build().expect("a client without TLS needs nothing")
}
