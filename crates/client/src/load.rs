//! A load and its progress.

use api::{LoadAnswer, LoadEvent};
use reqwest::Response;
use serde::Deserialize;

use crate::error::Error;
use crate::events::{Events, is_event_stream};
use crate::sse::Event;

/// What a load reports until it is done. Dropping it does not stop the load.
#[derive(Debug)]
pub struct LoadEvents(State);

#[derive(Debug)]
enum State {
    Streaming(Events),
    /// The server answered in one piece.
    Answered(LoadAnswer),
    Done,
}

/// The value of a `progress` event.
#[derive(Deserialize)]
struct Progress {
    phase: String,
    progress: f64,
}

impl LoadEvents {
    pub(crate) async fn of(response: Response) -> Result<Self, Error> {
        if is_event_stream(&response) {
            return Ok(Self(State::Streaming(Events::of(response))));
        }
        Ok(Self(State::Answered(crate::decode(response).await?)))
    }

    /// The next event; `None` after `Loaded` or `Error`. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Broken`] or [`Error::Protocol`] if the stream ends before it said how the load ended.
    pub async fn next(&mut self) -> Result<Option<LoadEvent>, Error> {
        let State::Streaming(events) = &mut self.0 else {
            return Ok(match std::mem::replace(&mut self.0, State::Done) {
                State::Answered(answer) => Some(LoadEvent::Loaded(answer)),
                State::Streaming(_) | State::Done => None,
            });
        };
        loop {
            let Some(event) = events.next().await? else {
                let reason = "the server ended the load's events without saying how the load ended";
                return Err(Error::Protocol { reason: reason.to_owned() });
            };
            if let Some(event) = read(&event)? {
                if !matches!(event, LoadEvent::Progress { .. }) {
                    self.0 = State::Done;
                }
                return Ok(Some(event));
            }
        }
    }
}

/// `None` for an event that a later version may have added.
fn read(event: &Event) -> Result<Option<LoadEvent>, Error> {
    let wrong =
        |error| Error::Protocol { reason: format!("the load's event `{}` cannot be read: {error}", event.name) };
    match event.name.as_str() {
        "progress" => {
            let Progress { phase, progress } = serde_json::from_str(&event.data).map_err(wrong)?;
            Ok(Some(LoadEvent::Progress { phase, progress }))
        }
        "loaded" => serde_json::from_str(&event.data).map(|answer| Some(LoadEvent::Loaded(answer))).map_err(wrong),
        "error" => Ok(Some(LoadEvent::Error(crate::error::error_body(event.data.as_bytes(), 500)))),
        _ => Ok(None),
    }
}
