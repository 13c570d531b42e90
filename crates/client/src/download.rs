//! A download and its progress.

use api::{DownloadStatus, ErrorBody};
use reqwest::Response;

use crate::error::Error;
use crate::events::Events;

/// What a download reports until it is done. Dropping it does not stop the download.
#[derive(Debug)]
pub struct DownloadEvents {
    events: Events,
    over: bool,
}

/// One event of a download.
#[derive(Clone, Debug, PartialEq)]
pub enum DownloadEvent {
    /// How far it is.
    Progress(DownloadStatus),
    /// Its files are here; nothing follows.
    Done(DownloadStatus),
    /// It failed, and the status says why; nothing follows.
    Failed(DownloadStatus),
    /// The server knows nothing of it any more; nothing follows.
    Gone(ErrorBody),
}

impl DownloadEvents {
    pub(crate) fn of(response: Response) -> Self {
        Self { events: Events::of(response), over: false }
    }

    /// The next event; `None` after the last. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Broken`] or [`Error::Protocol`] if the stream ends before it said how the download ended.
    pub async fn next(&mut self) -> Result<Option<DownloadEvent>, Error> {
        while !self.over {
            let Some(event) = self.events.next().await? else {
                let reason = "the server ended the download's events without saying how the download ended";
                return Err(Error::Protocol { reason: reason.to_owned() });
            };
            let status = || {
                serde_json::from_str::<DownloadStatus>(&event.data).map_err(|error| Error::Protocol {
                    reason: format!("the download's event `{}` cannot be read: {error}", event.name),
                })
            };
            self.over = event.name != "progress";
            match event.name.as_str() {
                "progress" => return status().map(|status| Some(DownloadEvent::Progress(status))),
                "done" => return status().map(|status| Some(DownloadEvent::Done(status))),
                "error" => {
                    let gone = || DownloadEvent::Gone(crate::error::error_body(event.data.as_bytes(), 500));
                    return Ok(Some(status().map_or_else(|_| gone(), DownloadEvent::Failed)));
                }
                // A later version may have added it.
                _ => self.over = false,
            }
        }
        Ok(None)
    }
}
