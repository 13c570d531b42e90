//! An answer's body as server-sent events.

use reqwest::Response;

use crate::error::Error;
use crate::sse::{Event, Parser};

/// The events of one answer.
#[derive(Debug)]
pub(crate) struct Events {
    response: Response,
    parser: Parser,
}

impl Events {
    pub(crate) fn of(response: Response) -> Self {
        Self { response, parser: Parser::default() }
    }

    /// The next event; `None` at the end. Cancel-safe: bytes are taken from the answer whole or not at all.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.parser.next() {
                return Ok(Some(event));
            }
            let Some(bytes) = self.response.chunk().await.map_err(Error::reading)? else { return Ok(None) };
            self.parser.push(&bytes).map_err(|invalid| Error::Protocol { reason: invalid.0.to_owned() })?;
        }
    }
}

/// Whether an answer is a stream of events.
pub(crate) fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
